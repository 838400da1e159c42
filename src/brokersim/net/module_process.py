"""Knows how a module becomes a process: its command, its socket, its output line by line, and its end.

It doesn't know what is said over the socket beyond frames; that is `host/remote.py`. Source of the protocol on the
inherited descriptor: flux-core 0.88's ``fd://`` connector as observed (docs/modules.md).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from brokersim.host.loader import is_shared_object
from brokersim.host.remote import RemoteModule
from brokersim.net.connector import READ_SHARE
from brokersim.net.outbox import DROP_ALWAYS, DROP_AT, FULL_AT, PAUSE_AT, STALL, Outbox
from brokersim.protocol.errnums import ENOENT, ProtocolError, RequestError
from brokersim.protocol.message import Message
from brokersim.protocol.wire import FrameDecoder, encode
from brokersim.reactor.clock import RealClock
from brokersim.reactor.run import room
from brokersim.routing import logring
from brokersim.services.broker import Broker
from brokersim.services.environment import variables_of

URI_VARIABLE: Final = "FLUX_MODULE_URI"
#: Clock seconds a real second, for a module's timers when the instance's clock is scaled.
SPEED_VARIABLE: Final = "BROKERSIM_CLOCK_SPEED"
_READ = 1 << 16
_LINE_MAX = 1 << 13
#: Reads at most of what a process left behind: its socket's buffer holds far less.
_READS_MAX = 1024
_SIOCOUTQ = 0x5411
_INT = struct.Struct("i")


class ModuleProcesses:
    """Starts modules as processes, by our loader or by Flux's; ``environment`` is added to what they inherit."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})

    def has_flux(self) -> bool:
        """There is a ``flux`` on the broker's PATH."""
        return shutil.which("flux") is not None

    def command(self, loader: str, path: Path) -> tuple[str, ...]:
        """What runs a module file. Raises RequestError: there is no ``flux`` on the path."""
        if loader == "flux":
            program = shutil.which("flux")
            if program is None:
                raise RequestError(ENOENT, "loader flux: there is no command 'flux' on the broker's PATH")
            return (program, "module-exec" if is_shared_object(path) else "module-python-exec", str(path))
        return (sys.executable, "-P", "-m", "brokersim.fluxapi.exec", str(path))

    def start(self, broker: Broker, command: Sequence[str], module: RemoteModule) -> ModuleProcess:
        """Start it, and tell the module what it says and what becomes of it."""
        process = ModuleProcess(broker, module, command, self._environment)
        broker.instance.background.start(process.run)
        return process


