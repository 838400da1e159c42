"""Knows the journal's chain of intervals (plugin timer, aggregator flush, store retention) and which of them limits.

One instance of eight brokers a timer; flush and retention do not act back on it, so each of its packets is shown by all
of them. Source: docs/experiments.md, J16 to J18.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise, product
from typing import Any

import attrs

from brokersim.lab.experiments.experiment import DURATIONS, Experiment, Option, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import Points, bulk_jobs_inside, read_truth, thinned
from brokersim.lab.measure.chain import (
    COMPARED,
    STATES,
    ChainRun,
    TimerRun,
    chain_of,
    flushed,
    horizon_of,
    steps,
    timings,
)
from brokersim.lab.measure.series import US, distance
from brokersim.lab.measure.slots import SlotRecorder, to_figures
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import COLOURS, TIME, Cells, Chart, Curve, Panel, held_until, named, truth_curve
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel
from brokersim.statsd.retention import explain_retention

#: Errors of one state that differ by less than this share are equal.
EQUAL = 0.02


@attrs.frozen(kw_only=True)
class Plan:
    """``jobs`` submitted at once, ``batches`` times, on ``size`` brokers of 12 cores; the stages' intervals in seconds.

    The default is a tenth of the journal's: its jobs, its flush and its retention, so that they stand to each other as
    there. A message costs 90 µs: then as many jobs a second are launched as in the journal, 110.
    """

    jobs: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    batches: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    run_time: float = attrs.field(default=0.3, validator=attrs.validators.ge(0))
    size: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    cores: int = attrs.field(default=12, validator=attrs.validators.ge(1))
    timers: tuple[float, ...] = attrs.field(default=(0.1, 0.025))
    flushes: tuple[float, ...] = attrs.field(default=(1.0, 0.1))
    retentions: tuple[float, ...] = attrs.field(default=(6.0, 1.0, 0.1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))
    cost: CostModel = attrs.field(factory=lambda: CostModel(cores=12, message_s=90e-6))

    @timers.validator
    @flushes.validator
    @retentions.validator
    def _check(self, attribute: attrs.Attribute[Any], lengths: tuple[float, ...]) -> None:
        if not lengths or any(not length >= 0.001 for length in lengths):
            raise ValueError(f"{attribute.name}: give one or more durations of at least 1ms, such as 10s,1s")

    @property
    def slots(self) -> int:
        return self.size * self.cores


def resolution(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Returns ``{"meta", "runs", "timers", "refused", "series", "truth", "slots", "cache", "checks"}``.

    ``runs`` has a row a combination, ``timers`` one an instance; ``series`` are the stored points [[s, jobs], …] by
    combination and state; ``refused`` the retentions that whisper cannot keep, each with the reason.
    """
    refused = _refused(plan)
    kept = tuple(
        length for length in plan.retentions if length not in {one["retention_s"] for one in refused}
    )
    if not kept:
        raise ValueError(f"no retention is left: {refused[0]['reason']}; {refused[0]['hint']}")
    runs = []
    for timer in plan.timers:
        say(
            f"timer {format_duration(timer)}, {plan.batches} x {counted(plan.jobs, 'job')} on {plan.size} brokers"
        )
        runs.append(parts.once(f"timer {timer!r}", partial(run, _observe, plan, timer, clock=plan.clock)))
    horizon = horizon_of(runs, plan.flushes, kept)
    shown = {(one.timer, flush): flushed(one, flush, horizon) for one, flush in product(runs, plan.flushes)}
    chains = [
        chain_of(one, shown[one.timer, flush], flush, retention, horizon)
        for one, flush, retention in product(runs, plan.flushes, kept)
    ]
    cache = {
        f"flush {format_duration(flush)}": timings(shown[runs[-1].timer, flush]) for flush in plan.flushes
    }
    return result(
        "resolution",
        plan,
        _checks(plan, runs, chains, refused),
        runs=[one.to_row() for one in chains],
        timers=[_timer_row(one) for one in runs],
        refused=refused,
        series={one.name: _in_seconds(one.points) for one in chains},
        truth={
            state: thinned(points) for state, points in runs[-1].truth.curves().items() if state in COMPARED
        },
        slots={name: thinned(points) for name, points in runs[-1].slots.items()},
        cache=cache,
        horizon=horizon / US,
    )


