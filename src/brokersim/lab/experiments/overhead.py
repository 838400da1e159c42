"""Knows what each hook costs with its masks off and on, beside the journal's figures.

Doesn't know why it costs that (reactor). Source: docs/experiments.md, L7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from statistics import median

import attrs

from brokersim.lab.experiments.experiment import Experiment, columns
from brokersim.lab.experiments.watchers import JOURNAL, REAL_SPREAD, by_length, watchers
from brokersim.lab.experiments.watchers import Plan as WatchersPlan
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import Points, thinned
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.lab.measure.listener import PacketCount, rates
from brokersim.lab.measure.masked import set_masks
from brokersim.lab.result import Check, Result, Row, Say, result, silent
from brokersim.lab.show.chart import Bars, BarSet, Chart, Curve, Panel, hook_colour
from brokersim.lab.sweep.spread import Done, spread_jobs
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS

HOOKS = ("timer:1s", "check", "prepare", "idle")
#: Draws of the bootstrap, and the share its interval covers.
DRAWS, COVERED = 2000, 0.95


@attrs.frozen(kw_only=True)
class Plan:
    """Serial jobs under each hook, masks off and on; ``reps`` runs each, of which the real clock needs five or more.

    In real time the order of the runs is shuffled by the seed, and only masks that are on are compared with none.
    """

    jobs: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    hooks: tuple[str, ...] = HOOKS
    reps: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    run_time: float = attrs.field(default=0.001, validator=attrs.validators.ge(0))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))
    cost: CostModel = attrs.field(factory=CostModel)


@attrs.frozen(kw_only=True)
class _Run:
    """One virtual run: seconds from the first job to the last, packets of counters, metrics a second over windows."""

    wall_s: float
    packets: int
    metrics: Points


def overhead(plan: Plan, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
    """Returns ``{"meta", "runs", "series", "checks"}``: a row a hook and mask.

    ``overhead`` is a share of the wall time without metrics; ``low`` and ``high`` bound it with 95 % confidence
    where runs were repeated. ``series`` are metrics a second by hook, in virtual time; its long runs are spread over
    ``workers`` processes, as those of `watchers` are.
    """
    series: dict[str, Points] = {}
    rows = _real(plan, say, parts) if plan.clock == "real" else _virtual(plan, say, series, workers, parts)
    return result("overhead", plan, _checks(plan, rows), runs=rows, series=series)


# -- virtual time: one run says all, the same run says it again


def _virtual(plan: Plan, say: Say, series: dict[str, Points], workers: int, parts: Parts) -> list[JsonObject]:
    rows = [("none", False), *((hook, on) for hook in plan.hooks for on in (False, True))]
    order = sorted(rows, key=lambda row: by_length(row[0]) if row[1] else len(rows))
    items = {f"{hook} {'on' if is_on else 'off'}": (plan, hook, is_on) for hook, is_on in order}
    found = spread_jobs(_virtual_run, items, plan.jobs, workers=workers, say=say, parts=parts)
    runs = dict(zip(order, found, strict=True))
    series.update({hook: runs[hook, is_on].metrics for hook, is_on in rows if is_on})
    base = runs["none", False].wall_s
    return [
        _row(hook, is_on, plan, one.wall_s, one.packets, one.wall_s / base - 1)
        for (hook, is_on), one in ((row, runs[row]) for row in rows)
    ]


def _virtual_run(what: tuple[Plan, str, bool], done: Done) -> _Run:
    return run(_one, *what, done, clock="virtual")


async def _one(plan: Plan, hook: str, is_on: bool, done: Done) -> _Run:
    kept = PacketCount()
    async with open_instance(
        size=plan.size,
        clock="virtual",
        seed=plan.seed,
        hook="prepare" if hook == "none" else hook,
        stats=kept,
        cost=plan.cost,
    ) as instance:
        kept.reactor = instance.reactor
        if hook != "none":
            await set_masks(instance)
        if not is_on:
            await set_masks(instance, on=False)
        start = instance.reactor.now
        kept.reset()
        await serial_jobs_inside(instance, plan.jobs, plan.run_time, done)
        wall = (instance.reactor.now - start) / NS
        # Here, because the end of the instance sends more.
        metrics = thinned(rates(kept.curve(start / NS), wall), 600)
        return _Run(wall_s=wall, packets=kept.packets, metrics=metrics)


def _row(
    hook: str,
    is_on: bool,
    plan: Plan,
    wall: float,
    packets: int,
    share: float,
    low: float | None = None,
    high: float | None = None,
    cpu: float | None = None,
) -> JsonObject:
    return {
        "hook": hook,
        "masks": "on" if is_on else "off",
        "wall_s": wall,
        "jobs_per_s": plan.jobs / wall if wall else 0.0,
        "packets": packets,
        "cpu_s": cpu,
        "overhead": share,
        "low": low,
        "high": high,
        "journal": JOURNAL.get(hook) if is_on else None,
    }


# -- real time: repeated, in turns


def _real(plan: Plan, say: Say, parts: Parts) -> list[JsonObject]:
    walls: dict[str, list[float]] = {hook: [] for hook in ("none", *plan.hooks)}
    cpus: dict[str, list[float]] = {hook: [] for hook in walls}
    packets: dict[str, int] = {}
    random = Random(plan.seed)
    for rep in range(plan.reps):
        order = list(walls)
        random.shuffle(order)
        for hook in order:
            one = WatchersPlan(
                jobs=plan.jobs,
                hooks=(hook,),
                clock="real",
                reps=1,
                size=plan.size,
                seed=plan.seed,
                run_time=plan.run_time,
            )
            say(f"run {rep + 1} of {plan.reps}: {hook}")
            found = watchers(one, parts=parts.within(f"{hook}, round {rep}")).runs[0]
            walls[hook].append(found["wall_s"])
            cpus[hook].append(found["cpu_s"])
            packets[hook] = found["packets"]
    none = median(walls["none"])
    rows = [_row("none", False, plan, none, 0, 0.0, cpu=median(cpus["none"]))]
    for hook in plan.hooks:
        low, high = interval(walls[hook], walls["none"], random) if plan.reps > 1 else (None, None)
        wall = median(walls[hook])
        rows.append(
            _row(hook, True, plan, wall, packets[hook], wall / none - 1, low, high, median(cpus[hook]))
        )
    return rows


def interval(these: list[float], base: list[float], random: Random) -> tuple[float, float]:
    """Bootstrap interval (95 %) of median(these) / median(base) − 1."""
    shares = sorted(
        median(random.choices(these, k=len(these))) / median(random.choices(base, k=len(base))) - 1
        for _ in range(DRAWS)
    )
    cut = round(DRAWS * (1 - COVERED) / 2)
    return shares[cut], shares[-1 - cut]


# -- what should agree


def _checks(plan: Plan, rows: list[JsonObject]) -> list[Check]:
    on = {row["hook"]: row for row in rows if row["masks"] == "on"}
    off = [row for row in rows if row["masks"] == "off"]
    checks = [_free(off)] if len(off) > 1 else []
    if set(HOOKS) <= on.keys():
        is_real = plan.clock == "real"
        checks.append(
            _ordered({hook: on[hook]["overhead"] for hook in HOOKS}, REAL_SPREAD if is_real else 0.0)
        )
        if is_real:
            checks.append(
                _cpu_ordered({"none": rows[0]["cpu_s"], **{hook: on[hook]["cpu_s"] for hook in HOOKS}})
            )
    return checks


def _free(off: list[JsonObject]) -> Check:
    worst = max(abs(row["overhead"]) for row in off)
    return Check(
        id="J3",
        sentence="with the masks off a hook sends nothing and costs nothing",
        ok=all(not row["packets"] for row in off) and worst < 0.01,
        ours=f"{worst:.2%} at most, {sum(row['packets'] for row in off)} packets",
        journal="the watcher stops itself",
    )


def _ordered(on: dict[str, float], spread: float) -> Check:
    early, late = sorted((on["check"], on["prepare"]))
    within = f" (within {spread:.0%}, the spread of real runs)" if spread else ""
    return Check(
        id="L7",
        sentence=f"none ≤ timer < {{check, prepare}} < idle in wall time{within}",
        ok=-0.01 - spread <= on["timer:1s"] < early + spread and late < on["idle"] + spread,
        ours=", ".join(f"{hook} {share:+.1%}" for hook, share in on.items()),
        journal=", ".join(f"{hook} {share:+.1%}" for hook, share in JOURNAL.items()),
    )


def _cpu_ordered(cpu: dict[str, float]) -> Check:
    early, late = sorted((cpu["check"], cpu["prepare"]))
    return Check(
        id="L7 b",
        sentence="a hook in every iteration costs CPU, a timer hardly any, and idle most",
        ok=max(cpu["none"], cpu["timer:1s"]) < early and late < cpu["idle"],
        ours=", ".join(f"{hook} {seconds:.2f} s" for hook, seconds in cpu.items()),
    )


# -- shown


def _verdict(found: Result) -> str:
    on = _on(found)
    told = ", ".join(f"{row['hook']} {row['overhead']:+.1%}{_within(row)}" for row in on)
    return f"Wall time added by each hook: {told}."


def _within(row: Row) -> str:
    """An interval that holds 0 is no cost that was measured."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return ""
    return " (within the noise)" if low <= 0 <= high else f" ({low:+.1%} to {high:+.1%})"


