"""Knows how a flush reads on a terminal, line by line; not who looks at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TextIO

import trio

from brokersim.statsd.flushed import Flush
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.timerstats import statsd_fields
from brokersim.statsd_server.outputs.base import QUEUE_LIMIT, QueuedOutput

_TIMER_FIELDS = ("lower", "mean", "median", "upper_90", "upper")


def console_lines(flush: Flush) -> Iterator[str]:
    """A heading, then a line for every key that has something to say; idle counters, timers and sets are left out."""
    bad = f", {_count(flush.bad_lines, 'bad line')}" if flush.bad_lines else ""
    yield f"{clock_text(flush.t)}  {_count(flush.packets, 'packet')}, {_count(flush.metrics, 'metric')}{bad}"
    for key, count in flush.counters.items():
        if count:
            yield _line("counter", key, f"{format_number(count)}  {_short(count / flush.interval)}/s")
    for key, value in flush.gauges.items():
        yield _line("gauge", key, format_number(value))
    for key, samples in flush.samples.items():
        fields = statsd_fields(samples, (90,))
        shown = "  ".join(f"{name} {_short(fields[name])}" for name in _TIMER_FIELDS if name in fields)
        yield _line("timer", key, f"{format_number(flush.timer_counts.get(key, 0))}  {shown}")
    for key, buckets in flush.buckets.items():
        shown = f"lower {_short(buckets.lower)}  mean {_short(buckets.mean)}  upper {_short(buckets.upper)}"
        yield _line("timer", key, f"{format_number(flush.timer_counts.get(key, 0))}  {shown}")
    for key, size in flush.sets.items():
        if size:
            yield _line("set", key, format_number(size))


def clock_text(t: float) -> str:
    """Local time of Unix seconds, with milliseconds; small ones are a simulated clock's and stay seconds."""
    if t < 1e8:
        return f"{t:.3f} s"
    return datetime.fromtimestamp(t).isoformat(" ", "milliseconds")


def _line(kind: str, key: str, text: str) -> str:
    # Keys of some dialects are raw bytes from anyone: no control sequence of theirs reaches the terminal.
    shown = key if key.isprintable() else key.encode("unicode_escape").decode("ascii")
    return f"  {kind:8}{shown}  {text}"


def _count(number: Number, noun: str) -> str:
    return f"{format_number(number)} {noun}{'' if number == 1 else 's'}"


def _short(value: Number) -> str:
    return f"{value:.6g}"


class Console(QueuedOutput):
    """Human lines on a text stream, the standard output unless told otherwise. A stream that hangs holds nobody up."""

    name = "console"
    # ValueError: the stream was closed.
    faults = (OSError, ValueError)

    def __init__(self, stream: TextIO | None = None, limit: int = QUEUE_LIMIT) -> None:
        super().__init__("console:", limit)
        self._stream = stream or sys.stdout

    async def write_all(self, flushes: list[Flush]) -> None:
        text = "".join(f"{line}\n" for flush in flushes for line in console_lines(flush))
        await trio.to_thread.run_sync(self._write, text, abandon_on_cancel=True)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
