"""Our client into the real statsd: nothing is lost or bent, and our `etsy` dialect flushes what it flushes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd_server.aggregator_process import SupervisedAggregator
from tests.interop import traffic
from tests.interop.peers import GraphiteSink, free_port, graphite_sink, node_statsd

__all__ = ["graphite_sink"]
FLUSH = 1.0
pytestmark = pytest.mark.xdist_group("peers")


async def flushed(sink: GraphiteSink, folder: Path, send: Callable[[traffic.Tee], None]) -> dict[str, float]:
    """What node statsd flushed of ``send(tee)``, its own metrics left away.

    Sending takes milliseconds and begins right behind a flush, so that the next one has all of it.
    """
    config = folder / "config.js"
    supervised = SupervisedAggregator(shlex.join([*node_statsd(), str(config)]))
    settings = {
        "address": supervised.host, "port": supervised.port, "mgmt_address": "127.0.0.1", "mgmt_port": free_port(),
        "flushInterval": FLUSH * 1000, "backends": ["./backends/graphite"], "graphiteHost": "127.0.0.1",
        "graphitePort": sink.port, "graphite": {"legacyNamespace": False}, "percentThreshold": [90, 50],
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    with trio.fail_after(60):
        async with supervised.running():
            while not sink.flushes():
                await trio.sleep(0.002)
            before = len(sink.flushes())
            tee = traffic.Tee(supervised.address)
            send(tee)
            tee.close()
            while len(sink.flushes()) == before:
                await trio.sleep(0.01)
    assert not supervised.died
    own = ("stats.statsd.", "stats.counters.statsd.", "stats.gauges.statsd.", "statsd.")
    return {name: value for name, value in sink.flushes()[before].items() if not name.startswith(own)}


async def test_the_real_statsd_shows_the_truth_of_our_client_and_our_etsy_the_same(graphite_sink, tmp_path):
    packets: list[bytes] = []

    def send(tee: traffic.Tee) -> None:
        traffic.send(tee, "etsy")
        packets.extend(tee.packets)

    real = await flushed(graphite_sink, tmp_path, send)
    assert {name: real[f"stats.gauges.{name}"] for name in traffic.GAUGES} == traffic.GAUGES
    assert {name: real[f"stats.counters.{name}.count"] for name in traffic.COUNTERS} == traffic.COUNTERS
    assert {name: real[f"stats.sets.{name}.count"] for name in traffic.SETS} == traffic.SETS
    assert real["stats.timers.flux.load.count"] == 40
    assert (real["stats.timers.flux.load.upper_90"], real["stats.timers.flux.load.sum"]) == (36, 820)

    ours = Aggregator("etsy", AggregatorConfig(flush=FLUSH, percentiles=(90, 50)))
    for packet in packets:
        ours.feed(packet)
    expected = {f"stats.{name}": value for name, value in ours.flush(FLUSH).values.items()}
    assert real == pytest.approx(expected, rel=1e-9)


async def test_the_journals_client_of_2021_is_bent_by_the_real_statsd_as_the_journal_saw(
    graphite_sink, tmp_path
):
    def send(tee: traffic.Tee) -> None:
        # Week 7's client: as many start as end, and an unsigned 0 sets the gauge; week 5's: a signed snapshot.
        for packet in (
            b"run:+30|g",
            b"run:0|g",
            b"run:-15|g",
            b"run:-15|g",
            b"new:-10000|g",
            b"new:-10000|g",
        ):
            tee.send(packet)

    real = await flushed(graphite_sink, tmp_path, send)
    assert (real["stats.gauges.run"], real["stats.gauges.new"]) == (-30, -20_000)
