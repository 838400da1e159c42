"""Knows the journal's week 5 on job states: gauges of a plugin beside the true counts, NEW sinking and cured.

Doesn't know how gauges are sent (plugin state-counts) or added up (statsd). Source: docs/experiments.md, J13 to J15.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import attrs
import msgspec

from brokersim.lab.experiments.experiment import DURATION, Experiment, Option, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import STATES, Points, Truth, bulk_jobs_inside, read_truth, thinned
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import COLOURS, Chart, Curve, Panel, last_time, truth_curve
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel

PREFIX = "flux.job-states"
FORMS = ("journal", "fixed")


@attrs.frozen(kw_only=True)
class Plan:
    """``jobs`` submitted at once, each simulated for ``run_time`` s; the plugin's timer, the aggregator's flush (s).

    After the last job the plugin goes on for ``tail`` s, and until it has sent ``sends`` times. The modelled machine is
    the journal's: 12 cores.
    """

    jobs: int = attrs.field(default=500, validator=attrs.validators.ge(1))
    run_time: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    timer: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    flush: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.01))
    tail: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    sends: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    resources: str = "1x12"
    cost: CostModel = attrs.field(factory=lambda: CostModel(cores=12))


@attrs.frozen(kw_only=True)
class StatesRun:
    """One form of the plugin: what it sent, what a server shows of it flush by flush, and the truth."""

    form: str
    wall_s: float
    packets: tuple[tuple[float, bytes], ...]
    shown: dict[str, Points]
    truth: Truth
    eventlog: tuple[str, ...]

    def sent(self, state: str) -> list[int]:
        """The numbers the plugin sent for a state, in order."""
        start = f"{PREFIX}.{state.lower()}:"
        return [
            int(line[len(start) : -2])
            for _, packet in self.packets
            for line in packet.decode().split("\n")
            if line.startswith(start)
        ]

    def lowest(self, state: str) -> float:
        return min((value for _, value in self.shown[state]), default=0)

    def highest(self, state: str) -> float:
        return max((value for _, value in self.shown[state]), default=0)

    def last(self, state: str) -> float:
        return self.shown[state][-1][1] if self.shown[state] else 0

    def to_row(self) -> JsonObject:
        """The figures of the table."""
        return {
            "form": self.form,
            "wall_s": self.wall_s,
            "jobs_per_s": self.truth.submitted() / self.truth.end if self.truth.end else 0.0,
            "packets": len(self.packets),
            **{f"{state.lower()}_end": self.last(state) for state in STATES},
            "new_lowest": self.lowest("NEW"),
            "run_highest": self.highest("RUN"),
            "run_true_highest": self.truth.peaks()["RUN"],
            "cleanup_highest": self.highest("CLEANUP"),
            "cleanup_true_highest": self.truth.peaks()["CLEANUP"],
        }


def states(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Run both forms. Returns ``{"meta", "runs", "series", "truth", "checks"}``; series are [[s, count], …]."""
    runs = []
    for form in FORMS:
        say(f"state-counts form={form}, {counted(plan.jobs, 'job')}")
        runs.append(parts.once(form, partial(run, states_run, plan, form, clock=plan.clock)))
    return result(
        "states",
        plan,
        _checks(plan, runs[0], runs[1]),
        runs=[found.to_row() for found in runs],
        series={found.form: {state: thinned(found.shown[state]) for state in STATES} for found in runs},
        truth={state: thinned(points) for state, points in runs[-1].truth.curves().items()},
    )


async def states_run(plan: Plan, form: str) -> StatesRun:
    """One form, on the clock it is run on."""
    async with open_instance(
        size=plan.size,
        clock=plan.clock,
        seed=plan.seed,
        stats="mem:,names=journal",
        cost=plan.cost,
        resources=plan.resources,
    ) as instance:
        client = instance.client()
        await client.call("job-manager.jobtap-load", {"path": "state-history"})
        conf = {"form": form, "period": plan.timer}
        await client.call("job-manager.jobtap-load", {"path": "state-counts", "conf": conf})
        start = instance.reactor.now / 1e9
        await bulk_jobs_inside(instance, plan.jobs, plan.run_time)
        wall = instance.reactor.now / 1e9 - start
        await instance.sleep(max(plan.tail, plan.sends * plan.timer - wall))
        truth = await read_truth(client, start)
        eventlog = await _states_of_a_job(client)
        client.close()
        kept: Any = instance.sink
        packets = tuple(
            (t - start, packet)
            for t, packet in kept.packets
            if t >= start and packet.startswith(PREFIX.encode())
        )
    return StatesRun(
        form=form,
        wall_s=wall,
        packets=packets,
        shown=shown(packets, plan.flush),
        truth=truth,
        eventlog=eventlog,
    )


