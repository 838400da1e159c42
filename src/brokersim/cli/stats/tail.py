"""Knows `stats tail`: live values line by line, or as rates; not where the lines come from (stats_live)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.live import Line, Live, listening, subscribed
from brokersim.cli.stats.recording import shown, to_document
from brokersim.cli.types import DURATION
from brokersim.protocol.decoded import JsonObject
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.flushed import Flush
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.sample import COUNTERS, SETS, TIMERS, TOTALS, Sample

_TYPES: Final = {COUNTERS: "c", TOTALS: "C", TIMERS: "ms", SETS: "s"}


@click.command(
    "tail",
    cls=Command,
    **examples(
        ("brokersim stats tail", "what a running 'stats serve' receives"),
        ("brokersim stats tail -f 'flux.kvs.*' --rate", "changes a second"),
        ("brokersim stats tail -l 127.0.0.1:8125", "listen here, where no server runs"),
    ),
)
@click.option("-f", "--filter", "glob", default="*", metavar="GLOB", help="only names like this")
@click.option("--rate", is_flag=True, help="per second, instead of each value")
@click.option("-i", "--interval", type=DURATION, default="1s", metavar="FSD", help="with --rate  [1s]")
@click.option("--from", "server", metavar="HOST:PORT", help="HTTP of a stats serve  [127.0.0.1:8127]")
@click.option("-l", "--listen", metavar="HOST:PORT", help="listen there instead")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="end after N lines of output")
@pass_session
def tail(
    session: Session,
    glob: str,
    rate: bool,
    interval: float,
    server: str | None,
    listen: str | None,
    count: int | None,
) -> None:
    """Print live values: of a server that runs, or of a port.

    Name and value; an increment of a gauge has its sign.
    """
    if listen is not None and server is not None:
        raise usage_error("--from and --listen name two sources; give one")
    if not 0.01 <= interval < math.inf:
        raise usage_error(f"--interval is {interval:g} s; it must be at least 0.01 s")
    pause = interval if rate else None
    live = listening(listen, pause) if listen is not None else subscribed(session, server, glob, pause)
    rows = rates(live, glob, interval) if rate else values(live, glob)
    deadline = session.deadline
    for number, (row, text) in enumerate(rows, start=1):
        if text:
            session.write(to_document(row)) if session.json else session.out(text)
        if number == count:
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError


Row = tuple[JsonObject, str]


def values(live: Live, glob: str) -> Iterator[Row]:
    """A row for every value and, unless names are chosen, every bad line."""
    aggregator = Aggregator("strict")
    judge, text = aggregator.dialect.judge, aggregator.dialect.text
    for line in live:
        if line is None:
            continue
        judgement = judge(line.data)
        for sample in judgement.samples:
            name = text(sample.key)
            if fnmatchcase(name, glob):
                yield _value_row(line, name, sample)
        if judgement.bad and glob == "*":
            reason = judgement.bad[0]
            told = {"t": line.t, "bad": reason, "line": line.data.decode("utf-8", "surrogateescape")}
            yield told, f"{shown(line.data)}  (bad line: {reason})"


def _value_row(line: Line, name: str, sample: Sample) -> Row:
    value: Number | str = sample.value
    plus = "+" if sample.signed and sample.value >= 0 else ""
    told = f"{plus}{format_number(sample.value)}"
    if sample.kind == SETS:
        value = sample.element.decode("utf-8", "surrogateescape")
        told = shown(sample.element)
    row = {
        "t": line.t,
        "name": name,
        "type": _TYPES.get(sample.kind, "g"),
        "value": value,
        "relative": sample.signed,
        "sender": line.sender,
    }
    return row, f"{name} {told}"


def rates(
    live: Live, glob: str, interval: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Row]:
    """Every interval a row for every name that moved: counts and timings a second, gauges' change a second."""
    aggregator = Aggregator("strict", AggregatorConfig(flush=interval))
    gauges: dict[str, Number] = {}
    due = clock() + interval
    for line in live:
        if line is not None:
            aggregator.feed_lines([line.data])
        now = clock()
        if now < due:
            continue
        # Late or not, what came in is shared out over the time it really took.
        seconds = now - (due - interval)
        due = now + interval
        flush = aggregator.flush(time.time())
        yield from _rate_rows(flush, gauges, glob, seconds)
        gauges |= flush.gauges


def _rate_rows(flush: Flush, before: dict[str, Number], glob: str, seconds: float) -> Iterator[Row]:
    moved: Iterable[tuple[str, str, Number]] = (
        *(("c", name, count) for name, count in flush.counters.items()),
        *(("g", name, value - before[name]) for name, value in flush.gauges.items() if name in before),
        *(("ms", name, count) for name, count in flush.timer_counts.items()),
    )
    for kind, name, change in moved:
        if change and fnmatchcase(name, glob):
            rate = change / seconds
            yield {"t": flush.t, "name": name, "type": kind, "rate": rate}, f"{name} {rate:+.6g}/s"
