"""Knows how the execution system has a job's shell started and hears of its end: by rexec, like any command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import Handle, Message, ProgramTold, RequestError, errnums

#: What rexec is asked to run.
PROGRAM: Final = "flux-shell"
#: Seconds from the order to start it until it runs; with INIT and EXIT of the shell what lay between alloc and finish
#: of `true` in flux-core 0.88 (17.3 ms); the shares are ours.
LAUNCH: Final = 0.004
#: What its output is wanted of: both streams.
_FLAGS: Final = 3

Done = Callable[[Any], object]


class Launch:
    """The shell of one job, as the execution system sees it. It is no process: rexec runs it inside this module."""

    __slots__ = ("_handle", "_is_inside", "_is_over", "_job", "_kill", "_told", "_waiter")

    def __init__(self, handle: Handle, job: int, kill: Callable[[int], object], is_inside: bool) -> None:
        self._handle = handle
        self._job = job
        self._kill = kill
        #: Without that (a module in a process of its own) rexec is not asked.
        self._is_inside = is_inside
        self._is_over = False
        self._told: ProgramTold | None = None
        self._waiter: Done | None = None

    async def start(self) -> None:
        """From the order to start it until it runs. Raises RequestError."""
        if self._is_inside:
            await self._handle.occurrence(self._ask)
        else:
            await self._handle.sleep(LAUNCH)

    def _ask(self, done: Done) -> None:
        self._waiter = done
        cmd = {"cmdline": [PROGRAM, str(self._job)], "cwd": "/", "env": {}, "opts": {}, "channels": []}
        order = {"cmd": cmd, "flags": _FLAGS, "local_flags": 0}
        self._handle.stream("rexec.exec", order, self._answered)

    def _answered(self, response: Message, _arg: None) -> None:
        if response.errnum:
            self._is_over = True
            is_fault = response.errnum != errnums.ENODATA
            self._wake(response.error() if is_fault else None)
        elif response.payload["type"] == "started":
            self._wake(None)

    def _wake(self, outcome: RequestError | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter(outcome)

    async def end(self, status: int) -> None:
        """The shell has ended with this wait status; wait until rexec has said so. Raises RequestError."""
        if self.drop(status) and not self._is_over:
            await self._handle.occurrence(self._await_end)

    def drop(self, status: int = 0) -> bool:
        """The same without waiting; False if it has ended already."""
        self._kill = _nobody  # cycles of ended jobs were a third of what collections had to find
        told, self._told = self._told, None
        if told is None:
            return False
        told.output("stderr", b"")
        told.output("stdout", b"")
        told.exited(status)
        return True

    def _await_end(self, done: Done) -> None:
        self._waiter = done

    # -- for rexec

    def begin(self, told: ProgramTold) -> Launch:
        """rexec was asked for it."""
        self._told = told
        self._handle.call_later(LAUNCH, told.started)
        return self

    def feed(self, data: bytes, is_end: bool) -> None:
        """It reads nothing there: input comes by the service of the job's own shell."""

    def kill(self, signum: int) -> None:
        """A signal for it is one for what it runs."""
        self._kill(signum)


def _nobody(_signum: int) -> None:
    """It has ended."""
