"""Other people's clients into our server: PyPI's statsd and datadog, as their users call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings

statsd = pytest.importorskip("statsd", reason="no PyPI client `statsd`: install the test requirements")
datadog = pytest.importorskip("datadog.dogstatsd.base", reason="no `datadog`: install the test requirements")


@asynccontextmanager
async def serving() -> AsyncIterator[StatsdServer]:
    """A server that flushes only when told to."""
    server = StatsdServer(
        ServeSettings(listen=("127.0.0.1:0",), flush_s=3600.0, own_metrics=False, grace_s=0.0)
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield server
            server.stop()


async def test_every_call_of_the_statsd_package_is_understood():
    async with serving() as server:
        host, port = server.udp_address or ("", 0)
        client = statsd.StatsClient(host, port, prefix="app")
        client.incr("hits")
        client.incr("hits", 4)
        client.decr("hits", 2)
        client.gauge("depth", 7.5)
        client.gauge("depth", -2, delta=True)
        client.gauge("below", -5)
        client.timing("load", 320)
        with client.timer("block"):
            pass
        client.set("users", "ann")
        client.set("users", "bob")
        with client.pipeline() as pipe:
            for _ in range(100):
                pipe.incr("piped")
        flush = server.flush_now()
    assert flush.counters == {"app.hits": 3, "app.piped": 100}
    assert flush.gauges == {"app.depth": 5.5, "app.below": -5}
    assert flush.samples["app.load"] == [320.0]
    assert 0 <= flush.samples["app.block"][0] < 1000
    assert flush.sets == {"app.users": 2}
    assert flush.bad_lines == 0


async def test_the_statsd_package_over_tcp():
    async with serving() as server:
        host, port = server.udp_address or ("", 0)
        client = statsd.TCPStatsClient(host, port)
        for _ in range(1000):
            client.incr("hits")
        client.close()
        while server.aggregator.statistics().metrics < 1000:
            await trio.sleep(0.001)
        assert server.flush_now().counters == {"hits": 1000}


@pytest.mark.parametrize(
    "options",
    [
        dict(disable_buffering=True, disable_aggregation=True),
        dict(disable_buffering=False, disable_aggregation=True),
        dict(disable_buffering=False, disable_aggregation=False),
    ],
    ids=["unbuffered", "buffered", "aggregated"],
)
async def test_every_call_of_datadogs_client_is_understood_and_no_metrics_are_named(options: dict[str, bool]):
    async with serving() as server:
        host, port = server.udp_address or ("", 0)
        client = datadog.DogStatsd(
            host=host,
            port=port,
            namespace="app",
            constant_tags=["env:test"],
            disable_telemetry=True,
            **options,
        )
        client.increment("hits", 5, tags=["path:a"])
        client.decrement("hits", 2, tags=["path:a"])
        client.gauge("depth", 7.5)
        for value in (1.0, 2.0, 3.0):
            client.histogram("size", value)
            client.distribution("spread", value)
            client.timing("load", value)
        client.set("users", "ann:1")
        client.event("deploy", "done")
        client.service_check("db", 0)
        client.flush()
        client.stop()
        flush = server.flush_now()
        reasons = dict(server.aggregator.statistics().bad_by_reason)
    assert flush.counters == {"app.hits;env=test;path=a": 3}
    assert flush.gauges == {"app.depth;env=test": 7.5}
    assert flush.samples == {f"app.{name};env=test": [1.0, 2.0, 3.0] for name in ("size", "spread", "load")}
    assert flush.sets == {"app.users;env=test": 1}
    assert reasons == {"event": 1, "service_check": 1}
