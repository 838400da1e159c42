"""Knows how a command of a probe is run through the service rexec, which both brokers have; nothing of what it prints.

Its own process group, an empty input, bounded output; ended by SIGTERM, then by SIGKILL, always waited for.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums

STDOUT_MAX: Final = 1 << 20
STDERR_MAX: Final = 64 << 10
#: Seconds between SIGTERM and SIGKILL.
GRACE: Final = 2.0
#: Forward stdout and stderr.
_FLAGS: Final = 3
_PIPE: Final = Path(__file__).parent / "programs" / "pipes.py"


@attrs.frozen(kw_only=True)
class Wish:
    """What is to be run: one program, or several with pipes between them."""

    programs: tuple[tuple[str, ...], ...]
    cwd: str | None = None

    def argv(self) -> list[str]:
        """One program that does it; pipes are laid by a process of ours, not by a shell."""
        if len(self.programs) == 1:
            return list(self.programs[0])
        return [sys.executable, str(_PIPE), msgspec.json.encode(self.programs).decode()]


@attrs.frozen(kw_only=True)
class Ended:
    """How it ended: its exit code or signal, what it printed, and whether that was too much."""

    code: int | None
    signum: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    is_truncated: bool = False

    @property
    def trouble(self) -> str:
        """Why its answer is none, for a person; empty if it exited by itself."""
        if self.is_truncated:
            is_errors = len(self.stderr) >= STDERR_MAX and len(self.stdout) < STDOUT_MAX
            most = f"{STDERR_MAX} bytes of errors" if is_errors else f"{STDOUT_MAX} bytes"
            return f"printed more than {most} and was killed"
        return f"killed by signal {self.signum}" if self.code is None else ""

    def last_words(self) -> str:
        """The last line of its errors."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else ""


def to_ended(status: int, stdout: bytes, stderr: bytes, is_truncated: bool) -> Ended:
    """From a wait status."""
    signum = status & 0x7F
    code = None if signum else status >> 8
    return Ended(code=code, signum=signum, stdout=stdout, stderr=stderr, is_truncated=is_truncated)


class Process:
    """A program under way through rexec: its pid, how it is ended, and that it is reaped all the same."""

    def __init__(self, handle: Handle, argv: Sequence[str], cwd: str | None) -> None:
        self.handle = handle
        self._pid = 0
        self._is_unwanted = False
        self._timer: Any = None
        # As it comes: a line a message would make a flood of short lines a flood of messages.
        opts = {"stdout_LINE_BUFFER": "false", "stderr_LINE_BUFFER": "false"}
        cmd = {"cmdline": list(argv), "env": dict(os.environ), "opts": opts, "channels": []}
        payload = {"cmd": {**cmd, "cwd": cwd or "/"}, "flags": _FLAGS}
        self._request = handle.stream("rexec.exec", payload, self._told, None, handle.rank)

    def write(self, **io: Any) -> None:
        """``data`` to its input, or ``eof``; nobody answers, and a program that does not listen is no error."""
        given = {"stream": "stdin", "rank": str(self.handle.rank), **io}
        payload = {"matchtag": self._request.matchtag, "io": given}
        self.handle.request("rexec.write", payload, nodeid=self.handle.rank)

    def end(self) -> None:
        """SIGTERM to its group, SIGKILL after the grace."""
        if not self._is_unwanted:
            self._is_unwanted = True
            if self._pid:
                self._terminate()

    def _terminate(self) -> None:
        self._kill(signal.SIGTERM)
        self._timer = self.handle.call_later(GRACE, self._kill, signal.SIGKILL)

    def _kill(self, signum: int) -> None:
        payload = {"pid": self._pid, "signum": signum}
        self.handle.request("rexec.kill", payload, _unheard, None, self.handle.rank)

    def _told(self, response: Message, _arg: None) -> None:
        if response.errnum:
            if self._timer is not None:
                self._timer.cancel()
            self.over(response)
            return
        answer = response.unpack(dict[str, Any])
        kind = answer.get("type")
        if kind == "started":
            self._pid = answer["pid"]
            if self._is_unwanted:
                self._terminate()
        elif kind == "output":
            io = answer["io"]
            data = io.get("data") or ""
            raw = base64.b64decode(data) if io.get("encoding") == "base64" else data.encode()
            self.output(io["stream"], raw)
        elif kind == "finished":
            self.finished(answer["status"])

    def output(self, stream: str, data: bytes) -> None:
        """It printed something, on stdout or stderr."""

    def finished(self, status: int) -> None:
        """Its wait status."""

    def over(self, response: Message) -> None:
        """The last answer about it; its errnum says why, if it could not be started."""


class Execution(Process):
    """One command under way; ``done`` is given an Ended, or the error with which it could not be run."""

    def __init__(self, handle: Handle, wish: Wish, done: Callable[[Any], object]) -> None:
        self._done: Callable[[Any], object] | None = done
        self._out = {"stdout": bytearray(), "stderr": bytearray()}
        self._status: int | None = None
        self._is_truncated = False
        super().__init__(handle, wish.argv(), wish.cwd)
        self.write(eof=True)

    def abandon(self) -> None:
        """Nobody waits for it any more: it is ended, and reaped all the same."""
        self._done = None
        self.end()

    def output(self, stream: str, data: bytes) -> None:
        kept, most = self._out[stream], STDOUT_MAX if stream == "stdout" else STDERR_MAX
        room = most - len(kept)
        kept += data[:room]
        if len(data) > room and not self._is_truncated:
            self._is_truncated = True
            self.end()

    def finished(self, status: int) -> None:
        self._status = status

    def over(self, response: Message) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        if self._status is None:
            text = response.payload_str or errnums.strerror(response.errnum)
            done(RequestError(response.errnum, text))
        else:
            out = self._out
            done(to_ended(self._status, bytes(out["stdout"]), bytes(out["stderr"]), self._is_truncated))


def _unheard(_response: Message, _arg: None) -> None:
    """It was gone already, or it is now."""


def words(given: Any, name: str) -> tuple[str, ...]:
    """A list of words that is not empty. Raises ValueError."""
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    if not is_list or not given or not all(isinstance(word, str) for word in given):
        raise ValueError(f"{name} must be a list of words, not {given!r:.60}")
    return tuple(given)