def _timer_row(found: TimerRun) -> JsonObject:
    return {
        "timer_s": found.timer,
        "wall_s": found.wall_s,
        "jobs_per_s": found.truth.submitted() / found.wall_s if found.wall_s else 0.0,
        "packets": sum(packet.startswith(STATES.encode()) for _, packet in found.packets),
        **to_figures(found.slots, found.wall_s),
    }


def _in_seconds(points: Mapping[str, Iterable[tuple[int, float]]]) -> dict[str, Points]:
    return {state: thinned((t / US, value) for t, value in each) for state, each in points.items()}


# -- one instance a timer


async def _observe(plan: Plan, timer: float) -> TimerRun:
    async with open_instance(
        size=plan.size, clock=plan.clock, seed=plan.seed, stats="mem:,names=journal", cost=plan.cost,
        # As in the journal each timing is sent at once.
        resources=f"{plan.size}x{plan.cores}", attrs={"stats.period": "0"},
    ) as instance:  # fmt: skip
        client = instance.client()
        await instance.remove("content-cache")
        await instance.load("content-cache", "timing=entry")
        await client.call("job-manager.jobtap-load", {"path": "state-history"})
        conf = {"form": "fixed", "period": timer}
        await client.call("job-manager.jobtap-load", {"path": "state-counts", "conf": conf})
        start = instance.reactor.now / 1e9
        recorder = SlotRecorder(instance, start)
        for _ in range(plan.batches):
            await bulk_jobs_inside(instance, plan.jobs, plan.run_time)
        wall = instance.reactor.now / 1e9 - start
        # Until every stage has shown the end.
        await instance.sleep(max(plan.timers) + 2 * max(plan.flushes))
        truth = await read_truth(client, start)
        recorder.close()
        client.close()
        kept: Any = instance.sink
        packets = tuple((round((t - start) * US), packet) for t, packet in kept.packets if t >= start)
    return TimerRun(timer=timer, wall_s=wall, packets=packets, truth=truth, slots=recorder.curves)


def _refused(plan: Plan) -> list[JsonObject]:
    """Retentions below a second: whisper keeps whole ones."""
    found = []
    for length in plan.retentions:
        rule = f"{length:g}s:1d"
        explained = explain_retention(rule)
        if not explained.ok:
            found.append(
                {"retention_s": length, "rule": rule, "reason": explained.text, "hint": explained.hint}
            )
    return found


# -- what should agree


def _checks(
    plan: Plan, runs: list[TimerRun], chains: list[ChainRun], refused: list[JsonObject]
) -> list[Check]:
    checks = [_within(chains)]
    if len(runs) > 1:
        checks += [_wall(runs, plan), _timers(runs, chains)]
    checks.append(_slots(plan, runs[-1], chains))
    if len({one.slowest for one in chains}) > 1:
        checks.append(_slowest(chains))
    if len(plan.flushes) > 1:
        checks += _flush_checks(plan, chains)
    checks += [_refusal(one) for one in refused]
    retentions = sorted({one.retention for one in chains})
    if len(retentions) > 1:
        checks.append(_finer(chains, retentions))
    return checks


def _within(chains: list[ChainRun]) -> Check:
    wrong = sum(one.outside for one in chains)
    total = sum(len(points) for one in chains for points in one.points.values())
    return Check(
        id="J16 bound",
        sentence="each stored value is one the truth had within timer + flush before and retention behind its label",
        ok=not wrong,
        ours=f"{total:,} points, {wrong} outside",
    )


def _wall(runs: list[TimerRun], plan: Plan) -> Check:
    walls = [one.wall_s for one in runs]
    spread = max(walls) / min(walls) - 1
    allowed = 0.01 if plan.clock == "virtual" else 0.1
    return Check(
        id="J16 a",
        sentence="a faster timer of the plugin hardly costs anything: the same wall time",
        ok=spread <= allowed,
        ours=", ".join(f"timer {format_duration(one.timer)} {one.wall_s:.2f} s" for one in runs),
        journal="hardly visible; 4 and 3 minutes for 2 x 10,000 jobs",
    )


