"""Knows what flux-core's job shell reads and writes while it comes up and goes down; not what runs inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums

from .guest import EVENTLOG, HEADER, INPUT, INPUT_HEADER, OUTPUT, GuestRecords, eof_context
from .plan import RunPlan
from .stdin import Io

#: Seconds a shell takes: until it is started, until it is initialised, from the last task's end until it is gone.
#: Their sum is what lay between alloc and finish of `true` in flux-core 0.88 (17.3 ms); the shares are ours.
LAUNCH: Final = 0.004
INIT: Final = 0.010
EXIT: Final = 0.003


class InputLine(msgspec.Struct):
    """What is read of a line of guest.input."""

    name: str
    context: dict[str, Any] = {}


class Shell:
    """The shell of one job, on the first of its nodes. It makes no process: its times are slept, its records real.

    It serves ``<userid>-shell-<job>.stdin`` while it runs: input goes to guest.input, and from there to the tasks.
    """

    __slots__ = (
        "_early", "_guest", "_handle", "_is_served", "_job", "_plan", "_streams", "_userid", "on_input", "service",
    )  # fmt: skip

    def __init__(self, handle: Handle, guest: GuestRecords, plan: RunPlan, job: int, userid: int) -> None:
        self._handle = handle
        self._guest = guest
        self._plan = plan
        self._job = job
        self._userid = userid
        self._streams: list[Message] = []
        self._is_served = False
        #: Input that came before its log was there waits here; None: it is there.
        self._early: list[Callable[[Any], object]] | None = []
        self.service = f"{userid}-shell-{job}"
        #: Told of each piece of input that is in its log.
        self.on_input: Callable[[Io], object] = _ignore

    async def launch(self) -> None:
        """From the order to start it until it runs. Raises RequestError, as all of these."""
        await self._handle.sleep(LAUNCH)

    async def come_up(self, starting: bytes) -> None:
        """Read the jobspec and R, open the logs; ``starting`` is the execution system's line, which comes second."""
        await self._handle.call("job-info.lookup", {"id": self._job, "keys": ["J"], "flags": 0})
        self._follow("job-info.update-watch", {"id": self._job, "key": "R", "flags": 0})
        await self._handle.sleep(INIT)
        if self._plan.stdin is None:
            self._handle.service_register(self.service)
            self._is_served = True
        where = {"service": self.service, "leader-rank": self._handle.rank}
        await self._event("shell.init", {**where, "size": self._plan.nnodes})
        await self._guest.append(EVENTLOG, starting)
        await self._guest.append(INPUT, self._guest.event("header", INPUT_HEADER))
        self._admit_early(None)
        await self._guest.append(OUTPUT, self._guest.event("header", HEADER))
        per_node = -(-self._plan.ntasks // self._plan.nnodes)
        taskmap = {"version": 1, "map": [[0, self._plan.nnodes, per_node, 1]]}
        await self._event("shell.start", {"taskmap": taskmap})
        watch = {"id": self._job, "path": f"guest.{INPUT}", "flags": 0}
        self._follow("job-info.eventlog-watch", watch, self._input_line)

    def _input_line(self, response: Message, _arg: None) -> None:
        if response.errnum:
            return
        line = msgspec.json.decode(response.payload["event"], type=InputLine)
        if line.name == "data":
            self.on_input(msgspec.convert(line.context, Io))

    async def keep_input(self, context: dict[str, Any]) -> None:
        """Write a piece of input to its log, behind the header. Raises RequestError."""
        if self._early is not None:
            await self._handle.occurrence(self._early.append)
        await self._guest.append(INPUT, self._guest.event("data", context))

    def _admit_early(self, outcome: RequestError | None) -> None:
        early, self._early = self._early or (), None
        for done in early:
            done(outcome)

    async def go_down(self, status: int) -> None:
        """The tasks have ended with a wait status: close the logs and leave."""
        signaled = bool(status & 0x7F)
        exit_code = 128 + (status & 0x7F) if signaled else status >> 8
        context = {"localid": 0, "rank": 0, "state": "Exited", "wait_status": status, "signaled": signaled}
        await self._event("shell.task-exit", {**context, "exitcode": exit_code})
        ends = (self._guest.event("data", eof_context(stream, 0)) for stream in ("stdout", "stderr"))
        await self._guest.append(OUTPUT, *ends)
        await self._event("shell-exit", {"rank": 0, "exitcode": exit_code})
        await self._handle.sleep(EXIT)
        self.leave()

    def leave(self) -> None:
        """Its connection closes: it serves and follows nothing any more.

        Nor does it know the run that knows it: cycles of ended jobs were a third of what collections had to find.
        """
        if self._is_served:
            self._is_served = False
            self._handle.service_unregister(self.service)
        self._admit_early(RequestError(errnums.ENOSYS, f"{self.service} has gone"))
        self.on_input = _ignore
        streams, self._streams = self._streams, []
        for request in streams:
            self._handle.request(f"{request.topic}-cancel", {"matchtag": request.matchtag})

    def _follow(self, topic: str, payload: dict[str, Any], then: Callable[..., object] | None = None) -> None:
        self._streams.append(self._handle.stream(topic, payload, then or _ignore))

    async def _event(self, name: str, context: dict[str, Any]) -> None:
        await self._guest.append(EVENTLOG, self._guest.event(name, context))


def _ignore(*_: object) -> None:
    """Nobody changes R here; the real shell would act on it."""
