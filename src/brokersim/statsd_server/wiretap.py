"""Knows who listens in on a running statsd server, and what each of them wants to see; not who they are.

Doesn't judge lines: a bad one is shown like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import attrs
import trio

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.topic import topic_matcher
from brokersim.statsd.flushed import Flush
from brokersim.statsd.numbers import Number
from brokersim.statsd.timerstats import bucket_fields, statsd_fields
from brokersim.statsd_server.chosen import Choice, value_at

#: Items that wait for a slow listener: a second of lines at a thousand a second.
TAP_LIMIT = 1000


@attrs.frozen(kw_only=True)
class TapLine:
    """A line as it came, when (server time in s) and from whom."""

    t: float
    line: bytes
    sender: str | None


@attrs.frozen(kw_only=True)
class TapFlush:
    t: float
    flush: Flush


@attrs.frozen(kw_only=True)
class TapGap:
    """So many items were dropped here because the listener was too slow."""

    dropped: int


TapItem = TapLine | TapFlush | TapGap


class Tap:
    """One listener: an async iterator of what it asked for, or a callback that is called at once.

    The oldest items are dropped, counted and replaced by a TapGap when ``limit`` wait. Iteration ends at ``close``.
    """

    def __init__(
        self,
        wiretap: Wiretap,
        *,
        pattern: str,
        lines: bool,
        flushes: bool,
        limit: int,
        on_item: Callable[[TapItem], None] | None,
    ) -> None:
        self._wiretap = wiretap
        self._matches = topic_matcher(pattern) if pattern != "*" else None
        self.wants_lines = lines
        self.wants_flushes = flushes
        self.dropped = 0
        self._limit = limit
        self._items: deque[TapItem] = deque()
        self._gap = 0
        self._on_item = on_item
        self._wake = trio.Event()
        self._is_closed = False

    def wants(self, key: str) -> bool:
        """The key matches the pattern."""
        return self._matches is None or self._matches(key)

    def line(self, line: bytes, sender: str | None, t: float) -> None:
        key = line.partition(b":")[0]
        if self._matches is None or self._matches(key.decode("utf-8", "backslashreplace")):
            self._put(TapLine(t=t, line=line, sender=sender))

    def flush(self, flush: Flush) -> None:
        self._put(TapFlush(t=flush.t, flush=flush))

    def _put(self, item: TapItem) -> None:
        if self._on_item is not None:
            self._on_item(item)
            return
        if len(self._items) >= self._limit:
            self._items.popleft()
            self._gap += 1
            self.dropped += 1
            self._wiretap.dropped += 1
        self._items.append(item)
        self._wake.set()

    def close(self) -> None:
        self._is_closed = True
        self._wiretap.remove(self)
        self._wake.set()

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Tap:
        return self

    async def __anext__(self) -> TapItem:
        while not self._items and not self._is_closed:
            self._wake = trio.Event()
            await self._wake.wait()
        if self._gap:
            gap, self._gap = self._gap, 0
            return TapGap(dropped=gap)
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()


@contextmanager
def _closing_if_it_fails(tap: Tap) -> Iterator[None]:
    """A listener's fault is not the server's: it hears no more."""
    try:
        yield
    except Exception:
        tap.close()


class Wiretap:
    """All listeners of a server. ``is_watching_lines`` is False when nobody wants lines: then they cost nothing."""

    def __init__(self) -> None:
        self._taps: dict[Tap, None] = {}
        self.is_watching_lines = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._taps)

    def open(
        self,
        *,
        pattern: str = "*",
        lines: bool = True,
        flushes: bool = True,
        limit: int = TAP_LIMIT,
        on_item: Callable[[TapItem], None] | None = None,
    ) -> Tap:
        """A new listener for keys that match a shell pattern; close it, or use it in a ``with``.

        ``on_item`` is called in the server's loop and must return at once; if it raises, its tap is closed.
        """
        tap = Tap(self, pattern=pattern, lines=lines, flushes=flushes, limit=limit, on_item=on_item)
        self._taps[tap] = None
        self._note_change()
        return tap

    def remove(self, tap: Tap) -> None:
        self._taps.pop(tap, None)
        self._note_change()

    def _note_change(self) -> None:
        self.is_watching_lines = any(tap.wants_lines for tap in self._taps)

    def packet(self, datagram: bytes, sender: str | None, t: float) -> None:
        """Shows the lines of a packet to those who want lines."""
        lines = [line for line in datagram.split(b"\n") if line]
        for tap in [tap for tap in self._taps if tap.wants_lines]:
            with _closing_if_it_fails(tap):
                for line in lines:
                    tap.line(line, sender, t)

    def flush(self, flush: Flush) -> None:
        """Shows a flush to those who want flushes."""
        for tap in [tap for tap in self._taps if tap.wants_flushes]:
            with _closing_if_it_fails(tap):
                tap.flush(flush)

    def close(self) -> None:
        """Ends every listener's iteration."""
        for tap in list(self._taps):
            tap.close()


def flush_table(flush: Flush, wants: Callable[[str], bool] = lambda key: True) -> JsonObject:
    """A flush for JSON: t and interval (s); counters, gauges, timers and sets of the keys that are wanted."""
    table: JsonObject = {"t": flush.t, "interval": flush.interval}
    for kind, rows in flush_rows(flush, wants):
        table[kind] = dict(rows)
    return table


def flush_rows(
    flush: Flush, wants: Callable[[str], bool] = lambda key: True
) -> Iterator[tuple[str, Iterator[tuple[str, object]]]]:
    """Each kind, and its keys with what a `flush_table` says of each, made when they are asked for."""
    yield "counters", ((key, _counter(flush, key)) for key in flush.counters if wants(key))
    yield "gauges", ((key, value) for key, value in flush.gauges.items() if wants(key))
    yield "timers", ((key, _timer(flush, key)) for key in flush.timer_counts if wants(key))
    yield "sets", ((key, value) for key, value in flush.sets.items() if wants(key))


def chosen_rows(flush: Flush, choice: Choice) -> Iterator[tuple[str, JsonObject, int] | None]:
    """Each kind, with what a `flush_table` says of its chosen keys, and how many match; None in between."""
    counters, gauges, sets = flush.counters, flush.gauges, flush.sets
    tables = {"counters": counters, "gauges": gauges, "timers": flush.timer_counts, "sets": sets}
    for kind, table in tables.items():
        places, matching = yield from choice.places(table)
        rows: JsonObject = {}
        for place in places:
            name = place[0]
            if table is counters:
                count, total = value_at(counters, place), value_at(flush.totals, place)
                rows[name] = _counted(flush, count or 0, total or 0)
            elif table is flush.timer_counts:
                rows[name] = _timer(flush, name)
            else:
                rows[name] = value_at(table, place)
        yield kind, rows, matching


def _counter(flush: Flush, key: str) -> JsonObject:
    return _counted(flush, flush.counters[key], flush.totals.get(key, 0))


def _counted(flush: Flush, count: Number, total: Number) -> JsonObject:
    return {"count": count, "rate": count / flush.interval, "total": total}


def _timer(flush: Flush, key: str) -> JsonObject:
    return {"count": flush.timer_counts[key], "approx": key in flush.buckets, **_timer_fields(flush, key)}


_PERCENTILES = (50, 90, 99)


def _timer_fields(flush: Flush, key: str) -> JsonObject:
    samples = flush.samples.get(key)
    if samples:
        return statsd_fields(samples, _PERCENTILES)
    buckets = flush.buckets.get(key)
    return bucket_fields(buckets, _PERCENTILES) if buckets is not None else {}
