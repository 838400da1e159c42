"""Knows how what comes in goes on to another statsd server: the same lines, unread, by UDP."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from brokersim.statsd.flushed import Flush
from brokersim.statsd_server.health import OutputStatistics
from brokersim.statsd_server.settings import ServeError
from brokersim.statsd_server.udp import UdpSink, parse_address

#: What IPv4 carries in a datagram. A packet is never split below it: a gauge's two lines may be neighbours.
_MAX_DATAGRAM = 65_507


class Forward:
    """Sends every packet on as it came, before anything is judged: sets, rates and totals would not survive a flush.

    UDP promises nothing. ``dropped`` counts what was refused, here or by the other machine; such a packet may be in
    ``sent`` before. Other loss is not seen. Raises ServeError.
    """

    name = "statsd"

    def __init__(self, address: str) -> None:
        try:
            self._sink = UdpSink(address)
        except ValueError as error:
            raise ServeError(f"cannot forward: {error}") from None
        self.target = f"statsd://{address}"
        self._target = parse_address(address)
        self._state = "connected"

    def leads_to(self, addresses: Iterable[str]) -> bool:
        """One of the bound ``udp://HOST:PORT`` is where this sends to."""
        family, kind, protocol, _, peer = socket.getaddrinfo(*self._target, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(peer)
            is_local = probe.getsockname()[0] == peer[0]
        return is_local and any(
            bound == ("udp", peer[0], peer[1])
            or bound in (("udp", "0.0.0.0", peer[1]), ("udp", "::", peer[1]))
            for bound in map(_split, addresses)
        )

    def packet(self, datagram: bytes) -> None:
        for piece in _pieces(datagram):
            self._sink.send(piece)

    def offer(self, flush: Flush) -> None:
        """What was flushed has been forwarded already."""

    async def run(self) -> None:
        """Nothing waits to be sent."""

    def close(self) -> None:
        self._state = "closed"
        self._sink.close()

    def statistics(self) -> OutputStatistics:
        return OutputStatistics(
            name=self.name,
            target=self.target,
            state=self._state,
            unit="packets",
            queued=0,
            limit=0,
            sent=self._sink.sent,
            dropped=self._sink.refused,
        )


def _pieces(datagram: bytes) -> list[bytes]:
    """The datagram itself; a longer one, from a Unix socket, in two at a line's end."""
    if len(datagram) <= _MAX_DATAGRAM:
        return [datagram]
    cut = datagram.rfind(b"\n", 0, _MAX_DATAGRAM)
    return [datagram[:cut], datagram[cut + 1 :]] if cut > 0 else [datagram]


def _split(address: str) -> tuple[str, str, int]:
    kind, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    return kind, host.strip("[]"), int(port) if port.isdecimal() else 0
