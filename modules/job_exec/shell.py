"""Knows what flux-core's job shell reads and writes while it comes up and goes down; not what runs inside it."""

from __future__ import annotations

from typing import Any, Final

from brokersim.brokermod import Handle, Message

from .guest import EVENTLOG, HEADER, INPUT, INPUT_HEADER, OUTPUT, GuestRecords, eof_context
from .plan import RunPlan

#: Seconds a shell takes: until it is started, until it is initialised, from the last task's end until it is gone.
#: Their sum is what lay between alloc and finish of `true` in flux-core 0.88 (17.3 ms); the shares are ours.
LAUNCH: Final = 0.004
INIT: Final = 0.010
EXIT: Final = 0.003


class Shell:
    """The shell of one job, on the first of its nodes. It makes no process: its times are slept, its records real."""

    __slots__ = ("_guest", "_handle", "_job", "_plan", "_streams", "_userid")

    def __init__(self, handle: Handle, guest: GuestRecords, plan: RunPlan, job: int, userid: int) -> None:
        self._handle = handle
        self._guest = guest
        self._plan = plan
        self._job = job
        self._userid = userid
        self._streams: list[Message] = []

    async def launch(self) -> None:
        """From the order to start it until it runs. Raises RequestError, as all of these."""
        await self._handle.sleep(LAUNCH)

    async def come_up(self, starting: bytes) -> None:
        """Read the jobspec and R, open the logs; ``starting`` is the execution system's line, which comes second."""
        await self._handle.call("job-info.lookup", {"id": self._job, "keys": ["J"], "flags": 0})
        self._follow("job-info.update-watch", {"id": self._job, "key": "R", "flags": 0})
        await self._handle.sleep(INIT)
        where = {"service": f"{self._userid}-shell-{self._job}", "leader-rank": self._handle.rank}
        await self._event("shell.init", {**where, "size": self._plan.nnodes})
        await self._guest.append(EVENTLOG, starting)
        await self._guest.append(INPUT, self._guest.event("header", INPUT_HEADER))
        await self._guest.append(OUTPUT, self._guest.event("header", HEADER))
        per_node = -(-self._plan.ntasks // self._plan.nnodes)
        taskmap = {"version": 1, "map": [[0, self._plan.nnodes, per_node, 1]]}
        await self._event("shell.start", {"taskmap": taskmap})
        self._follow("job-info.eventlog-watch", {"id": self._job, "path": f"guest.{INPUT}", "flags": 0})

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
        """Its connection closes: it follows nothing any more."""
        streams, self._streams = self._streams, []
        for request in streams:
            self._handle.request(f"{request.topic}-cancel", {"matchtag": request.matchtag})

    def _follow(self, topic: str, payload: dict[str, Any]) -> None:
        self._streams.append(self._handle.stream(topic, payload, _ignore))

    async def _event(self, name: str, context: dict[str, Any]) -> None:
        await self._guest.append(EVENTLOG, self._guest.event(name, context))


def _ignore(_response: Message, _arg: None) -> None:
    """Nobody changes R or sends input here; the real shell would act on both."""
