"""Knows the course of a job that is simulated: when it begins, what it prints, how it ends; not who may ask for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from brokersim.brokermod import Handle, RequestError, errnums

from .guest import data_context
from .plan import RunPlan
from .shell import Shell
from .stdin import Stdin


class Simulated:
    """One job of which nothing runs; what it would print and read goes by way of its shell."""

    __slots__ = (
        "_finish", "_handle", "_is_running", "_job", "_order", "_plan", "_shell", "_stdin", "_timer", "killed_by",
    )  # fmt: skip

    def __init__(self, handle: Handle, plan: RunPlan, shell: Shell, stdin: Stdin, job: int) -> None:
        self._handle = handle
        self._plan = plan
        self._shell = shell
        self._stdin = stdin
        self._job = job
        self._timer: Any = None
        #: What ended it before it began: a signal, or a wait status. Of a job that runs commands, too.
        self.killed_by = 0
        #: Lets it begin, while it waits for that.
        self._order: Callable[[Any], object] | None = None
        self._finish: Callable[[int], object] | None = None
        self._is_running = False

    def end(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()

    async def told_to_begin(self) -> None:
        """Somebody says that it begins, or ends it."""
        await self._handle.occurrence(self._wait)

    def _wait(self, done: Callable[[Any], object]) -> None:
        self._order = done

    def override(self, event: str, status: int) -> None:
        """A simulated job that waits to be told begins, or ends with a wait status. Raises RequestError(EINVAL)."""
        if not self._plan.is_override:
            raise RequestError(errnums.EINVAL, "Job not in exec override mode")
        order = self._order
        if event == "start":
            if order is None:
                raise RequestError(errnums.EINVAL, "Job already running")
            self._order = None
            order(None)
        elif event == "finish":
            if order is not None or self._finish is None:
                raise RequestError(errnums.EINVAL, "Job not running")
            self.finish(status)
        else:
            raise RequestError(errnums.EINVAL, "Invalid event")

    async def run(self) -> int:
        """Its wait status, when it is over."""
        await self._shell.begin()
        self._stdin.attach(lambda task, data, _is_end: self._stdin.taken(task, len(data)))
        if self.killed_by:
            return self.killed_by
        if self._plan.output_rate:
            self._shell.handle.spawn(self._chatter())
        status: int = await self._handle.occurrence(self._begin)
        return status

    def _begin(self, done: Callable[[int], object]) -> None:
        self._finish = done
        self._is_running = True
        if self._plan.run_time < math.inf:
            self._timer = self._handle.call_later(self._plan.run_time, self.finish, self._plan.wait_status)

    def finish(self, status: int) -> None:
        """It ends with a wait status; one that has not begun will, at once."""
        if self._finish is None:
            self.killed_by = status
            order, self._order = self._order, None
            if order is not None:
                order(None)
            return
        if self._is_running:
            self._is_running = False
            self._finish(status)

    async def _chatter(self) -> None:
        """Lines at a steady rate: the job the journal's instance ran while it was called at rest."""
        period = 1.0 / self._plan.output_rate
        line = 0
        while True:
            await self._shell.handle.sleep(period)
            if not self._is_running:
                return
            line += 1
            try:
                await self._shell.say([("data", data_context("stdout", 0, b"line %d\n" % line))])
            except RequestError as error:
                self._handle.log(4, f"job {self._job}: output line {line} not written: {error}")