def _timers(runs: list[TimerRun], chains: list[ChainRun]) -> Check:
    """Who sees a curve later by d is wrong by d times all the ways it went, divided by the run, more at most."""
    groups: dict[tuple[float, float, str], list[float]] = {}
    slowest = max(one.timer for one in chains)
    for one in chains:
        if max(one.flush, one.retention) >= slowest:
            for state in ("SCHED", "INACTIVE"):
                key = (one.flush, one.retention, state)
                groups.setdefault(key, []).append(one.fidelity[state].relative_whole or 0.0)
    late, apart = slowest / min(one.wall_s for one in runs), _apart(runs)
    ways = {state: max(_way(one, state) for one in runs) for state in ("SCHED", "INACTIVE")}
    # The group that used most of what it may differ by.
    spread, allowed = max(
        ((max(group) - min(group), late * ways[state] + 2 * apart) for (*_, state), group in groups.items()),
        key=lambda found: found[0] / found[1],
        default=(0.0, late),
    )
    return Check(
        id="J16 b",
        sentence="a timer faster than the stages behind it buys no more than its own lateness",
        ok=spread <= allowed,
        ours=f"errors of SCHED or INACTIVE differ by {spread:.2%} of the peak, {format_duration(slowest)} of lateness "
        f"explains {allowed:.2%} (the timers' cost moves the truth itself by {apart:.2%})",
        journal="slightly nearer 10,000 and 0",
    )


def _way(found: TimerRun, state: str) -> float:
    """How far a state's count went in all, up and down, in units of its peak: 2 if it rose and fell once."""
    values = [value for _, value in found.truth.curves()[state]]
    return sum(abs(b - a) for a, b in pairwise((0.0, *values))) / (max(values, default=0.0) or 1.0)


def _apart(runs: list[TimerRun]) -> float:
    """Mean distance of two timers' truths, as a share of the jobs: what a timer costs moves jobs by milliseconds."""
    first, *others = (one.truth.curves() for one in runs)
    end = round(max(one.wall_s for one in runs) * US)
    found = [
        distance(steps(first[state]), [(round(t * US), v) for t, v in other[state]], end)
        for other in others
        for state in ("SCHED", "INACTIVE")
    ]
    jobs = runs[0].truth.submitted()
    return max((one.mean for one in found if one is not None), default=0.0) / jobs


def _slots(plan: Plan, found: TimerRun, chains: list[ChainRun]) -> Check:
    row = to_figures(found.slots, found.wall_s)
    running, coarsest = row["slots_running_mean"], max(chains, key=lambda one: one.slowest)
    reported = max((value for _, value in coarsest.points["RUN"]), default=0)
    return Check(
        id="J16 c",
        sentence=f"jobs run in about half of {plan.slots} slots, and the slowest store reports fewer than there were",
        ok=0.3 * plan.slots <= running <= 0.7 * plan.slots and reported < row["slots_running_max"],
        ours=f"run in {running:.0f}, truly {row['slots_running_max']:.0f} at most, reported {reported:.0f}; held from "
        f"alloc to free {row['slots_allocated_mean']:.0f}: a launch waits for the broker, and holds its slot meanwhile",
        journal="never more than 70 of 96 reported, about half on average",
    )


def _slowest(chains: list[ChainRun]) -> Check:
    ranges: dict[float, tuple[float, float]] = {}
    for one in sorted(chains, key=lambda one: one.slowest):
        low, high = ranges.get(one.slowest, (one.error, one.error))
        ranges[one.slowest] = (min(low, one.error), max(high, one.error))
    order = list(ranges.values())
    return Check(
        id="J16-J18",
        sentence="the error falls with the slowest stage and with nothing else",
        ok=all(faster[1] < slower[0] for faster, slower in pairwise(order)),
        ours=", ".join(
            f"slowest {format_duration(stage)}: {low:.1%}"
            + (f" to {high:.1%}" if high - low > 0.0005 else "")
            for stage, (low, high) in ranges.items()
        ),
        journal="each stage made faster alone changed little",
    )


def _flush_checks(plan: Plan, chains: list[ChainRun]) -> list[Check]:
    slow, fast = max(plan.flushes), min(plan.flushes)
    timer = min(plan.timers)
    kept = sorted({one.retention for one in chains})
    by = {(one.flush, one.retention): one for one in chains if one.timer == timer}
    checks = []
    if kept[0] <= slow:
        a, b = by[slow, kept[0]], by[fast, kept[0]]
        checks.append(
            Check(
                id="J17 a",
                sentence=f"into slots of {format_duration(kept[0])} a faster flush is truer",
                ok=b.error < a.error,
                ours=f"flush {format_duration(slow)}: {a.error:.1%}, {format_duration(fast)}: {b.error:.1%}",
                journal="a little more accurate",
            )
        )
    if kept[-1] > slow:
        a, b = by[slow, kept[-1]], by[fast, kept[-1]]
        errors = [one.fidelity["SCHED"].relative_whole or 0.0 for one in (a, b)]
        checks.append(
            Check(
                id="J17 b",
                sentence=f"into slots of {format_duration(kept[-1])} it is not: a later value under the early label",
                ok=errors[1] >= errors[0] * (1 - EQUAL),
                ours=f"SCHED: flush {format_duration(slow)}: {errors[0]:.1%}, {format_duration(fast)}: {errors[1]:.1%}",
                journal="60 s stayed in force all the while",
            )
        )
    return checks


