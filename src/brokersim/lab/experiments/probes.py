"""Knows what measuring on a schedule costs a workload, and how wrong its curve is, by interval.

In virtual time the error: a counter's curve, held from sample to sample, beside the counter itself. In real time what
it costs the jobs: cpu, mem, process and nine modules, in rounds of shuffled order, with an interval of 95 %. A round is
compared with itself, so that a machine that is busy for a while is so in both; what the interval does not decide is
not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import comb
from random import Random
from statistics import median

import attrs

from brokersim.lab.experiments.experiment import DURATIONS, Experiment, Option, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import Points, thinned
from brokersim.lab.measure.probed import NAME, followed, held_error, worked
from brokersim.lab.result import Check, Result, Row, Say, result, silent
from brokersim.lab.show.chart import Chart, Curve, Panel
from brokersim.program import run
from brokersim.protocol.duration import format_duration

#: What a second's interval may cost.
GOAL = 0.01
#: Confidence of an interval, and the rounds that it takes: of five all lie on one side once in 16 times.
SURE = 0.95
LEAST_ROUNDS = 6


@attrs.frozen(kw_only=True)
class Plan:
    """Serial jobs, measured at each interval (s); in real time in ``reps`` rounds, of which it needs six or more."""

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
        truth, samples = run(followed, plan.jobs, plan.run_time, every, plan.seed, clock="virtual")
        name = format_duration(every)
        series[name] = thinned(samples, 600)
        mean, most = held_error(truth, samples)
        rows.append(_row(name, samples=len(samples), error=mean, error_max=most))
    return rows, series, {NAME: thinned(truth, 600)}


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
            cpu, wall = run(worked, plan.jobs, names[name], plan.seed, clock="real")
            cpus[name].append(cpu)
            walls[name].append(wall)
    base = median(cpus["none"])
    rows = [_row("none", cpu_s=base, wall_s=median(walls["none"]), overhead=0.0)]
    for name in list(names)[1:]:
        shares = [these / none - 1 for these, none in zip(cpus[name], cpus["none"], strict=True)]
        low, high = bounds(shares) or (None, None)
        found = {"cpu_s": median(cpus[name]), "wall_s": median(walls[name]), "overhead": median(shares)}
        rows.append(_row(name, **found, low=low, high=high))
    return rows


def bounds(shares: Sequence[float]) -> tuple[float, float] | None:
    """Between which of the values found their median lies, with 95 % confidence or more; None of fewer than six.

    By how many values lie on either side, as of coins: nothing is taken for granted of how they spread, which on a
    machine with other work is in bursts. Source: the sign test's interval.
    """
    count = len(shares)
    outside, spare = 0, 0.0
    while (spare := spare + comb(count, outside) / 2**count) <= (1 - SURE) / 2:
        outside += 1
    ordered = sorted(shares)
    return (ordered[outside - 1], ordered[-outside]) if outside else None


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
    """Where the interval lies on one side of the goal. Where it does not, nothing can be said, and is not."""
    found = [row for row in rows if row["every"] == "1s" and _is_decided(row)]
    return [
        Check(
            id="P2",
            sentence="cpu, mem, process and nine modules once a second cost the jobs no more than 1 %",
            ok=row["high"] <= GOAL,
            ours=f"{row['overhead']:+.2%} ({row['low']:+.2%} to {row['high']:+.2%})",
        )
        for row in found
    ]


def _is_decided(row: Row) -> bool:
    return row["low"] is not None and (row["high"] <= GOAL or row["low"] > GOAL)


# -- shown


def _verdict(found: Result) -> str:
    rows = [row for row in found.runs if row["every"] != "none"]
    if found.clock == "real":
        told = ", ".join(f"every {row['every']} {row['overhead']:+.1%}{_within(row)}" for row in rows)
        return f"CPU added to the jobs by measuring {told}.{_undecided(rows)}"
    told = ", ".join(f"{row['error']:.1%} every {row['every']}" for row in rows)
    return f"On average the curve of kvs' messages is off by {told}."


def _within(row: Row) -> str:
    return "" if row["low"] is None else f" ({row['low']:+.1%} to {row['high']:+.1%})"


def _undecided(rows: Sequence[Row]) -> str:
    """What keeps it from being judged, if anything does."""
    row = next((row for row in rows if row["every"] == "1s"), None)
    if row is None or _is_decided(row):
        return ""
    if row["low"] is None:
        return f" Whether a second's is {GOAL:.0%} at most takes --reps {LEAST_ROUNDS} or more."
    return f" Whether a second's is {GOAL:.0%} at most cannot be told from that: more --reps or --jobs may."


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
        ("brokersim bench probes --clock real --jobs 1000 --reps 15", "what looking costs, with intervals"),
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
