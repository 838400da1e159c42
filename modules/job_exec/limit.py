"""Knows how long a job may run, and when it is warned of its end; what then happens is for others to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """What is needed of a module's handle."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Any:
        """Call a function in so many seconds: a timer that can be cancelled."""


class TimeLimit:
    """A limit that counts from ``begin`` to ``end``; it may be another one meanwhile, and before."""

    __slots__ = ("_clock", "_is_held", "_left", "_on_expiry", "_on_warning", "_timers", "_warned_before")

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        on_expiry: Callable[[], object],
        *,
        is_held: bool = True,
        warned_before: float | None = None,
        on_warning: Callable[[float], object] | None = None,
    ) -> None:
        """``seconds``: 0 is no limit; ``is_held``: it can be another; ``warned_before``: seconds before expiry."""
        self._clock = clock
        #: Seconds it may run once it does; None: as long as it likes.
        self._left: float | None = seconds or None
        self._is_held = is_held
        self._warned_before = warned_before
        self._on_expiry: Callable[[], object] = on_expiry
        self._on_warning: Callable[[float], object] = on_warning or _tell_nobody
        #: None: it has not begun to run, or is over.
        self._timers: list[Any] | None = None

    def begin(self) -> None:
        """It runs from now on."""
        self._cancel()
        self._timers = []
        if self._left is None:
            return
        later = self._clock.call_later
        self._timers.append(later(max(0.0, self._left), self._on_expiry))
        if self._warned_before is not None:
            warning = max(0.0, self._left - self._warned_before)
            self._timers.append(later(warning, self._on_warning, self._warned_before))

    def expire_at(self, expiration: float) -> None:
        """It is another now: seconds since the epoch, 0.0 is none."""
        if not self._is_held:
            return
        self._left = expiration - self._clock.time() if expiration else None
        if self._timers is not None:
            self.begin()

    def end(self) -> None:
        """What is changed from now on limits nothing. Nor does it know any more whom it would tell."""
        self._cancel()
        self._timers = None
        self._on_expiry = self._on_warning = _tell_nobody

    def _cancel(self) -> None:
        for timer in self._timers or ():
            timer.cancel()


def _tell_nobody(*_: object) -> None:
    """It is over."""
