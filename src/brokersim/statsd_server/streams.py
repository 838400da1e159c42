"""Knows statsd's lines over TCP: splits what clients send, bounds what they leave unfinished; not what lines mean."""

from __future__ import annotations

import math
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import trio

from brokersim.net.doorway import Doorway
from brokersim.statsd.flushed import BadLine
from brokersim.statsd.health import BadLineRing
from brokersim.statsd_server.browsers import is_browsers
from brokersim.statsd_server.health import TcpStatistics
from brokersim.statsd_server.sockets import peer_text

#: As long as a packet may be.
MAX_LINE = 65_535
_READ = 65_536
#: A peer that vanished is noticed after idle + count × interval = 90 s without any traffic.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}

FeedLines = Callable[[list[bytes], str | None, float], None]


class LineStreams:
    """The TCP clients of a statsd server.

    A clean end finishes the last line; a reset, a line that is not finished within ``stall_s`` (s) and one of more
    than 65,535 bytes are bad lines (reasons cut_line, unfinished_line, line_too_long), and the middle one ends its
    connection. So does what a browser says first (http_request): the page behind it chose the lines that follow.
    """

    def __init__(
        self,
        feed_lines: FeedLines,
        now: Callable[[], float],
        *,
        limit: int,
        stall_s: float,
        kept: int,
        on_error: Callable[[str], object],
    ) -> None:
        self._doorway = Doorway("tcp", on_error)
        self.feed_lines = feed_lines
        self.now = now
        self.stall_s = stall_s
        self._limit = limit
        self._clients = self._accepted = self._refused = self._stalled = 0
        self.bad_by_reason: Counter[str] = Counter()
        self._ring = BadLineRing(size=kept)

    def statistics(self) -> TcpStatistics:
        return TcpStatistics(
            clients=self._clients,
            accepted=self._accepted,
            refused=self._refused,
            stalled=self._stalled,
        )

    def bad_lines(self) -> tuple[BadLine, ...]:
        """The last bad lines, oldest first."""
        return self._ring.snapshot()

    def note_bad(self, reason: str, line: bytes, sender: str | None, t: float) -> None:
        self.bad_by_reason[reason] += 1
        self._ring.add(reason, line, sender, t)

    async def serve(self, sock: socket.socket) -> None:
        """Accepts clients on a listening socket until cancelled."""
        await self._doorway.serve(sock, self._client)

    async def _client(self, stream: trio.SocketStream) -> None:
        if self._clients >= self._limit:
            self._refused += 1
            return
        self._clients += 1
        self._accepted += 1
        try:
            keep_alive(stream.socket)
            await self._read(stream, _Lines(self, sender_of(stream), trio.current_time))
        finally:
            self._clients -= 1

    async def _read(self, stream: trio.SocketStream, lines: _Lines) -> None:
        while True:
            with trio.CancelScope(deadline=lines.deadline) as scope:
                try:
                    data = await stream.receive_some(_READ)
                except trio.BrokenResourceError:
                    lines.end("cut_line")
                    return
            if scope.cancelled_caught:
                self._stalled += 1
                lines.end("unfinished_line")
                return
            if not data:
                lines.end()
                return
            if not lines.add(bytes(data)):
                return


class _Lines:
    """One client's unfinished line."""

    def __init__(self, streams: LineStreams, sender: str | None, clock: Callable[[], float]) -> None:
        self._streams = streams
        self._sender = sender
        self._now = streams.now
        self._clock = clock
        self._feed_lines = streams.feed_lines
        self._rest = bytearray()
        self._is_skipping = False
        self._is_new = True
        #: When the unfinished line must be finished, on the clock.
        self.deadline = math.inf

    def add(self, data: bytes) -> bool:
        """Takes in what came; False if no more is wanted from there."""
        if self._is_new and self._is_browsers(data):
            return False
        t = self._now()
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            lines = head.split(b"\n")
            # The end of a line that was too long is none.
            lines[:1] = [] if self._is_skipping else [bytes(self._rest) + lines[0]]
            self._feed(lines, t)
            self._is_skipping = False
            self._rest.clear()
        if not self._is_skipping:
            self._rest += tail
            if len(self._rest) > MAX_LINE:
                self._bad("line_too_long", bytes(self._rest), t)
                self._rest.clear()
                self._is_skipping = True
        if not self._rest and not self._is_skipping:
            self.deadline = math.inf
        elif newline or self.deadline == math.inf:
            self.deadline = self._clock() + self._streams.stall_s
        return True

    def _is_browsers(self, data: bytes) -> bool:
        """Of a new client, whose first line may come in pieces."""
        line, newline, _ = (bytes(self._rest) + data).partition(b"\n")
        self._is_new = not newline and len(line) <= MAX_LINE
        if self._is_new or not is_browsers(line, is_cut=not newline):
            return False
        self._bad("http_request", line[:MAX_LINE], self._now())
        return True

    def _feed(self, lines: list[bytes], t: float) -> None:
        """Of what came together only the first line can be too long: no more is read at once."""
        if lines and len(lines[0]) > MAX_LINE:
            self._bad("line_too_long", lines.pop(0), t)
        if lines:
            self._feed_lines(lines, self._sender, t)

    def end(self, fault: str | None = None) -> None:
        """The connection is over; ``fault`` is what that makes of an unfinished line."""
        t = self._now()
        if self._rest and fault is not None:
            self._bad(fault, bytes(self._rest), t)
        elif self._rest:
            self._feed_lines([bytes(self._rest)], self._sender, t)

    def _bad(self, reason: str, line: bytes, t: float) -> None:
        self._streams.note_bad(reason, line, self._sender, t)


def keep_alive(sock: trio.socket.SocketType) -> None:
    """Lets the kernel find out about peers that went without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def sender_of(stream: trio.SocketStream) -> str | None:
    """Who is at the other end, None if it is gone already."""
    with suppress(OSError):
        return peer_text(stream.socket.getpeername())
    return None
