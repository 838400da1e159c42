"""Knows when a statsd server flushes: at multiples of its interval or right before them, however late the last one was.

Doesn't know what a flush does, nor where times come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

#: A wall clock that is off by more was set, or the machine slept; less is drift, which the next look mends too late.
STEP_S = 0.5


@attrs.define(eq=False)
class TimeAxis:
    """Server time: a steady clock, moved to agree with a wall clock where there is one. Seconds.

    ``steady`` never jumps; ``wall`` None makes it the time axis itself, as simulated clocks need.
    """

    steady: Callable[[], float]
    wall: Callable[[], float] | None
    offset: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.offset = 0.0 if self.wall is None else self.wall() - self.steady()

    def now(self) -> float:
        return self.steady() + self.offset

    def steady_at(self, t: float) -> float:
        """The steady clock's reading at server time ``t``."""
        return t - self.offset

    def follow(self) -> None:
        """Takes over the wall clock's time if it was set."""
        if self.wall is not None and abs(self.wall() - self.now()) > STEP_S:
            self.offset = self.wall() - self.steady()


@attrs.define(eq=False)
class FlushGrid:
    """The instants to flush at: n times the interval, n whole, less ``lead``. ``skipped`` counts those passed unused.

    At the multiple itself a flush lies in the slot that begins there: what a slot keeps is then an interval old when it
    ends. With a ``lead`` it is the last that happened in the slot (docs/intervals.md). Seconds.
    """

    interval: float
    lead: float = 0.0
    skipped: int = 0
    _n: int = 0

    def start(self, now: float) -> float:
        """The first instant after ``now``."""
        self._n = self._after(now)
        return self.instant

    @property
    def instant(self) -> float:
        # To the microsecond: 3 × 0.1 shall be 0.3 in every output.
        return round(self._n * self.interval - self.lead, 6)

    def advance(self, now: float) -> float:
        """The instant after the current one, or after ``now`` if that is later. A clock set back starts anew."""
        after_now = self._after(now)
        if after_now < self._n:
            self._n = after_now
        else:
            self.skipped += max(0, after_now - self._n - 1)
            self._n = max(self._n + 1, after_now)
        return self.instant

    def _after(self, now: float) -> int:
        return math.floor((now + self.lead) / self.interval) + 1


def lead_of(interval: float) -> float:
    """How long before a slot's end an aligned server flushes: a tenth of its interval, at most 50 ms.

    Enough for a wake-up that is late; the value a slot keeps is that old when it ends.
    """
    return min(0.05, interval / 10)