def _refusal(one: JsonObject) -> Check:
    return Check(
        id=f"J18 ({one['rule']})",
        sentence="a retention below a second is refused, with the reason and what would work",
        ok=bool(one["reason"] and one["hint"]),
        ours=f"{one['reason']}; would work: {one['hint']}",
        journal="still one point a minute",
    )


def _finer(chains: list[ChainRun], retentions: list[float]) -> Check:
    fine, coarse = retentions[0], retentions[-1]
    flush, timer = min(one.flush for one in chains), min(one.timer for one in chains)
    by = {one.retention: one for one in chains if (one.flush, one.timer) == (flush, timer)}
    return Check(
        id="J18 cured",
        sentence=f"a retention of {format_duration(fine)} in force is what helps",
        ok=by[fine].error < by[coarse].error,
        ours=f"{format_duration(coarse)}: {by[coarse].error:.1%}, {len(by[coarse].points['SCHED'])} points; "
        f"{format_duration(fine)}: {by[fine].error:.1%}, {len(by[fine].points['SCHED'])} points",
    )


# -- shown


def _verdict(found: Result) -> str:
    ranges: dict[float, list[float]] = {}
    for row in found.runs:
        ranges.setdefault(row["slowest_s"], []).append(row["error"])
    told = ", ".join(
        f"{min(errors):.1%}{f' to {max(errors):.1%}' if max(errors) - min(errors) > 0.0005 else ''} at {length:g} s"
        for length, errors in sorted(ranges.items(), reverse=True)
    )
    return f"The slowest stage decides how wrong the curves are, whichever it is: {told}."


def _charts(found: Result) -> Iterable[Chart]:
    yield _errors(found)
    for name, states in (("inactive-sched", ("INACTIVE", "SCHED")), ("run-cleanup", ("RUN", "CLEANUP"))):
        title = f"{' and '.join(states)} behind each chain of intervals"
        yield Chart(
            name=f"resolution-{name}",
            title=title,
            panels=tuple(_chains(found, states)),
            columns=2,
            height=1.6,
        )
    yield from _slots_used(found)
    yield from _retention(found)
    yield from _cache(found)


def _chains(found: Result, states: Iterable[str]) -> Iterable[Panel]:
    rows = list(dict.fromkeys((row["flush_s"], row["retention_s"]) for row in found.runs))
    timers = list(dict.fromkeys(row["timer_s"] for row in found.runs))
    for flush, retention in rows:
        for state in states:
            curves = tuple(
                Curve(
                    label=f"timer {format_duration(timer)}",
                    points=held_until(_stored(found, timer, flush, retention, state), found.parts["horizon"]),
                    colour=COLOURS[at % 8],
                )
                for at, timer in enumerate(timers)
            )
            title = f"{state}, flush {format_duration(flush)}, retention {format_duration(retention)}"
            truth = truth_curve(found.truth[state], found.parts["horizon"])
            yield Panel(title=title, x=TIME, y="jobs", curves=(truth, *curves))


def _stored(found: Result, timer: float, flush: float, retention: float, state: str) -> Any:
    parts = (("timer", timer), ("flush", flush), ("retention", retention))
    return found.series[", ".join(f"{name} {format_duration(length)}" for name, length in parts)][state]


def _slots_used(found: Result) -> Iterable[Chart]:
    slots = found.parts.get("slots")
    if not slots:
        return
    plan = found.meta["plan"]
    labels = {"allocated": "held (alloc to free)", "running": "jobs that run (start to finish)"}
    curves = named({labels.get(name, name): points for name, points in slots.items()})
    end = max((points[-1][0] for points in slots.values() if points), default=0.0)
    there = plan["size"] * plan["cores"]
    limit = Curve(label="slots there are", points=[(0.0, there), (end, there)], colour="#000000", dash="1 3")
    panel = Panel(title="", x=TIME, y="slots (cores)", curves=(*curves, limit))
    yield Chart(
        name="resolution-slots", title=f"Slots in use, {plan['size']} brokers", panels=(panel,), height=3.0
    )


