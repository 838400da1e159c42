"""Knows one child during one collection: the order of its frames, how long it may be silent, what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .limits import Limit
from .wire import Frame

LIVE, DONE, EXPIRED, GONE = "live", "done", "expired", "gone"


class Timers(Protocol):
    """The clock of who collects."""

    def now(self) -> float:
        """Seconds."""

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Any:
        """Returns what has ``cancel``."""


class Link:
    """One child: its members, its frames in their order, its silence limit."""

    def __init__(self, rank: int, members: frozenset[int], limit: Limit, timers: Timers) -> None:
        self.rank = rank
        self.members = members
        self.limit = limit
        self.state = LIVE
        #: The open request, to be forgotten in the end.
        self.request: Any = None
        #: Frames whose rows are not merged yet, oldest first: how many rows each brought to wait for.
        self.unmerged = 0
        self._timers = timers
        self._timer: Any = None
        self._heard = timers.now()
        self._next = 0
        self._held: dict[int, Frame] = {}

    def watch(self, budget: float, silent: Callable[[Link], object]) -> None:
        """Call ``silent(self)`` when nothing came for too long."""
        self._heard = self._timers.now()
        self._wait(self.limit.seconds(budget), self._heard + budget, silent)

    def _wait(self, seconds: float, until: float, silent: Callable[[Link], object]) -> None:
        self._timer = self._timers.call_later(seconds, self._check, until, silent)

    def _check(self, until: float, silent: Callable[[Link], object]) -> None:
        now = self._timers.now()
        # A nanosecond's rounding must not make another round of it.
        left = self._heard + self.limit.seconds(max(until - self._heard, 0.0)) - now
        if left > 1e-9:
            self._wait(left, until, silent)
        else:
            silent(self)

    def heard(self) -> None:
        """A frame came, late ones too: the limit learns from it."""
        now = self._timers.now()
        self.limit.sample(now - self._heard)
        self._heard = now

    def in_order(self, frame: Frame) -> list[Frame] | None:
        """The frames that can be taken now that this one is here; None if it was here before."""
        if frame.seq < self._next or frame.seq in self._held:
            return None
        self._held[frame.seq] = frame
        ready = []
        while self._next in self._held:
            ready.append(self._held.pop(self._next))
            self._next += 1
        return ready

    def close(self, state: str) -> None:
        """It is awaited no more."""
        self.state = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
