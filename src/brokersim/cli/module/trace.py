"""Knows how messages seen by module.trace are printed, timed and summed up; not how they are traced."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import similar
from brokersim.cli.module import complete_module, loaded
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENODATA, errname

#: Type on the wire: its name, arrow and colour. The same colours wherever messages are shown.
TYPES: Final = {
    1: ("request", ">", "cyan"),
    2: ("response", "<", "green"),
    4: ("event", "e", "yellow"),
    8: ("control", "c", "magenta"),
}
_MASKS: Final = {name: bit for bit, (name, _, _) in TYPES.items()} | {"keepalive": 8}


def _typemask(text: str) -> int:
    mask = 0
    for name in text.split(","):
        if name not in _MASKS:
            raise ValueError(
                f"{name!r} is no message type; give request, response, event, control with commas"
            )
        mask |= _MASKS[name]
    return mask


class Latencies:
    """Pairs a response with its request: by module, topic and direction, first come first served.

    A trace line carries no matchtag, so two outstanding requests for one topic that are answered out of order
    swap their latencies; their sum stays right.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str, str], deque[float]] = defaultdict(deque)

    def feed(self, entry: JsonObject) -> float | None:
        """Seconds since the request, for a response whose request was seen."""
        if entry["type"] == 1:
            self._waiting[entry["name"], entry["topic"], entry["prefix"]].append(entry["timestamp"])
        elif entry["type"] == 2:
            # A request received is answered by a response sent, and the other way round.
            asked = self._waiting[entry["name"], entry["topic"], "rx" if entry["prefix"] == "tx" else "tx"]
            if asked:
                return float(entry["timestamp"] - asked.popleft())
        return None


class Line:
    """Formats one trace entry."""

    def __init__(self, session: Session, human: bool, delta: bool) -> None:
        self._session = session
        self._human = human
        self._delta = delta
        self._last: float | None = None

    def format(self, entry: JsonObject, latency: float | None) -> str:
        _, arrow, color = TYPES.get(entry["type"], ("", "?", "white"))
        parts = [f"{self._time(entry['timestamp'])} ", entry["name"], entry["prefix"]]
        parts += [self._session.style(arrow, color), entry["topic"], size_text(entry)]
        text = " ".join(parts)
        if latency is not None:
            text += f"        +{latency * 1e3:.1f} ms"
        return text + _payload(entry)

    def _time(self, timestamp: float) -> str:
        if self._delta:
            since = 0.0 if self._last is None else timestamp - self._last
            self._last = timestamp
            return f"{since:+.6f}"
        if self._human:
            moment = datetime.fromtimestamp(timestamp, UTC)
            return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
        return f"{timestamp:.6f}"


def size_text(entry: JsonObject) -> str:
    """The payload's bytes, or the errno's name, in brackets."""
    if entry["type"] == 2 and entry["errnum"]:
        return f"[{errname(entry['errnum'])}]"
    return f"[{entry['payload_size']}]"


def _payload(entry: JsonObject) -> str:
    if entry.get("payload") is not None:
        return "\n" + msgspec.json.format(msgspec.json.encode(entry["payload"]), indent=2).decode()
    return f"\n{entry['errstr']}" if entry.get("errstr") else ""


