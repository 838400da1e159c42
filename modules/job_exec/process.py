"""Knows how one real command is run under trio: its own process group, output in pieces, signals; not jobs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import trio

#: Bytes taken at a time from a pipe: a Linux pipe's own size.
CHUNK = 65536
#: Output not written to the KVS yet; beyond it the command has to wait.
BACKLOG_MAX = 1 << 20

OnOutput = Callable[[str, bytes], Any]


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


class Command:
    """One run of one command. Output goes to ``on_output(stream, data)``, ``b""`` at the end of a stream."""

    def __init__(self, words: Sequence[str], cwd: str | None, environment: Mapping[str, str] | None) -> None:
        self._words = words
        self._cwd = cwd
        self._environment = environment
        self._process: trio.Process | None = None
        self._waiting_signal = 0

    async def run(self, on_output: OnOutput, room: Callable[[], Any]) -> int:
        """Run it to its end; its wait status (127 << 8 if there is no such command, 126 << 8 if it can't run).

        ``room()`` is awaited before each piece of output is taken. Cancelled, it kills the whole group.
        """
        try:
            process = await self._open()
        except OSError as error:
            on_output("stderr", f"{self._words[0]}: {error.strerror}\n".encode())
            return (127 if isinstance(error, FileNotFoundError) else 126) << 8
        self._process = process
        try:
            if self._waiting_signal:
                self.kill(self._waiting_signal)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, process.stdout, "stdout", on_output, room)
                nursery.start_soon(self._read, process.stderr, "stderr", on_output, room)
                await process.wait()
                # Whatever it left behind in its group would keep the pipes open, and outlive the job.
                self.kill(signal.SIGKILL)
        finally:
            self.kill(signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
        return _wait_status(process.returncode or 0)

    def kill(self, signum: int) -> None:
        """Send a signal to the whole group; harmless when it is gone, kept when it isn't there yet."""
        if self._process is None:
            self._waiting_signal = signum
            return
        try:
            os.killpg(self._process.pid, signum)
        except (ProcessLookupError, PermissionError):
            pass

    async def _open(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            list(self._words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._cwd,
            env=None if self._environment is None else dict(self._environment),
            start_new_session=True,
        )

    async def _read(self, pipe: Any, stream: str, on_output: OnOutput, room: Callable[[], Any]) -> None:
        async with pipe:
            while True:
                await room()
                data = await pipe.receive_some(CHUNK)
                if not data:
                    return
                on_output(stream, bytes(data))


def _wait_status(returncode: int) -> int:
    """A wait status from Python's form: exit codes in the high byte, signals in the low."""
    return -returncode if returncode < 0 else returncode << 8
