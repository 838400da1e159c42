"""Knows how the subprocess service of a rank runs one shell command: its output in lines, its time limit, its end."""

from __future__ import annotations

import base64
import errno
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from brokersim.brokermod import Handle, Message, errnums, process

from .action import ShellCommand

#: Output kept of one run, in bytes and lines; what is beyond is read and dropped, so that the command can go on.
OUTPUT_MAX: Final = 65536
LINES_MAX: Final = 200
#: Seconds between the signals that end a command beyond its time limit.
GRACE: Final = 1.0
#: Flags of rexec.exec: tell of stdout and stderr.
_OUTPUT: Final = 3


class Output:
    """Cuts a stream into lines for ``on_line`` until the bounds are reached, then says so once."""

    def __init__(self, on_line: Callable[[str], Any]) -> None:
        self._on_line = on_line
        self._rest = b""
        self._bytes = 0
        self._lines = 0

    def feed(self, data: bytes) -> None:
        """Take what came."""
        if self._is_full():
            return
        self._bytes += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._is_full():
                self._line(line)
        if self._is_full():
            self._rest = b""
            self._on_line("… further output is dropped")

    def close(self) -> None:
        """The stream has ended; a line without newline counts."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def _line(self, line: bytes) -> None:
        self._lines += 1
        self._on_line(line.decode(errors="replace"))

    def _is_full(self) -> bool:
        return self._lines >= LINES_MAX or self._bytes >= OUTPUT_MAX


@attrs.frozen(kw_only=True)
class Told:
    """Who is told of a run: that it has begun (pid), each line of output (stream, text), and how it ended.

    The end is a wait status and 0, or -1 and the errnum of what kept it from running.
    """

    on_pid: Callable[[int], object]
    on_line: Callable[[str, str], object]
    on_end: Callable[[int, int], object]


class ShellRun:
    """One run of one command by ``rexec.exec`` of a rank. Virtual time stands still while the command lives.

    The time limit is in real seconds, whatever clock the instance runs on: the command is real.
    """

    def __init__(self, handle: Handle, command: ShellCommand, rank: int, timeout: float, told: Told) -> None:
        self._handle = handle
        self._rank = rank
        self._told = told
        self._outputs = {
            stream: Output(lambda line, stream=stream: told.on_line(stream, line))  # type: ignore[misc]  # its own stream
            for stream in ("stdout", "stderr")
        }
        self._pid = 0
        self._status = -1
        self._waiting_signal = 0
        self._limit = trio.CancelScope()
        self._hold = process.ClockHold(handle.hold_clock)
        self.timed_out = False
        if rank == handle.rank:
            self._hold.take()  # what another rank says takes its time on the links; the service holds the clock there
        cmd: dict[str, Any] = {
            # Nobody gives it any input; the service would leave it a pipe.
            "cmdline": ["/bin/sh", "-c", f"exec </dev/null\n{command.text}"],
            "env": command.environment or {},
            "opts": {},
            "channels": [],
        }
        if command.cwd is not None:
            cmd["cwd"] = command.cwd
        handle.stream(
            "rexec.exec", {"cmd": cmd, "flags": _OUTPUT, "local_flags": 0}, self._answered, nodeid=rank
        )
        if timeout >= 0:
            handle.start_task(self._expire, timeout)

    def kill(self, signum: int) -> None:
        """Signal the whole group; harmless when it is gone, kept when it isn't there yet."""
        if not self._pid:
            self._waiting_signal = signum
        elif self._status < 0:
            wish = {"pid": self._pid, "signum": signum}
            self._handle.request("rexec.kill", wish, nodeid=self._rank)

    def _answered(self, response: Message, _arg: None) -> None:
        if response.errnum:
            self._over(0 if response.errnum == errnums.ENODATA else response.errnum)
            return
        answer = response.payload
        kind = answer["type"]
        if kind == "started":
            self._pid = answer["pid"]
            self._told.on_pid(self._pid)
            if self._waiting_signal:
                self.kill(self._waiting_signal)
        elif kind == "output":
            self._take(answer["io"])
        elif kind == "finished":
            self._status = answer["status"]

    def _take(self, io: dict[str, Any]) -> None:
        output = self._outputs[io["stream"]]
        text = io.get("data")
        if text is not None:
            output.feed(base64.b64decode(text) if io.get("encoding") == "base64" else text.encode())
        if io.get("eof"):
            output.close()

    def _over(self, errnum: int) -> None:
        self._hold.release()
        self._limit.cancel()
        self._told.on_end(self._status, errnum if errnum or self._status >= 0 else errno.EIO)

    async def _expire(self, timeout: float) -> None:
        # A thread's wait is real time; trio's own clock may be virtual, and held while the command runs.
        with self._limit:
            await trio.to_thread.run_sync(threading.Event().wait, timeout, abandon_on_cancel=True)
            self.timed_out = True
            self.kill(signal.SIGTERM)
            await trio.to_thread.run_sync(threading.Event().wait, GRACE, abandon_on_cancel=True)
            self.kill(signal.SIGKILL)
