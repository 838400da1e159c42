"""Knows jobs that are measured by the module probe meanwhile: what it saw of a counter, what the jobs took."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from brokersim.instance import Instance
from brokersim.lab.load.bulk import Points
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.program import open_instance
from brokersim.protocol.decoded import JsonObject
from brokersim.reactor.loop import NS

#: Modules whose counters are read beside the machine's.
MODULES = (
    "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "job-manager", "job-info", "sched"
)  # fmt: skip
#: Whose curve is looked at.
NAME = "kvs"


async def followed(jobs: int, run_time: float, every: float, seed: int) -> tuple[Points, Points]:
    """What kvs had counted, at each change and at each sample, from the first job to the last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "samples")
        async with open_instance(clock="virtual", seed=seed) as instance:
            truth = _truth_of(instance)
            await _measure(instance, path, {NAME: ("module", {"service": NAME})}, every)
            start = instance.reactor.now / NS
            await serial_jobs_inside(instance, jobs, run_time)
            end = instance.reactor.now / NS
            epoch = instance.epoch
        samples = [(t - epoch - start, v) for t, v in _summed(path) if t - epoch >= start]
    return [(t - start, v) for t, v in truth if start <= t <= end], samples


def _truth_of(instance: Instance) -> list[tuple[float, float]]:
    """What the module counts, at the instant of each message: it grows while the instance runs."""
    handle = instance.module(0, NAME).handle
    seen: list[tuple[float, float]] = []

    def look(*_: object) -> None:
        seen.append((instance.reactor.now / NS, float(sum(handle.counts))))

    handle.tracer = look
    return seen


def _summed(path: Path) -> list[tuple[float, float]]:
    """Times and sums of the eight counters of each reading in a line file."""
    sums: dict[float, float] = {}
    for line in path.read_bytes().splitlines():
        one = msgspec.json.decode(line)
        if "value" in one:
            sums[one["ts"]] = sums.get(one["ts"], 0.0) + one["value"]
    return sorted(sums.items())


def held_error(
    truth: Sequence[tuple[float, float]], samples: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Mean over time, and most, of |truth − what was sampled last|, as shares of what truth grew by.

    Both are steps; before the first sample nothing is held, and nothing is said.
    """
    if len(truth) < 2 or not samples:
        return 0.0, 0.0
    grown = max(1.0, truth[-1][1] - truth[0][1])
    moments = sorted({t for t, _ in truth} | {t for t, _ in samples if t <= truth[-1][0]})
    area = most = 0.0
    begun = max(samples[0][0], truth[0][0])
    at_truth = at_sample = 0
    for now, following in pairwise(moments):
        while at_truth + 1 < len(truth) and truth[at_truth + 1][0] <= now:
            at_truth += 1
        while at_sample + 1 < len(samples) and samples[at_sample + 1][0] <= now:
            at_sample += 1
        if now >= begun:
            off = abs(truth[at_truth][1] - samples[at_sample][1])
            area += off * (following - now)
            most = max(most, off)
    span = truth[-1][0] - begun
    return (area / span / grown if span > 0 else 0.0), most / grown


async def worked(jobs: int, every: float, seed: int) -> tuple[float, float]:
    """Processor and wall seconds of the jobs; with ``every`` everything is measured meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_instance(clock="real", seed=seed, jobs="simulated") as instance:
            if every:
                wanted: dict[str, tuple[str, JsonObject]] = {
                    name: (name, {}) for name in ("cpu", "mem", "process")
                }
                wanted |= {name: ("module", {"service": name}) for name in MODULES}
                await _measure(instance, Path(folder, "samples"), wanted, every)
            cpu, wall = time.process_time(), time.perf_counter()
            await serial_jobs_inside(instance, jobs, 0.0)
            return time.process_time() - cpu, time.perf_counter() - wall


async def _measure(
    instance: Instance, path: Path, wanted: dict[str, tuple[str, JsonObject]], every: float
) -> None:
    await instance.load("probe")
    schedule = {"type": "every", "params": {"every": every}}
    records = {
        name: {"probe": probe, "config": config, "schedule": schedule, "reporting": {"sinks": ["lines"]}}
        for name, (probe, config) in wanted.items()
    }
    config = {"sinks": {"lines": {"path": str(path)}}, "probes": records}
    await instance.client().call("probe.reload", {"config": config})