class ModuleProcess:
    """One module's process, from the socket pair to the last line of its output."""

    def __init__(
        self, broker: Broker, module: RemoteModule, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._extra = environment
        self._broker = broker
        self._module = module
        self._command = command
        self._runner = broker.instance.runner
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._decoder = FrameDecoder()
        self._process: trio.Process | None = None
        self._wanted: signal.Signals | None = None  # a signal asked for before there was a process
        self._outbox = Outbox(self._socket, broker.reactor, None, self._stop_sending)
        self._outbox.add(b"\0")  # the handshake: accepted

    # -- to the process

    @property
    def pid(self) -> int:
        """0 until it is started."""
        return 0 if self._process is None else self._process.pid

    @property
    def queued(self) -> int:
        """Messages not yet in the socket."""
        return len(self._outbox)

    def send(self, message: Message) -> None:
        """Queue a frame; it is written when the loop flushes. A process that does not read is ended."""
        outbox = self._outbox
        if outbox.is_closed:
            return
        try:
            frame = encode(message)
        except (RequestError, ProtocolError) as error:
            self._broker.write_log(logring.ERR, self._module.name, f"{message.topic} cannot be sent: {error}")
            return
        outbox.add(frame)
        if outbox.size > DROP_AT and (outbox.size > DROP_ALWAYS or outbox.stalled() >= STALL):
            self._lose(f"it left {outbox.size} bytes unread")

    async def room(self) -> None:
        """Wait while the process leaves much unread."""
        await self._outbox.room(FULL_AT)

    def unread(self) -> int:
        """Bytes that lie before it and that it has not read."""
        try:
            (left,) = _INT.unpack(fcntl.ioctl(self._socket.fileno(), _SIOCOUTQ, _INT.pack(0)))
        except (OSError, ValueError):
            return 0
        return int(left)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._stop_sending()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            self._wanted = number
        elif self._process.returncode is None:
            # It leads a group of its own: what it started goes with it.
            os.killpg(self._process.pid, number)

    def _lose(self, text: str) -> None:
        self._stop_sending()
        self._module.misbehaved(text)

    def _stop_sending(self) -> None:
        self._outbox.close()

    # -- its life

    async def run(self) -> None:
        """Start it, carry what goes both ways, and tell the module when it is gone. Cancelled: it is killed."""
        try:
            process = await self._open()
        except OSError as error:
            self._socket.close()
            with self._runner.inside():
                self._module.failed_to_start(error)
            self._runner.drain_inline()
            return
        try:
            await self._attend(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    self.kill()
                    await process.wait()
                for stream in (process.stdout, process.stderr):
                    if stream is not None:
                        await stream.aclose()
            self._close(process.returncode or 0)

    async def _open(self) -> trio.Process:
        try:
            self._process = await trio.lowlevel.open_process(
                list(self._command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                pass_fds=(self._theirs.fileno(),), start_new_session=True, env=self._environment(),
            )  # fmt: skip
        finally:
            self._theirs.close()
        if self._wanted is not None:
            self._signal(self._wanted)
        return self._process

    def _environment(self) -> dict[str, str]:
        source = str(Path(__file__).parents[2])
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        if source not in paths and Path(source).name not in ("site-packages", "dist-packages"):
            paths.insert(0, source)
        uri = self._broker.attributes.get("local-uri")
        clock = self._runner.clock
        return {
            "PYTHONUNBUFFERED": "1",  # a line printed before a crash is a line seen
            **variables_of(self._broker),
            **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
            **({"BROKERSIM_URI": uri, "FLUX_URI": uri} if uri else {}),
            **self._extra,
            URI_VARIABLE: f"fd://{self._theirs.fileno()}",
            SPEED_VARIABLE: str(clock.speed if isinstance(clock, RealClock) else 1.0),
        }

    async def _attend(self, process: trio.Process) -> None:
        streams: Any = ((process.stdout, logring.INFO), (process.stderr, logring.ERR))
        listeners = [_Lines(stream.fileno(), partial(self._module.said, level)) for stream, level in streams]
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(listener.listen)
            nursery.start_soon(self._outbox.write)
            nursery.start_soon(self._read)
            await process.wait()
            nursery.cancel_scope.cancel()
        # What it wrote is in the buffers now; a child of it that holds the other ends is not waited for.
        for listener in listeners:
            listener.finish()
        for _ in range(_READS_MAX):
            data = self._receive()
            if not data:
                break
            self._take(data)

    def _close(self, returncode: int) -> None:
        self._stop_sending()
        self._socket.close()
        with self._runner.inside():
            self._module.exited(returncode)
        self._runner.drain_inline()

    # -- from the process

    async def _read(self) -> None:
        """Take what it sends until it closes its end; hold it back while the broker has enough to do."""
        while not self._outbox.is_closed:
            await trio.lowlevel.wait_readable(self._socket)
            data = self._receive()
            if data == b"":
                self._module.hung_up()
                return
            if data:
                self._take(data)
            await room(self._runner.reactor)
            outbox = self._outbox
            if outbox.size > PAUSE_AT and not await outbox.room_before(PAUSE_AT, STALL):
                self._lose(f"it left {outbox.size} bytes unread and asks for more")

    def _receive(self) -> bytes | None:
        """Bytes; none at the end, ``None`` if there are none now."""
        try:
            return self._socket.recv(READ_SHARE if self._decoder.pending < READ_SHARE else _READ)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        """Give the messages in ``data`` to the module. What breaks RFC 3 ends it."""
        runner, handle = self._runner, self._module.handle
        runner.reactor.now = runner.clock.now_ns()
        with runner.inside():
            try:
                for message in self._decoder.feed(data):
                    handle.peer.receive(message)
                if handle.is_open:
                    handle.turned()
            except ProtocolError as error:
                self._lose(f"it sent what is no message: {error}")
            except Exception as error:  # a bug of ours, which costs this module and no more
                self._module.crashed(error, None)
        runner.drain_inline()


class _Lines:
    """One of its output streams, cut into lines."""

    def __init__(self, fd: int, tell: Callable[[str], None]) -> None:
        self._fd = fd
        self._tell = tell
        self._rest = b""

    async def listen(self) -> None:
        """Until the stream ends."""
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            if not self._take():
                return

    def finish(self) -> None:
        """Take what is there without waiting, the unfinished last line included."""
        for _ in range(_READS_MAX):
            if not self._take():
                break
        self._say(self._rest)

    def _take(self) -> bool:
        try:
            data = os.read(self._fd, _READ)
        except OSError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._rest) > _LINE_MAX:
            self._say(self._rest)
            self._rest = b""
        return bool(data)

    def _say(self, line: bytes) -> None:
        self._tell(line.decode(errors="replace"))
