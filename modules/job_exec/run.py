"""Knows the course of one job's execution, from namespace to release; not who may ask for it (the module)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from brokersim.brokermod import Handle, Message, RequestError, duration

from .commands import Commands, NotStarted, job_status
from .guest import EVENTLOG, GuestRecords, data_context
from .intake import Intake
from .launch import Launch
from .limit import TimeLimit
from .plan import RunPlan, to_plan
from .settings import Settings
from .shell import Shell
from .simulated import Simulated
from .stdin import Stdin
from .tasks import FATAL, INFO, NOTICE, TRACE, Lines, ShellDied, Tasks, log_line

#: Seconds in which tasks that end together are all seen to have ended, one process after the other: where the others
#: have no time, they have this (flux-core's shell sees them at once, and with exit-timeout=0 two of ``true`` are well).
TOGETHER = 0.1


class JobRun:
    """One job under execution: answers job-exec.start with start, finish and release (RFC 32's order).

    ``go`` is stepped for simulated jobs and runs as a trio task for real commands; it uses only what both allow.
    """

    def __init__(
        self, handle: Handle, msg: Message, order: Any, settings: Settings, *, is_inside: bool
    ) -> None:
        self._handle = handle
        self._msg = msg
        self.id: int = order.id
        self.userid: int = order.userid
        #: Another began it, and went.
        self._is_left: bool = order.reattach
        self._settings = settings
        self.plan: RunPlan = to_plan(order.jobspec, order.R, simulate=settings.simulate)
        self._guest = GuestRecords(handle, order.id, order.userid)
        self.launch = Launch(handle, order.id, self.kill, is_inside)
        self._shell = Shell(handle, self.plan, order.id, order.userid)
        self._tasks = Tasks(handle, self.plan, order.id) if self.plan.is_real else None
        self._commands: Commands | None = None
        self._stdin = Stdin(self.plan.ntasks)
        self.intake = Intake(self._shell, self._stdin, order.userid, self.plan.stdin_limit, self._die)
        if self._tasks is not None:
            shell, terminals = self._shell, self._tasks.terminals
            shell.on_terminal = lambda msg: terminals.ask(shell.handle, msg, self.userid, shell.pids())
        self._timers: list[Any] = []
        self.limit = self._to_limit()
        self.simulated = Simulated(handle, self.plan, self._shell, self._stdin, order.id)
        #: The job's wait status when it was ended for one task.
        self._given_up: int | None = None
        self._is_doomed = False

    async def go(self) -> None:
        """The whole course. What fails becomes an exception of the job; its resources are released whatever comes."""
        try:
            if self._is_left:
                self._fail("reattach to running job is not implemented: Function not implemented")
                await self._guest.adopt()
            else:
                await self._guest.create()
                if await self._start():
                    await self._execute()
        except RequestError as error:
            self._fail(f"execution: {error}")
        finally:
            self._disarm()
            self.intake.leave()
            self._shell.leave()
            self.launch.drop()
            if self._tasks is not None:
                self._tasks.tidy()
        await self._release()

    @property
    def service(self) -> str:
        """The name its shell serves."""
        return self._shell.service

    @property
    def started_by(self) -> Any:
        """Who is told how it ends."""
        return self._msg.sender

    # -- what others want of it

    def doom(self, task_status: int | None = None) -> None:
        """A fatal exception was raised: end it, by one signal first and another after the kill timeout.

        ``task_status``: the wait status whoever raised it gives the job, whatever its tasks end with.
        """
        if not self._is_doomed:
            self._is_doomed = True
            self._given_up = None if task_status is None else job_status(task_status & 0xFFFF)
            self._end_by(self._settings.term_signal)

    def kill(self, signum: int) -> None:
        """Deliver a signal; a simulated job is ended by every one that ends a process by default."""
        if self._commands is not None:
            self._commands.kill(signum)
        elif signum not in (signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH):
            self.simulated.finish(signum)

    def _end_by(self, signum: int) -> None:
        self.kill(signum)
        if self._commands is not None:
            kill, patience = self._settings.kill_signal, self._settings.kill_timeout
            self._later(patience, self._commands.kill, kill)
            if kill is not signal.SIGKILL:  # whatever that was, the job has to end
                self._later(2 * patience, self._commands.kill, signal.SIGKILL)

    def _later(self, seconds: float, fn: Callable[..., object], *args: Any) -> None:
        self._timers.append(self._handle.call_later(seconds, fn, *args))

    def _disarm(self) -> None:
        self.limit.end()
        self.simulated.end()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # -- the course

    async def _start(self) -> bool:
        """False if it failed before there were tasks."""
        if self.plan.exception_at == "init":
            self._fail("mock initialization exception generated")
            return False
        if self.plan.is_override:
            await self.simulated.told_to_begin()
            if self.simulated.killed_by:
                return False
        starting = self._guest.event("starting")
        await self.launch.start()
        self._answer("start", {})
        await self._guest.append(EVENTLOG, starting)
        self._shell.connect()
        jobspec = await self._shell.read_jobspec()
        lines: Lines = []
        if self._tasks is not None:
            try:
                lines = self._tasks.prepare(jobspec, await self._shell.addresses())
            except ShellDied as error:
                await self._shell.say(error.lines)
                self._fail(str(error))
                await self._end(error.status)
                return False
        elif self.plan.is_stand_in:
            lines = [("data", data_context("stderr", 0, _stand_in_note(self.plan.name, self._handle)))]
        if self.plan.verbose > 0:
            tasks = f"{self.plan.nnodes} node(s), {self.plan.ntasks} task(s): {self.plan.command[0]}"
            lines = [log_line(INFO, tasks), *lines]
        await self._shell.come_up(lines)
        return True

    async def _execute(self) -> None:
        if self.plan.exception_at == "run":
            self._fail("mock run exception generated")
            self.simulated.killed_by = signal.SIGTERM
        self.limit.begin()
        try:
            status = await (self.simulated.run() if self._tasks is None else self._run_commands(self._tasks))
        except NotStarted as error:
            await self._shell.say([log_line(FATAL, str(error))])
            self._fail(str(error))
            status = error.status
        self._disarm()
        if self._given_up is not None:
            status = self._given_up
        elif self._is_doomed and not status:  # it took its signal well, and failed all the same
            status = 1 << 8
        await self._end(status)

    async def _end(self, status: int) -> None:
        """The tasks are gone: close the records."""
        if self._tasks is not None:
            first, ends = self._tasks.first(), self._tasks.ends()
        else:
            first, ends = (0, status), [("stdout", 0), ("stderr", 0)]
        await self._shell.go_down(first, ends)
        await self.launch.end(status)
        self._answer("finish", {"status": status})
        event = self._guest.event
        gone = event("shell-exit", {"rank": 0, "wait_status": status})
        await self._guest.append(EVENTLOG, gone, event("complete", {"status": status}), event("done"))

    async def _release(self) -> None:
        if self._guest.exists:
            try:
                await self._guest.keep()
            except RequestError as error:
                self._fail(f"guest records not kept: {error}")
        self._answer("release", {"ranks": "all", "final": True})

    # -- running

    async def _run_commands(self, tasks: Tasks) -> int:
        commands = tasks.commands(self._shell.say, self._stdin)
        commands.on_first = self._first_ended
        if tasks.pmi is not None:
            tasks.pmi.on_abort, tasks.pmi.on_fault = self._aborted, self._misunderstood
            tasks.pmi.on_line = self._trace if self.plan.verbose > 1 else None
        if self.simulated.killed_by:
            await self._shell.begin()
            return job_status(self.simulated.killed_by)
        self._commands = commands
        self._shell.pids = lambda: commands.pids
        self.intake.serve(commands)
        try:
            return await commands.run(self._shell.begin)
        finally:
            self._commands = None
            self.intake.serve(None)

    def _first_ended(self, task: int, status: int) -> None:
        """One of several tasks has ended, the others should soon (flux-core's shell plugin ``doom``)."""
        if self.plan.exit_on_error and status:
            self._give_up(task, status, "failed", "and exit-on-error is set")
        elif self.plan.exit_timeout is not None:
            timeout = self.plan.exit_timeout
            why = f"and exit-timeout={duration.format_duration(timeout)} has expired"
            self._later(max(timeout, TOGETHER), self._give_up, task, status, "exited", why)

    def _give_up(self, task: int, status: int, did: str, why: str) -> None:
        signum, name = status & 0x7F, os.path.basename(self.plan.command[0])
        how = signal.strsignal(signum) if signum else f"Exit {status >> 8}"
        note = f"{name}: task rank {task} on host {os.uname().nodename} {did} ({how}) {why}"
        self._handle.spawn(self._shell.say([log_line(FATAL, note)]))
        self._fail(note)
        self._given_up = job_status(status)
        self._end_by(self._settings.term_signal)

    def _aborted(self, why: str) -> None:
        self._fail(f"PMI_Abort: {why}")
        self._end_by(self._settings.term_signal)

    def _misunderstood(self, why: str) -> None:
        self._die(f"PMI-1 wire protocol error: {why}")

    def _die(self, note: str) -> None:
        """The shell cannot go on."""
        if self._given_up is not None:
            return
        self._handle.spawn(self._shell.say([log_line(FATAL, note)]))
        self._fail(note)
        self._given_up = 1 << 8
        self._end_by(self._settings.term_signal)

    def _trace(self, task: int, who: str, line: str) -> None:
        if self._commands is not None:
            self._commands.note(log_line(TRACE, f"pmi-simple: {task}: {who}: {line}"))

    def _to_limit(self) -> TimeLimit:
        signum, timeleft = self.plan.warning or (0, None)
        return TimeLimit(
            self._handle, self.plan.limit, self._expire, is_held=self.plan.is_limited,
            warned_before=timeleft, on_warning=partial(self._warn, signum),
        )  # fmt: skip

    def _warn(self, signum: int, timeleft: float) -> None:
        text = f"signal: job will expire in {timeleft:.1f}s, sending {signal.Signals(signum).name} to job"
        self._handle.spawn(self._shell.say([log_line(NOTICE, text)]))
        self.kill(signum)

    def _expire(self) -> None:
        self._fail("resource allocation expired", kind="timeout")
        self._end_by(signal.SIGALRM)

    # -- saying so

    def _answer(self, kind: str, data: dict[str, Any]) -> None:
        self._handle.respond(self._msg, {"id": self.id, "type": kind, "data": data})

    def _fail(self, note: str, kind: str = "exec") -> None:
        self._is_doomed = True
        self._answer("exception", {"severity": 0, "type": kind, "note": note})


def _stand_in_note(name: str, handle: Handle) -> bytes:
    why = "--jobs simulated" if handle.attr_get("clock") != "virtual" else "virtual clock"
    return f"brokersim: {name} is simulated ({why}); start --jobs real runs commands\n".encode()
