"""Knows ``metrics list``, ``rm`` and ``observe``."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.metrics import words
from brokersim.cli.metrics.asking import explain
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration

_DEFAULT_EPOCH = 900.0


@click.command(
    "list", cls=Command, **examples(("brokersim metrics list", "what is counted, since when, how well"))
)
@list_options
@pass_session
def list_(session: Session) -> None:
    """List the stats."""
    answer = session.rpc("metrics.list", {}, rank=0, explain=explain())
    if session.json:
        session.emit(answer)
        return
    titles = ("Name", "Streams", "Break", "Epochs", "Rows", "Ranks", "Absent", "Threshold")
    session.table(titles, [_row(one) for one in answer["stats"]], drop=("Threshold", "Streams"))


def _row(one: JsonObject) -> list[object]:
    definition = one["definition"]
    streams = " ".join(
        f"{source['stream']}:{','.join(source.get('apply', ['sum']))}" for source in definition["reducers"]
    )
    epoch = definition.get("epoch", _DEFAULT_EPOCH)
    last = one["last"] or {}
    wish = definition.get("threshold") or {}
    levels = wish.get("series") or [wish.get("at")]
    told = f"{wish['value']}>={','.join(f'{level:g}' for level in levels)}" if wish else ""
    return [
        one["name"], streams, format_duration(epoch) if epoch else "by hand", one["epoch"], last.get("rows"),
        words.ranks_of(last.get("ok", "")) if last else None, words.absent(last) if last else None, told,
    ]  # fmt: skip


@click.command(
    "rm", cls=Command, **examples(("brokersim metrics rm counters", "what was counted for it is gone"))
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_session
def rm(session: Session, /, names: tuple[str, ...]) -> None:
    """Count stats no more."""
    for name in names:
        session.rpc("metrics.remove", {"name": name}, rank=0, explain=explain(name))
    if session.json:
        session.emit({"removed": list(names)})


@click.command(
    "observe",
    cls=Command,
    **examples(
        ("brokersim metrics observe rpc.time host=n1 0.25", "on this rank"),
        ("brokersim metrics observe logins alice", "counts as 1"),
    ),
)
@click.argument("stream")
@click.argument("key", type=Parsed("key", words.key))
@click.argument("value", required=False, default="1", type=Parsed("value", words.value))
@click.option("-r", "--rank", type=click.IntRange(min=0), metavar="N", help="on this rank  [the client's]")
@pass_session
def observe(session: Session, /, stream: str, key: str | JsonObject, value: str, rank: int | None) -> None:
    """Make one observation, as a module does with handle.observe()."""
    payload = {"stream": stream, "key": key, "value": value}
    answer = session.rpc("metrics.observe", payload, rank=rank, explain=explain())
    if session.json:
        session.emit(answer)
    elif not answer["is_counted"]:
        session.say(f"no stat counts the stream {stream}: the observation is gone")
    for name in answer.get("refused", ()):
        session.say(f"{name} refused it: the key or value is none that this stat can count")