def _on(found: Result) -> list[Row]:
    return [row for row in found.runs if row.get("masks") == "on"]


def _charts(found: Result) -> Iterable[Chart]:
    if rows := _on(found):
        yield _bars(rows)
    yield from _metrics(found)


def _bars(rows: Sequence[Row]) -> Chart:
    """Wall time as a multiple of the run without metrics: 1 is the floor, and a ratio has one scale from 1 to 100."""
    journal = [row["journal"] for row in rows]
    bars = BarSet(
        label="brokersim",
        values=tuple(1 + row["overhead"] for row in rows),
        colours=tuple(hook_colour(row["hook"]) for row in rows),
        texts=tuple(f"{row['overhead']:+.1%}" for row in rows),
        low=tuple(None if row["low"] is None else 1 + row["low"] for row in rows),
        high=tuple(None if row["high"] is None else 1 + row["high"] for row in rows),
    )
    marks = BarSet(
        label="journal (2021, 12 cores)",
        values=tuple(None if share is None else 1 + share for share in journal),
        colours=("#000000",),
        is_mark=True,
    )
    panel = Bars(
        title="against the run without metrics, masks on", y="wall time, times that of none (log)",
        groups=tuple(row["hook"] for row in rows), sets=(bars, marks), log=True, base=1.0,
    )  # fmt: skip
    return Chart(name="overhead", title="Wall time under each hook", panels=(panel,), height=3.2)