class Summary:
    """Counts, bytes and latencies by topic and direction, since the last table."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], list[int]] = {}
        self._latencies: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)

    def feed(self, entry: JsonObject, latency: float | None) -> None:
        key = (entry["topic"], entry["prefix"], entry["type"])
        count = self._counts.setdefault(key, [0, 0])
        count[0] += 1
        count[1] += entry["payload_size"]
        if latency is not None:
            self._latencies[key].append(latency * 1e3)

    def take(self) -> list[JsonObject]:
        """The rows so far, busiest first; starts again from zero."""
        rows = [
            {
                "topic": topic,
                "direction": prefix,
                "type": TYPES.get(kind, ("?",))[0],
                "count": count,
                "bytes": size,
                **_percentiles(self._latencies.get((topic, prefix, kind), [])),
            }
            for (topic, prefix, kind), (count, size) in self._counts.items()
        ]
        self._counts.clear()
        self._latencies.clear()
        return sorted(rows, key=lambda row: -row["count"])


def _percentiles(latencies: list[float]) -> dict[str, float | None]:
    if not latencies:
        return {"p50_ms": None, "p99_ms": None}
    ordered = sorted(latencies)
    last = len(ordered) - 1
    return {"p50_ms": round(ordered[round(0.5 * last)], 3), "p99_ms": round(ordered[round(0.99 * last)], 3)}


@click.command(
    "trace",
    cls=Command,
    **examples(
        ("brokersim module trace --human --latency kvs", "> request, < response, e event"),
        ("brokersim module trace -t request -T 'content.*'", "requests of one service, any module"),
        ("brokersim module trace --summary 5s", "a table every five seconds"),
    ),
)
@click.option("-f", "--full", is_flag=True, help="with payloads")
@click.option("-t", "--type", "typemask", type=Parsed("types", _typemask), default="request,response,event,control",
              metavar="TYPE,...", help="request, response, event, control")  # fmt: skip
@click.option("-T", "--topic", default="*", metavar="GLOB", help="only these topics")
@click.option("-H", "--human", is_flag=True, help="date and time instead of seconds")
@click.option("-d", "--delta", is_flag=True, help="seconds since the line before")
@click.option("--latency", is_flag=True, help="from request to response")
@click.option("--summary", type=DURATION, metavar="FSD", help="a table each FSD instead of lines")
@click.option("-c", "--count", type=click.IntRange(min=1), help="stop after this many lines or tables")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_module)
@pass_session
def trace(
    session: Session,
    full: bool,
    typemask: int,
    topic: str,
    human: bool,
    delta: bool,
    latency: bool,
    summary: float | None,
    count: int | None,
    names: tuple[str, ...],
) -> None:
    """Print the messages of modules as they come; rx is received by the module, tx sent by it."""
    request = {"typemask": typemask, "topic_glob": topic, "names": list(names), "full": full}
    _say_missing(session, names)
    if summary is not None:
        _tables(session, request, summary, count)
        return
    line = Line(session, human, delta)
    pairs = Latencies()
    for seen, entry in enumerate(session.stream("module.trace", request), start=1):
        took = pairs.feed(entry) if latency else None
        if session.json:
            session.emit(entry if took is None else {**entry, "latency_ms": took * 1e3})
        else:
            session.out(line.format(entry, took))
        if seen == count:
            return


def _say_missing(session: Session, names: Sequence[str]) -> None:
    """A module that is not loaded may be later, so it is waited for, as Flux does; but nobody should wonder why."""
    if not names or session.quiet:
        return
    from brokersim.routing.trace import (
        NO_MODULES,
    )  # it brings attrs, and other commands share what stands here

    mods = loaded(session)
    there = [*(mod["name"] for mod in mods), *NO_MODULES]
    for name in names:
        if mods and name not in there:
            near = similar(name, there, "one is loaded")
            hint = f" ({near})" if near else ""
            session.say(f"no module {name!r} is loaded here{hint}; waiting for one")


def _tables(session: Session, request: JsonObject, period: float, count: int | None) -> None:
    pairs = Latencies()
    summary = Summary()
    shown = 0
    for entry in _with_ticks(session, request, period):
        if entry is not None:
            summary.feed(entry, pairs.feed(entry))
            continue
        _table(session, summary.take())
        shown += 1
        if shown == count:
            return


def _table(session: Session, rows: list[JsonObject]) -> None:
    if session.json:
        session.emit({"rows": rows})
        return
    titles = ("Topic", "Dir", "Type", "Count", "Bytes", "p50 ms", "p99 ms")
    session.table(titles, [list(row.values()) for row in rows])
    session.out("")


def _with_ticks(session: Session, request: JsonObject, period: float) -> Iterator[JsonObject | None]:
    """Trace entries, and None each time the period is over."""
    client = session.client
    tag = client.send_request("module.trace", request, flags=0x40)
    due = time.monotonic() + period
    while True:
        left = due - time.monotonic()
        if left <= 0:
            due += period
            session.sleep(0)
            yield None
            continue
        response = client.recv_within(tag, left)
        if response is None:
            continue
        if response.errnum == ENODATA:
            return
        if response.errnum:
            raise session.told(response.error(), "module.trace")
        yield response.payload
