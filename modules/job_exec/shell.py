"""Knows what flux-core's job shell reads and writes while it comes up and goes down; not what runs inside it."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, jobid, request_handler

from .guest import EVENTLOG, HEADER, INPUT, INPUT_HEADER, OUTPUT, GuestLogs, eof_context
from .inside import Inside, Outpost, proctable
from .plan import RunPlan
from .stdin import Io

#: Seconds a shell takes until it is initialised, and from the last task's end until it is gone.
INIT: Final = 0.010
EXIT: Final = 0.003


class InputLine(msgspec.Struct):
    """What is read of a line of guest.input."""

    name: str
    context: dict[str, Any] = {}


class Shell:
    """The shell of one job, on the first of its nodes. It is no process: its times are slept, its records real.

    They are slept by the module, not by its own connection: shells whose times end at one instant go on in one turn, as
    processes side by side would. Else the end of one would be carried through before the next one's was seen.

    It serves ``<userid>-shell-<id>.stdin`` while it runs: input goes to guest.input, and from there to the tasks; and
    ``proctable`` and ``rexec.*`` beside it, the latter on all ranks of a real job.
    """

    __slots__ = (
        "_early", "_handle", "_inside", "_is_served", "_job", "_module", "_outposts", "_own", "_plan", "_streams",
        "_userid", "_watched", "logs", "on_input", "on_request", "on_terminal", "pids", "service",
    )  # fmt: skip

    def __init__(self, handle: Handle, plan: RunPlan, job: int, userid: int) -> None:
        self._module = handle
        #: Its own connection, in a module that is a process the module's.
        self._own: Handle | None = None
        self._handle = handle
        self.logs = GuestLogs(handle, job)
        self._plan = plan
        self._job = job
        self._userid = userid
        self._streams: list[Message] = []
        self._is_served = False
        self._inside: Inside | None = None
        self._outposts: tuple[Outpost, ...] = ()
        #: Input that came before its log was there waits here; None: it is there.
        self._early: list[Callable[[Any], object]] | None = []
        #: Waits for the first word of the input's log.
        self._watched: Callable[[Any], object] | None = None
        self.service = f"{userid}-shell-f{jobid.encode(job)[1:]}"
        #: Told of each piece of input that is in its log.
        self.on_input: Callable[[Io], object] = _ignore
        #: Answers a request with a piece of input.
        self.on_request: Callable[[Message], Awaitable[None]] = _refuse
        #: Answers a request to a terminal.
        self.on_terminal: Callable[[Message], object] = _no_session
        #: The processes of its tasks; a simulated job has none.
        self.pids: Callable[[], list[int]] = list

    @property
    def handle(self) -> Handle:
        """By which it speaks."""
        return self._handle

    @request_handler("*.stdin", prefix=False, allow_guest=True)
    async def stdin(self, msg: Message) -> None:
        """Standard input for the job."""
        if self._plan.stdin is not None:  # it reads a file, so nobody else's
            raise RequestError(errnums.ENOSYS, f"Unknown service method '{msg.topic}'")
        await self.on_request(msg)

    @request_handler("*.terminus.*", prefix=False)
    def terminus(self, msg: Message) -> None:
        """A task's terminal: looking at it, typing. Raises RequestError."""
        self.on_terminal(msg)

    @request_handler("*.rexec.*", prefix=False)
    def ask_inside(self, msg: Message) -> None:
        """A command inside the job (RFC 42)."""
        if self._inside is None:
            self._inside = Inside(self._handle)
        self._inside.ask(msg)

    @request_handler("*.proctable", prefix=False)
    def proctable(self, msg: Message) -> None:
        """Host, command and process of each task."""
        pids, plan = self.pids(), self._plan
        if not all(pids) or not pids:
            raise RequestError(
                errnums.ENODATA, "the tasks of this job are no processes: it is simulated, or over"
            )
        ranks = [plan.rank_of(task) for task in range(len(pids))]
        hosts = [os.uname().nodename] * len(pids)
        self._handle.respond(msg, proctable(hosts, plan.command[0], pids, ranks))

    def connect(self) -> None:
        """It has been started: it connects to its broker and looks what the node is like, as each does."""
        self._own = self._module.client("shell", self)
        if self._own is not None:
            self._handle = self._own
            self.logs = GuestLogs(self._own, self._job)
        self._handle.request("resource.topo-get", None, _ignore)

    async def read_jobspec(self) -> dict[str, Any]:
        """The jobspec as it was signed; the records have it without the environment."""
        answer = await self._handle.call("job-info.lookup", {"id": self._job, "keys": ["J"], "flags": 0})
        self._follow("job-info.update-watch", {"id": self._job, "key": "R", "flags": 0})
        return payload_of(answer["J"])

    async def addresses(self) -> dict[int, str]:
        """Where the tasks of other nodes reach their brokers, by rank; those of this one find theirs as it does."""
        here, size = self._handle.rank, self._handle.size
        found = {}
        for rank in self._plan.ranks:
            if rank != here and rank < size:
                try:
                    answer = await self._handle.call("attr.get", {"name": "local-uri"}, nodeid=rank)
                except RequestError:  # an instance without sockets: nobody is reached anyway
                    return {}
                found[rank] = answer["value"]
        return found

    async def come_up(self, lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Open the logs; ``lines`` are what the output log begins with, behind its header."""
        await self._module.sleep(INIT)
        self._handle.service_register(self.service)
        self._is_served = True
        self._send_outposts()
        opening = [self.logs.event("header", INPUT_HEADER)]
        if self._plan.stdin is not None:
            source = {"stream": "stdin", "rank": "all", "path": self._plan.stdin}
            opening.append(self.logs.event("redirect", source))
        await self.logs.append(INPUT, *opening)
        self._admit_early(None)
        where = {"service": self.service, "leader-rank": self._handle.rank}
        more = (self.logs.event(name, context) for name, context in lines)
        # Before the event that says the shell is there: whoever has seen that finds the log.
        await self.logs.append(OUTPUT, self.logs.event("header", self._header()), *more)
        await self._event("shell.init", {**where, "size": self._plan.nnodes, **self._plan.pty.init_context})

    def _send_outposts(self) -> None:
        here, size = self._handle.rank, self._handle.size
        others = (rank for rank in self._plan.ranks if rank != here and rank < size)
        self._outposts = tuple(Outpost(self._module, rank, self.service) for rank in others)

    def _header(self) -> dict[str, Any]:
        count = self._plan.ntasks
        return HEADER if count == 1 else {**HEADER, "count": {"stdout": count, "stderr": count}}

    async def begin(self) -> None:
        """All tasks run: say so, and hand them what comes as input."""
        plan = self._plan
        # A simulated job has no tasks that lie anywhere.
        usual = {"version": 1, "map": [[0, plan.nnodes, -(-plan.ntasks // plan.nnodes), 1]]}
        await self._event("shell.start", {"taskmap": plan.taskmap.to_json() if plan.is_real else usual})
        if self._plan.is_real:
            # Under the virtual clock time stands still as soon as a real command runs: by now whoever waits for
            # shell.init before it sends input has been told, since the log of that input is followed.
            await self._handle.occurrence(self._follow_input)
        else:
            self._follow_input()

    def _follow_input(self, done: Callable[[Any], object] | None = None) -> None:
        self._watched = done
        watch = {"id": self._job, "path": f"guest.{INPUT}", "flags": 0}
        self._follow("job-info.eventlog-watch", watch, self._input_line)

    async def say(self, lines: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Lines of its own for the output log."""
        await self.logs.append(OUTPUT, *(self.logs.event(name, context) for name, context in lines))

    def _input_line(self, response: Message, _arg: None) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            watched(None)
        if response.errnum:
            return
        line = msgspec.json.decode(response.payload["event"], type=InputLine)
        if line.name == "data":
            self.on_input(msgspec.convert(line.context, Io))

    async def keep_input(self, context: dict[str, Any]) -> None:
        """Write a piece of input to its log, behind the header. Raises RequestError."""
        if self._early is not None:
            await self._handle.occurrence(self._early.append)
        await self.logs.append(INPUT, self.logs.event("data", context))

    def _admit_early(self, outcome: RequestError | None) -> None:
        early, self._early = self._early or (), None
        for done in early:
            done(outcome)

    async def go_down(self, first: tuple[int, int] | None, ends: Sequence[tuple[str, int]]) -> None:
        """The tasks have ended, ``first`` (task, wait status) before the others: close the logs and leave.

        ``ends`` are the streams and tasks whose end is told in the output log.
        """
        if ends:
            eofs = (self.logs.event("data", eof_context(stream, task)) for stream, task in ends)
            await self.logs.append(OUTPUT, *eofs)
        if first is not None:
            await self._event("shell.task-exit", task_exit(*first))
        for inside in (self._inside, *self._outposts):
            if inside is not None:
                await inside.end()
        await self._module.sleep(EXIT)
        self.leave()

    def leave(self) -> None:
        """Its connection closes: it serves and follows nothing any more.

        Nor does it know the run that knows it: cycles of ended jobs were a third of what collections had to find.
        """
        if self._is_served:
            self._is_served = False
            self._handle.service_unregister(self.service)
        self._admit_early(RequestError(errnums.ENOSYS, f"{self.service} has gone"))
        self.on_input, self.on_request, self.pids, self._inside = _ignore, _refuse, list, None
        self.on_terminal = _no_session
        outposts, self._outposts = self._outposts, ()
        for outpost in outposts:
            outpost.leave()
        streams, self._streams = self._streams, []
        if self._own is not None:
            own, self._own = self._own, None
            own.close()
            return
        for request in streams:
            self._handle.request(f"{request.topic}-cancel", {"matchtag": request.matchtag})

    def _follow(self, topic: str, payload: dict[str, Any], then: Callable[..., object] | None = None) -> None:
        self._streams.append(self._handle.stream(topic, payload, then or _ignore))

    async def _event(self, name: str, context: dict[str, Any]) -> None:
        await self.logs.append(EVENTLOG, self.logs.event(name, context))


def task_exit(task: int, status: int) -> dict[str, Any]:
    """Context of the event that tells of the first task that ended."""
    signum = status & 0x7F
    code = 128 + signum if signum else status >> 8
    return {
        "localid": task, "rank": task, "state": "Exited", "wait_status": status, "signaled": signum,
        "exitcode": code,
    }  # fmt: skip


def payload_of(envelope: str) -> dict[str, Any]:
    """The jobspec in J (HEADER.PAYLOAD.SIGNATURE). It was checked when it was taken in, but anyone may have changed it.

    Raises RequestError(EINVAL).
    """
    try:
        jobspec = msgspec.json.decode(base64.b64decode(envelope.split(".")[1]))
    except (ValueError, IndexError, msgspec.DecodeError, RecursionError) as error:
        raise RequestError(errnums.EINVAL, f"J in the KVS is not what was submitted: {error}") from None
    if not isinstance(jobspec, dict):
        raise RequestError(errnums.EINVAL, "J in the KVS is not what was submitted: no object")
    return jobspec


def _ignore(*_: object) -> None:
    """Nobody changes R here; the real shell would act on it."""


async def _refuse(_: Message) -> None:
    raise RequestError(errnums.ENOSYS, "the job's shell has gone")


def _no_session(_: Message) -> None:
    raise RequestError(errnums.ENOSYS, "No such session")
