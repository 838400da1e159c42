"""Knows how the real commands of one job run together and how their output reaches its log; not the job's protocol."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import trio

from brokersim.brokermod import Handle, RequestError, process

from .output import Outputs
from .plan import RunPlan
from .stdin import Stdin
from .terminals import Terminals

#: Output not written to the KVS yet; beyond it the commands have to wait.
BACKLOG_MAX: Final = 1 << 20
#: Where a command runs whose own directory is not there, as under flux-core's shell.
ELSEWHERE: Final = "/tmp"
_SIGNAL: Final = 0x7F
#: Linux has signals 1 to 64.
SIGNALS: Final = 65

#: Writes events to the output log, given as names and contexts, in one commit.
Write = Callable[[list[tuple[str, dict[str, Any]]]], Awaitable[None]]


class NotStarted(Exception):
    """A task's command cannot be started; ``status`` is the job's wait status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Commands:
    """``ntasks`` copies of a job's command. Virtual time stands still while they run, unless they are held up."""

    def __init__(
        self,
        handle: Handle,
        plan: RunPlan,
        words: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        write: Write,
        stdin: Stdin,
        outputs: Outputs,
        channels: Sequence[process.Channel | None],
        terminals: Terminals,
    ) -> None:
        self._terminals = terminals
        terminals.on_output = partial(self._take, "stdout")
        self._write = write
        self._hold = process.ClockHold(handle.hold_clock)
        self._stdin = stdin
        self._outputs = outputs
        self._commands = [
            process.Command(
                words[rank],
                working_directory(plan.cwd),
                environments[rank],
                stdin=plan.stdin_file,
                under_shell=True,
                on_start=partial(self._started, rank),
                on_taken=partial(stdin.taken, rank),
                channel=channels[rank],
                terminal=terminals.of(rank),
            )
            for rank in range(plan.ntasks)
        ]
        self._is_running = False
        self._under_way = 0
        self._up = 0
        self._failure: NotStarted | None = None
        self._statuses: list[int] = []
        self._lines: list[tuple[str, dict[str, Any]]] = []
        self._backlog = 0
        self._moved = trio.Event()
        #: Wait status of the first task that ended, None while all run; told when others still run.
        self.first: tuple[int, int] | None = None
        self.on_first: Callable[[int, int], object] = lambda task, status: None

    async def run(self, began: Callable[[], Awaitable[None]]) -> int:
        """Run all to their end; the job's wait status. ``began()`` is awaited when all are started.

        Raises NotStarted if one cannot be, RequestError if output cannot be written.
        """
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
                    await self._until_started(began)
                    await self._write_until_done()
                except RequestError as error:  # kept out of the nursery, which would wrap it in a group
                    failure = error
                if failure is not None or self._failure is not None:
                    nursery.cancel_scope.cancel()
        finally:
            self._is_running = False
            self._hold.release()
        if failure is not None:
            raise failure
        if self._failure is not None:
            raise self._failure
        return max(self._statuses)

    @property
    def pids(self) -> list[int]:
        """The process of each task, 0 for one that is not started."""
        return [command.pid for command in self._commands]

    def kill(self, signum: int) -> None:
        """A signal for all. Time may pass again, so that a command that ignores it meets its time limit."""
        self._hold.release()
        for command in self._commands:
            command.kill(signum)

    def note(self, line: tuple[str, dict[str, Any]]) -> None:
        """A line of the shell's own, among those of the commands. What comes when all have ended is lost."""
        self._lines.append(line)
        self._wake()

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

    # -- one command

    def _started(self, rank: int, _pid: int) -> None:
        self._terminals.started(rank)
        self._up += 1
        self._wake()

    async def _one(self, rank: int, command: process.Command) -> None:
        try:
            status = await command.run(lambda stream, data: self._take(stream, rank, data), self._room)
        except OSError as error:
            where = f"task {rank} (host {os.uname().nodename})"
            why = os.strerror(error.errno or errno.ENOENT)
            text = f"{where}: start failed: {command.words[0]}: {why}"
            self._failure = NotStarted(text, process.failure_status(error))
            self._wake()
            return
        if self._terminals.of(rank) is not None:
            self._take("stdout", rank, b"")  # no stream of its own tells its end
            self._terminals.ended(rank, task_status(status))
        self._statuses.append(status)
        if self.first is None:
            self.first = (rank, task_status(status))
            if len(self._commands) > 1:
                self.on_first(*self.first)
        self._wake()

    def _take(self, stream: str, rank: int, data: bytes) -> None:
        for context in self._outputs.take(stream, rank, data):
            self._lines.append(("data", context))
            self._backlog += len(context["data"])
        self._wake()

    async def _room(self) -> None:
        while self._backlog > BACKLOG_MAX:
            await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    # -- the whole

    async def _until_started(self, began: Callable[[], Awaitable[None]]) -> None:
        while self._up < len(self._commands) and self._failure is None:
            await self._moved.wait()
        if self._failure is None:
            self.let_time_pass()
            await began()
            self.hold_time()

    async def _write_until_done(self) -> None:
        while self._failure is None:
            if self._lines:
                lines, self._lines = self._lines, []
                self.let_time_pass()
                await self._write(lines)
                self.hold_time()
                self._backlog -= sum(len(context.get("data", "")) for _, context in lines)
                self._wake()
            elif len(self._statuses) == len(self._commands):
                return
            else:
                await self._moved.wait()


def job_status(status: int) -> int:
    """The wait status of a job whose task ended with this one: the shell turns signal N into exit code 128 + N."""
    signum = status & _SIGNAL
    return (128 + signum) << 8 if signum else status


def task_status(status: int) -> int:
    """The wait status of a task whose shell ended with this one; one that says ``exit 137`` counts as killed by 9."""
    code = status >> 8
    return code - 128 if 128 < code < 128 + SIGNALS else status


def working_directory(cwd: str | None) -> str | None:
    """The directory asked for, or another one if nobody can be there."""
    return cwd if cwd is None or (os.access(cwd, os.X_OK) and os.path.isdir(cwd)) else ELSEWHERE
