"""Knows the trio tasks of an instance: those of its modules, and what runs beside them. Not what they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.reactor.interrupts import is_failure


class Background:
    """Tasks in one nursery, which is open while the instance runs. ``post`` calls a function inside the loop."""

    def __init__(self, post: Callable[[Callable[[], object]], object]) -> None:
        self.nursery: trio.Nursery | None = None
        self._post = post

    def start_for(
        self, fn: Callable[[], Awaitable[None]], failed: Callable[[BaseException], object]
    ) -> Callable[[], object]:
        """Run a trio task under a scope of its own; returns what cancels it."""
        scope = trio.CancelScope()
        self.start(partial(self._run_task, scope, fn, failed))
        return scope.cancel

    async def _run_task(
        self,
        scope: trio.CancelScope,
        fn: Callable[[], Awaitable[None]],
        failed: Callable[[BaseException], object],
    ) -> None:
        try:
            with scope:
                await fn()
        except BaseException as error:
            if not is_failure(error):
                raise
            self._post(partial(failed, error))

    def start(self, fn: Callable[[], Awaitable[None]]) -> None:
        """Run a trio task that ends by itself, or is cancelled with the instance. It must not raise."""
        if self.nursery is None:
            raise RequestError(EINVAL, "the instance is not running: no task can be started")
        self.nursery.start_soon(fn)
