"""Knows how to run one shell command under trio, with its output in lines and a time limit; not who asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import trio

from .action import ShellCommand

#: Output kept of one run, in bytes and lines; what is beyond is read and dropped, so that the command can go on.
OUTPUT_MAX: Final = 65536
LINES_MAX: Final = 200


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

    def _line(self, line: bytes) -> None:
        self._lines += 1
        self._on_line(line.decode(errors="replace"))

    def _is_full(self) -> bool:
        return self._lines >= LINES_MAX or self._bytes >= OUTPUT_MAX


class ShellRun:
    """One run, in a process group of its own that never outlives it."""

    def __init__(self, command: ShellCommand, timeout: float, variables: Mapping[str, str]) -> None:
        self._command = command
        self._environment = {**(command.environment or os.environ), **variables}
        self._timeout = timeout
        self._process: trio.Process | None = None
        self._waiting_signal = 0
        self.timed_out = False

    def kill(self, signum: int) -> None:
        """Signal the whole group; harmless when it is gone, kept when it isn't there yet."""
        if self._process is None:
            self._waiting_signal = signum
            return
        try:
            os.killpg(self._process.pid, signum)
        except (ProcessLookupError, PermissionError):
            pass

    async def run(self, on_pid: Callable[[int], Any], on_line: Callable[[str, str], Any]) -> int:
        """Its wait status. Raises OSError if it cannot be started.

        ``on_pid(pid)`` is called when it runs, ``on_line(stream, text)`` for each line of output.

        The time limit is in real seconds, whatever clock the instance runs on: the command is real.
        """
        self._process = process = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", self._command.text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._command.cwd,
            env=self._environment,
            start_new_session=True,
        )
        on_pid(process.pid)
        try:
            if self._waiting_signal:
                self.kill(self._waiting_signal)
            async with trio.open_nursery() as nursery:
                for stream, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
                    nursery.start_soon(_read, pipe, Output(partial(on_line, stream)))
                await self._wait(process)
                self.kill(signal.SIGKILL)  # what it left behind in its group
        finally:
            self.kill(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
        status = process.returncode or 0
        return -status if status < 0 else status << 8

    async def _wait(self, process: trio.Process) -> None:
        if self._timeout < 0:
            await process.wait()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            await process.wait()
            nursery.cancel_scope.cancel()

    async def _expire(self) -> None:
        # A thread's wait is real time; trio's own clock may be virtual, and held while the command runs.
        await trio.to_thread.run_sync(threading.Event().wait, self._timeout, abandon_on_cancel=True)
        self.timed_out = True
        self.kill(signal.SIGTERM)
        await trio.to_thread.run_sync(threading.Event().wait, 1.0, abandon_on_cancel=True)
        self.kill(signal.SIGKILL)


async def _read(pipe: Any, output: Output) -> None:
    async with pipe:
        while data := await pipe.receive_some(65536):
            output.feed(bytes(data))
    output.close()
