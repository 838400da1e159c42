"""Knows what measuring on a schedule costs a workload, and how wrong its curve is, by interval.

In virtual time the error: a counter's curve, held from sample to sample, beside the counter itself. In real time what
it costs the jobs: cpu, mem, process and nine modules, in shuffled order, with an interval of 95 %.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median

import attrs
import msgspec

from brokersim.instance import Instance
from brokersim.lab.experiments.experiment import DURATIONS, Experiment, Option, columns
from brokersim.lab.experiments.overhead import interval
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import Points, thinned
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.lab.result import Check, Result, Row, Say, result, silent
from brokersim.lab.show.chart import Chart, Curve, Panel
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration
from brokersim.reactor.loop import NS

#: Modules whose counters are read beside the machine's.
MODULES = (
    "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "job-manager", "job-info", "sched"
)  # fmt: skip
#: What a second's interval may cost.
GOAL = 0.01
NAME = "kvs"


@attrs.frozen(kw_only=True)
class Plan:
    """Serial jobs, measured at each interval (s); in real time ``reps`` runs each, of which it needs five or more."""

    jobs: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    intervals: tuple[float, ...] = attrs.field(
        default=(10.0, 1.0, 0.1), validator=attrs.validators.deep_iterable(attrs.validators.gt(0))
    )
    run_time: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    reps: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))


def probes(plan: Plan, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
    """A row an interval. ``error`` is the mean over time of how far the held curve is off, a share of its growth;
    ``overhead`` the share of CPU added, ``low`` and ``high`` bound it with 95 % confidence."""
    if plan.clock == "real":
        rows = _real(plan, say)
        return result("probes", plan, _cheap(rows), runs=rows)
    rows, series, truth = _virtual(plan, say)
    return result("probes", plan, _finer(rows), runs=rows, series=series, truth=truth)


# -- virtual time: the error of a curve


def _virtual(plan: Plan, say: Say) -> tuple[list[Row], dict[str, Points], dict[str, Points]]:
    rows: list[Row] = []
    series: dict[str, Points] = {}
    truth: Points = []
    for every in plan.intervals:
        say(f"every {format_duration(every)}")
        truth, samples = run(_followed, plan, every, clock="virtual")
        name = format_duration(every)
        series[name] = thinned(samples, 600)
        mean, most = held_error(truth, samples)
        rows.append(_row(name, samples=len(samples), error=mean, error_max=most))
    return rows, series, {NAME: thinned(truth, 600)}


async def _followed(plan: Plan, every: float) -> tuple[Points, Points]:
    """What kvs had counted, at each change and at each sample, from the first job to the last."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "samples")
        async with open_instance(clock="virtual", seed=plan.seed) as instance:
            truth = _truth_of(instance)
            await _measure(instance, path, {NAME: ("module", {"service": NAME})}, every)
            start = instance.reactor.now / NS
            await serial_jobs_inside(instance, plan.jobs, plan.run_time)
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


# -- real time: what it costs


def _real(plan: Plan, say: Say) -> list[Row]:
    names = {"none": 0.0, **{format_duration(every): every for every in plan.intervals}}
    cpus: dict[str, list[float]] = {name: [] for name in names}
    walls: dict[str, list[float]] = {name: [] for name in names}
    random = Random(plan.seed)
    for rep in range(plan.reps):
        order = list(names)
        random.shuffle(order)
        for name in order:
            say(f"run {rep + 1} of {plan.reps}: {name}")
            cpu, wall = run(_worked, plan, names[name], clock="real")
            cpus[name].append(cpu)
            walls[name].append(wall)
    base = median(cpus["none"])
    rows = [_row("none", cpu_s=base, wall_s=median(walls["none"]), overhead=0.0)]
    for name in list(names)[1:]:
        low, high = interval(cpus[name], cpus["none"], random) if plan.reps > 1 else (None, None)
        cpu = median(cpus[name])
        wall = median(walls[name])
        rows.append(_row(name, cpu_s=cpu, wall_s=wall, overhead=cpu / base - 1, low=low, high=high))
    return rows


