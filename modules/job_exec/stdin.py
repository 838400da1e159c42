"""Knows a job's standard input: which tasks still take some, and what has come for them; not how it travels."""

from __future__ import annotations

import base64
import binascii
import errno
from collections.abc import Callable
from typing import Any, Final

import msgspec

from brokersim.brokermod import RequestError, errnums, ranks

#: Bytes that wait for a task to read them; flux-core's shell has a buffer of that size for each.
UNREAD_MAX: Final = 4 << 20
ALL: Final = "all"

#: Given (task, data, is the end): the command of that task.
Feed = Callable[[int, bytes, bool], Any]


class Io(msgspec.Struct, omit_defaults=True):
    """An I/O object (RFC 24): payload of SERVICE.stdin and context of a data event in guest.input."""

    stream: str
    rank: str
    data: str | None = None
    encoding: str | None = None
    eof: bool = False

    def bytes(self) -> bytes:
        """The data. Raises RequestError(EPROTO)."""
        if self.data is None:
            return b""
        if self.encoding != "base64":
            return self.data.encode()
        try:
            return base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(errnums.EPROTO, "stdin: data is not base64") from None


class Stdin:
    """The input of ``ntasks`` tasks. What comes before they run is kept for them."""

    __slots__ = ("_early", "_feed", "_ntasks", "_open", "_unread")

    def __init__(self, ntasks: int) -> None:
        self._ntasks = ntasks
        self._open: set[int] | None = None
        self._feed: Feed | None = None
        self._early: list[tuple[int, bytes, bool]] = []
        self._unread: dict[int, int] = {}

    def accept(self, io: Io) -> dict[str, Any]:
        """Check a request; the context of its event. Raises RequestError: EPIPE for tasks whose input has ended."""
        if self._open is None:
            self._open = set(range(self._ntasks))
        if not self._open:
            raise RequestError(errno.EPIPE, "stdin: it has ended for all tasks")
        wanted = self._open if io.rank == ALL else self._tasks(io.rank)
        if not wanted <= self._open:
            raise RequestError(
                errno.EPIPE, f"stdin: tasks {ranks.format_ranks(wanted - self._open)} take no more"
            )
        size = len(io.bytes())
        if any(self._unread.get(task, 0) + size > UNREAD_MAX for task in wanted):
            raise RequestError(errnums.ENOSPC, f"stdin: a task has {UNREAD_MAX} bytes yet to read")
        for task in wanted:
            self._unread[task] = self._unread.get(task, 0) + size
        if io.eof:
            self._open -= set(wanted)
        context: dict[str, Any] = msgspec.to_builtins(io)
        return context

    def _tasks(self, text: str) -> set[int]:
        try:
            return set(ranks.parse_ranks(text, self._ntasks))
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"stdin: {error}") from None

    def deliver(self, io: Io) -> None:
        """Hand out what stands in guest.input."""
        data = io.bytes()
        for task in range(self._ntasks) if io.rank == ALL else self._tasks(io.rank):
            if self._feed is None:
                self._early.append((task, data, io.eof))
            else:
                self._feed(task, data, io.eof)

    def attach(self, feed: Feed) -> None:
        """The tasks run."""
        self._feed = feed
        early, self._early = self._early, []
        for piece in early:
            feed(*piece)

    def detach(self) -> None:
        """They run no more."""
        self._feed = None

    def taken(self, task: int, size: int) -> None:
        """A task has read some."""
        self._unread[task] = self._unread.get(task, 0) - size