def _metrics(found: Result) -> Iterable[Chart]:
    """Curves over time exist in virtual time only; a panel a hook, for two that are nearly the same hide each other."""
    panels = tuple(
        Panel(
            title=hook, x="time (s)", y="metrics/s (log)", log=True,
            curves=(Curve(label="metrics/s", points=points, colour=hook_colour(hook)),),
        )
        for hook, points in found.series.items()
    )  # fmt: skip
    if panels:
        title = "Metrics per second until all are done: a slower hook takes longer"
        yield Chart(name="overhead-metrics", title=title, panels=panels, columns=2, height=2.1)


EXPERIMENT = Experiment(
    name="overhead",
    examples=(
        ("brokersim bench overhead", "each hook, masks off and on, modelled costs"),
        ("brokersim bench overhead --clock real --reps 5", "measured, in shuffled order, with intervals"),
    ),
    covers=("J3", "L7"),
    plan=Plan,
    run=overhead,
    columns=columns(
        ("hook", "hook", ""), ("masks", "masks", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".2f"),
        ("packets", "packets", ",d"), ("cpu s", "cpu_s", ".2f"), ("overhead", "overhead", "+.1%"),
        ("low", "low", "+.1%"), ("high", "high", "+.1%"), ("journal", "journal", "+.1%"),
    ),
    journal={"jobs": 10_000},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