def shown(packets: tuple[tuple[float, bytes], ...], flush: float) -> dict[str, Points]:
    """What brubeck shows of the gauges at each flush, by state; a state it never heard of has no points."""
    curves: dict[str, Points] = {state: [] for state in STATES}
    from brokersim.statsd.recorded.replay import replay  # dialects and all: not for who asks for help

    for one in replay(packets, dialect="brubeck", flush=flush, inclusive=True):
        for state in STATES:
            value = one.values.get(f"{PREFIX}.{state.lower()}")
            if value is not None:
                curves[state].append((one.t, value))
    return curves


#: The event that leads into a state.
_EVENTS = {
    "submit": "NEW", "validate": "DEPEND", "depend": "PRIORITY", "priority": "SCHED", "alloc": "RUN",
    "finish": "CLEANUP", "clean": "INACTIVE",
}  # fmt: skip


async def _states_of_a_job(client: Any) -> tuple[str, ...]:
    """The states one job passed, from its eventlog."""
    listed = await client.call("job-list.list", {"max_entries": 1, "attrs": []})
    wish = {"id": listed["jobs"][0]["id"], "keys": ["eventlog"], "flags": 0}
    found = await client.call("job-info.lookup", wish)
    names = [msgspec.json.decode(line)["name"] for line in found["eventlog"].splitlines()]
    return tuple(_EVENTS[name] for name in names if name in _EVENTS)


def _checks(plan: Plan, journal: StatesRun, fixed: StatesRun) -> list[Check]:
    return [
        _path(fixed),
        _sum(fixed, plan),
        *_mirrors(plan, fixed),
        _unseen(fixed),
        _sinks(journal),
        _cured(fixed),
    ]


def _path(found: StatesRun) -> Check:
    ours = " → ".join(found.eventlog)
    return Check(
        id="J15",
        sentence="a job passes the seven states in order",
        ok=found.eventlog == STATES,
        ours=ours,
        journal=" → ".join(STATES),
    )


def _sum(found: StatesRun, plan: Plan) -> Check:
    submitted, wrong = 0, 0
    for (_, left, _), (_, held) in zip(found.truth.transitions, found.truth.counts(), strict=True):
        submitted += left is None
        # Who leaves a state that nobody is in keeps the sum.
        wrong += sum(held.values()) != submitted or min(held.values()) < 0
    n = len(found.truth.transitions)
    return Check(
        id="L8",
        sentence="the states sum to the jobs submitted after every transition",
        ok=not wrong and submitted == plan.jobs and n == 7 * plan.jobs,
        ours=f"{n} transitions, {wrong} wrong",
    )


def _mirrors(plan: Plan, found: StatesRun) -> list[Check]:
    sched, inactive = found.shown["SCHED"], found.shown["INACTIVE"]
    ended, waiting = ([value for _, value in points] for points in (inactive, sched))
    peak = max(waiting, default=0)
    after = waiting[waiting.index(peak) :] if waiting else []
    return [
        Check(
            id="J13 a",
            sentence="INACTIVE only rises, to all jobs",
            ok=ended == sorted(ended) and found.last("INACTIVE") == plan.jobs,
            ours=f"ends at {found.last('INACTIVE'):,.0f} of {plan.jobs:,}",
            journal="0 → 10,000",
        ),
        Check(
            id="J13 b",
            sentence="SCHED falls to 0 from its peak on",
            ok=bool(waiting) and after == sorted(after, reverse=True) and found.last("SCHED") == 0,
            ours=f"{peak:,.0f} → {found.last('SCHED'):,.0f}",
            journal="10,000 → 0",
        ),
    ]


