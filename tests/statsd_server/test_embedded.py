"""A statsd server inside an instance: a sink whose packets need no socket, flushed on the instance's clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from brokersim.instance import Instance
from brokersim.protocol.settings import ClockKind
from brokersim.reactor.clock import VirtualClock
from brokersim.routing.sink import Sink
from brokersim.services.composition import Settings
from brokersim.statsd_server.embedded import EmbeddedAggregator
from brokersim.statsd_server.option import parse_serve
from brokersim.statsd_server.settings import ServeError


class Flushes:
    """The flushes of an aggregator, by a tap."""

    def __init__(self, aggregator: EmbeddedAggregator) -> None:
        self.seen: list[tuple[float, dict[str, object]]] = []
        aggregator.server.wiretap.open(lines=False, on_item=self._keep)

    def _keep(self, item) -> None:
        self.seen.append((item.t, dict(item.flush.gauges)))


def simulated(text: str = "serve") -> EmbeddedAggregator:
    return EmbeddedAggregator(parse_serve(text, sockets=False), wall=None)


def test_packets_are_flushed_at_whole_multiples_of_simulated_time_and_once_more_at_the_end():
    async def main() -> Flushes:
        sink: Sink
        aggregator = sink = simulated("serve:flush=0.5s")
        flushes = Flushes(aggregator)
        async with aggregator.running():
            for value in (1, 2, 3):
                assert sink.send(b"g:%d|g" % value)
                await trio.sleep(0.4)
            assert (sink.sent, sink.refused, sink.target) == (3, 0, "serve")
        assert not sink.send(b"g:4|g")
        assert (sink.sent, sink.refused) == (3, 1)
        return flushes

    flushes = trio.run(main, clock=VirtualClock())
    assert flushes.seen == [(0.5, {"g": 2}), (1.0, {"g": 3}), (1.5, {"g": 3})]


def test_an_instance_is_counted_the_same_twice():
    async def main() -> list[tuple[float, dict[str, object]]]:
        aggregator = simulated()
        flushes = Flushes(aggregator)
        instance = Instance(
            Settings(modules=("heartbeat", "kvs"), clock=ClockKind.parse("virtual"), size=2), aggregator
        )
        async with aggregator.running(), instance.running():
            for rank in (0, 1):
                instance.module(rank, "kvs").handle.set_mask(0x1000)
            await trio.sleep(3.5)
        return flushes.seen

    # Every other second the heart beats at the instant of a flush: by chance this would be right once in two runs.
    runs = [trio.run(main, clock=VirtualClock()) for _ in range(10)]
    assert all(run == runs[0] for run in runs)
    # What a beat causes at the instant of a flush is in the next one, as every packet of that instant.
    first, second, third = (seen["flux.kvs.0.event_rx"] for _, seen in runs[0][:3])
    assert first == second < third
    assert [t for t, _ in runs[0][:3]] == [1.0, 2.0, 3.0]


async def test_it_answers_over_HTTP_and_takes_packets_of_others_too():
    aggregator = EmbeddedAggregator(parse_serve("serve:flush=1h"))
    async with aggregator.running():
        assert aggregator.target == f"http://{aggregator.server.http_address}"
        aggregator.send(b"inside:1|c")
        other = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with other:
            await other.sendto(b"outside:2|c", aggregator.server.udp_address)
        aggregator.server.flush_now()
        host, _, port = (aggregator.server.http_address or "").rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            await stream.send_all(b"GET /stats.json HTTP/1.0\r\n\r\n")
            answer = b"".join([part async for part in stream])
    counters = json.loads(answer.partition(b"\r\n\r\n")[2])["counters"]
    assert {name: each["count"] for name, each in counters.items()} == {"inside": 1, "outside": 2}


async def test_errors_come_out_as_they_are(tmp_path: Path):
    with pytest.raises(LookupError):
        async with EmbeddedAggregator(parse_serve("serve")).running():
            raise LookupError
    async with EmbeddedAggregator(parse_serve("serve")).running() as first:
        taken = first.server.http_address
        with pytest.raises(ServeError, match="another server has it"):
            async with EmbeddedAggregator(parse_serve(f"serve:http={taken}")).running():
                raise AssertionError("it must not be used")
    with pytest.raises(ServeError, match=r"/nowhere/run\.db"):
        async with EmbeddedAggregator(parse_serve("serve:db=/nowhere/run.db")).running():
            raise AssertionError("it must not be used")
