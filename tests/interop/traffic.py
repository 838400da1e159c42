"""Knows one stream that walks into every trap the real servers have set, and its truth; no server."""

from __future__ import annotations

from brokersim.statsd.client import StatsClient
from brokersim.statsd.packet import GaugeBlock
from brokersim.statsd_server.udp import UdpSink

#: What every server has to show once ``send`` is done, by the sender's names.
GAUGES = {
    "flux.run": 0,
    "flux.new": -10_000,
    "flux.depth": 7.5,
    "flux.kvs.0.request_rx": 17,
    "flux.kvs.0.event_tx": 0,
}
COUNTERS = {"flux.hits": 55, "flux.total": 120}
TIMINGS = {"flux.load": [float(ms) for ms in range(1, 41)]}
SETS = {"flux.user": 4}


class Tee:
    """Sends packets and keeps them."""

    def __init__(self, address: str) -> None:
        self._sink = UdpSink(address)
        self.packets: list[bytes] = []

    def send(self, packet: bytes) -> bool:
        self.packets.append(packet)
        assert self._sink.send(packet)
        return True

    def close(self) -> None:
        self._sink.close()


def send(tee: Tee, dialect: str) -> None:
    """Four client periods: totals, net-zero increments, values below zero, samples, elements, eight gauges."""
    client = StatsClient(tee.send, prefix="flux", dialect=dialect)
    block = GaugeBlock([f"flux.kvs.0.{kind}_{way}" for kind in ("request", "response", "event", "keepalive")
                        for way in ("rx", "tx")])  # fmt: skip
    for period, (started, ended) in enumerate([(30, 0), (5, 5), (0, 15), (0, 15)]):
        for _ in range(started):
            client.gauge_inc("run", +1)
        for _ in range(ended):
            client.gauge_inc("run", -1)
        client.gauge_set("new", -10_000)
        client.gauge_set("depth", 7.5)
        client.count("total", 40 * period)
        for number in range(10 * period, 10 * period + 10):
            client.inc("hits", 1 if number % 2 else 1.75)
            client.timing("load", number + 1.0)
        if dialect != "brubeck":
            for user in ("ann", "bob", f"user{period // 3}"):
                client.set("user", user)
        client.flush()
        tee.send(block.format([17, 4, 0, 1, 2, 0, 9, period]))
    client.close()
