"""Knows one program that a module of this rank runs for rexec: told of like a process, and listed with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.host.ports import Program, Running
from brokersim.protocol.errnums import ENODATA
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint
from brokersim.services.subprocess import FORWARDED, ExecArgs, encode

#: Numbers of such programs are above all that Linux gives to processes.
FIRST_PID: Final = 1 << 22
_KILLED: Final = 9


class Inside:
    """One run, for the request that asked for it."""

    __slots__ = ("_args", "_forget", "_request", "_run", "_server", "is_over", "pid")

    def __init__(self, server: BrokerEndpoint, request: Message, args: ExecArgs, pid: int) -> None:
        self._server = server
        self._request = request
        self._args = args
        self._run: Running | None = None
        self._forget: Callable[[], object] = _nothing
        self.is_over = False
        self.pid = pid

    def begin(self, program: Program, forget: Callable[[], object]) -> None:
        """Start it; ``forget`` is called at its end. Raises RequestError."""
        self._forget = forget
        self._run = program(self._args.cmd.cmdline, self)

    def feed(self, data: bytes, is_end: bool) -> None:
        """Standard input for it."""
        if self._run is not None and not self.is_over:
            self._run.feed(data, is_end)

    def kill(self, signum: int) -> None:
        """A signal for it."""
        if self._run is not None and not self.is_over:
            self._run.kill(signum)

    def leave(self) -> None:
        """Who asked for it went."""
        run, self._run = self._run, None
        self.is_over = True
        self._forget()
        if run is not None:
            run.kill(_KILLED)

    def to_dict(self) -> dict[str, Any]:
        """As rexec.list shows it."""
        cmd = self._args.cmd
        return {"pid": self.pid, "cmd": cmd.cmdline[0], "label": cmd.label or "", "state": "R"}

    # -- told by the program

    def started(self) -> None:
        self._tell({"type": "started", "pid": self.pid})

    def output(self, stream: str, data: bytes) -> None:
        if self._args.flags & FORWARDED[stream]:
            self._tell({"type": "output", "pid": self.pid, "io": encode(stream, self._server.rank, data)})

    def exited(self, status: int) -> None:
        if self.is_over:
            return
        self._tell({"type": "finished", "status": status})
        self.is_over = True
        self._run = None  # it knows this
        self._forget()
        self._server.respond_error(self._request, ENODATA)

    def _tell(self, what: dict[str, Any]) -> None:
        if not self.is_over:
            self._server.respond(self._request, what)


class Insides:
    """Those of one rank, by who asked for them."""

    __slots__ = ("_by_request", "_last", "_server")

    def __init__(self, server: BrokerEndpoint) -> None:
        self._server = server
        self._by_request: dict[tuple[str, int], Inside] = {}
        self._last = FIRST_PID

    def start(self, request: Message, args: ExecArgs, program: Program) -> None:
        """Run it for a streaming request. Raises RequestError."""
        self._last += 1
        run = Inside(self._server, request, args, self._last)
        key = request.sender, request.matchtag

        def forget() -> None:
            self._by_request.pop(key, None)
            self._server.drop_stream(request)

        self._by_request[key] = run
        try:
            run.begin(program, forget)
        except BaseException:
            forget()
            raise
        if not run.is_over:
            self._server.add_stream(request, run.leave)

    def asked_by(self, sender: str, matchtag: int) -> Inside | None:
        """The one that was asked for so."""
        return self._by_request.get((sender, matchtag))

    def find(self, pid: int) -> Inside | None:
        """The one with this number."""
        return next((run for run in self._by_request.values() if run.pid == pid), None)

    def to_list(self) -> list[dict[str, Any]]:
        """As rexec.list shows them."""
        return [run.to_dict() for run in self._by_request.values()]


def _nothing() -> None:
    """Not begun yet."""
