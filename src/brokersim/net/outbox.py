"""Knows how frames leave by one non-blocking socket: at once what it takes, the rest by a task. Not what they say.

What becomes of a peer beyond the limits below is for whoever owns it to say: a client is disconnected, a module ended.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

import trio

from brokersim.reactor.loop import Reactor

#: Bytes of unread output at which whoever can wait for the reader does: a command's output.
FULL_AT = 1 << 20
#: At which reading from the same peer stops, too. So far it is read on: libflux writes without reading, so a peer that
#: sends many requests in one go reads no answer before all are sent. It may owe that much reading.
PAUSE_AT = 1 << 25
#: Real seconds after which a peer that reads nothing is given up, at the limit above and beyond the next one; at the
#: last limit any is. Events, streams and requests to a service come to it however little it asks.
STALL = 10.0
DROP_AT = 1 << 26
DROP_ALWAYS = 1 << 28
#: Bytes that are joined for one write: what a Unix socket takes at once. A long backlog is not copied for each write.
_CHUNK = 1 << 18
#: Real seconds between two looks at a reader that has not moved.
_LOOK = 0.1


class Outbox:
    """What waits to be written, ``size`` bytes of it. The runner calls ``flush`` after each batch of its loop.

    ``moved()``, if given, is told of each attempt to write, with the bytes the socket took; ``broke()`` that nobody
    reads there.
    ``left()``, if given, is told once, when something is first left for the writer task: most peers never need one.
    """

    __slots__ = (
        "_broke",
        "_frames",
        "_is_left",
        "_left",
        "_moved",
        "_reactor",
        "_socket",
        "_tell_left",
        "_took_at",
        "_written",
        "is_closed",
        "size",
    )

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        moved: Callable[[int], object] | None,
        broke: Callable[[], object],
        left: Callable[[], object] | None = None,
    ) -> None:
        self._socket = sock
        self._reactor = reactor
        self._moved = moved
        self._broke = broke
        self._tell_left = left
        self._frames: deque[bytes | memoryview] = deque()
        self._took_at = 0.0  # when the reader last took something, 0 while nothing waits for it
        self.size = 0
        self.is_closed = False
        self._is_left = False  # output was left for the writer task
        # What it and others wait for; most peers never need either.
        self._left: trio.Event | None = None
        self._written: trio.Event | None = None  # some of it went out

    def __len__(self) -> int:
        """Frames, what is left of one included."""
        return len(self._frames)

    def add(self, frame: bytes) -> None:
        """One more, to be written when the loop flushes."""
        if not self._frames:
            self._reactor.after_batch.append(self.flush)
        self._frames.append(frame)
        self.size += len(frame)

    def flush(self) -> None:
        """Write what is queued; what the socket does not take waits for the writer task."""
        while self._frames and not self.is_closed:
            data = self._next()
            try:
                sent = self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broke()
                return
            self.size -= sent
            if sent < len(data):
                self._wait(data, sent)
            if self._moved is not None:
                self._moved(sent)
            if sent and self._written is not None:
                self._written.set()
                self._written = None
            if sent < len(data):
                return
        self._took_at = 0.0

    def _next(self) -> bytes | memoryview:
        """Frames from the head, joined up to a chunk; at least one."""
        frames = self._frames
        first = frames.popleft()
        if not frames:
            return first
        if self.size <= _CHUNK:
            data = b"".join((first, *frames))
            frames.clear()
            return data
        parts, size = [first], len(first)
        while frames and size + len(frames[0]) <= _CHUNK:
            parts.append(frames.popleft())
            size += len(parts[-1])
        return b"".join(parts) if len(parts) > 1 else first

    def _wait(self, data: bytes | memoryview, sent: int) -> None:
        """The socket is full: the rest goes first, when the writer task finds room."""
        self._frames.appendleft(memoryview(data)[sent:])
        if sent or not self._took_at:
            self._took_at = time.monotonic()
        self._is_left = True
        if self._left is not None:
            self._left.set()
        if self._tell_left is not None:
            tell, self._tell_left = self._tell_left, None
            tell()

    def stalled(self) -> float:
        """Real seconds since the reader last took anything, while something waits for it."""
        return time.monotonic() - self._took_at if self._took_at else 0.0

    async def write(self) -> None:
        """The writer task: until ``close``."""
        self.flush()
        while not self.is_closed:
            if not self._is_left:
                self._left = trio.Event()
                await self._left.wait()
            self._is_left = False
            while self._frames and not self.is_closed:
                await trio.lowlevel.wait_writable(self._socket)
                self.flush()

    async def room(self, limit: int) -> None:
        """Wait while more than ``limit`` bytes lie here; any number of tasks may."""
        while self.size > limit and not self.is_closed:
            if self._written is None:
                self._written = trio.Event()
            await self._written.wait()

    async def room_before(self, limit: int, patience: float) -> bool:
        """Wait for room like ``room``; False if the reader takes nothing for ``patience`` real seconds.

        Of real time: the reader is a process, whatever clock the instance has.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, patience, nursery.cancel_scope)
            await self.room(limit)
            nursery.cancel_scope.cancel()
        return self.is_closed or self.size <= limit

    async def _watch(self, patience: float, scope: trio.CancelScope) -> None:
        while self.stalled() < patience:
            await trio.to_thread.run_sync(time.sleep, _LOOK, abandon_on_cancel=True)
        scope.cancel()

    def close(self) -> None:
        """Nothing leaves any more, and nobody waits."""
        self.is_closed = True
        self._frames.clear()
        self.size = 0
        for event in (self._written, self._left):
            if event is not None:
                event.set()
