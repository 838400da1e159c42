"""Knows how the log ring of a broker is read and printed; not how it is filled."""

from __future__ import annotations

import re
from typing import Final

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.session import Session
from brokersim.protocol.decoded import JsonObject

LEVELS: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_COLORS: Final = ("red", "red", "red", "red", "yellow", "cyan", None, "bright_black")
# <PRI>1 TIME RANK APPNAME PID MSGID SD TEXT, where PRI is severity * 8: the reverse of RFC 5424, as upstream.
_LINE: Final = re.compile(r"<(\d{1,3})>1 (\S+) (\S+) (\S+) \S+ \S+ \S+ ?(.*)", re.DOTALL)


def parse_line(line: str) -> JsonObject:
    """The fields of one log line; a line in another form becomes its text alone, at level info."""
    match = _LINE.fullmatch(line.rstrip("\n\0"))
    if match is None:
        return {"timestamp": None, "rank": None, "name": None, "level": "info", "text": line.rstrip("\n\0")}
    severity = min(int(match[1]) >> 3, len(LEVELS) - 1)
    rank = int(match[3]) if match[3].isdecimal() else None
    return {
        "timestamp": match[2],
        "rank": rank,
        "name": match[4],
        "level": LEVELS[severity],
        "text": match[5],
    }


def _format(session: Session, entry: JsonObject) -> str:
    if entry["timestamp"] is None:
        return str(entry["text"])
    color = _COLORS[LEVELS.index(entry["level"])]
    level = session.style(entry["level"], color) if color else entry["level"]
    return f"{entry['timestamp']} {entry['name']}.{level}[{entry['rank']}]: {entry['text']}"


@click.command(
    "dmesg",
    cls=Command,
    **examples(("brokersim dmesg", "the log ring"), ("brokersim dmesg -f -l warning", "wait for trouble")),
)
@click.option("-f", "--follow", is_flag=True, help="wait for new lines")
@click.option("-n", "--new", is_flag=True, help="only new lines")
@click.option("-C", "--clear", is_flag=True, help="empty the ring")
@click.option("-l", "--level", type=click.Choice(LEVELS), default="debug", help="this level and worse")
@click.option("-r", "--rank", type=int, help="of this rank")
@pass_session
def dmesg(session: Session, follow: bool, new: bool, clear: bool, level: str, rank: int | None) -> None:
    """Print the broker's log."""
    if clear:
        session.rpc("log.clear", rank=rank)
        return
    worst = LEVELS.index(level)
    request = {"follow": follow or new, "nobacklog": new}
    for line in session.stream("log.dmesg", request, rank=rank, raw=True):
        entry = parse_line(line.decode(errors="replace"))
        if LEVELS.index(entry["level"]) > worst:
            continue
        if session.json:
            session.emit(entry)
        else:
            session.out(_format(session, entry))
