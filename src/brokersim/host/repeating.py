"""Knows a call that repeats on a module's loop, for statistics flushes; not what is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokersim.host.handle import Handle


class Repeating:
    """Calls ``fn()`` every ``period`` seconds until it is cancelled."""

    __slots__ = ("_fn", "_handle", "_period", "_timer")

    def __init__(self, handle: Handle, period: float, fn: Callable[[], None]) -> None:
        self._handle, self._period, self._fn = handle, period, fn
        self._timer = handle.call_later(period, self._tick)

    def _tick(self) -> None:
        self._timer = self._handle.call_later(self._period, self._tick)
        self._fn()

    def cancel(self) -> None:
        self._timer.cancel()


def every(handle: Handle, period: float, fn: Callable[[], None]) -> Repeating:
    """Begin such calls."""
    return Repeating(handle, period, fn)
