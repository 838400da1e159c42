"""Readings of probes on every rank, observed on the stream of their measurement and merged over the tree by metrics."""

from __future__ import annotations

import pytest

from tests.modules.metrics.live import Cluster
from tests.modules.probe.harness import every, open_instance, run

MODULES = ("heartbeat", "content-cache", "content-sqlite", "kvs", "metrics", "probe")
MEASURED = {
    "sinks": {"metrics": {}},
    "probe_defaults": {"schedule": every(1), "reporting": {"sinks": ["metrics"], "counters": "delta"}},
    "probes": {
        "load": {"probe": "replay", "config": {"readings": [{"v": 1}, {"v": 2}, {"v": 6}], "once": True}},
        "beat": {"probe": "module", "config": {"service": "heartbeat"}},
    },
}
LOAD = {"name": "load", "reducers": [{"stream": "probe.load", "apply": ["sum", "max", "average"]}]}
BEAT = {
    "name": "beat",
    "reducers": [{"stream": "probe.beat", "apply": ["sum"], "normalize": {"keep": ["type", "direction"]}}],
}


@pytest.mark.parametrize("is_first", ["stat", "sink"])
def test_four_ranks_readings_are_one_row_a_metric_whichever_was_there_first(is_first):
    async def main():
        async with open_instance(size=4, modules=MODULES) as instance:
            one = Cluster(instance)

            async def measure():
                for rank in range(4):
                    await one.client.call("probe.reload", {"config": MEASURED}, rank)

            async def count():
                await one.create(LOAD)
                await one.create(BEAT)

            for step in (count, measure) if is_first == "stat" else (measure, count):
                await step()
            await instance.sleep(20.5)
            return await one.gather("load", by=["metric"]), await one.gather("beat")

    (load, record), (beat, _) = run(main)
    (row,) = load
    assert row["key"] == {"metric": "v"}
    # A sink that was there first has made its first reading, 1 on each rank, before anybody counted.
    expected = (12, 36, 6, 3) if is_first == "stat" else (8, 32, 6, 4)
    assert (row["n"], row["sum"], row["max"], row["average"]) == expected
    assert record["ok"] == "0-3"
    sums = {(one["key"]["direction"], one["key"]["type"]): one["sum"] for one in beat}
    # Each request was answered. heartbeat runs on rank 0 only, so this half is of one rank.
    assert sums["rx", "request"] == sums["tx", "response"] > 0
