"""Knows how to run one shell command under trio, with its output in lines and a time limit; not who asked for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import trio

from brokersim.brokermod import process

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
        self._timeout = timeout
        self._on_pid: Callable[[int], Any] = lambda _: None
        self._command = process.Command(
            ("/bin/sh", "-c", command.text),
            command.cwd,
            {**(command.environment or os.environ), **variables},
            stdin=os.devnull,
            on_start=lambda pid: self._on_pid(pid),
        )
        self.timed_out = False

    def kill(self, signum: int) -> None:
        """Signal the whole group; harmless when it is gone, kept when it isn't there yet."""
        self._command.kill(signum)

    async def run(self, on_pid: Callable[[int], Any], on_line: Callable[[str, str], Any]) -> int:
        """Its wait status. Raises OSError if it cannot be started.

        ``on_pid(pid)`` is called when it runs, ``on_line(stream, text)`` for each line of output.

        The time limit is in real seconds, whatever clock the instance runs on: the command is real.
        """
        self._on_pid = on_pid
        outputs = {stream: Output(partial(on_line, stream)) for stream in ("stdout", "stderr")}

        def take(stream: str, data: bytes) -> None:
            if data:
                outputs[stream].feed(data)
            else:
                outputs[stream].close()

        found: int | OSError
        async with trio.open_nursery() as nursery:
            if self._timeout >= 0:
                nursery.start_soon(self._expire)
            try:
                found = await self._command.run(take, _room)
            except OSError as error:  # raised behind the nursery, which would wrap it
                found = error
            nursery.cancel_scope.cancel()
        if isinstance(found, OSError):
            raise found
        return found

    async def _expire(self) -> None:
        # A thread's wait is real time; trio's own clock may be virtual, and held while the command runs.
        await trio.to_thread.run_sync(threading.Event().wait, self._timeout, abandon_on_cancel=True)
        self.timed_out = True
        self.kill(signal.SIGTERM)
        await trio.to_thread.run_sync(threading.Event().wait, 1.0, abandon_on_cancel=True)
        self.kill(signal.SIGKILL)


async def _room() -> None:
    """What is beyond the bounds is dropped, so there is room always."""
