"""Knows the ticks of a measurement: its schedule, the timer to the next one, those that come inside a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from brokersim.brokermod import Handle, schedules

from .overlap import Turnstile
from .ports import Random

#: Seconds that are one instant: the clock counts nanoseconds, and seconds since the epoch are 0.2 µs apart as floats.
_INSTANT: Final = 1e-6


class Grid:
    """Calls ``begin()`` at each tick that is to be run; ``counted()`` when some had to wait or were dropped."""

    __slots__ = (
        "_at", "_begin", "_counted", "_handle", "_is_put_off", "_jitter", "_next", "_pace", "_random", "_spans",
        "_timer", "turnstile",
    )  # fmt: skip

    def __init__(
        self,
        handle: Handle,
        policy: str,
        random: Random,
        begin: Callable[[], object],
        counted: Callable[[], object],
    ) -> None:
        self.turnstile = Turnstile(policy)
        self._handle = handle
        self._random = random
        self._begin = begin
        self._counted = counted
        self._jitter = 0.0
        self._spans: Iterator[tuple[float, float]] = iter(())
        self._next: tuple[float, float] | None = None
        self._timer: Any = None
        #: A tick came in a run that may end in the same instant.
        self._is_put_off = False
        #: Of a schedule that follows what is read: its pace, and the tick that is read at.
        self._pace: schedules.Pace | None = None
        self._at = 0.0

    @property
    def is_over(self) -> bool:
        """No tick will come any more, and none runs."""
        return self._next is None and self._timer is None and not self.turnstile.is_busy

    def plan(self, schedule: schedules.Schedule, jitter: float) -> None:
        """Ticks from now on, shifted together by less than ``jitter`` s so that their spacing stays."""
        self._jitter = jitter * self._random.random() if jitter else 0.0
        self.plan_anew(schedule)

    def plan_anew(self, schedule: schedules.Schedule) -> None:
        """The same with the shift it has."""
        now = self._handle.time()
        # Slots must be reserved first: until then there is no tick.
        is_alone = not isinstance(schedule, schedules.Avoid)
        self._spans = schedule.spans(now, self._random) if is_alone else iter(())
        self._pace = schedule.pace(now) if isinstance(schedule, schedules.Adaptive) else None
        self._next = None
        self._advance()

    def take(self, spans: Iterable[tuple[float, float]]) -> None:
        """Slots that were reserved are its next ticks, each with its end."""
        self._spans = iter(spans)
        self._next = None
        self._advance()
        self.arm()

    @property
    def follows(self) -> bool:
        """Does it want to know what is read?"""
        return self._pace is not None

    def told(self, metrics: Mapping[str, Any]) -> None:
        """What was read at the tick that is under way: the next one may be another now."""
        if self._pace is not None:
            self._next = (self._pace.following(self._at, metrics), math.inf)
            self._wait()

    def _advance(self) -> None:
        if self._pace is not None and self._next is not None:
            self._next = (self._pace.next_after(self._next[0]), math.inf)
            return
        span = next(self._spans, None)
        self._next = None if span is None else (span[0] + self._jitter, span[1] + self._jitter)

    def arm(self) -> None:
        """Wait for the next tick; what has passed unseen is no tick any more."""
        now = self._handle.time()
        while self._next is not None and self._next[0] < now:
            self._advance()
        self._wait()

    def disarm(self) -> None:
        """No tick comes, none waits."""
        self._cancel()
        self.turnstile.clear()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_put_off = False

    def _wait(self) -> None:
        self._cancel()
        if self._next is not None:
            delay = self._next[0] - self._handle.time()
            self._timer = self._handle.call_later(delay if delay > 0 else 0.0, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.turnstile.is_busy:
            # A run may end in this very instant: then it doesn't have this tick inside it.
            self._timer = self._handle.call_later(_INSTANT, self._due)
            self._is_put_off = True
        else:
            self._due()

    def _due(self) -> None:
        self._timer = None
        self._is_put_off = False
        turnstile, now = self.turnstile, self._handle.time()
        assert self._next is not None
        is_free = turnstile.due(*self._next)
        self._at = self._next[0] if is_free else self._at
        self._advance()
        # A loop that was held has let ticks pass: they count as those inside a run do.
        while self._next is not None and self._next[0] <= now:
            turnstile.due(*self._next)
            self._advance()
        if not is_free or turnstile.is_behind:
            self._counted()
        self._wait()
        if is_free:
            self._begin()

    def ended(self) -> bool:
        """The run is over; True if one that waited begins at once."""
        turnstile, now = self.turnstile, self._handle.time()
        was_behind = turnstile.is_behind
        if turnstile.waits:
            self._join(now)
        following = turnstile.ended(now + _INSTANT)
        if was_behind:
            self._counted()
        if following is None and self._is_put_off:
            self._cancel()
            self._timer = self._handle.call_later(0, self._due)
        return following is not None

    def _join(self, now: float) -> None:
        """Ticks of this very instant are due as those are that wait already: the run that begins is theirs, too."""
        while self._next is not None and self._next[0] <= now + _INSTANT:
            self.turnstile.due(*self._next)
            self._advance()
        self._wait()
