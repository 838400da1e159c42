"""Knows the commands that are run inside a job, beside its tasks (``flux exec --jobid``); not the job's own.

The job's shell serves ``SERVICE.rexec`` on each of the job's ranks, with the requests of RFC 42, and has the rank's own
rexec do what it is asked: answers are passed on, and whatever runs is ended with the shell.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import Handle, Message, RequestError, pass_on, request_handler

#: Seconds from SIGTERM to SIGKILL for what still runs when the job's tasks have ended.
GRACE: Final = 5.0


class Running:
    """One stream: the request of who asked (``theirs``), and the one to rexec (``ours``)."""

    __slots__ = ("has_left", "ours", "pid", "theirs")

    def __init__(self, theirs: Message) -> None:
        self.theirs = theirs
        self.ours = 0
        self.pid = 0
        self.has_left = False


class Inside:
    """``SERVICE.rexec`` on one rank, for whoever speaks for the shell there."""

    __slots__ = ("_handle", "_idle", "_pids", "_running")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._running: dict[tuple[str, int], Running] = {}
        #: Processes that were started by it, those in the background too.
        self._pids: set[int] = set()
        self._idle: Callable[[Any], object] | None = None

    def ask(self, msg: Message) -> None:
        """Any request. Raises RequestError."""
        method = msg.topic.rpartition(".")[2]
        if method == "disconnect":
            self._left(msg.sender)
        elif method == "write":
            self._write(msg)
        else:
            payload = None if msg.data is None else msg.payload
            self._check_pid(payload)
            if msg.is_streaming:
                run = self._running[msg.sender, msg.matchtag] = Running(msg)
                run.ours = self._handle.stream(f"rexec.{method}", payload, self._told, run).matchtag
            else:
                self._handle.request(f"rexec.{method}", payload, self._answered, msg)

    def _check_pid(self, payload: Any) -> None:
        pid = payload.get("pid") if isinstance(payload, dict) and "label" not in payload else None
        if pid is not None and pid not in self._pids:
            raise RequestError(errno.ESRCH, f"pid {pid} does not belong to any subprocess of this job")

    def _write(self, msg: Message) -> None:
        payload = msg.payload
        run = self._running.get((msg.sender, payload["matchtag"]))
        if run is not None:
            self._handle.request("rexec.write", {**payload, "matchtag": run.ours})

    def _told(self, response: Message, run: Running) -> None:
        if response.errnum:
            del self._running[run.theirs.sender, run.theirs.matchtag]
            self._pids.discard(run.pid)
            pass_on(self._handle, response, run.theirs)
            if not self._running and self._idle is not None:
                self._idle(None)
            return
        if response.payload.get("type") == "started":
            run.pid = response.payload["pid"]
            self._pids.add(run.pid)
            if run.has_left:
                self._kill(run.pid, signal.SIGKILL)
        pass_on(self._handle, response, run.theirs)

    def _answered(self, response: Message, msg: Message) -> None:
        if not response.errnum:
            if msg.topic.endswith(".exec"):
                self._pids.add(response.payload["pid"])
            elif msg.topic.endswith(".list"):
                procs = [one for one in response.payload["procs"] if one["pid"] in self._pids]
                self._handle.respond(msg, {**response.payload, "procs": procs})
                return
        pass_on(self._handle, response, msg)

    def _left(self, sender: str) -> None:
        """Who asked has gone: what runs for it is killed, as rexec itself does."""
        for run in list(self._running.values()):
            if run.theirs.sender == sender:
                run.has_left = True
                if run.pid:
                    self._kill(run.pid, signal.SIGKILL)

    def _kill(self, pid: int, signum: int) -> None:
        self._handle.request("rexec.kill", {"pid": pid, "signum": signum}, _ignore)

    def _kill_all(self, signum: int) -> None:
        for pid in self._pids:
            self._kill(pid, signum)

    async def end(self) -> None:
        """The job's tasks have ended: end what runs beside them, and wait until it has."""
        if not self._pids and not self._running:
            return
        self._kill_all(signal.SIGTERM)
        if not self._running:
            return
        timer = self._handle.call_later(GRACE, self._kill_all, signal.SIGKILL)
        await self._handle.occurrence(self._await_idle)
        timer.cancel()

    def _await_idle(self, done: Callable[[Any], object]) -> None:
        self._idle = done


class Outpost:
    """The shell on a further rank of its job: it serves there what is run inside the job, nothing else."""

    __slots__ = ("_handle", "_inside", "_service")

    def __init__(self, handle: Handle, rank: int, service: str) -> None:
        self._service = service
        self._handle = handle.client("shell", self, rank)
        if self._handle is not None:
            self._inside = Inside(self._handle)
            self._handle.service_register(service)

    @request_handler("*.rexec.*", prefix=False)
    def ask(self, msg: Message) -> None:
        """A request of the subprocess service."""
        self._inside.ask(msg)

    async def end(self) -> None:
        """End what runs there."""
        if self._handle is not None:
            await self._inside.end()

    def leave(self) -> None:
        """Its connection closes."""
        if self._handle is not None:
            self._handle.close()


def proctable(hosts: list[str], command: str, pids: list[int], ranks: list[int]) -> dict[str, Any]:
    """The answer to ``SERVICE.proctable``: for each task its host, command, number and process.

    Lists of numbers have the difference to the one before, as flux-core 0.88's rangelists may.
    """
    return {
        "hosts": hosts, "executables": [command] * len(pids), "ids": _steps(list(range(len(pids)))),
        "pids": _steps(pids), "ranks": _steps(ranks),
    }  # fmt: skip


def _steps(numbers: list[int]) -> list[int]:
    return [number - before for before, number in zip([0, *numbers], numbers, strict=False)]


def _ignore(*_: object) -> None:
    """It has ended already."""
