"""Sinks that take their time, and clocks that are set: neither keeps anybody waiting, or has anything done twice."""

from __future__ import annotations

import sys
import time

from brokersim import open_instance, run
from tests.modules.probe.harness import every, lined, samples


def test_a_slow_sink_keeps_nobody_waiting(tmp_path, monkeypatch):
    lines, slow = tmp_path / "lines", tmp_path / "slow"

    async def main():
        async with open_instance(modules=["probe"]) as instance:
            client = instance.client()
            handle = instance.module(0, "probe").handle
            kind = sys.modules[f"{type(handle.body).__module__}.sinks"].LineFile
            send = kind.send

            async def later(sink, batch, gaps):
                await handle.sleep(30)
                send(sink, batch, gaps)

            def either(sink, batch, gaps):
                is_slow = sink._path == str(slow)
                return later(sink, list(batch), list(gaps)) if is_slow else send(sink, batch, gaps)

            monkeypatch.setattr(kind, "send", either)
            sinks = {name: {"type": "lines", "path": str(path)} for name, path in (("a", lines), ("b", slow))}
            await client.call("probe.reload", {"config": {"sinks": sinks}})
            record = lined("dummy", every(1), reporting={"sinks": ["a", "b"]})
            await client.call("probe.add", {"name": "m", "record": record})
            await instance.sleep(95.5)
            return await client.call("probe.status"), len(samples(lines)), len(samples(slow))

    status, quick, late = run(main)
    counts = status["measurements"][0]["counts"]
    assert quick == counts["runs"] == 96 and "late" not in counts
    # Batches of 30 s each, one at a time: the first has the first sample, the next what came meanwhile.
    assert late == 1 + 29 + 30
    by_name = {one["name"]: one for one in status["sinks"]}
    assert by_name["b"]["inserted"] == late + by_name["b"]["queued"] + by_name["b"]["in_flight"] == 96


def test_a_wall_clock_that_is_set_back_fires_nothing_twice_and_stops_nothing(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    real = time.time

    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            await client.call("probe.reload", {"config": {"sinks": {"lines": {"path": str(path)}}}})
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(0.05))})
            while len(samples(path)) < 3:
                await instance.sleep(0.02)
            monkeypatch.setattr(time, "time", lambda: real() - 3600)
            before = len(samples(path))
            until = time.monotonic() + 20
            while len(samples(path)) < before + 5 and time.monotonic() < until:
                await instance.sleep(0.02)
            return before

    before = run(main, clock="real")
    found = [one["ts"] for one in samples(path)]
    assert len(found) >= before + 5
    assert found == sorted(set(found)) and found[-1] > real() - 60
