"""What a user writes, with every fixture annotated: it runs here, and `make lint` holds its types (pyproject.toml)."""

from __future__ import annotations

import pytest

from brokersim.reactor.clock import VirtualClock
from brokersim.testing import (
    Broker,
    Impatient,
    Instances,
    StatsSink,
    StatsUdp,
    SyncBroker,
    at_most,
    modules,
    partial,
    run,
)

ROOT = {"namespace": "primary", "flags": 0}


@pytest.mark.brokersim(size=2, mask={"kvs": 0x1000})
async def test_all(broker: Broker, stats_sink: StatsSink, virtual_clock: VirtualClock) -> None:
    await broker.load(modules.SLOW, "seconds=1")
    with broker.deltas("kvs", "slow") as d, broker.expect_metrics({"flux.kvs.*": None}) as seen:
        answer: dict[str, int] = await broker.rpc("slow.ask", {"a": 1})
        await broker.advance(2)
    assert d == partial({"kvs.0.request_rx": at_most(1)}) and "slow.0.request_rx:slow.ask" in d.topics
    assert answer["a"] == 1 and seen.values and virtual_clock.current_time() >= 1.0
    fault = broker.fault("drop", topic="kvs.getroot", count=1)
    with pytest.raises(Impatient):
        await broker.rpc("kvs.getroot", ROOT, timeout=1)
    assert fault.hits[0].time >= 1.0 and "drop" in fault.report()
    assert broker.trace("slow")[-1].topic == "slow.ask"
    value: float = await stats_sink.wait("flux.kvs.0.event_rx", ge=2)
    count: int = await broker.wait_counter("slow.0.request_rx", ge=1)
    assert value >= 2 and broker.counters("slow")["request_rx"] == count >= 1


async def test_instances(instance: Instances, stats_udp: StatsUdp) -> None:
    async with instance(size=4) as broker:
        await broker.rpc("kvs.getroot", ROOT, nodeid=3)
    assert stats_udp.address.startswith("127.0.0.1:")
    assert all(isinstance(line, str) for line in stats_udp.lines)


def test_sync(instance: Instances) -> None:
    with instance() as broker:
        plain: SyncBroker = broker
        plain.advance(1)


def test_alone() -> None:
    async def body(broker: Broker) -> int:
        return broker.instance.size

    assert run(body, size=2) == 2
