"""Knows what a statsd server asks of an output, and a bounded queue in front of slow ones; not where flushes go."""

from __future__ import annotations

from collections import deque
from typing import Protocol, runtime_checkable

import trio

from brokersim.statsd.flushed import Flush
from brokersim.statsd_server.health import OutputStatistics

#: A minute of flushes at 1 s, six seconds at 0.1 s; each may hold some megabytes.
QUEUE_LIMIT = 60


class Output(Protocol):
    """Takes flushes. ``offer`` never waits; ``run`` delivers until ``close`` was called and all is delivered."""

    name: str
    target: str

    def offer(self, flush: Flush) -> None: ...

    async def run(self) -> None: ...

    def close(self) -> None: ...

    def statistics(self) -> OutputStatistics: ...


@runtime_checkable
class PacketOutput(Protocol):
    """An output that wants what came in, packet by packet. ``packet`` never waits and never raises."""

    def packet(self, datagram: bytes) -> None: ...


class QueuedOutput:
    """An output that writes whole flushes in its own time; the oldest is dropped, and counted, once ``limit`` wait.

    Subclasses write in ``write_all``; an OSError there costs those flushes and is reported.
    """

    name = "queued"
    #: What ``write_all`` may fail with without being broken.
    faults: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, target: str, limit: int = QUEUE_LIMIT) -> None:
        self.target = target
        self._limit = limit
        self._queue: deque[Flush] = deque()
        self._wake = trio.Event()
        self._is_closed = False
        self._state = "idle"
        self._sent = self._dropped = self._writing = 0
        self._last_error: str | None = None
        #: A write was cancelled half-way; its thread may go on with it.
        self.was_abandoned = False

    def offer(self, flush: Flush) -> None:
        if self._is_closed:
            return
        if len(self._queue) + self._writing >= self._limit:
            self._dropped += 1
            if not self._queue:
                return
            self._queue.popleft()
        self._queue.append(flush)
        self._wake.set()

    def close(self) -> None:
        self._is_closed = True
        self._wake.set()

    async def run(self) -> None:
        try:
            while self._queue or not self._is_closed:
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                await self._write_queue()
        finally:
            self.was_abandoned = self._writing > 0
            self._dropped += len(self._queue) + self._writing
            self._queue.clear()
            self._writing = 0
            self._state = "closed"
            self.end()

    async def _write_queue(self) -> None:
        flushes = list(self._queue)
        self._queue.clear()
        self._writing = len(flushes)
        try:
            await self.write_all(flushes)
        except self.faults as error:
            self._note_failure(error, len(flushes))
        else:
            self._note_written(len(flushes))
        self._writing = 0

    def _note_failure(self, error: Exception, flushes: int) -> None:
        self._state = "failed"
        self._last_error = str(error)
        self._dropped += flushes

    def _note_written(self, flushes: int) -> None:
        self._state = "connected"
        self._sent += flushes

    async def write_all(self, flushes: list[Flush]) -> None:
        """Writes flushes in order, as one piece."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing more will be written."""

    def statistics(self) -> OutputStatistics:
        return OutputStatistics(
            name=self.name,
            target=self.target,
            state=self._state,
            unit="flushes",
            queued=len(self._queue) + self._writing,
            limit=self._limit,
            sent=self._sent,
            dropped=self._dropped,
            last_error=self._last_error,
        )
