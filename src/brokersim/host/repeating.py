"""Knows a call that repeats on a module's loop, for statistics flushes; not what is called."""

from __future__ import annotations

from collections.abc import Callable

from brokersim.reactor.actor import Timer

#: Has ``fn()`` called in so many seconds.
Later = Callable[[float, Callable[[], None]], Timer]


class Repeating:
    """Calls ``fn()`` every ``period`` seconds until it is cancelled."""

    __slots__ = ("_fn", "_later", "_period", "_timer")

    def __init__(self, later: Later, period: float, fn: Callable[[], None]) -> None:
        self._later, self._period, self._fn = later, period, fn
        self._timer = later(period, self._tick)

    def _tick(self) -> None:
        self._timer = self._later(self._period, self._tick)
        self._fn()

    def cancel(self) -> None:
        self._timer.cancel()