def _unseen(found: StatesRun) -> Check:
    highest = {state: found.highest(state) for state in ("PRIORITY", "DEPEND")}
    return Check(
        id="J13 c",
        sentence="PRIORITY and DEPEND show 0: jobs pass them faster than anybody samples",
        ok=not any(highest.values()) and found.truth.peaks()["DEPEND"] > 0,
        ours=", ".join(
            f"{state} ≤ {value:g}, truly {found.truth.peaks()[state]}" for state, value in highest.items()
        ),
        journal="always 0",
    )


def _sinks(found: StatesRun) -> Check:
    sent = found.sent("NEW")
    return Check(
        id="J14 a",
        sentence="without job.new NEW sinks: the server adds up what it takes for decrements",
        ok=found.last("NEW") == sum(sent) < 0 and found.lowest("NEW") == found.last("NEW"),
        ours=f"{found.last('NEW'):,.0f} after {len(sent)} sends",
        journal="about −3.7 million after 370",
    )


def _cured(found: StatesRun) -> Check:
    return Check(
        id="J14 b",
        sentence="with job.new NEW is never below 0",
        ok=found.lowest("NEW") >= 0 and found.last("NEW") == 0,
        ours=f"lowest {found.lowest('NEW'):g}, ends at {found.last('NEW'):g}",
        journal="cured so",
    )


# -- shown


def _verdict(found: Result) -> str:
    journal, fixed = found.runs
    return (
        f"Without job.new the server's NEW ends at {journal['new_end']:,.0f}, with it at {fixed['new_end']:,.0f}; "
        f"of at most {fixed['run_true_highest']:,} jobs that ran at once it showed {fixed['run_highest']:,.0f}."
    )


def _charts(found: Result) -> Iterable[Chart]:
    yield from (*_new(found), *_states(found))


def _states(found: Result) -> Iterable[Chart]:
    fixed = found.series["fixed"]
    end = last_time(fixed)
    panels = tuple(
        Panel(
            title=state,
            x="time (s)",
            y="jobs",
            curves=(
                truth_curve(points, end),
                Curve(label="gauges, with job.new", points=fixed[state], colour=COLOURS[0]),
            ),
        )
        for state, points in found.truth.items()
    )
    yield Chart(name="states", title="Jobs in each state", panels=panels, columns=2, height=1.7)


def _new(found: Result) -> Iterable[Chart]:
    series = found.series
    end = last_time(series["fixed"])
    looks = (
        ("before: −n is a decrement to the server", "without job.new", "journal", COLOURS[1]),
        ("after", "with job.new", "fixed", COLOURS[0]),
    )
    panels = tuple(
        Panel(
            title=title,
            x="time (s)",
            y="NEW (jobs)",
            curves=(
                Curve(label=label, points=series[form]["NEW"], colour=colour),
                truth_curve(found.truth["NEW"], end),
            ),
        )
        for title, label, form, colour in looks
    )
    title = "NEW before and after the plugin heard of job.new"
    yield Chart(name="states-new", title=title, panels=panels, columns=2, height=2.8)


EXPERIMENT = Experiment(
    name="states",
    examples=(
        ("brokersim bench states", "500 jobs, the plugin as it was and cured"),
        ("brokersim bench states --full --out states", "the journal's 10,000; plots"),
    ),
    covers=("J13", "J14", "J15", "L8"),
    plan=Plan,
    run=lambda plan, say, _workers, parts: states(plan, say, parts),
    options=(
        Option(names=("--timer",), kind=DURATION, metavar="FSD", help="of the plugin  [1s]"),
        Option(names=("--flush",), kind=DURATION, metavar="FSD", help="of the aggregator  [1s]"),
        Option(names=("--tail",), kind=DURATION, metavar="FSD", help="after the last job  [10s]"),
    ),
    unlisted=("reps",),
    columns=columns(
        ("form", "form", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".1f"),
        ("packets", "packets", ",d"), ("NEW end", "new_end", ",.0f"), ("SCHED end", "sched_end", ",.0f"),
        ("INACTIVE end", "inactive_end", ",.0f"), ("RUN max", "run_highest", ".0f"),
        ("true", "run_true_highest", "d"), ("CLEANUP max", "cleanup_highest", ".0f"),
        ("true", "cleanup_true_highest", "d"),
    ),
    journal={"jobs": 10_000, "flush": 10.0, "sends": 370},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
