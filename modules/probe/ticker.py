"""Knows when which grid is due: one timer of the module for all of them, one slot for those that are due at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from brokersim.brokermod import Handle

#: Seconds that are one instant: the clock counts nanoseconds, and seconds since the epoch are 0.2 µs apart as floats.
INSTANT: Final = 1e-6
#: Ticks in one turn of the loop: a few hundred µs, then others have theirs.
BURST: Final = 16


class Due(Protocol):
    """What waits for a time."""

    #: When (s since the epoch); ``math.inf`` while it waits for none.
    due_at: float

    def tick(self) -> None:
        """It is now."""


class Ticker:
    """Calls ``tick()`` of each at its time, in the order in which they first began to wait for it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._slots: dict[float, list[Due]] = {}
        self._times: list[float] = []
        self._count = 0
        self._timer: Any = None
        #: When the timer is for: -inf while ticks are being called, as it is set anew after them.
        self._armed = math.inf
        #: Those of a slot that had no turn yet, and their time.
        self._rest: Iterator[Due] = iter(())
        self._rest_at = math.inf

    def wait(self, who: Due, at: float) -> None:
        """Instead of what it waited for."""
        self._count += who.due_at == math.inf
        who.due_at = at
        slot = self._slots.get(at)
        if slot is not None:
            slot.append(who)
            return
        self._slots[at] = [who]
        heappush(self._times, at)
        if at < self._armed:
            self._arm(at)

    def forget(self, who: Due) -> None:
        """It waits for nothing; what is written of it is passed over."""
        if who.due_at != math.inf:
            who.due_at = math.inf
            self._count -= 1
            if not self._count and self._armed != -math.inf:
                self._clear()

    def _clear(self) -> None:
        self._slots.clear()
        self._times.clear()
        self._rest = iter(())
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = math.inf

    def _arm(self, at: float) -> None:
        self._cancel()
        self._armed = at
        delay = at - self._handle.time()
        self._timer = self._handle.call_later(delay if delay > 0 else 0.0, self._fire)

    def _fire(self) -> None:
        self._timer, self._armed = None, -math.inf
        until, left = self._handle.time() + INSTANT, BURST
        try:
            while left and (who := self._next(until)) is not None:
                left -= 1
                self._count -= 1
                who.due_at = math.inf
                who.tick()
        finally:
            self._armed = math.inf
            if not self._count:
                self._clear()
            elif not left:
                self._arm(until)  # others have their turn, then the rest of these
            elif self._times:
                self._arm(self._times[0])

    def _next(self, until: float) -> Due | None:
        """Who is due by then and still waits for it."""
        while True:
            for who in self._rest:
                if who.due_at == self._rest_at:
                    return who
            if not self._times or self._times[0] > until:
                return None
            self._rest_at = heappop(self._times)
            self._rest = iter(self._slots.pop(self._rest_at))
