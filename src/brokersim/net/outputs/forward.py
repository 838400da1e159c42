"""Knows how what comes in goes on to another statsd server: the same lines, unread, by UDP."""

from __future__ import annotations

from brokersim.net.statsd_health import OutputStatistics
from brokersim.net.statsd_settings import ServeError
from brokersim.net.udp import UdpSink
from brokersim.statsd.flushed import Flush

#: What IPv4 carries in a datagram. A packet is never split below it: a gauge's two lines may be neighbours.
_MAX_DATAGRAM = 65_507


class Forward:
    """Sends every packet on as it came, before anything is judged: sets, rates and totals would not survive a flush.

    UDP promises nothing: ``dropped`` counts what the kernel refused, loss beyond it is not seen. Raises ServeError.
    """

    name = "statsd"

    def __init__(self, address: str) -> None:
        try:
            self._sink = UdpSink(address)
        except ValueError as error:
            raise ServeError(f"cannot forward: {error}") from None
        self.target = f"statsd://{address}"
        self._dropped = 0
        self._sent = 0
        self._state = "connected"

    def packet(self, datagram: bytes) -> None:
        for piece in _pieces(datagram):
            if self._sink.send(piece):
                self._sent += 1
            else:
                self._dropped += 1

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
            sent=self._sent,
            dropped=self._dropped,
        )


def _pieces(datagram: bytes) -> list[bytes]:
    """The datagram itself; a longer one, from a Unix socket, in two at a line's end."""
    if len(datagram) <= _MAX_DATAGRAM:
        return [datagram]
    cut = datagram.rfind(b"\n", 0, _MAX_DATAGRAM)
    return [datagram[:cut], datagram[cut + 1 :]] if cut > 0 else [datagram]
