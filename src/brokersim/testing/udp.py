"""Knows a statsd server of a test's own behind a real UDP socket on loopback. What it should be sent, others say."""

from __future__ import annotations

import select
import socket

from brokersim.statsd_server.udp import UdpSink
from brokersim.testing.metrics import StatsSink

_SIZE = 1 << 16
#: Room for some thousand packets that nobody has taken out yet.
_BUFFER = 1 << 22
#: Milliseconds of real time a packet may take over loopback: a busy kernel does not always deliver at once.
_PATIENCE = 1000


class StatsUdp(StatsSink):
    """A `StatsSink` whose packets have really gone through the kernel: what it has is what arrived, in time and order.

    ``address`` (``127.0.0.1:PORT``) may be given to other senders; what they sent is there at the next look.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._server.bind(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.target = self.address
        self._emitter = UdpSink(self.address)
        self._poll = select.poll()
        self._poll.register(self._server, select.POLLIN)

    def _take(self, packet: bytes) -> bool:
        self.receive()
        taken = self._emitter.send(packet)
        if taken:
            self._poll.poll(_PATIENCE)
            self.receive()
        else:
            self.refused += 1
        return taken

    def receive(self) -> None:
        """Take in what has come, from whomever."""
        while self._server.fileno() >= 0:
            try:
                self.packets.append((self.now(), self._server.recv(_SIZE)))
            except BlockingIOError:
                return

    def shut(self) -> None:
        """Close both ends; what came stays readable. (`close` is for each instance that ends.)"""
        self.receive()
        self._emitter.close()
        self._server.close()
