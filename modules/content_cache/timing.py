"""Knows how long operations take: each by its own start, or by the faulty slot all share. Not what is timed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from math import floor, log2
from typing import Any, Final

from brokersim.brokermod import Handle

#: Buckets of a summary per doubling of the duration: its quantiles are right to 1/32 of a doubling, 2.2 %.
BUCKETS: Final = 16
#: Durations that wait to be summed up: one by one each takes a call, and many are equal under the virtual clock.
_FRESH_MAX: Final = 128
_SHORTEST_MS: Final = 1e-6
_ZERO: Final = floor(log2(_SHORTEST_MS) * BUCKETS)


class Latency:
    """Running summary of durations in ms, in bounded memory."""

    __slots__ = ("_buckets", "_count", "_fresh", "_max", "_sum")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        #: Not summed up yet.
        self._fresh: list[float] = []
        self._sum = 0.0
        self._count = 0
        self._max = 0.0

    def add(self, ms: float) -> None:
        """One more took ``ms``."""
        fresh = self._fresh
        fresh.append(ms)
        if len(fresh) >= _FRESH_MAX:
            self._sum_up()

    def _sum_up(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._count += len(fresh)
        self._sum = sum(fresh, self._sum)
        self._max = max(self._max, max(fresh, default=0.0))
        for ms, count in Counter(fresh).items():
            self._buckets[floor(log2(ms) * BUCKETS) if ms > _SHORTEST_MS else _ZERO] += count

    def _quantile(self, share: float) -> float:
        """The duration, in ms, that ``share`` of them did not exceed; 0.0 if there were none."""
        wanted = share * self._count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return 0.0 if bucket == _ZERO else min(self._max, 2.0 ** ((bucket + 0.5) / BUCKETS))
        return 0.0

    def statistics(self) -> dict[str, float]:
        """Count, mean, median, 99th percentile and maximum, in ms."""
        self._sum_up()
        return {
            "count": self._count,
            "mean": self._sum / self._count if self._count else 0.0,
            "p50": self._quantile(0.5),
            "p99": self._quantile(0.99),
            "max": self._max,
        }


class Timing:
    """Times one kind of operation from the call to its continuation.

    The caller keeps the start that ``begin`` gives, in the entry the operation is about, and gives it to
    ``end``: however many are under way, each has its own.
    """

    __slots__ = ("_emit", "clock", "in_flight", "in_flight_max", "latency")

    def __init__(self, clock: Callable[[], float], emit: Callable[[float], None]) -> None:
        self.clock = clock
        self._emit = emit
        self.latency = Latency()
        self.in_flight = 0
        self.in_flight_max = 0

    def begin(self) -> float:
        """An operation starts; when, in seconds of the clock."""
        self.in_flight = count = self.in_flight + 1
        if count > self.in_flight_max:
            self.in_flight_max = count
        return self.clock()

    def end(self, start: float) -> float:
        """The operation that began at ``start`` ended, when; its duration is summed up and emitted, in ms."""
        self.in_flight -= 1
        now = self.clock()
        ms = (now - start) * 1e3
        self.latency.add(ms)
        self._emit(ms)
        return now

    def statistics(self) -> dict[str, float]:
        """The summary of the durations, and how many operations were under way at once."""
        return self.latency.statistics() | {"in-flight-max": self.in_flight_max}


class AuxTiming(Timing):
    """The journal's first try: one slot for all operations, so each start overwrites the one before.

    An operation is timed from the latest start of any, hence never too long and right only if it was alone.
    """

    __slots__ = ("_slot",)

    def __init__(self, clock: Callable[[], float], emit: Callable[[float], None]) -> None:
        super().__init__(clock, emit)
        self._slot = 0.0

    def begin(self) -> float:
        self._slot = super().begin()
        return self._slot

    def end(self, start: float) -> float:
        return super().end(self._slot)


TIMINGS: Final[dict[str, type[Timing]]] = {"entry": Timing, "aux": AuxTiming}


def timing_clock(handle: Handle) -> Callable[[], float]:
    """Seconds of the instance's clock, finer than reactor time where that is real.

    Reactor time stands still while one read's worth of messages is handled, and a load from memory is over by
    then; real time is therefore read anew, times the speed of a scaled clock.
    """
    kind, _, speed = (handle.attr_get("clock") or "real").partition("*")
    if kind != "real":
        return handle.now
    if not speed:
        return time.perf_counter
    factor = float(speed)
    return lambda: time.perf_counter() * factor


def emitter(handle: Handle, name: str) -> Callable[[float], None]:
    """Sends timings under a name while the module's statsd context is enabled."""

    stream = f"content.{name}"
    stats: Any = None

    def emit(ms: float) -> None:
        nonlocal stats
        handle.observe(stream, "all", ms)
        if stats is None:
            stats = handle.stats  # not before: most ranks of a large instance never load a blob
        if stats.enabled:
            stats.timing(name, ms)

    return emit