def _retention(found: Result) -> Iterable[Chart]:
    rows = found.runs
    timer, flush = (min(row[key] for row in rows) for key in ("timer_s", "flush_s"))
    lengths = sorted({row["retention_s"] for row in rows}, reverse=True)
    shown = list(dict.fromkeys((lengths[0], lengths[-1])))
    refused = "; ".join(one["reason"].partition("(")[0].strip() for one in found.parts.get("refused") or ())
    panels = []
    for state in ("SCHED", "INACTIVE"):
        curves = tuple(
            Curve(
                label=f"{format_duration(length)} slots",
                points=held_until(_stored(found, timer, flush, length, state), found.parts["horizon"]),
                colour=colour,
            )
            for colour, length in zip((COLOURS[1], COLOURS[0]), shown, strict=False)
        )
        truth = truth_curve(found.truth[state], found.parts["horizon"])
        panels.append(Panel(title=state, x=TIME, y="jobs", curves=(truth, *curves), note=refused))
    title = f"What a retention of {' and of '.join(map(format_duration, shown))} draws"
    for refused in found.parts.get("refused") or ():
        title += f" (refused: {refused['reason'].partition(' (')[0]})"
    yield Chart(name="resolution-retention", title=title, panels=tuple(panels), columns=2, height=2.8)


def _cache(found: Result) -> Iterable[Chart]:
    panels = tuple(
        Panel(
            title=f"{name}, {flush}",
            x=TIME,
            y="duration (ms)",
            curves=named({kind: curves[name] for kind, curves in kinds.items()}, step=False),
        )
        for flush, kinds in (found.parts.get("cache") or {}).items()
        for name in ("mean", "median")
    )
    if panels:
        title = "Content cache: mean and median behind each flush"
        yield Chart(name="resolution-cache", title=title, panels=panels, columns=2, height=1.9)


def _errors(found: Result) -> Chart:
    """Mean error, timer by flush, a panel a retention."""
    retentions = list(dict.fromkeys(row["retention_s"] for row in found.runs))
    timers, flushes = (sorted({row[key] for row in found.runs}) for key in ("timer_s", "flush_s"))
    errors = {(row["timer_s"], row["flush_s"], row["retention_s"]): 100 * row["error"] for row in found.runs}
    panels = tuple(
        Cells(
            title=f"retention {format_duration(retention)}", x="flush", y="timer",
            columns=tuple(map(format_duration, flushes)), rows=tuple(map(format_duration, timers)),
            values=tuple(tuple(errors.get((timer, flush, retention)) for flush in flushes) for timer in timers),
            most=max(errors.values()),
        )
        for retention in retentions
    )  # fmt: skip
    title = "Mean error of the states (% of the peak)"
    return Chart(name="resolution-error", title=title, panels=panels, columns=len(panels), height=2.6)


EXPERIMENT = Experiment(
    name="resolution",
    examples=(
        ("brokersim bench resolution", "1,000 jobs on 8 brokers"),
        ("brokersim bench resolution --retentions 60s,1s --flushes 10s,1s", "other stages"),
    ),
    covers=("J16", "J17", "J18"),
    plan=Plan,
    run=lambda plan, say, _workers, parts: resolution(plan, say, parts),
    options=(
        Option(names=("--timers",), kind=DURATIONS, metavar="LIST", help="of the plugin  [0.1s,0.025s]"),
        Option(names=("--flushes",), kind=DURATIONS, metavar="LIST", help="of the aggregator  [1s,0.1s]"),
        Option(names=("--retentions",), kind=DURATIONS, metavar="LIST", help="of the store  [6s,1s,0.1s]"),
        Option(names=("-s", "--size"), kind=Whole(1), metavar="N", help="brokers of 12 cores  [8]"),
    ),
    unlisted=("reps", "plot"),
    columns=columns(
        ("timer s", "timer_s", "g"), ("flush s", "flush_s", "g"), ("retention s", "retention_s", "g"),
        ("slowest s", "slowest_s", "g"), ("points", "points", "d"), ("error", "error", ".1%"),
        ("SCHED", "sched_error", ".1%"), ("INACTIVE", "inactive_error", ".1%"), ("RUN", "run_error", ".1%"),
        ("CLEANUP", "cleanup_error", ".1%"), ("SCHED max", "sched_max", ".1%"),
    ),
    journal={
        "jobs": 10_000, "batches": 2, "timers": (1.0, 0.1, 0.025), "flushes": (10.0, 1.0),
        "retentions": (60.0, 10.0, 1.0, 0.1),
    },
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
