"""Knows when a scheduler's passes run, and how: all at once, or in steps between which others get their turn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux


class Pass:
    """Runs ``schedule`` or ``forecast``: at once, or, if it is a generator, one yield a turn of the loop.

    A timer of no delay brings the turns. An idle watcher, as Flux has it, would keep virtual time from passing.
    """

    def __init__(self, h: Flux, fn: Callable[[], Any], done: Callable[[], object]) -> None:
        self._fn = fn
        self._done = done
        self._steps: Generator[Any, Any, Any] | None = None
        self._turn = h.timer_watcher_create(0.0, self._step)
        self.passes = 0
        self.yields = 0

    @property
    def is_running(self) -> bool:
        return self._steps is not None

    def start(self) -> None:
        """From the top; a pass under way is closed first."""
        self.close()
        found = self._fn()
        if inspect.isgenerator(found):
            self._steps = found
            self._turn.reset()
        else:
            self._finish()

    def close(self) -> None:
        """Give a pass under way up; its ``finally`` blocks run."""
        if self._steps is not None:
            steps, self._steps = self._steps, None
            self._turn.stop()
            steps.close()

    def _step(self, *_: object) -> None:
        if self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration:
            self.close()
            self._finish()
        else:
            self.yields += 1
            self._turn.reset()

    def _finish(self) -> None:
        self.passes += 1
        self._done()


class Passes:
    """The passes of one scheduler: ``schedule`` when it is asked for, ``forecast`` behind it if jobs still wait."""

    def __init__(
        self,
        h: Flux,
        schedule: Callable[[], Any],
        forecast: Callable[[], Any],
        is_waited_for: Callable[[], bool],
    ) -> None:
        self._is_waited_for = is_waited_for
        self._timer = h.timer_watcher_create(0.0, self._begin)
        self._is_asked = False
        self._schedule = Pass(h, schedule, self._scheduled)
        self._forecast = Pass(h, forecast, self._forecast_done)
        self._forecast_again = False

    def ask(self) -> None:
        """Have ``schedule`` called in the next turn; a generator under way is closed, what it knew is stale."""
        self._schedule.close()
        if not self._is_asked:
            self._is_asked = True
            self._timer.reset()

    def _begin(self, *_: object) -> None:
        self._is_asked = False
        self._timer.stop()
        self._schedule.start()

    def _scheduled(self) -> None:
        if not self._is_waited_for():
            return
        if self._forecast.is_running:
            self._forecast_again = True
        else:
            self._forecast.start()

    def _forecast_done(self) -> None:
        if self._forecast_again:
            self._forecast_again = False
            self._scheduled()

    def statistics(self) -> dict[str, int]:
        """How many there were, and how often they handed control back."""
        return {
            "sched_passes": self._schedule.passes,
            "sched_yields": self._schedule.yields,
            "forecast_passes": self._forecast.passes,
            "forecast_yields": self._forecast.yields,
        }
