"""Knows the journal's main experiment: the same jobs without instrumentation and with each hook; what it costs.

Source: seeds of weeks 2 and 5 (docs/experiments.md). Real time runs an instance of its own process, driven
through its socket, sending to a real UDP port; virtual time runs in process with modelled costs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.experiments import watchers_checks
from brokersim.lab.experiments.checklist import beside
from brokersim.lab.experiments.overhead_journal import JOURNAL
from brokersim.lab.experiments.watchers_checks import scatter
from brokersim.lab.load.bulk import thinned
from brokersim.lab.load.loads import Load, load_of
from brokersim.lab.measure.listener import Listener, PacketCount, peak_rate, rates
from brokersim.lab.sweep.spread import Done, spread_jobs
from brokersim.net.client import Client
from brokersim.program import open_instance, run
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS
from brokersim.version import VERSION

HOOKS = ("none", "timer:1s", "prepare", "check", "idle")
#: Client commands each real-time run starts with, as a person would type them.
SCRIPT = (
    ("kvs", "put", "bench.a=1"),
    ("kvs", "get", "bench.a"),
    ("ping", "-c", "2", "-i", "0.01", "kvs"),
    ("event", "pub", "bench.started"),
    ("module", "list"),
)

Say = Callable[[str], object]
#: Longest first: what is begun last should be over soon.
_BY_LENGTH = ("idle", "prepare", "check", "timer", "none")


@attrs.frozen(kw_only=True)
class Plan:
    """What is run: jobs one after the other, each simulated for ``run_time`` seconds, under each hook."""

    jobs: int = attrs.field(default=200, validator=attrs.validators.ge(1))
    hooks: tuple[str, ...] = HOOKS
    clock: str = attrs.field(default="real", validator=attrs.validators.in_(("real", "virtual")))
    reps: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    run_time: float = attrs.field(default=0.001, validator=attrs.validators.ge(0))
    cost: CostModel = attrs.field(factory=CostModel)
    #: Other than serial jobs (lab/load/loads.py): the first ``limit`` jobs or requests, ``speed`` times as fast
    workload: str = "serial"
    limit: int | None = None
    speed: float = 1.0

    def load(self) -> Load:
        """What the instance is loaded with. Raises ValueError."""
        return load_of(self.workload, self.jobs, self.run_time, self.limit, self.speed)


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

    def to_row(self, none_wall_s: float | None) -> dict[str, Any]:
        """The figures of the table; ``overhead`` is the share of wall time added to the run without hooks."""
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
            "overhead": None if not none_wall_s else self.wall_s / none_wall_s - 1,
            "journal": JOURNAL.get(self.hook),
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


def watchers(plan: Plan, say: Say = lambda _: None, workers: int = 1) -> dict[str, Any]:
    """Run the plan. Returns ``{"meta", "runs", "modules", "series", "kvs", "beside", "checks"}``: a row a hook.

    ``modules`` are each hook's module counters, ``series`` metrics a second and ``kvs`` its counters over time. With
    several repetitions the hooks take turns and each row is the run with the median wall time. Long virtual runs are
    spread over ``workers`` processes, which a program may only ask for behind ``if __name__ == "__main__"``; what they
    find does not depend on how many.
    """
    plan = attrs.evolve(plan, jobs=plan.load().count)
    runs = _real_runs(plan, say) if plan.clock == "real" else _virtual_runs(plan, say, workers)
    chosen = [_median(found) for found in runs.values()]
    none = next((found.wall_s for found in chosen if found.hook == "none"), None)
    rows = {found.hook: found.to_row(none) for found in chosen}
    modules = {found.hook: [attrs.asdict(module) for module in found.modules] for found in chosen}
    return {
        "meta": _meta(plan),
        "runs": list(rows.values()),
        "modules": modules,
        # The last window is cut short by the end.
        "series": {found.hook: thinned(found.metrics()[:-1], 600) for found in chosen if found.curve},
        "kvs": {found.hook: found.counters() for found in chosen if found.kvs},
        "beside": beside(watchers_checks.beside(rows)),
        "checks": [attrs.asdict(check) for check in watchers_checks.checks(rows, modules, plan.clock)],
    }


def _median(runs: list[HookRun]) -> HookRun:
    return sorted(runs, key=lambda found: found.wall_s)[len(runs) // 2]


def _meta(plan: Plan) -> dict[str, Any]:
    return {
        "experiment": "watchers",
        "plan": {"hooks": list(plan.hooks)},
        "jobs": plan.jobs,
        "clock": plan.clock,
        "reps": plan.reps,
        "size": plan.size,
        "seed": plan.seed,
        "run_time_s": plan.run_time,
        "workload": plan.workload,
        "cost_model": attrs.asdict(plan.cost) if plan.clock == "virtual" else None,
        "brokersim": VERSION,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "note": "brokersim, not Flux: compare order and ratios, not numbers",
    }


# -- real time


def _real_runs(plan: Plan, say: Say) -> dict[str, list[HookRun]]:
    runs: dict[str, list[HookRun]] = {hook: [] for hook in plan.hooks}
    for rep in range(plan.reps):
        for hook in plan.hooks:
            say(f"{hook}, run {rep + 1} of {plan.reps}")
            runs[hook].append(_real_run(plan, hook, say))
    return runs


def _real_run(plan: Plan, hook: str, say: Say) -> HookRun:
    with Listener() as listener:
        uri, stop = _start_instance(plan, hook, listener.address)
        try:
            _run_script(uri)
            with Client.connect(uri) as client:
                if hook != "none":
                    _set_mask(client)
                start, seen, cpu = time.monotonic(), len(listener.packets), _cpu_s(client)
                plan.load().run_through(uri, lambda n: say(f"{hook}: {n} of {plan.jobs} jobs"))
                wall, cpu = time.monotonic() - start, _cpu_s(client) - cpu
                modules = _collect(client)
        finally:
            stop()
        packets = [(t - start, lines) for t, lines in listener.packets[seen:]]
        kvs = tuple((t - start, values) for t, values in listener.kvs if t >= start)
    return HookRun(
        hook=hook, jobs=plan.jobs, wall_s=wall, packets=len(packets), metrics_per_s_peak=peak_rate(packets), cpu_s=cpu,
        modules=modules, curve=tuple(packets), kvs=kvs,
    )  # fmt: skip


def _start_instance(plan: Plan, hook: str, stats: str) -> tuple[str, Callable[[], None]]:
    """A detached instance in a process of its own; its address, and what ends it."""
    command = [
        sys.executable,
        "-m",
        "brokersim",
        "start",
        "-d",
        "-s",
        str(plan.size),
        "--seed",
        str(plan.seed),
    ]
    command += ["--fake-resources", plan.load().resources]
    if hook != "none":
        # Read here, by the strict grammar: timings may come packed.
        command += ["--stats", f"{stats},dialect=strict", "--hook", hook]
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


def _virtual_runs(plan: Plan, say: Say, workers: int) -> dict[str, list[HookRun]]:
    """Every repetition of a virtual run is the same run, so each hook is run once."""
    order = sorted(plan.hooks, key=by_length)
    items = {hook: (plan, hook) for hook in order}
    found = spread_jobs(_virtual_run, items, plan.jobs, workers=workers, say=say)
    by_hook = dict(zip(order, found, strict=True))
    return {hook: [by_hook[hook]] for hook in plan.hooks}


def by_length(hook: str) -> int:
    """Its place among hooks when the longest run is begun first."""
    return _BY_LENGTH.index(hook.partition(":")[0])


def _virtual_run(what: tuple[Plan, str], done: Done) -> HookRun:
    return run(_virtual, *what, done, clock="virtual")


async def _virtual(plan: Plan, hook: str, done: Done = lambda _: None) -> HookRun:
    real_hook = "prepare" if hook == "none" else hook
    kept = PacketCount()
    async with open_instance(
        size=plan.size,
        clock="virtual",
        seed=plan.seed,
        hook=real_hook,
        stats=None if hook == "none" else kept,  # as in real time: nothing is timed for nobody
        cost=plan.cost,
        resources=plan.load().resources,
    ) as instance:
        kept.reactor = instance.reactor
        handles = [module.handle for module in instance.modules(0)]
        if hook != "none":
            client = instance.client()
            for handle in handles:
                await client.call(f"{handle.name}.debug", {"op": "setbit", "flags": MSGCOUNT})
            client.close()
        start = instance.reactor.now
        kept.reset()
        await plan.load().run_inside(instance, done)
        wall = (instance.reactor.now - start) / NS
        modules = tuple(_figures(handle) for handle in handles)
        packets, peak = kept.packets, kept.peak_rate
        curve, kvs = kept.curve(start / NS), kept.kvs(start / NS)
    return HookRun(
        hook=hook, jobs=plan.jobs, wall_s=wall, packets=packets, metrics_per_s_peak=peak, cpu_s=None, modules=modules,
        curve=curve, kvs=kvs,
    )  # fmt: skip


def _figures(handle: Any) -> ModuleFigures:
    if handle.station is not None:
        handle.station.settle()
    packets = handle.instrument.packets if handle.instrument else 0
    return ModuleFigures(
        name=handle.name, counts=tuple(handle.counts), iterations=handle.iterations, packets=packets
    )


def counter_rows(modules: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The per-module table: a row a module, a column a counter."""
    return [
        {
            "module": module["name"],
            **dict(zip(COUNTER_NAMES, module["counts"], strict=True)),
            "iterations": module["iterations"],
            "packets": module["packets"],
        }
        for module in modules
    ]
