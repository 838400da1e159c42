"""Knows one process of the subprocess service (RFC 42): what it tells whom while it lives; not who may ask for one.

How a process is run is in process.
"""

from __future__ import annotations

import base64
import binascii
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

import msgspec
import trio

from brokersim.host.command import Command
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, ENODATA, EPROTO, RequestError, strerror
from brokersim.protocol.message import Message
from brokersim.reactor.run import room
from brokersim.routing import logring
from brokersim.services.endpoint import BrokerEndpoint
from brokersim.services.environment import variables_of

#: Flags of an exec request: what the client is told.
STDOUT, STDERR, CHANNEL, WRITE_CREDIT, WAITABLE = 1, 2, 4, 8, 16
#: Bytes of input kept for a process; what the first add-credit says. Upstream's default.
BUFFER: Final = 4 << 20
#: A line of output longer than this is sent in pieces.
LINE_MAX: Final = 65536
#: Output of a waitable background process kept for who waits, in bytes (upstream's figure).
RETAINED_MAX: Final = 8192
#: Where a command runs whose own directory is not there.
ELSEWHERE: Final = "/tmp"
FORWARDED: Final = {"stdout": STDOUT, "stderr": STDERR}


class Cmd(msgspec.Struct):
    """A command object (RFC 42)."""

    cmdline: list[str]
    cwd: str | None = None
    env: dict[str, str] = {}
    opts: dict[str, str] = {}
    channels: list[str] = []
    label: str | None = None


class ExecArgs(msgspec.Struct):
    cmd: Cmd
    flags: int
    local_flags: int = 0


class Io(msgspec.Struct):
    """An I/O object (RFC 24)."""

    stream: str
    rank: str = ""
    data: str | None = None
    encoding: str | None = None
    eof: bool = False


