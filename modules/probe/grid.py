"""Knows the ticks of a measurement: its schedule, the next one, those that come inside a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from brokersim.brokermod import Handle, schedules

from .overlap import SKIP, Turnstile
from .ports import Random
from .ticker import INSTANT, Ticker


class Owner(Protocol):
    """What a grid asks of its measurement."""

    __slots__ = ()

    #: Its own chance.
    random: Random

    @property
    def handle(self) -> Handle:
        """Its module's, for the time."""

    @property
    def ticker(self) -> Ticker:
        """The module's."""

    def begin(self, now: float) -> None:
        """A tick that is to be run."""

    def count_ticks(self) -> None:
        """Some had to wait or were dropped."""


class Grid:
    """Has its owner begin at each tick that is to be run."""

    __slots__ = (
        "_at", "_is_put_off", "_jitter", "_next_at", "_owner", "_pace", "_spans", "_until", "due_at", "turnstile",
    )  # fmt: skip

    def __init__(self, owner: Owner, policy: str) -> None:
        self.turnstile = Turnstile(policy)
        self._owner = owner
        self._jitter = 0.0
        self._spans: Iterator[tuple[float, float]] = iter(())
        #: The next tick (inf: none will come) and the end of its window.
        self._next_at = math.inf
        self._until = math.inf
        self.due_at = math.inf
        #: A tick came in a run that may end in the same instant.
        self._is_put_off = False
        #: Of a schedule that follows what is read: its pace, or why it cannot say any tick; the tick that is read at.
        self._pace: schedules.Pace | schedules.Said | str | None = None
        self._at = 0.0

    @property
    def is_over(self) -> bool:
        """No tick will come any more, and none runs."""
        return self._next_at == math.inf == self.due_at and not self.turnstile.is_busy

    def plan(self, schedule: schedules.Schedule, jitter: float) -> None:
        """Ticks from now on, shifted together by less than ``jitter`` s so that their spacing stays."""
        self._jitter = jitter * self._owner.random.random() if jitter else 0.0
        self.plan_anew(schedule)

    def plan_anew(self, schedule: schedules.Schedule) -> None:
        """The same with the shift it has."""
        now = self._owner.handle.time()
        # Slots must be reserved first: until then there is no tick.
        is_alone = not isinstance(schedule, schedules.Avoid)
        self._pace, self._next_at = None, math.inf
        try:
            spans = schedule.spans(now, self._owner.random) if is_alone else iter(())
        except Exception as error:  # a function of somebody else's
            self._cannot(error)
            return
        self._spans = spans
        if isinstance(schedule, schedules.Adaptive):
            self._pace = schedule.pace(now)
        elif isinstance(spans, schedules.Said) and spans.hears:
            self._pace = spans
        self._advance()

    def _cannot(self, error: Exception) -> None:
        """The schedule is at its end, and not as it was meant."""
        self._pace = f"schedule: {type(error).__name__}: {error}"
        self._spans, self._next_at = iter(()), math.inf

    def take(self, spans: Iterable[tuple[float, float]]) -> None:
        """Slots that were reserved are its next ticks, each with its end."""
        self._spans = iter(spans)
        self._next_at = math.inf
        self._advance()
        self.arm()

    @property
    def follows(self) -> bool:
        """Does it want to know what is read?"""
        return self._pace is not None and not self.trouble

    @property
    def trouble(self) -> str:
        """Why no tick will come, if its schedule cannot say any; empty if it can."""
        return self._pace if isinstance(self._pace, str) else ""

    def told(self, metrics: Mapping[str, Any], took: float, ok: bool = True) -> None:
        """What was read at the tick that is under way: the next one may be another now."""
        if isinstance(self._pace, schedules.Said):
            if self._next_at == math.inf:  # else it was a run beside the schedule
                self._hear(self._pace, metrics, took, ok)
                self._wait()
        elif isinstance(self._pace, schedules.Pace) and ok:
            self._next_at, self._until = self._pace.following(self._at, metrics), math.inf
            self._wait()

    def _hear(self, said: schedules.Said, metrics: Mapping[str, Any], took: float, ok: bool) -> None:
        """The next tick is what its function answers; one that came meanwhile is dropped, or run at once."""
        now = self._owner.handle.time()
        try:
            self._next_at, self._until = said.tell(metrics, took, ok, now) + self._jitter, math.inf
            while self._next_at < now - INSTANT and self.turnstile.policy == SKIP:
                self.turnstile.overrun += 1
                self._next_at = said.tell({}, 0.0, False, now) + self._jitter
        except Exception as error:
            self._cannot(error)

    def _advance(self) -> None:
        pace = self._pace
        if pace is not None and self._next_at != math.inf:
            # Whoever answers with the next tick says it after the run.
            self._next_at = pace.next_after(self._next_at) if isinstance(pace, schedules.Pace) else math.inf
            return
        try:
            span = next(self._spans, None)
        except Exception as error:
            self._cannot(error)
            return
        if span is None:
            self._next_at = math.inf
        elif self._jitter:
            self._next_at, self._until = span[0] + self._jitter, span[1] + self._jitter
        else:
            self._next_at, self._until = span

    def arm(self) -> None:
        """Wait for the next tick; what has passed unseen is no tick any more."""
        now = self._owner.handle.time()
        while self._next_at < now:
            said = self._pace if isinstance(self._pace, schedules.Said) else None
            self._advance()
            if said is not None and not self.trouble:
                self._skip(said, now)
        self._wait()

    def _skip(self, said: schedules.Said, now: float) -> None:
        """Its function is told that nothing was read at what has passed."""
        try:
            self._next_at = said.tell({}, 0.0, False, now) + self._jitter
        except Exception as error:
            self._cannot(error)

    def disarm(self) -> None:
        """No tick comes, none waits."""
        self._is_put_off = False
        self._owner.ticker.forget(self)
        self.turnstile.clear()

    def _wait(self) -> None:
        self._is_put_off = False
        if self._next_at != math.inf:
            self._owner.ticker.wait(self, self._next_at)
        else:
            self._owner.ticker.forget(self)

    def tick(self) -> None:
        turnstile, now = self.turnstile, self._owner.handle.time()
        if turnstile.is_busy and not self._is_put_off:
            # A run may end in this very instant: then it doesn't have this tick inside it.
            self._is_put_off = True
            self._owner.ticker.wait(self, now + 2 * INSTANT)
            return
        is_free = turnstile.due(self._next_at, self._until)
        self._at = self._next_at if is_free else self._at
        self._advance()
        # A loop that was held has let ticks pass: they count as those inside a run do.
        while self._next_at <= now:
            turnstile.due(self._next_at, self._until)
            self._advance()
        if not is_free or turnstile.is_behind:
            self._owner.count_ticks()
        self._wait()
        if is_free:
            self._owner.begin(now)

    def ended(self) -> bool:
        """The run is over; True if one that waited begins at once."""
        turnstile = self.turnstile
        was_behind = turnstile.is_behind
        if not was_behind and not self._is_put_off:
            turnstile.is_busy = False
            return False
        now = self._owner.handle.time()
        if turnstile.waits:
            self._join(now)
        following = turnstile.ended(now + INSTANT)
        if was_behind:
            self._owner.count_ticks()
        if following is None and self._is_put_off:
            self._owner.ticker.wait(self, now)
        return following is not None

    def _join(self, now: float) -> None:
        """Ticks of this very instant are due as those are that wait already: the run that begins is theirs, too."""
        while self._next_at <= now + INSTANT:
            self.turnstile.due(self._next_at, self._until)
            self._advance()
        self._wait()
