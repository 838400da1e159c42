"""Knows how frames leave by one non-blocking socket: at once what it takes, the rest by a task. Not what they say.

How much may wait is for whoever owns it to say: a client and a module's process have other limits.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from brokersim.reactor.loop import Reactor


class Outbox:
    """What waits to be written, ``size`` bytes of it. The runner calls ``flush`` after each batch of its loop.

    ``moved()`` is told of each attempt to write, with the bytes the socket took; ``broke()`` that nobody reads there.
    """

    __slots__ = (
        "_broke",
        "_frames",
        "_left",
        "_moved",
        "_reactor",
        "_socket",
        "_written",
        "is_closed",
        "size",
    )

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        moved: Callable[[int], object],
        broke: Callable[[], object],
    ) -> None:
        self._socket = sock
        self._reactor = reactor
        self._moved = moved
        self._broke = broke
        self._frames: list[bytes] = []
        self.size = 0
        self.is_closed = False
        self._left = trio.Event()  # output was left for the writer task
        self._written = trio.Event()  # some of it went out

    def __len__(self) -> int:
        """Frames, what is left of one included."""
        return len(self._frames)

    def add(self, frame: bytes) -> None:
        """One more, to be written when the loop flushes."""
        if not self._frames:
            self._reactor.touched.append(self)
        self._frames.append(frame)
        self.size += len(frame)

    def flush(self) -> None:
        """Write what is queued with one call; what the socket does not take waits for the writer task."""
        frames = self._frames
        if self.is_closed or not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            sent = self._socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broke()
            return
        self.size = len(data) - sent
        self._frames = [data[sent:]] if self.size else []
        self._moved(sent)
        if sent:
            self._written.set()
        if self._frames:
            self._left.set()

    async def write(self) -> None:
        """The writer task: until ``close``."""
        self.flush()
        while not self.is_closed:
            await self._left.wait()
            self._left = trio.Event()
            while self._frames and not self.is_closed:
                await trio.lowlevel.wait_writable(self._socket)
                self.flush()

    async def room(self, limit: int) -> None:
        """Wait while more than ``limit`` bytes lie here; any number of tasks may."""
        while self.size > limit and not self.is_closed:
            if self._written.is_set():
                self._written = trio.Event()
            await self._written.wait()

    def close(self) -> None:
        """Nothing leaves any more, and nobody waits."""
        self.is_closed = True
        self._frames.clear()
        self.size = 0
        self._written.set()
        self._left.set()
