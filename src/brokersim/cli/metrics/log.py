"""Knows ``metrics log``: past epochs, and those to come as they end."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.metrics import words
from brokersim.cli.metrics.asking import explain
from brokersim.cli.session import Session
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted


@click.command(
    "log",
    cls=Command,
    **examples(
        ("brokersim metrics log counters", "epochs so far, the rows of the last"),
        ("brokersim metrics log -f hot", "epochs, rows and crossings as they come"),
    ),
)
@click.option("-f", "--follow", is_flag=True, help="go on with each epoch to come, until ^C")
@click.argument("name")
@pass_session
def log(session: Session, /, follow: bool, name: str) -> None:
    """Print the epochs of a stat."""
    if follow:
        for answer in session.stream("metrics.log", {"name": name}, rank=0, explain=explain(name)):
            _tell(session, answer)
        return
    answer = session.rpc("metrics.log", {"name": name}, rank=0, explain=explain(name))
    if session.json:
        session.emit(answer)
        return
    for record in answer["records"]:
        session.out(_line(record))
    if not answer["records"]:
        session.say(f"{name}: no epoch has ended yet")
    if answer["rows"]:
        session.table(*words.table(answer["rows"]))


def _tell(session: Session, answer: JsonObject) -> None:
    if session.json:
        session.emit(answer)
    elif "record" in answer:
        session.out(_line(answer["record"]))
    elif "crossed" in answer:
        one = answer["crossed"]
        key = " ".join(f"{name}={value}" for name, value in one["key"].items())
        session.out(f"  {key}: {one['value']:g} has reached {one['level']:g}")
    elif answer.get("rows"):
        session.table(*words.table(answer["rows"]))


def _line(record: JsonObject) -> str:
    """``2026-01-01 00:15:00  epoch 3  12 rows  16 ranks  2 ms`` and who is not in it."""
    took = (record["completed"] - record["requested"]) * 1e3
    parts = [
        words.clock(record["requested"]), f"epoch {record['epoch']}", counted(record["rows"], "row"),
        counted(words.ranks_of(record["ok"]), "rank"), f"{took:.3g} ms",
    ]  # fmt: skip
    counts = [
        f"{record[name]} {name}"
        for name in ("carried", "late", "dup", "foreign", "merged_epochs")
        if record[name]
    ]
    absent = words.absent(record)
    restarted = [f"restarted {record['restarted']}"] if record["restarted"] else []
    return "  ".join([*parts, *counts, *restarted, *([absent] if absent else [])])
