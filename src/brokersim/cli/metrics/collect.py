"""Knows ``metrics collect`` and ``show``: an epoch that ends now, and one key as it is; who is not in it is said."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError
from brokersim.cli.metrics import words
from brokersim.cli.metrics.asking import explain
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.decoded import JsonObject


@click.command(
    "collect",
    cls=Command,
    **examples(
        ("brokersim metrics collect counters --by module", "one row a module, over all ranks"),
        ("brokersim metrics collect counters --by module,type --top 5", "the five largest"),
        ("brokersim metrics collect hot --partial-ok", "exit code 0 even if ranks are missing"),
    ),
)
@click.argument("name")
@click.option("--by", metavar="FIELD,...", help="throw rows together by these fields of their keys")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="only the N largest rows")
@click.option("--partial-ok", is_flag=True, help="missing ranks are no failure")
@list_options
@pass_session
def collect(session: Session, /, name: str, by: str | None, top: int | None, partial_ok: bool) -> int:
    """End an epoch now and print its rows."""
    wish: JsonObject = {"name": name, "by": by.split(",") if by else None, "top": top}
    rows: list[JsonObject] = []
    record: JsonObject = {}
    for answer in session.stream("metrics.gather", wish, rank=0, explain=explain(name)):
        rows += answer.get("rows", [])
        record = answer.get("record", record)
    if session.json:
        session.emit({"rows": rows, "record": record})
    elif rows:
        session.table(*words.table(rows))
        for field in wish["by"] or ():
            if all(row["key"].get(field) is None for row in rows):
                session.say(f"{name}: no key has a field {field}")
    else:
        session.say(f"{name}: nothing was observed in this epoch")
    return judge(session, record, partial_ok)


def judge(session: Session, record: JsonObject, partial_ok: bool) -> int:
    """Say who is not in it; the exit code."""
    absent = words.absent(record)
    if absent:
        session.say(f"{record['name']}: {absent}")
    for fault in record.get("faults", ()):
        session.say(f"{record['name']}: a filter raised and is used no more: {fault}")
    return FAILED if absent and not partial_ok else 0


@click.command(
    "show",
    cls=Command,
    **examples(
        ("brokersim metrics show counters module=kvs,type=request_rx", "as it is now, over all ranks"),
        ("brokersim metrics show hot /home", "a key that is a plain text"),
    ),
)
@click.argument("name")
@click.argument("key", type=Parsed("key", words.key))
@click.option("--partial-ok", is_flag=True, help="missing ranks are no failure")
@pass_session
def show(session: Session, /, name: str, key: str | JsonObject, partial_ok: bool) -> int:
    """Print one key over all ranks, in the middle of an epoch; resets nothing."""
    answer = session.rpc("metrics.request-key", {"name": name, "key": key}, rank=0, explain=explain(name))
    if answer["result"] is None:
        raise CommandError(
            f"{name}: no such key has been observed in this epoch", attempt=f"brokersim metrics log {name}"
        )
    if session.json:
        session.emit(answer)
    else:
        session.table(*words.table([answer["result"]]))
    if answer["missing"]:
        session.say(f"{name}: missing {answer['missing']}")
    return FAILED if answer["missing"] and not partial_ok else 0
