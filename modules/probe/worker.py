"""Knows a program that lives as long as a measurement and answers a line whenever it gets a newline; not what is in it.

Whatever it does instead ends nothing but itself: it is killed when it floods, and when nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import Handle, Message, errnums

from .execution import STDERR_MAX, Ended, Process, Wish, to_ended

#: Bytes of one line, and of what it prints without being asked.
LINE_MAX: Final = 1 << 20


class WorkerGone(Exception):
    """It ended, or was ended, instead of answering."""


class Worker(Process):
    """One such program. ``ask`` is for one at a time; ``has_ended`` once it will not answer any more."""

    def __init__(self, handle: Handle, wish: Wish) -> None:
        self._waiting: Callable[[Any], object] | None = None
        self._line = bytearray()
        self._unasked = 0
        self._errors = bytearray()
        self._status: int | None = None
        #: Why it ended; empty if that was our wish.
        self.trouble = ""
        self.has_ended = False
        super().__init__(handle, wish.argv(), wish.cwd)

    def ask(self, then: Callable[[Any], object], line: str = "\n") -> None:
        """A newline to it, or another line; ``then`` is given its next line, or a WorkerGone."""
        assert not self.has_ended
        self._waiting = then
        self._line.clear()
        self._unasked = 0
        self.write(data=line)

    def end(self) -> None:
        self._waiting = None
        self.has_ended = True
        super().end()

    def output(self, stream: str, data: bytes) -> None:
        if stream != "stdout":
            self._errors += data[: STDERR_MAX - len(self._errors)]
            return
        if self._waiting is None:
            self._unasked += len(data)
        else:
            line, newline, rest = data.partition(b"\n")
            self._line += line
            self._unasked += len(rest)
            if newline:
                self._tell(bytes(self._line))
        if len(self._line) > LINE_MAX or self._unasked > LINE_MAX:
            self._flooded()

    def _flooded(self) -> None:
        what = "a line of" if len(self._line) > LINE_MAX else "without being asked"
        self._line.clear()
        self._unasked = 0
        self._gone(f"it printed {what} more than {LINE_MAX} bytes and was killed")
        super().end()

    def finished(self, status: int) -> None:
        self._status = status

    def over(self, response: Message) -> None:
        if self._status is None:
            self._gone(response.payload_str or errnums.strerror(response.errnum))
        else:
            self._gone(self._end_of_it())

    def _gone(self, trouble: str) -> None:
        """Told to who waits for it, else to who asks next; once, and not if it is as we wished."""
        if self.has_ended:
            return
        self.has_ended = True
        if self._waiting is None:
            self.trouble = trouble
        else:
            self._tell(WorkerGone(trouble))

    def _end_of_it(self) -> str:
        ended = (
            Ended(code=None)
            if self._status is None
            else to_ended(self._status, b"", bytes(self._errors), False)
        )
        how = ended.trouble or f"exit code {ended.code}"
        words = ended.last_words()
        return f"it ended: {how}{f': {words}' if words else ''}"

    def _tell(self, value: Any) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(value)
