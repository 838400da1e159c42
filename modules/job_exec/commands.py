"""Knows how the real commands of one job run together and how their output reaches its log; not the job's protocol."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from brokersim.brokermod import Handle, RequestError, process

from .guest import data_context
from .plan import RunPlan
from .stdin import Stdin

#: Output not written to the KVS yet; beyond it the commands have to wait.
BACKLOG_MAX = 1 << 20

#: Writes output events given as contexts, in one commit.
Write = Callable[[list[dict[str, object]]], Awaitable[None]]


class Commands:
    """``ntasks`` copies of a job's command. Virtual time stands still while they run, unless they are held up."""

    def __init__(self, handle: Handle, plan: RunPlan, job: int, write: Write, stdin: Stdin) -> None:
        self._write = write
        self._hold = process.ClockHold(handle.hold_clock)
        self._stdin = stdin
        self._commands = [
            process.Command(
                plan.command,
                plan.cwd,
                _environment(plan, job, rank),
                stdin=plan.stdin,
                on_taken=partial(stdin.taken, rank),
            )
            for rank in range(plan.ntasks)
        ]
        self._is_running = False
        self._under_way = 0
        self._statuses: list[int] = []
        self._lines: list[dict[str, object]] = []
        self._backlog = 0
        self._moved = trio.Event()

    async def run(self) -> int:
        """Run all to their end; the largest wait status. Raises RequestError if output cannot be written."""
        failure: RequestError | None = None
        self._is_running = True
        if not self._under_way:
            self._hold.take()
        self._stdin.attach(self._feed)
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
            self._is_running = False
            self._hold.release()
        if failure is not None:
            raise failure
        return max(self._statuses)

    def kill(self, signum: int) -> None:
        """A signal for all. Time may pass again, so that a command that ignores it meets its time limit."""
        self._hold.release()
        for command in self._commands:
            command.kill(signum)

    def let_time_pass(self) -> None:
        """Something is on its way to or from the KVS, which may need time (links, modelled costs)."""
        self._under_way += 1
        self._hold.release()

    def hold_time(self) -> None:
        """It has arrived."""
        self._under_way -= 1
        if self._is_running and not self._under_way:
            self._hold.take()

    def _feed(self, rank: int, data: bytes, is_end: bool) -> None:
        entry = self._commands[rank].input
        entry.add(data)
        if is_end:
            entry.end()

    async def _one(self, rank: int, command: process.Command) -> None:
        def take(stream: str, data: bytes) -> None:
            if not data:
                return
            self._lines.append(data_context(stream, rank, data))
            self._backlog += _size(self._lines[-1])
            self._wake()

        try:
            status = await command.run(take, self._room)
        except OSError as error:
            take("stderr", f"{command.words[0]}: {error.strerror}\n".encode())
            status = process.failure_status(error)
        self._statuses.append(status)
        self._wake()

    async def _room(self) -> None:
        while self._backlog > BACKLOG_MAX:
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _write_until_done(self) -> None:
        while True:
            if self._lines:
                lines, self._lines = self._lines, []
                self.let_time_pass()
                await self._write(lines)
                self.hold_time()
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