async def _worked(plan: Plan, every: float) -> tuple[float, float]:
    """Processor and wall seconds of the jobs; with ``every`` everything is measured meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_instance(clock="real", seed=plan.seed, jobs="simulated") as instance:
            if every:
                wanted: dict[str, tuple[str, JsonObject]] = {
                    name: (name, {}) for name in ("cpu", "mem", "process")
                }
                wanted |= {name: ("module", {"service": name}) for name in MODULES}
                await _measure(instance, Path(folder, "samples"), wanted, every)
            cpu, wall = time.process_time(), time.perf_counter()
            await serial_jobs_inside(instance, plan.jobs, 0.0)
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


def _row(name: str, **found: object) -> Row:
    keys = ("samples", "error", "error_max", "cpu_s", "wall_s", "overhead", "low", "high")
    return {"every": name, **{key: found.get(key) for key in keys}}


# -- what should agree


def _finer(rows: Sequence[Row]) -> list[Check]:
    """Of a counter that grows steadily a held curve is off by half an interval's growth: finer is truer."""
    errors = [row["error"] for row in rows]
    return [
        Check(
            id="P1",
            sentence="a shorter interval has a truer curve",
            ok=all(later <= earlier for earlier, later in pairwise(errors)),
            ours=", ".join(f"{row['every']} {row['error']:.2%}" for row in rows),
        )
    ]


def _cheap(rows: Sequence[Row]) -> list[Check]:
    found = [row for row in rows if row["every"] == "1s" and row["low"] is not None]
    return [
        Check(
            id="P2",
            sentence="cpu, mem, process and nine modules once a second cost the jobs no more than 1 %",
            ok=row["low"] <= GOAL,
            ours=f"{row['overhead']:+.2%} ({row['low']:+.2%} to {row['high']:+.2%})",
        )
        for row in found
    ]


# -- shown


def _verdict(found: Result) -> str:
    rows = [row for row in found.runs if row["every"] != "none"]
    if found.clock == "real":
        told = ", ".join(f"every {row['every']} {row['overhead']:+.1%}{_within(row)}" for row in rows)
        return f"CPU added to the jobs by measuring {told}."
    told = ", ".join(f"{row['error']:.1%} every {row['every']}" for row in rows)
    return f"On average the curve of kvs' messages is off by {told}."


def _within(row: Row) -> str:
    low, high = row["low"], row["high"]
    if low is None:
        return ""
    return " (within the noise)" if low <= 0 <= high else f" ({low:+.1%} to {high:+.1%})"


def _charts(found: Result) -> Iterable[Chart]:
    truth = found.truth.get(NAME)
    if not truth:
        return
    colours = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
    curves = [
        Curve(label=f"every {name}", points=points, colour=colours[number % len(colours)])
        for number, (name, points) in enumerate(found.series.items())
    ]
    panel = Panel(
        title="messages of kvs since its start", x="time (s)", y="messages",
        curves=(Curve(label="counted", points=truth, colour="#000000"), *curves),
    )  # fmt: skip
    yield Chart(name="probes", title="A counter, and its curve by interval", panels=(panel,))


EXPERIMENT = Experiment(
    name="probes",
    examples=(
        ("brokersim bench probes", "how wrong a curve is, by interval"),
        ("brokersim bench probes --clock real --jobs 1000 --reps 7", "what looking costs, with intervals"),
    ),
    covers=(),
    plan=Plan,
    run=probes,
    columns=columns(
        ("every", "every", ""), ("samples", "samples", ",d"), ("error", "error", ".2%"), ("most", "error_max", ".2%"),
        ("cpu s", "cpu_s", ".3f"), ("wall s", "wall_s", ".2f"), ("overhead", "overhead", "+.2%"),
        ("low", "low", "+.2%"), ("high", "high", "+.2%"),
    ),
    options=(
        Option(names=("--intervals",), kind=DURATIONS, metavar="FSD,...", help="measure this often  [10s,1s,0.1s]"),
    ),
    journal={"jobs": 10_000},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
