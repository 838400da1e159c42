"""Knows what a run of a load under one hook is found to be, and how one is made in modelled time, in process.

Doesn't know real time (live_run), and doesn't compare runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import Any

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.load.bulk import thinned
from brokersim.lab.load.loads import Load
from brokersim.lab.measure.listener import PacketCount, rates
from brokersim.lab.sweep.spread import Done
from brokersim.program import open_instance
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS

#: Windows a run is cut into for its scatter, whatever it takes: else a slow run would look smooth.
WINDOWS = 40


@attrs.frozen(kw_only=True)
class HookTask:
    """What is run: a load under a hook (``none`` has no statistics to send), on ``size`` brokers."""

    hook: str
    load: Load
    size: int = 1
    seed: int = 0
    cost: CostModel | None = None


@attrs.frozen(kw_only=True)
class ModuleFigures:
    """One module after a run: its eight counters, its loop's turns, its packets."""

    name: str
    counts: tuple[int, ...]
    iterations: int
    packets: int

    @property
    def received(self) -> int:
        return sum(self.counts[1::2])


@attrs.frozen(kw_only=True)
class HookRun:
    """One hook's run: the same ``jobs`` once a round. ``metrics_per_s_peak`` is over windows of 0.25 s.

    ``walls`` and ``cpus`` are the seconds of each round, of the clock and of the instance's processor; none of the
    latter in virtual time, which has one round. ``modules`` and ``packets``, those of message counters that arrived,
    are of all rounds. ``everybody``: messages and turns of all parties, where that is more than the modules.
    """

    hook: str
    jobs: int
    walls: tuple[float, ...]
    packets: int
    metrics_per_s_peak: float
    modules: tuple[ModuleFigures, ...]
    cpus: tuple[float, ...] = ()
    everybody: tuple[int, int] | None = None
    #: Packets of counters: (s of the rounds, one behind the other, lines); and kvs's, with what they say.
    curve: tuple[tuple[float, int], ...] = ()
    kvs: tuple[tuple[float, tuple[int, ...]], ...] = ()

    @property
    def wall_s(self) -> float:
        """Of the round in the middle."""
        return median(self.walls)

    @property
    def cpu_s(self) -> float | None:
        """Of the round in the middle; None in virtual time."""
        return median(self.cpus) if self.cpus else None

    @property
    def messages(self) -> int:
        """Received, in all rounds."""
        return sum(module.received for module in self.modules)

    @property
    def iterations(self) -> int:
        return sum(module.iterations for module in self.modules)

    @property
    def turns_per_message(self) -> float:
        """Clients and jobs' shells included: in Flux they turn in the loop of its connector, which is a module."""
        messages, turns = self.everybody or (self.messages, self.iterations)
        return turns / messages if messages else 0.0

    def to_row(self) -> JsonObject:
        """The figures of a row, of one round."""
        rounds = len(self.walls)
        return {
            "hook": self.hook,
            "wall_s": self.wall_s,
            "jobs_per_s": self.jobs / self.wall_s if self.wall_s else 0.0,
            "messages": round(self.messages / rounds),
            "iterations": round(self.iterations / rounds),
            "turns_per_message": self.turns_per_message,
            "packets": round(self.packets / rounds),
            "packets_per_message": self.packets / self.messages if self.messages else 0.0,
            "metrics_per_s_peak": self.metrics_per_s_peak,
            "metrics_per_s_low": min((rate for _, rate in self.metrics()[1:-1]), default=0.0),
            "cv": scatter(self.curve, sum(self.walls)),
            "cpu_s": self.cpu_s,
        }

    def metrics(self) -> list[tuple[float, float]]:
        """[(s, metrics a second)] over whole windows."""
        return rates(self.curve, sum(self.walls))

    def counters(self) -> dict[str, list[tuple[float, float]]]:
        """kvs's counters over time, as its packets say, without those that never move."""
        curves = {
            name: thinned((t, float(values[at])) for t, values in self.kvs)
            for at, name in enumerate(COUNTER_NAMES)
        }
        return {name: points for name, points in curves.items() if points and points[-1][1]}


def scatter(packets: Sequence[tuple[float, int]], end: float) -> float:
    """Spread of metrics a second around their linear trend, as a share of their mean; 0.0 of too few."""
    if end <= 0 or len(packets) < WINDOWS:
        return 0.0
    rates = [0.0] * WINDOWS
    for t, lines in packets:
        rates[min(WINDOWS - 1, int(t / end * WINDOWS))] += lines
    rates = rates[1:-1]  # the first and the last are cut short
    mean, middle = fmean(rates), (len(rates) - 1) / 2
    slope = sum((x - middle) * rate for x, rate in enumerate(rates)) / sum(
        (x - middle) ** 2 for x in range(len(rates))
    )
    return pstdev([rate - slope * (x - middle) for x, rate in enumerate(rates)]) / mean if mean else 0.0


# -- virtual time


async def virtual_run(task: HookTask, done: Done = lambda _: None) -> HookRun:
    """In this process, in modelled time."""
    is_bare = task.hook == "none"
    kept = PacketCount()
    async with open_instance(
        size=task.size,
        clock="virtual",
        seed=task.seed,
        hook="prepare" if is_bare else task.hook,
        stats=None if is_bare else kept,  # as in real time: nothing is timed for nobody
        cost=task.cost,
        resources=task.load.resources,
    ) as instance:
        kept.reactor = instance.reactor
        handles = [module.handle for module in instance.modules(0)]
        if not is_bare:
            client = instance.client()
            for handle in handles:
                await client.call(f"{handle.name}.debug", {"op": "setbit", "flags": MSGCOUNT})
            client.close()
        start = instance.reactor.now
        kept.reset()
        await task.load.run_inside(instance, done)
        wall = (instance.reactor.now - start) / NS
        modules = tuple(_figures(handle) for handle in handles)
        everybody = instance.messages(), instance.turns()
        packets, peak = kept.packets, kept.peak_rate
        curve, kvs = kept.curve(start / NS), kept.kvs(start / NS)
    return HookRun(
        hook=task.hook, jobs=task.load.count, walls=(wall,), packets=packets, metrics_per_s_peak=peak,
        modules=modules, everybody=everybody, curve=curve, kvs=kvs,
    )  # fmt: skip


def _figures(handle: Any) -> ModuleFigures:
    if handle.station is not None:
        handle.station.settle()
    packets = handle.instrument.packets if handle.instrument else 0
    return ModuleFigures(
        name=handle.name, counts=tuple(handle.counts), iterations=handle.iterations, packets=packets
    )
