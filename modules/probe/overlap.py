"""Knows what becomes of a tick that comes while a run is under way; not clocks, schedules or what is run."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

SKIP: Final = "skip"
DELAY: Final = "delay"
CATCH_UP: Final = "catch-up"
POLICIES: Final = (SKIP, DELAY, CATCH_UP)
#: Ticks that wait, at most: reads that are always slower than their schedule would gather them without end.
WAITING_MAX: Final = 1000


@attrs.define(eq=False, weakref_slot=False)
class Turnstile:
    """One run at a time. ``skip`` drops a tick inside a run; ``delay`` runs once when free, not after the window;
    ``catch-up`` runs every tick, back to back."""

    policy: str
    is_busy: bool = False
    #: Ticks dropped, started late, and those that another late start stands for.
    overrun: int = 0
    late: int = 0
    merged: int = 0
    #: Ticks that wait, each with the end of its window; nothing is made of it until one does.
    _waiting: tuple[tuple[float, float], ...] | deque[tuple[float, float]] = attrs.field(
        default=(), init=False
    )

    @property
    def waits(self) -> bool:
        """Ticks wait for the end of the run."""
        return bool(self._waiting)

    @property
    def is_behind(self) -> bool:
        """Ticks wait, or have been dropped."""
        return bool(self._waiting or self.overrun)

    def due(self, tick: float, until: float) -> bool:
        """A tick comes, of a window that ends at ``until``: True if its run begins now."""
        if not self.is_busy:
            self.is_busy = True
            return True
        if self.policy == SKIP or len(self._waiting) >= WAITING_MAX:
            self.overrun += 1
        elif self.policy == DELAY and self._waiting:
            self.merged += 1
            first, before = self._waiting[0]
            self._waiting = deque([(first, max(before, until))])
        else:
            if not isinstance(self._waiting, deque):
                self._waiting = deque()
            self._waiting.append((tick, until))
        return False

    def ended(self, now: float) -> float | None:
        """The run is over: the tick whose run begins at once, None if there is none."""
        self.is_busy = False
        while isinstance(self._waiting, deque) and self._waiting:
            tick, until = self._waiting.popleft()
            if self.policy == DELAY and now >= until:
                self.overrun += 1
                continue
            self.late += 1
            self.is_busy = True
            return tick
        return None

    def clear(self) -> None:
        """Nothing waits any more, and nothing runs."""
        self._waiting = ()
        self.is_busy = False
