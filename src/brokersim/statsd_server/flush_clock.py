"""Knows when a statsd server flushes: whole multiples of its interval, however late the last one was.

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
    """The instants to flush at: n times the interval, n whole. ``skipped`` counts those that passed unused."""

    interval: float
    skipped: int = 0
    _n: int = 0

    def start(self, now: float) -> float:
        """The first instant after ``now``."""
        self._n = math.floor(now / self.interval) + 1
        return self.instant

    @property
    def instant(self) -> float:
        # To the microsecond: 3 × 0.1 shall be 0.3 in every output.
        return round(self._n * self.interval, 6)

    def advance(self, now: float) -> float:
        """The instant after the current one, or after ``now`` if that is later. A clock set back starts anew."""
        after_now = math.floor(now / self.interval) + 1
        if after_now < self._n:
            self._n = after_now
        else:
            self.skipped += max(0, after_now - self._n - 1)
            self._n = max(self._n + 1, after_now)
        return self.instant
