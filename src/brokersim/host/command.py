"""Knows how one real command is run under trio: a process group, input and output in pieces, signals; not for whom."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import termios
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

import trio

from brokersim import files

#: Bytes taken at a time from a pipe: a Linux pipe's own size.
CHUNK = 65536
#: Passes of the loop within which what is in a pipe has been taken, unless there is no room for it.
_LOOKS: Final = 3

OnOutput = Callable[[str, bytes], Any]
#: What stands between a command and us: its parent, which a command may kill (``kill -9 $PPID``). It waits whatever
#: signal the group gets, says nothing itself, and ends with the command's status, 128 + N for signal N. A byte before
#: the command's output says that there is somebody for a signal to reach.
_SHELL: Final = (
    "/bin/sh",
    "-c",
    'trap : HUP INT QUIT USR1 USR2 ALRM TERM; exec 9>&2 2>/dev/null; (printf .; exec "$@") 2>&9 9>&-; exit $?',
    "sh",
)
_HERE: Final = b"."
#: The same for a command with a terminal, which the shell's session gets for its own. It stays when the command has
#: ended, until its input is closed: with it the terminal is hung up, and what nobody had read yet would be lost.
_TERMINAL_SHELL: Final = (
    "/bin/sh",
    "-c",
    'trap : HUP INT QUIT USR1 USR2 ALRM TERM; exec 9<>"$0" 2>/dev/null; '
    '(printf .; exec "$@" <&9 >&9 2>&9 9>&-); code=$?; exec 9>&-; printf .; read -r _; exit $code',
)
#: Lines and columns of a terminal that nobody looks at.
_SIZE: Final = (25, 80)
#: Numbers that no shell between uses for its own: the one above takes 9, others from 10 on.
_CHANNELS_FROM: Final = 20


class ClockHold:
    """Keeps virtual time still while something real is awaited; may be let go and taken again."""

    __slots__ = ("_hold", "_make")

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._hold: AbstractContextManager[None] | None = None

    def take(self) -> None:
        """Time stands still from now on."""
        if self._hold is None:
            self._hold = self._make()
            self._hold.__enter__()

    def release(self) -> None:
        """Time may pass."""
        if self._hold is not None:
            hold, self._hold = self._hold, None
            hold.__exit__(None, None, None)


class Input:
    """What a command has still to read, in order. ``pending`` are bytes not yet taken by its pipe."""

    __slots__ = ("_moved", "_pieces", "_taken", "is_ended", "pending")

    def __init__(self, taken: Callable[[int], Any]) -> None:
        self._pieces: deque[bytes] = deque()
        self._moved = trio.Event()
        self._taken = taken
        self.pending = 0
        self.is_ended = False

    def add(self, data: bytes) -> None:
        """More to read; after the end it is dropped, and counts as taken."""
        if self.is_ended:
            self._taken(len(data))
        elif data:
            self._pieces.append(data)
            self.pending += len(data)
            self._moved.set()

    def end(self) -> None:
        """Nothing follows."""
        self.is_ended = True
        self._moved.set()

    def drop(self) -> None:
        """Nobody reads any more."""
        self.is_ended = True
        self._pieces.clear()
        pending, self.pending = self.pending, 0
        self._taken(pending)

    async def pump(self, pipe: Any) -> None:
        """Write what comes until the end, or until the command reads no more."""
        try:
            async with pipe:
                while await self._more():
                    data = self._pieces.popleft()
                    await pipe.send_all(data)
                    self.pending -= len(data)
                    self._taken(len(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.drop()

    async def _more(self) -> bool:
        while not self._pieces:
            if self.is_ended:
                return False
            self._moved = trio.Event()
            await self._moved.wait()
        return True


class Channel:
    """A pair of sockets between a command and us: the command finds the number of its end in the variable ``name``.

    What it writes goes to ``on_data``, ``b""`` when it has closed its end.
    """

    __slots__ = ("_far", "_input", "_near", "_on_data", "name")

    def __init__(self, name: str, on_data: Callable[[bytes], Any]) -> None:
        self.name = name
        self._on_data = on_data
        self._near: socket.socket | None = None
        self._far = -1
        self._input = Input(_ignore)

    def open(self) -> int:
        """Make both ends; the command's."""
        self._near, far = socket.socketpair()
        self._near.setblocking(False)
        with far:
            self._far = fcntl.fcntl(far, fcntl.F_DUPFD_CLOEXEC, _CHANNELS_FROM)
        return self._far

    def started(self) -> None:
        """The command has its end, or never will."""
        if self._far >= 0:
            os.close(self._far)
            self._far = -1

    def close(self) -> None:
        """Nobody reads or writes any more."""
        self.started()
        if self._near is not None:
            self._near.close()

    @property
    def pending(self) -> int:
        """Bytes it has not read yet."""
        return self._input.pending

    def send(self, data: bytes) -> None:
        """For the command to read."""
        self._input.add(data)

    async def run(self) -> None:
        """Carry what comes and goes until the command has closed its end."""
        assert self._near is not None, "open comes first"
        async with trio.open_nursery() as nursery:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(self._near.dup()))
            nursery.start_soon(self._input.pump, stream)
            while self.drain():
                await trio.lowlevel.wait_readable(self._near)
            nursery.cancel_scope.cancel()

    def drain(self) -> bool:
        """Take what has come; False when nothing will any more."""
        assert self._near is not None, "open comes first"
        while True:
            try:
                data = self._near.recv(CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            self._on_data(data)
            if not data:
                return False


class Terminal:
    """A terminal that a command has for its three streams. What it shows goes to ``on_data``.

    ``is_read`` false: nothing is read before ``let_go``, and so long the end of the command does not count.
    """

    __slots__ = ("_far", "_go", "_input", "_near", "_on_data", "_size")

    def __init__(self, on_data: Callable[[bytes], Any], *, is_read: bool = True) -> None:
        self._size = _SIZE
        self._on_data = on_data
        self._near = self._far = -1
        self._go = trio.Event()
        self._input = Input(_ignore)
        if is_read:
            self._go.set()

    def open(self) -> str:
        """Make it; the path of the command's side."""
        self._near, self._far = os.openpty()
        os.set_blocking(self._near, False)
        self.resize(*self._size)
        return os.ttyname(self._far)

    def close(self) -> None:
        """Nobody reads or writes any more."""
        for number in {self._near, self._far} - {-1}:
            os.close(number)
        self._near = self._far = -1

    def let_go(self) -> None:
        """From now on it is read."""
        self._go.set()

    @property
    def pending(self) -> int:
        """Bytes that were typed and not read yet."""
        return self._input.pending

    def send(self, data: bytes) -> None:
        """What is typed."""
        self._input.add(data)

    def resize(self, rows: int, columns: int) -> None:
        """It is as large as this now. Raises ValueError for sizes that none has."""
        if not (0 < rows < 1 << 16 and 0 < columns < 1 << 16):
            raise ValueError(f"a terminal has 1 to 65535 rows and columns, not {rows} and {columns}")
        self._size = rows, columns
        if self._near >= 0:
            fcntl.ioctl(self._near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def run(self, process: trio.Process, came_up: Callable[[], Any]) -> None:
        """Carry what is shown and typed until the command has ended and all it showed is read."""
        assert process.stdout is not None and process.stdin is not None, "pipes to the shell between"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show)
            nursery.start_soon(self._type)
            if await process.stdout.receive_some(1):
                came_up()
                await process.stdout.receive_some(1)
            await self._go.wait()
            self._drain()
            nursery.cancel_scope.cancel()
        await process.stdin.aclose()

    async def _show(self) -> None:
        await self._go.wait()
        while self._drain():
            await trio.lowlevel.wait_readable(self._near)

    def _drain(self) -> bool:
        """Take what is there; False when nothing will come any more."""
        while True:
            try:
                data = os.read(self._near, CHUNK)
            except BlockingIOError:
                return True
            except OSError:  # EIO: nobody has its other side
                return False
            self._on_data(data)

    async def _type(self) -> None:
        await self._input.pump(trio.lowlevel.FdStream(os.dup(self._near)))


class Command:
    """One run of one command, in a session of its own. ``stdin``: a path, or None for what ``input`` is given.

    ``is_tidy``: when the command ends, what it left behind in its group is killed; else its output is awaited.
    ``under_shell``: its parent is a shell of its own, and its status what that says.
    """

    def __init__(
        self,
        words: Sequence[str],
        cwd: str | None,
        environment: Mapping[str, str] | None,
        *,
        stdin: str | None = None,
        is_tidy: bool = True,
        under_shell: bool = False,
        on_start: Callable[[int], Any] | None = None,
        on_exit: Callable[[int], Any] | None = None,
        on_taken: Callable[[int], Any] | None = None,
        channel: Channel | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        self.words = words
        self._terminal = terminal
        self._channel = channel
        self._cwd = cwd
        self._environment = environment
        self._stdin = stdin
        self._is_tidy = is_tidy
        self._under_shell = under_shell
        self._on_start = on_start or _ignore
        self._on_exit = on_exit or _ignore
        self._process: trio.Process | None = None
        self._waiting_signal = 0
        self._is_up = False
        self._pieces = 0
        self._is_left = False
        self._forced = trio.Event()
        #: Its number; of one under a shell the command's own, as far as that could be seen. 0: not started.
        self.pid = 0
        self.input = Input(on_taken or _ignore)

    async def run(self, on_output: OnOutput, room: Callable[[], Any]) -> int:
        """Run it to its end; its wait status. Raises OSError if it cannot be started.

        Output goes to ``on_output(stream, data)``, ``b""`` at the end of a stream; ``room()`` is awaited before
        each piece is taken. Cancelled, it kills the whole group.
        """
        self._process = process = await self._open()
        try:
            if not self._under_shell:
                self._come_up(process.pid)
            async with trio.open_nursery() as nursery:
                if self._channel is not None:
                    nursery.start_soon(self._channel.run)
                async with trio.open_nursery() as reading:
                    if self._terminal is None:
                        reading.start_soon(self._read, process.stdout, "stdout", on_output, room)
                        reading.start_soon(self._read, process.stderr, "stderr", on_output, room)
                    else:
                        reading.start_soon(self._terminal.run, process, partial(self._come_up, process.pid))
                    await self._ended(process)
                    nursery.start_soon(self._leave, reading.cancel_scope)
                if self._channel is not None:
                    self._channel.drain()
                nursery.cancel_scope.cancel()
        finally:
            for fitting in (self._channel, self._terminal):
                if fitting is not None:
                    fitting.close()
            self._kill_group(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
        return _wait_status(process.returncode or 0)

    async def _ended(self, process: trio.Process) -> None:
        async with trio.open_nursery() as pumping:
            if process.stdin is not None and self._terminal is None:
                pumping.start_soon(self.input.pump, process.stdin)
            await process.wait()
            pumping.cancel_scope.cancel()
        self.input.drop()
        self._on_exit(_wait_status(process.returncode or 0))
        if self._is_tidy:
            # Whatever it left behind in its group would keep the pipes open, and outlive the job.
            self._kill_group(signal.SIGKILL)

    async def _leave(self, reading: trio.CancelScope) -> None:
        """What has left the group may hold the pipes for ever: by force, only what is in them is waited for."""
        await self._forced.wait()
        seen = -1
        while seen != self._pieces:
            seen = self._pieces
            for _ in range(_LOOKS):
                await trio.lowlevel.checkpoint()
        self._is_left = True
        reading.cancel()

    def _come_up(self, pid: int) -> None:
        self._is_up = True
        self.pid = _child_of(pid) if self._under_shell else pid
        self._on_start(pid)
        if self._waiting_signal:
            self.kill(self._waiting_signal)

    def kill(self, signum: int) -> None:
        """Send a signal to the whole group; harmless when it is gone, kept when it isn't there yet."""
        if signum == signal.SIGKILL:
            self._forced.set()
        if self._terminal is not None:
            self._terminal.let_go()  # whoever ends it does not wait for somebody to look
        if self._process is None or not self._is_up:
            self._waiting_signal = signum
        elif self._under_shell and signum == signal.SIGKILL:
            _kill_all_but(self._process.pid)  # the shell has to say how the command ended
        else:
            self._kill_group(signum)

    def _kill_group(self, signum: int) -> None:
        assert self._process is not None, "it runs, or has run"
        try:
            os.killpg(self._process.pid, signum)
        except (ProcessLookupError, PermissionError):
            pass

    async def _open(self) -> trio.Process:
        if self._under_shell:
            _check_startable(self.words[0], self._cwd, self._environment)
        stdin = None if self._stdin is None else files.open_input(self._stdin)
        channel, environment = self._channel, self._environment
        ends: tuple[int, ...] = ()
        if channel is not None:
            ends = (channel.open(),)
            environment = {**(os.environ if environment is None else environment), channel.name: str(ends[0])}
        between: tuple[str, ...] = _SHELL if self._under_shell else ()
        if self._terminal is not None:
            between = (*_TERMINAL_SHELL, self._terminal.open())
        try:
            return await trio.lowlevel.open_process(
                [*between, *self.words],
                stdin=subprocess.PIPE if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._cwd,
                env=None if environment is None else dict(environment),
                start_new_session=True,
                pass_fds=ends,
            )
        except OSError:
            for fitting in (channel, self._terminal):
                if fitting is not None:
                    fitting.close()
            raise
        finally:
            if channel is not None:
                channel.started()
            if stdin is not None:
                os.close(stdin)

    async def _read(self, pipe: Any, stream: str, on_output: OnOutput, room: Callable[[], Any]) -> None:
        async with pipe:
            while True:
                data = await self._piece(pipe, room)
                self._pieces += 1
                if not self._is_up and stream == "stdout":
                    assert self._process is not None, "it is read from"
                    self._come_up(self._process.pid)
                    if data == _HERE:
                        continue
                    data = data.removeprefix(_HERE)
                on_output(stream, data)
                if not data:
                    return

    async def _piece(self, pipe: Any, room: Callable[[], Any]) -> bytes:
        try:
            await room()
            return bytes(await pipe.receive_some(CHUNK))
        except trio.Cancelled:
            if self._is_left:
                return b""
            raise


def _check_startable(word: str, cwd: str | None, environment: Mapping[str, str] | None) -> None:
    """Raises OSError as starting it would: a shell between says it in words only."""
    path = (os.environ if environment is None else environment).get("PATH", os.defpath)
    places = [cwd or "."] if "/" in word else path.split(os.pathsep)
    candidates = [os.path.join(place, word) for place in places]
    if not any(shutil.which(one) for one in candidates):
        code = errno.EACCES if any(map(os.path.exists, candidates)) else errno.ENOENT
        raise OSError(code, os.strerror(code), word)


def _child_of(pid: int) -> int:
    """The process a shell waits for; the shell itself where it has ended already, or the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return pid


def _kill_all_but(leader: int) -> None:
    """SIGKILL for the rest of a process group."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != leader:
            try:
                if os.getpgid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


def failure_status(error: OSError) -> int:
    """The wait status a shell gives a command that cannot be started: 127 if there is none, else 126."""
    return (127 if isinstance(error, FileNotFoundError) else 126) << 8


def _wait_status(returncode: int) -> int:
    """A wait status from Python's form: exit codes in the high byte, signals in the low."""
    return -returncode if returncode < 0 else returncode << 8


def _ignore(_: int) -> None:
    """Nobody wants to know."""
