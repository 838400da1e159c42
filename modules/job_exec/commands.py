"""Knows how the real commands of one job run together and how their output reaches its log; not the job's protocol."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from brokersim.brokermod import Handle, RequestError

from .guest import data_context
from .plan import RunPlan
from .process import BACKLOG_MAX, ClockHold, Command

#: Writes output events given as contexts, in one commit.
Write = Callable[[list[dict[str, object]]], Awaitable[None]]


class Commands:
    """``ntasks`` copies of a job's command. Virtual time stands still while they run, unless they are held up."""

    def __init__(self, handle: Handle, plan: RunPlan, job: int, write: Write) -> None:
        self._write = write
        self._hold = ClockHold(handle.hold_clock)
        self._commands = [
            Command(plan.command, plan.cwd, _environment(plan, job, rank)) for rank in range(plan.ntasks)
        ]
        self._statuses: list[int] = []
        self._lines: list[dict[str, object]] = []
        self._backlog = 0
        self._moved = trio.Event()

    async def run(self) -> int:
        """Run all to their end; the largest wait status. Raises RequestError if output cannot be written."""
        failure: RequestError | None = None
        self._hold.take()
        try:
            async with trio.open_nursery() as nursery:
                for rank, command in enumerate(self._commands):
                    nursery.start_soon(self._one, rank, command)
                try:
                    await self._write_until_done()
                except RequestError as error:  # kept out of the nursery, which would wrap it in a group
                    failure = error
                    nursery.cancel_scope.cancel()
        finally:
            self._hold.release()
        if failure is not None:
            raise failure
        return max(self._statuses)

    def kill(self, signum: int) -> None:
        """A signal for all. Time may pass again, so that a command that ignores it meets its time limit."""
        self._hold.release()
        for command in self._commands:
            command.kill(signum)

    async def _one(self, rank: int, command: Command) -> None:
        def take(stream: str, data: bytes) -> None:
            self._lines.append(data_context(stream, rank, data))
            self._backlog += _size(self._lines[-1])
            self._wake()

        self._statuses.append(await command.run(take, self._room))
        self._wake()

    async def _room(self) -> None:
        while self._backlog > BACKLOG_MAX:
            self._hold.release()  # writing may need time to pass (links, modelled costs)
            await self._moved.wait()
            self._hold.take()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _write_until_done(self) -> None:
        while True:
            if self._lines:
                lines, self._lines = self._lines, []
                await self._write(lines)
                self._backlog -= sum(map(_size, lines))
                self._wake()
            elif len(self._statuses) == len(self._commands):
                return
            else:
                await self._moved.wait()


def _size(context: dict[str, object]) -> int:
    return len(str(context["data"]))


def _environment(plan: RunPlan, job: int, rank: int) -> dict[str, str]:
    """The jobspec's environment and what flux-core's shell adds for a task; without one the broker's own."""
    return {
        **(os.environ if plan.environment is None else plan.environment),
        "FLUX_JOB_ID": str(job),
        "FLUX_JOB_SIZE": str(plan.ntasks),
        "FLUX_JOB_NNODES": str(plan.nnodes),
        "FLUX_TASK_RANK": str(rank),
        "FLUX_TASK_LOCAL_ID": str(rank),
    }
