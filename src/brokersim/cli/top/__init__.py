"""Knows the command that watches an instance, and which way of showing it fits where it is started."""

from __future__ import annotations

import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, OUT_FILE, RANKS

#: Said again here and not imported: completion asks for them, and should not wait for what draws.
SORTS = ("rank", "name", "rx", "tx", "wait", "open", "p99", "packets")
_LEAST_INTERVAL = 0.05


@click.command(
    "top",
    cls=Command,
    **examples(
        ("brokersim top", "? shows the keys, q ends it"),
        ("brokersim top -i 5s -s rx -r 0-3", "busiest first, every five seconds, of four ranks"),
        ("brokersim top --json -n 10 | jq .messages_per_s", "one JSON object each interval"),
        ("brokersim top --record day.jsonl", "look, and keep what you see"),
    ),
)
@click.option("-i", "--interval", type=DURATION, default="1s", metavar="FSD", help="between two looks  [1s]")
@click.option("-s", "--sort", type=click.Choice(SORTS), default="rank", metavar="COLUMN",
              help=f"{', '.join(SORTS)}  [rank]")  # fmt: skip
@click.option(
    "-f", "--filter", "glob", default="*", metavar="GLOB", help="only modules like this; also RANK!GLOB"
)
@click.option("-r", "--ranks", type=RANKS, default="all", metavar="RANKS", help="of these ranks  [all]")
@click.option("-n", "--count", type=click.IntRange(1), metavar="COUNT", help="end after so many intervals")
@click.option(
    "--plain", is_flag=True, help="no keys: redraw on a terminal, else a block of lines each interval"
)
@click.option("--record", type=OUT_FILE, metavar="FILE",
              help="also write the JSON objects there")  # fmt: skip
@pass_session
def top(
    session: Session,
    interval: float,
    sort: str,
    glob: str,
    ranks: str,
    count: int | None,
    plain: bool,
    record: Path | None,
) -> None:
    """Watch the modules of an instance: rates, queues, open requests, masks and hooks."""
    if not _LEAST_INTERVAL <= interval < math.inf:
        raise usage_error(f"--interval is {interval:g} s; it must be at least {_LEAST_INTERVAL:g} s")
    # Late: completion and help of this command should cost what others' cost.
    from brokersim.cli.top.plain import Watch, recording, run_plain
    from brokersim.cli.top.read import Reader, ended
    from brokersim.net.client import Unreachable

    reader = Reader(session, session.ranks(ranks), int(session.attribute("size")))
    uri = session.client.uri
    with recording(record) as file:
        watch = Watch(sort, glob, file)
        try:
            if _has_keys(session, plain):
                if not session.use_color(sys.stdout):
                    os.environ["NO_COLOR"] = "1"  # where textual looks
                from brokersim.cli.top.app import run_app

                run_app(reader, watch, uri, interval, count)
            else:
                run_plain(session, reader, watch, interval, count)
        except Unreachable as error:
            raise ended(error, uri) from None


def _has_keys(session: Session, plain: bool) -> bool:
    if plain or session.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if find_spec("textual") is None:
        session.say("without textual there are no keys: pip install 'brokersim[tui]'")
        return False
    return True
