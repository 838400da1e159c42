"""Knows the journal's chain of intervals (plugin timer, aggregator flush, store retention) and which of them limits.

One instance of eight brokers a timer; flush and retention do not act back on it, so each of its packets is shown by all
of them. Source: docs/experiments.md, J16 to J18.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise, product
from statistics import fmean, median
from typing import Any

import attrs

from brokersim.lab.experiments.checklist import Check, Say, result, silent
from brokersim.lab.load.bulk import Points, Truth, bulk_jobs_inside, read_truth, thinned
from brokersim.lab.measure.fidelity import Curve, Reach, SeriesFidelity, bound, series_fidelity
from brokersim.lab.measure.pipeline import Shown, flushes, stored
from brokersim.lab.measure.series import US, distance, steps_of
from brokersim.lab.measure.slots import SlotRecorder, to_figures
from brokersim.program import open_instance, run
from brokersim.protocol.duration import format_duration
from brokersim.reactor.cost import CostModel
from brokersim.statsd.retention import explain_retention

#: The journal's panels: IS (inactive, sched) and CR (cleanup, run).
COMPARED = ("SCHED", "INACTIVE", "RUN", "CLEANUP")
STATES, CACHE = "flux.job-states", "flux.content-cache"
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


@attrs.frozen(kw_only=True)
class TimerRun:
    """The jobs under one plugin timer: what was sent (µs, packet), the truth, the slots. ``wall_s`` until all ended."""

    timer: float
    wall_s: float
    packets: tuple[tuple[int, bytes], ...]
    truth: Truth
    slots: dict[str, Points]


@attrs.frozen(kw_only=True)
class ChainRun:
    """One timer, flush and retention: points a store keeps (µs, jobs) by state, and how far they are from the truth."""

    timer: float
    flush: float
    retention: float
    points: dict[str, list[tuple[int, float]]]
    fidelity: dict[str, SeriesFidelity]
    outside: int

    @property
    def name(self) -> str:
        parts = (("timer", self.timer), ("flush", self.flush), ("retention", self.retention))
        return ", ".join(f"{stage} {format_duration(length)}" for stage, length in parts)

    @property
    def slowest(self) -> float:
        return max(self.timer, self.flush, self.retention)

    @property
    def error(self) -> float:
        """Mean over the states of the mean absolute error, relative to the state's peak."""
        return fmean(one.relative_whole or 0.0 for one in self.fidelity.values())

    def to_row(self) -> dict[str, Any]:
        """The figures of the table; errors are shares of the state's peak."""
        row: dict[str, Any] = {
            "timer_s": self.timer, "flush_s": self.flush, "retention_s": self.retention, "slowest_s": self.slowest,
            "points": len(self.points["SCHED"]), "error": self.error,
        }  # fmt: skip
        for state, one in self.fidelity.items():
            row |= {f"{state.lower()}_error": one.relative_whole, f"{state.lower()}_max": one.relative_max}
        return row


def resolution(plan: Plan, say: Say = silent) -> dict[str, Any]:
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
        say(f"timer {format_duration(timer)}, {plan.batches} x {plan.jobs} jobs on {plan.size} brokers")
        runs.append(run(_observe, plan, timer, clock=plan.clock))
    horizon = _horizon(runs, plan.flushes, kept)
    shown = {(one.timer, flush): _flushed(one, flush, horizon) for one, flush in product(runs, plan.flushes)}
    chains = [
        _chain(one, shown[one.timer, flush], flush, retention, horizon)
        for one, flush, retention in product(runs, plan.flushes, kept)
    ]
    cache = {
        f"flush {format_duration(flush)}": _timings(shown[runs[-1].timer, flush]) for flush in plan.flushes
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


def _timer_row(found: TimerRun) -> dict[str, Any]:
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


# -- what the stages behind it show


def _horizon(runs: list[TimerRun], flush: Iterable[float], retention: Iterable[float]) -> int:
    """Whole slots of the slowest store, until the slowest flush has shown the end; µs."""
    end = max(one.truth.end for one in runs) + max(flush)
    slot = max(retention)
    return round(-(-end // slot) * slot * US)


def _flushed(found: TimerRun, flush: float, horizon: int) -> list[Shown]:
    # A microsecond more: the flush at the horizon itself is the last that belongs to it.
    return flushes(found.packets, period=round(flush * US), dialect="brubeck", horizon=horizon + 1)


def _chain(found: TimerRun, shown: list[Shown], flush: float, retention: float, horizon: int) -> ChainRun:
    reach = Reach.of(
        emission=round(found.timer * US), period=0, flush=round(flush * US), retention=round(retention * US)
    )
    kept = stored(shown, round(retention * US))
    points = {state: kept.get(f"{STATES}.{state.lower()}", []) for state in COMPARED}
    curves = found.truth.curves()
    true = {state: Curve.of(_steps(curves[state]), horizon) for state in COMPARED}
    return ChainRun(
        timer=found.timer,
        flush=flush,
        retention=retention,
        points=points,
        fidelity={state: series_fidelity(true[state], points[state], reach) for state in COMPARED},
        outside=sum(_outside(true[state], points[state], reach) for state in COMPARED),
    )


def _steps(points: Points) -> Any:
    return steps_of((round(t * US), value) for t, value in points)


def _outside(true: Curve, points: Iterable[tuple[int, float]], reach: Reach) -> int:
    """Points that show what the truth had nowhere within reach: there must be none."""
    wrong = 0
    for t, value in points:
        low, high = bound(true.steps, t, reach)
        wrong += not low <= value <= high
    return wrong


def _timings(shown: list[Shown]) -> dict[str, dict[str, Points]]:
    """Mean and median (ms) of the content cache's loads and stores, flush by flush."""
    found: dict[str, dict[str, Points]] = {}
    for kind in ("load", "store"):
        each = ((one.t / US, one.samples.get(f"{CACHE}.{kind}")) for one in shown)
        filled = [(t, samples) for t, samples in each if samples]
        found[kind] = {
            "mean": [(t, fmean(samples)) for t, samples in filled],
            "median": [(t, median(samples)) for t, samples in filled],
        }
    return found


def _refused(plan: Plan) -> list[dict[str, Any]]:
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
    plan: Plan, runs: list[TimerRun], chains: list[ChainRun], refused: list[dict[str, Any]]
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
    return sum(abs(b - a) for a, b in pairwise((0.0, *values))) / max(values, default=1.0)


def _apart(runs: list[TimerRun]) -> float:
    """Mean distance of two timers' truths, as a share of the jobs: what a timer costs moves jobs by milliseconds."""
    first, *others = (one.truth.curves() for one in runs)
    end = round(max(one.wall_s for one in runs) * US)
    found = [
        distance(_steps(first[state]), [(round(t * US), v) for t, v in other[state]], end)
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


def _refusal(one: dict[str, Any]) -> Check:
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