class Lines:
    """Cuts a stream into lines, a long one into pieces; or passes it on as it comes."""

    __slots__ = ("_is_whole", "_rest")

    def __init__(self, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """What can go out; ``b""`` in is the end, and ``b""`` out stands for it."""
        if not self._is_whole:
            return [data]
        if not data:
            rest, self._rest = self._rest, b""
            return [rest, b""] if rest else [b""]
        *lines, self._rest = (self._rest + data).splitlines(keepends=True)
        if self._rest.endswith(b"\n") or len(self._rest) >= LINE_MAX:
            lines.append(self._rest)
            self._rest = b""
        return lines


class Subprocess:
    """One process of the service, for the request that started it (``request``), or in the background."""

    def __init__(self, server: BrokerEndpoint, request: Message, args: ExecArgs) -> None:
        self.server = server
        self.request = request
        self.cmd = args.cmd
        self.flags = args.flags
        self.is_background = not request.is_streaming
        self.pid = 0
        self.status: int | None = None
        #: It has exited, and all it left to be said has been said.
        self.is_over = False
        self.waiter: Message | None = None
        #: Who looks on at a process in the background, and which streams of it that one wants.
        self.attached: Message | None = None
        self._attached_flags = 0
        self._closed: set[str] = set()
        self.is_waitable = self.is_background and bool(args.flags & WAITABLE)
        self._failure: tuple[int, str] | None = None
        self._retained: list[JsonObject] = []
        self._retained_size = 0
        is_plain = {name: args.cmd.opts.get(f"{name}_LINE_BUFFER") != "false" for name in FORWARDED}
        self._lines = {name: Lines(whole) for name, whole in is_plain.items()}
        cwd, self._note = _place(args.cmd.cwd)
        self.command = Command(
            args.cmd.cmdline,
            cwd,
            _environment(server, args.cmd.env),
            stdin=os.devnull if self.is_background else None,
            is_tidy=False,
            on_start=partial(self._say, self._started),
            on_exit=partial(self._say, self._exited),
            on_taken=partial(self._say, self._taken),
        )
        #: What is still to be told, in order; None ends it.
        self._words: deque[Callable[[], object] | None] = deque()
        self._spoke = trio.Event()

    # -- its life

    async def run(self) -> None:
        """From start to end; whoever asked is told all of it."""
        with self._time_stands():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._speak)
                self._say(self._end, *await self._run_command())
                self._say(None)

    async def _run_command(self) -> tuple[int, str]:
        """The errnum and the text its stream ends with."""
        try:
            await self.command.run(
                partial(self._say, self._output), self._room if not self.is_background else _room_at_once
            )
        except OSError as error:
            return error.errno or EINVAL, f"error launching process: {error.strerror or error}"
        return self._failure or (ENODATA, "")

    def _say(self, fn: Callable[..., object] | None, *args: object) -> None:
        self._words.append(None if fn is None else partial(fn, *args))
        self._spoke.set()

    async def _speak(self) -> None:
        """Tells it, one task for all: under the virtual clock what two tasks send has no order between them."""
        while True:
            while self._words:
                word = self._words.popleft()
                if word is None:
                    return
                word()
            self._spoke = trio.Event()
            await self._spoke.wait()

    def _time_stands(self) -> Any:
        """Virtual time: without clients it would run on for ever; with clients it moves when one of them waits."""
        runner = self.server.broker.instance.runner
        return nullcontext() if runner.may_jump is not None else runner.hold()

    async def _room(self) -> None:
        await self.request.src.room()
        await room(self.server.broker.reactor)

    def _end(self, errnum: int, text: str) -> None:
        server = self.server
        self.is_over = True
        if not self.is_background or not self.pid:
            server.respond_error(self.request, errnum, text)
            server.drop_stream(self.request)
        is_seen = self.attached is not None
        self._end_attached(errnum, text)
        if self.pid and self.is_waitable and self.waiter is None and not is_seen:
            return  # kept until somebody waits
        self.reap()

    def reap(self) -> None:
        """Forget it; who waits is told its status."""
        self.server.kept(Processes).remove(self)
        if self.waiter is not None:
            self.server.drop_stream(self.waiter)
            output = {"output": self._retained} if self._retained else {}
            self.server.respond(self.waiter, {"status": self.status, **output})

    def fail(self, errnum: int) -> None:
        """Something is wrong on our side: kill it, and end the stream with that."""
        self._failure = (errnum, f"internal fatal error: {strerror(errnum)}")
        self.command.kill(signal.SIGKILL)

    def leave(self) -> None:
        """Its client went."""
        self.command.kill(signal.SIGKILL)

    # -- what it does

    def _started(self, pid: int) -> None:
        self.pid = pid
        self.server.respond(self.request, {"type": "started", "pid": pid})
        if self._note:
            self._output("stderr", self._note.encode())
        if self.flags & WRITE_CREDIT:
            self._taken(buffer_size(self.cmd))

    def _taken(self, size: int) -> None:
        if self.flags & WRITE_CREDIT and size and self.status is None and not self.is_background:
            self.server.respond(self.request, {"type": "add-credit", "channels": {"stdin": size}})

    def _exited(self, status: int) -> None:
        self.status = status
        if self._listener is not None:
            self.server.respond(self._listener, {"type": "finished", "status": status})
        if not self.is_background:
            return
        how = f"Killed by signal {status & 0x7F}" if status & 0x7F else f"Exit {status >> 8}"
        self._log(logring.INFO, f"{self._name}[{self.pid}]: {how}")

    def _output(self, stream: str, data: bytes) -> None:
        for piece in self._lines[stream].feed(data):
            io = encode(stream, self.server.rank, piece)
            self._forward(stream, io)
            if not piece:
                self._closed.add(stream)
            elif self.is_background:
                level = logring.ERR if stream == "stderr" else logring.INFO
                self._log(level, f"{self._name}[{self.pid}]: {piece.decode(errors='replace').rstrip()}")
                self._retain(io, len(piece))

    @property
    def _listener(self) -> Message | None:
        """The stream that is told of it: of who started it, or who attached to it in the background."""
        return self.attached if self.is_background else self.request

    def _forward(self, stream: str, io: JsonObject) -> None:
        flags = self._attached_flags if self.is_background else self.flags
        if self._listener is not None and flags & FORWARDED[stream]:
            self.server.respond(self._listener, {"type": "output", "pid": self.pid, "io": io})

    def attach(self, request: Message, flags: int) -> None:
        """Tell ``request`` from now on; one that is over is told of its end, and forgotten."""
        self.attached, self._attached_flags = request, flags
        cmd = {key: value for key, value in msgspec.to_builtins(self.cmd).items() if value is not None}
        self.server.respond(request, {"type": "attached", "pid": self.pid, "cmd": cmd})
        for stream in FORWARDED:
            if stream in self._closed:
                self._forward(stream, encode(stream, self.server.rank, b""))
        if self.status is not None:
            self.server.respond(request, {"type": "finished", "status": self.status})
        if self.is_over:
            self._end_attached(ENODATA, "")
            self.reap()
        else:
            self.server.add_stream(request, self.detach)

    def detach(self) -> None:
        """Who looked on went; the process goes on in the background."""
        self.attached = None

    def _end_attached(self, errnum: int, text: str) -> None:
        request, self.attached = self.attached, None
        if request is not None:
            self.server.respond_error(request, errnum, text)
            self.server.drop_stream(request)

    def _retain(self, io: JsonObject, size: int) -> None:
        if self.is_waitable and size <= RETAINED_MAX:
            self._retained.append(io)
            self._retained_size += size
            while self._retained_size > RETAINED_MAX:
                self._retained_size -= len(decode(msgspec.convert(self._retained.pop(0), Io)))

    @property
    def _name(self) -> str:
        name = os.path.basename(self.cmd.cmdline[0])
        return f"{self.cmd.label}: {name}" if self.cmd.label else name

    def _log(self, level: int, text: str) -> None:
        self.server.broker.write_log(level, "rexec", text)

    def to_dict(self) -> JsonObject:
        """As rexec.list shows it: Flux's own command takes these keys and no others."""
        return {
            "pid": self.pid,
            "cmd": self.cmd.cmdline[0],
            "label": self.cmd.label or "",
            "state": "R" if self.status is None else "Z",
        }


