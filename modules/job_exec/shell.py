"""Knows what flux-core's job shell reads and writes while it comes up and goes down; not what runs inside it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, jobid

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
    """The shell of one job, on the first of its nodes. It is no process: its times are slept, its records real.

    It serves ``<userid>-shell-<id>.stdin`` while it runs: input goes to guest.input, and from there to the tasks.
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
        self.service = f"{userid}-shell-f{jobid.encode(job)[1:]}"
        #: Told of each piece of input that is in its log.
        self.on_input: Callable[[Io], object] = _ignore

    async def launch(self) -> None:
        """From the order to start it until it runs. Raises RequestError, as all of these."""
        await self._handle.sleep(LAUNCH)

    async def read_jobspec(self) -> dict[str, Any]:
        """The jobspec as it was signed; the records have it without the environment."""
        answer = await self._handle.call("job-info.lookup", {"id": self._job, "keys": ["J"], "flags": 0})
        self._follow("job-info.update-watch", {"id": self._job, "key": "R", "flags": 0})
        return payload_of(answer["J"])

    async def come_up(self, starting: bytes, lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Open the logs; ``starting`` is the execution system's line, which comes second.

        ``lines`` are what the output log begins with, behind its header.
        """
        await self._handle.sleep(INIT)
        if self._plan.stdin is None:
            self._handle.service_register(self.service)
            self._is_served = True
        where = {"service": self.service, "leader-rank": self._handle.rank}
        more = (self._guest.event(name, context) for name, context in lines)
        # Before the event that says the shell is there: whoever has seen that finds the log.
        await self._guest.append(OUTPUT, self._guest.event("header", self._header()), *more)
        await self._event("shell.init", {**where, "size": self._plan.nnodes})
        await self._guest.append(EVENTLOG, starting)
        await self._guest.append(INPUT, self._guest.event("header", INPUT_HEADER))
        self._admit_early(None)

    def _header(self) -> dict[str, Any]:
        count = self._plan.ntasks
        return HEADER if count == 1 else {**HEADER, "count": {"stdout": count, "stderr": count}}

    async def begin(self) -> None:
        """All tasks run: say so, and hand them what comes as input."""
        per_node = -(-self._plan.ntasks // self._plan.nnodes)
        taskmap = {"version": 1, "map": [[0, self._plan.nnodes, per_node, 1]]}
        await self._event("shell.start", {"taskmap": taskmap})
        watch = {"id": self._job, "path": f"guest.{INPUT}", "flags": 0}
        self._follow("job-info.eventlog-watch", watch, self._input_line)

    async def say(self, lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Lines of its own for the output log."""
        await self._guest.append(OUTPUT, *(self._guest.event(name, context) for name, context in lines))

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

    async def go_down(
        self, status: int, first: tuple[int, int] | None, ends: Sequence[tuple[str, int]]
    ) -> None:
        """The tasks have ended, ``first`` (task, wait status) before the others: close the logs and leave.

        ``status`` is the job's; ``ends`` are the streams and tasks whose end is told in the output log.
        """
        if first is not None:
            await self._event("shell.task-exit", task_exit(*first))
        if ends:
            eofs = (self._guest.event("data", eof_context(stream, task)) for stream, task in ends)
            await self._guest.append(OUTPUT, *eofs)
        await self._event("shell-exit", {"rank": 0, "wait_status": status})
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


def task_exit(task: int, status: int) -> dict[str, Any]:
    """Context of the event that tells of the first task that ended."""
    signum = status & 0x7F
    code = 128 + signum if signum else status >> 8
    return {
        "localid": task, "rank": task, "state": "Exited", "wait_status": status, "signaled": signum,
        "exitcode": code,
    }  # fmt: skip


def payload_of(envelope: str) -> dict[str, Any]:
    """The jobspec in J (HEADER.PAYLOAD.SIGNATURE), which was checked when it was taken in."""
    jobspec: dict[str, Any] = msgspec.json.decode(base64.b64decode(envelope.split(".")[1]))
    return jobspec


def _ignore(*_: object) -> None:
    """Nobody changes R here; the real shell would act on it."""
