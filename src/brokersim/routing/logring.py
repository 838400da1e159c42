"""Knows the log ring of one rank and its line format; not who reads it, nor the time (it is handed in).

A line is RFC 5424's form as flux-core 0.88 writes it: ``<SEVERITY*8>1 TIME RANK APPNAME PID - - text``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

EMERG, ALERT, CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = range(8)
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_TEXT_MAX = 4096


def format_line(level: int, time: float, rank: int, name: str, text: str) -> str:
    """One log line without its end; control characters in the text become blanks, so a line stays one line."""
    stamp = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"<{level * 8}>1 {stamp} {rank} {name} - - - {one_line(text[:_TEXT_MAX]).strip()}"


def one_line(text: str) -> str:
    """Without what would begin another line, or speak to the terminal it is shown on: that becomes blanks."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


class LogRing:
    """The last ``size`` lines of one rank, and who follows them."""

    __slots__ = ("_lines", "_size", "count", "followers", "rank")

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self._size = size
        #: Lines appended since the start.
        self.count = 0
        self._lines: deque[str] | None = None  # most ranks of a large instance never log
        #: Called with each new line.
        self.followers: list[Callable[[str], object]] = []

    def append(self, line: str) -> None:
        """Keep a finished line and show it to the followers."""
        self.count += 1
        if self._lines is None:
            self._lines = deque(maxlen=self._size)
        self._lines.append(line)
        for follow in list(self.followers):
            follow(line)

    def lines(self) -> list[str]:
        """The lines kept, oldest first."""
        return list(self._lines or ())

    def clear(self) -> None:
        self._lines = None