class Processes(list[Subprocess]):
    """The processes of one rank that somebody may still ask for, in the order they were started."""

    def __init__(self, _: BrokerEndpoint) -> None:
        super().__init__()


async def _room_at_once() -> None:
    """The log has room always: it forgets."""


def _place(cwd: str | None) -> tuple[str | None, str]:
    """Where it runs, and what it says about that: a directory nobody can be in is no reason not to run."""
    if cwd is None or (os.path.isdir(cwd) and os.access(cwd, os.X_OK)):
        return cwd, ""
    why = "Permission denied" if os.path.isdir(cwd) else "No such file or directory"
    return ELSEWHERE, f"Could not change dir to {cwd}: {why}. Going to {ELSEWHERE} instead\n"


def _environment(server: BrokerEndpoint, env: dict[str, str]) -> dict[str, str]:
    uri = server.broker.attributes.get("local-uri")
    uris = {"FLUX_URI": uri, "BROKERSIM_URI": uri} if uri else {}
    return {**(env or variables_of(server.broker)), **uris}


def buffer_size(cmd: Cmd) -> int:
    text = cmd.opts.get("stdin_BUFSIZE", "")
    return int(text) if text.isdecimal() and 0 < int(text) <= BUFFER else BUFFER


def encode(stream: str, rank: int, data: bytes) -> JsonObject:
    """An I/O object (RFC 24); no data is the end of the stream."""
    io: JsonObject = {"stream": stream, "rank": str(rank)}
    if not data:
        return {**io, "eof": True}
    try:
        return {**io, "data": data.decode()}
    except UnicodeDecodeError:
        return {**io, "data": base64.b64encode(data).decode(), "encoding": "base64"}


def decode(io: Io) -> bytes:
    """Raises RequestError(EPROTO)."""
    if io.data is None:
        return b""
    try:
        return base64.b64decode(io.data, validate=True) if io.encoding == "base64" else io.data.encode()
    except binascii.Error:
        raise RequestError(EPROTO, "data is not base64") from None
