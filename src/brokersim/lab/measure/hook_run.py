"""Knows one run of a load under one hook, in real or in modelled time: seconds, packets, what each module counted.

Doesn't compare runs. Real time runs an instance of its own process, driven through its socket, sending to a real UDP
port; virtual time runs in process with modelled costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import Any

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.load.bulk import thinned
from brokersim.lab.load.loads import Load
from brokersim.lab.measure.listener import Listener, PacketCount, peak_rate, rates
from brokersim.lab.sweep.spread import Done
from brokersim.net.client import Client
from brokersim.program import open_instance
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS

Say = Callable[[str], object]
#: Client commands each real-time run starts with, as a person would type them.
SCRIPT = (
    ("kvs", "put", "bench.a=1"),
    ("kvs", "get", "bench.a"),
    ("ping", "-c", "2", "-i", "0.01", "kvs"),
    ("event", "pub", "bench.started"),
    ("module", "list"),
)
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
    """One hook's run. Times in seconds; ``metrics_per_s_peak`` over windows of 0.25 s; ``messages`` received.

    ``packets`` are those of message counters that arrived; ``cpu_s`` is the instance's, ``None`` in virtual time.
    """

    hook: str
    jobs: int
    wall_s: float
    packets: int
    metrics_per_s_peak: float
    cpu_s: float | None
    modules: tuple[ModuleFigures, ...]
    #: Packets of counters: (s since the first job, lines); and kvs's, with what they say.
    curve: tuple[tuple[float, int], ...] = ()
    kvs: tuple[tuple[float, tuple[int, ...]], ...] = ()

    @property
    def messages(self) -> int:
        return sum(module.received for module in self.modules)

    @property
    def iterations(self) -> int:
        return sum(module.iterations for module in self.modules)

    def to_row(self) -> dict[str, Any]:
        """The figures of a row."""
        return {
            "hook": self.hook,
            "wall_s": self.wall_s,
            "jobs_per_s": self.jobs / self.wall_s if self.wall_s else 0.0,
            "messages": self.messages,
            "iterations": self.iterations,
            "packets": self.packets,
            "packets_per_message": self.packets / self.messages if self.messages else 0.0,
            "metrics_per_s_peak": self.metrics_per_s_peak,
            "metrics_per_s_low": min((rate for _, rate in self.metrics()[1:-1]), default=0.0),
            "cv": scatter(self.curve, self.wall_s),
            "cpu_s": self.cpu_s,
        }

    def metrics(self) -> list[tuple[float, float]]:
        """[(s, metrics a second)] over whole windows."""
        return rates(self.curve, self.wall_s)

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


# -- real time


def real_run(task: HookTask, say: Say = lambda _: None, *, with_script: bool = True) -> HookRun:
    """In an instance of its own process, through its socket, sending to a real UDP port. Raises RuntimeError."""
    with Listener() as listener:
        uri, stop = _start_instance(task, listener.address)
        try:
            if with_script:
                _run_script(uri)
            with Client.connect(uri) as client:
                if task.hook != "none":
                    _set_mask(client)
                start, seen, cpu = time.monotonic(), len(listener.packets), _cpu_s(client)
                task.load.run_through(uri, lambda n: say(f"{task.hook}: {n} of {task.load.count} jobs"))
                wall, cpu = time.monotonic() - start, _cpu_s(client) - cpu
                modules = _collect(client)
        finally:
            stop()
        packets = [(t - start, lines) for t, lines in listener.packets[seen:]]
        kvs = tuple((t - start, values) for t, values in listener.kvs if t >= start)
    return HookRun(
        hook=task.hook, jobs=task.load.count, wall_s=wall, cpu_s=cpu, packets=len(packets),
        metrics_per_s_peak=peak_rate(packets), modules=modules, curve=tuple(packets), kvs=kvs,
    )  # fmt: skip


def _start_instance(task: HookTask, stats: str) -> tuple[str, Callable[[], None]]:
    """A detached instance in a process of its own; its address, and what ends it."""
    command = [
        sys.executable, "-m", "brokersim", "start", "-d", "-s", str(task.size), "--seed", str(task.seed),
    ]  # fmt: skip
    command += ["--fake-resources", task.load.resources]
    if task.hook != "none":
        # Read here, by the strict grammar: timings may come packed.
        command += ["--stats", f"{stats},dialect=strict", "--hook", task.hook]
    environment = {name: value for name, value in os.environ.items() if name != "FLUX_FRIPP_STATSD"}
    started = subprocess.run(command, env=environment, capture_output=True, text=True)
    uri = started.stdout.partition(" ")[0]
    if started.returncode or not uri.startswith("local://"):
        raise RuntimeError(f"the instance did not start: {started.stderr.strip()}")
    return uri, lambda: _stop_instance(uri)


def _stop_instance(uri: str) -> None:
    with Client.connect(uri) as client:
        client.rpc("broker.stop")


def _run_script(uri: str) -> None:
    environment = {**os.environ, "BROKERSIM_URI": uri}
    for words in SCRIPT:
        done = subprocess.run(
            [sys.executable, "-m", "brokersim", *words], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"brokersim {' '.join(words)}: {done.stderr.strip()}")


def _set_mask(client: Client) -> None:
    for module in client.rpc("module.list")["mods"]:
        client.rpc(f"{module['name']}.debug", {"op": "setbit", "flags": MSGCOUNT})


def _collect(client: Client) -> tuple[ModuleFigures, ...]:
    listed = client.rpc("module.list")["mods"]
    return tuple(
        ModuleFigures(
            name=module["name"],
            counts=_counts(client.rpc(f"{module['name']}.stats-get")),
            iterations=module["iterations"],
            packets=module["packets"],
        )
        for module in listed
    )


def _cpu_s(client: Client) -> float:
    """CPU seconds the instance has used so far: all its modules share one process."""
    used = client.rpc("broker.rusage", {"who": "self"})
    return float(used["utime"] + used["stime"])


def _counts(stats: dict[str, dict[str, int]]) -> tuple[int, ...]:
    kinds = ("request", "response", "event", "control")
    return tuple(stats[side][kind] for kind in kinds for side in ("tx", "rx"))


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
        packets, peak = kept.packets, kept.peak_rate
        curve, kvs = kept.curve(start / NS), kept.kvs(start / NS)
    return HookRun(
        hook=task.hook, jobs=task.load.count, wall_s=wall, cpu_s=None, packets=packets, metrics_per_s_peak=peak,
        modules=modules, curve=curve, kvs=kvs,
    )  # fmt: skip


def _figures(handle: Any) -> ModuleFigures:
    if handle.station is not None:
        handle.station.settle()
    packets = handle.instrument.packets if handle.instrument else 0
    return ModuleFigures(
        name=handle.name, counts=tuple(handle.counts), iterations=handle.iterations, packets=packets
    )
