"""Knows the commands that look at the links between ranks and disturb them; not what a link is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from brokersim.cli.command import Group, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.module.trace import Line
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, RANK
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, RequestError

KINDS: Final = ("drop", "delay", "disconnect", "kill")
#: Seconds a fault lasts unless told.
_LASTS: Final = 1.0


@click.group(
    "overlay",
    cls=Group,
    **examples(
        ("brokersim overlay status", "the tree of ranks, and which are cut off"),
        ("brokersim overlay trace -r 1", "messages of rank 1 and its neighbours"),
        ("brokersim overlay fault drop 3 --for 10s", "lose messages of rank 3"),
    ),
)
def overlay() -> None:
    """The links between ranks: their state, their messages, faults."""


@overlay.command(
    "status",
    **examples(
        ("brokersim overlay status", "the tree of ranks, and which are cut off"),
        ("brokersim overlay status --json", "one document"),
    ),
)
@pass_session
def status(session: Session) -> int:
    """Print the tree of ranks and whether each is reached; exits 1 if one is not."""
    tree = _subtree(session, 0, "full")
    if session.json:
        session.emit(tree)
    else:
        for line in _lines(tree, "", ""):
            session.out(line)
    return FAILED if any(one["status"] == "lost" for one in _all(tree)) else 0


def _subtree(session: Session, rank: int, status: str) -> JsonObject:
    if status == "lost":
        return {"rank": rank, "status": status, "children": []}
    found = session.rpc("overlay.health", rank=rank)
    below = [_subtree(session, child["rank"], child["status"]) for child in found["children"]]
    is_whole = all(child["status"] == "full" for child in below)
    return {"rank": rank, "status": "full" if is_whole else "degraded", "children": below}


def _lines(tree: JsonObject, first: str, rest: str) -> Iterator[str]:
    mark = {"full": "", "degraded": "  degraded", "lost": "  lost, with all below it"}[tree["status"]]
    yield f"{first}{tree['rank']}{mark}"
    below = tree["children"]
    for child in below:
        last = child is below[-1]
        yield from _lines(child, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}")


def _all(tree: JsonObject) -> Iterator[JsonObject]:
    yield tree
    for child in tree["children"]:
        yield from _all(child)


@overlay.command(
    "trace",
    **examples(
        ("brokersim overlay trace -r 1", "what rank 1 sends to its neighbours and gets from them"),
        ("brokersim overlay trace 'kvs.*'", "of one service, on rank 0"),
    ),
)
@click.option("-r", "--rank", type=RANK, default=0, help="on this rank  [0]")
@click.option("-H", "--human", is_flag=True, help="date and time instead of seconds")
@click.option("-d", "--delta", is_flag=True, help="seconds since the line before")
@click.option("-c", "--count", type=click.IntRange(min=1), help="stop after this many lines")
@click.argument("glob", required=False, default="*")
@pass_session
def trace(session: Session, rank: int, human: bool, delta: bool, count: int | None, glob: str) -> None:
    """Print the messages on the links of a rank as they come; the number before rx and tx is the neighbour."""
    line = Line(session, human, delta)
    answers = session.stream("overlay.trace", {"topic_glob": glob}, rank=rank)
    for seen, entry in enumerate(answers, start=1):
        if session.json:
            session.emit(entry)
        else:
            session.out(line.format({**entry, "name": str(entry["rank"])}, None))
        if seen == count:
            return


@overlay.command(
    "fault",
    **examples(
        ("brokersim overlay fault drop 3 --for 10s --p 0.1", "lose a tenth of its messages"),
        ("brokersim overlay fault delay 3 --by 50ms --topic 'kvs.*'", "some of them later"),
        ("brokersim overlay fault disconnect 1", "with all below it, for a second"),
        ("brokersim overlay fault kill 3", "for good"),
    ),
)
@click.option("--for", "seconds", type=DURATION, metavar="FSD", help="how long  [1s]")
@click.option("--p", "chance", type=float, metavar="P", help="of each message, 0 to 1  [1]")
@click.option("--by", "delay", type=DURATION, metavar="FSD", help="how much later  [100ms]")
@click.option("--topic", default="*", metavar="GLOB", help="only these messages")
@click.argument("kind", type=click.Choice(KINDS), metavar="drop|delay|disconnect|kill")
@click.argument("rank", type=RANK)
@pass_session
def fault(
    session: Session,
    seconds: float | None,
    chance: float | None,
    delay: float | None,
    topic: str,
    kind: str,
    rank: int,
) -> int:
    """Disturb the link between RANK and its parent, and tell what that really hit; nothing is exit 1.

    It ends with --for, or when this command is ended. Time is the instance's.
    """
    _check(kind, seconds, chance, delay)
    wish = {"kind": kind, "rank": rank, "topic": topic}
    wish |= {"seconds": _LASTS if seconds is None else seconds, "p": 1.0 if chance is None else chance}
    wish |= {} if delay is None else {"delay": delay}
    found = session.rpc("overlay.fault", wish, rank=0, explain=_refused)
    if session.json:
        session.emit(found)
    else:
        _tell(session.out, found)
    return 0 if found["hits"] else FAILED


def _check(kind: str, seconds: float | None, chance: float | None, delay: float | None) -> None:
    if kind == "kill" and seconds is not None:
        raise usage_error(
            "a kill is for good: it has no --for", attempt="brokersim overlay fault disconnect RANK"
        )
    if kind != "delay" and delay is not None:
        raise usage_error(
            f"--by is how much later; a {kind} has none", attempt="brokersim overlay fault delay RANK"
        )
    if chance is not None and not 0 < chance <= 1:
        raise usage_error(f"--p {chance:g}: give a chance above 0 and at most 1, such as 0.1")
    if chance is not None and kind not in ("drop", "delay"):
        raise usage_error(f"--p is of each message; a {kind} happens or not")


def _refused(error: RequestError) -> CommandError | None:
    return usage_error(error.text) if error.errno == EINVAL else None


def _tell(out: Callable[[str], None], found: JsonObject) -> None:
    hits = found["hits"]
    out(
        f"{found['kind']} {found['rank']}: {hits} hit"
        if hits
        else f"{found['kind']} {found['rank']}: hit nothing"
    )
    for what, number in sorted(found["what"].items(), key=lambda item: (-item[1], item[0])):
        out(f"{number:>6} {what}")
