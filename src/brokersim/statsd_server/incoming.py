"""Knows the way into a statsd server: packets, lines and tables reach the aggregator, and whoever watches lines.

Doesn't know what lines mean, nor when an interval ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.batch import Batch
from brokersim.statsd.plain import Packet
from brokersim.statsd.reading.judged import SenderOf
from brokersim.statsd_server.flush_gauge import FlushGauge
from brokersim.statsd_server.settings import RECEIVE_BUFFER
from brokersim.statsd_server.sockets import DatagramSocket
from brokersim.statsd_server.wiretap import Wiretap

if TYPE_CHECKING:
    from brokersim.native._lines import Datagrams

#: Turns of each socket right before a flush: what arrived before it belongs to it, but a flood must not put it off.
_TURNS_BEFORE_FLUSH = 64


class Incoming:
    """A datagram or line that hits a fault of ours is lost alone, and told to ``note_fault``.

    ``now`` is the server's time (s).
    """

    def __init__(
        self,
        aggregator: Aggregator,
        wiretap: Wiretap,
        gauge: FlushGauge,
        now: Callable[[], float],
        note_fault: Callable[[str], object],
    ) -> None:
        #: Outputs that get every packet as it came.
        self.copies: Sequence[Callable[[bytes], object]] = ()
        self.sockets: list[DatagramSocket] = []
        self._aggregator = aggregator
        self._wiretap = wiretap
        self._gauge = gauge
        self._now = now
        self._note_fault = note_fault

    def feed(self, datagram: bytes, sender: str | None = None) -> None:
        """Takes in a packet from within the process."""
        t = self._now()
        try:
            self._aggregator.feed(datagram, sender, t)
        except Exception as error:
            self._note_lost(sender, error)
        if self._is_watched:
            self._copy(datagram, sender, t)

    def take(self, batch: Batch, sender: str | None = None) -> None:
        """Takes in a client's tables, without the way over text unless somebody watches lines."""
        if self._is_watched:
            for line in batch.lines():
                self._copy(line, sender, self._now())
        self._aggregator.take(batch, sender, self._now())

    def feed_lines(self, lines: list[bytes], sender: str | None, t: float) -> None:
        """Takes in whole lines of a stream."""
        try:
            self._aggregator.feed_lines(lines, sender, t)
        except Exception as error:
            self._note_lost(sender, error)
        if self._is_watched:
            for line in filter(None, lines):
                self._copy(line, sender, t)

    def _feed_packets(self, packets: Sequence[Packet], sender_of: SenderOf, t: float) -> None:
        try:
            self._aggregator.feed_all(packets, sender_of, t)
        except Exception as error:
            self._note_lost(sender_of(0), error)
        if self._is_watched:
            for index, packet in enumerate(packets):
                self._copy(bytes(packet), sender_of(index), t)

    def _feed_datagrams(self, datagrams: Datagrams, sender_of: SenderOf, t: float) -> None:
        try:
            self._aggregator.feed_datagrams(datagrams, sender_of, t)
        except Exception as error:
            self._note_lost(sender_of(0), error)

    def _note_lost(self, sender: str | None, error: Exception) -> None:
        self._note_fault(f"statsd: what {sender or 'somebody'} sent is lost by a fault of ours: {error!r}")

    # Who watches

    @property
    def _is_watched(self) -> bool:
        return self._wiretap.is_watching_lines or bool(self.copies)

    def _copy(self, datagram: bytes, sender: str | None, t: float) -> None:
        for copy in self.copies:
            copy(datagram)
        if self._wiretap.is_watching_lines:
            self._wiretap.packet(datagram, sender, t)

    # Sockets

    async def receive(self, sock: DatagramSocket, gather_s: float) -> None:
        """A turn at a time, so that others get theirs; an empty socket is left alone for a moment (s).

        Waking up costs as much as a hundred packets: at 40,000 packets a second and 40 ms there are 1600 a time.
        """
        # What gathers has to fit: a smaller buffer than was asked for is looked at more often.
        gather = gather_s * min(1.0, sock.granted / RECEIVE_BUFFER)
        while True:
            read = self._drain(sock)
            if sock.has_more:
                await trio.lowlevel.checkpoint()
            elif read and gather:
                await trio.sleep(gather)
            else:
                await trio.lowlevel.wait_readable(sock.socket)

    def _drain(self, sock: DatagramSocket) -> int:
        began = time.perf_counter_ns()
        # Who watches, or reads in Python, needs packets as objects.
        direct = self._aggregator.takes_datagrams and not self._is_watched
        read = sock.drain(self._feed_packets, self._now(), self._feed_datagrams if direct else None)
        self._gauge.note_turn(read, time.perf_counter_ns() - began)
        return read

    def drain(self, until: float) -> None:
        """Takes in what waits at every socket; of a flood a bounded part, and none after ``until`` (trio's s)."""
        for sock in self.sockets:
            for _ in range(_TURNS_BEFORE_FLUSH):
                self._drain(sock)
                if not sock.has_more or trio.current_time() >= until:
                    break
