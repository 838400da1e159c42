"""Knows how a scheduler's pass runs, all at once or in steps between which others get their turn."""

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
