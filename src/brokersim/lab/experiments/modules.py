"""Knows each module's share of the messages of a job, and its metrics over time; not what the messages are for.

Source: docs/experiments.md, J4 and J7.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import attrs

from brokersim.lab.experiments.experiment import Experiment, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.measure.masked import MaskedRun, observe, set_masks
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import COLOURS, Bars, BarSet, Chart, Curve, Panel
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel

#: kvs per serial job in flux-core 0.88, and in the journal (2021).
KVS_088 = {
    "event_rx": 20, "event_tx": 20, "request_rx": 49, "request_tx": 87, "response_rx": 87, "response_tx": 48
}  # fmt: skip
KVS_2021 = {
    "event_rx": 21, "event_tx": 20.8, "request_rx": 52.5, "request_tx": 90.5, "response_rx": 90.5, "response_tx": 51.5
}  # fmt: skip
TOLERANCE = 0.15


@attrs.frozen(kw_only=True)
class Plan:
    """Serial jobs with every module's mask set; metrics are counted over ``window`` s."""

    jobs: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    hook: str = "prepare"
    run_time: float = attrs.field(default=0.001, validator=attrs.validators.ge(0))
    window: float = attrs.field(default=0.25, validator=attrs.validators.gt(0))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("virtual",)))
    #: The journal's PC; with fewer cores than busy modules commits merge less, and a job costs kvs 20 % more requests.
    cost: CostModel = attrs.field(factory=lambda: CostModel(cores=12))


def modules(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Returns ``{"meta", "runs", "series", "checks"}``: a row a module with its counters per job; metrics/s each."""
    say(f"{counted(plan.jobs, 'job')}, hook {plan.hook}")
    found = parts.once("jobs", partial(run, _observe, plan, clock="virtual"))
    return result(
        "modules",
        plan,
        _checks(plan, found),
        runs=[_row(plan, found, name) for name in found.counts],
        series={name: found.metrics(plan.window, name) for name in found.counts},
        journal={"flux-core 0.88": KVS_088, "journal (2021)": KVS_2021},
    )


async def _observe(plan: Plan) -> MaskedRun:
    async with open_instance(
        size=plan.size, clock="virtual", seed=plan.seed, hook=plan.hook, stats="mem:", cost=plan.cost
    ) as instance:
        await set_masks(instance)
        return await observe(instance, plan.jobs, plan.run_time)


def _row(plan: Plan, found: MaskedRun, name: str) -> JsonObject:
    per_job = {kind: n / plan.jobs for kind, n in found.counts[name].items()}
    packets = sum(module == name for _, module in found.packets)
    return {"module": name, **per_job, "iterations": found.iterations[name], "packets": packets}


def _checks(plan: Plan, found: MaskedRun) -> list[Check]:
    return [_counts(plan, found), _share(found), _stores(found), *_packets(found)]


def _counts(plan: Plan, found: MaskedRun) -> Check:
    ours = {kind: found.counts["kvs"][kind] / plan.jobs for kind in KVS_088}
    off = {kind: ours[kind] / wanted - 1 for kind, wanted in KVS_088.items()}
    return Check(
        id="J7",
        sentence="kvs counters per job lie within 15 % of flux-core 0.88's",
        ok=all(abs(share) <= TOLERANCE for share in off.values()),
        ours=", ".join(f"{kind} {n:.1f} ({off[kind]:+.0%})" for kind, n in ours.items()),
        journal=", ".join(f"{kind} {n:g}" for kind, n in KVS_088.items()),
    )


def _share(found: MaskedRun) -> Check:
    kvs = found.counts["kvs"]
    ratio = kvs["request_tx"] / kvs["event_tx"] if kvs["event_tx"] else 0.0
    return Check(
        id="J7 b",
        sentence="kvs.request_tx : kvs.event_tx is 4.35",
        ok=abs(ratio / 4.35 - 1) <= TOLERANCE,
        ours=f"{ratio:.2f}",
        journal="4.35, in 2021 and in 0.88",
    )


def _stores(found: MaskedRun) -> Check:
    """Appends cost two stores; a job's commits also create directories, so the slope is above two."""
    kvs, sqlite = found.counts["kvs"], found.counts["content-sqlite"]
    return Check(
        id="L3",
        sentence="kvs answers all but the notices of clients that left, and gets all its answers",
        ok=0 <= kvs["request_rx"] - kvs["response_tx"] <= max(1, kvs["event_rx"])
        and abs(kvs["request_tx"] - kvs["response_rx"]) <= 2,
        ours=f"{kvs['request_rx']:,} in, {kvs['response_tx']:,} answered; {kvs['request_tx']:,} out, "
        f"{kvs['response_rx']:,} answered; content-sqlite {sqlite['request_rx']:,}",
        journal="525k − 515k: one notice a job; 905k = 905k",
    )


def _packets(found: MaskedRun) -> list[Check]:
    packets = {name: sum(module == name for _, module in found.packets) for name in found.counts}
    over = [name for name, n in packets.items() if n > found.iterations[name] + 1]
    received = sum(counts[kind] for counts in found.counts.values() for kind in COUNTER_NAMES[1::2])
    return [
        Check(
            id="L1",
            sentence="at most one packet an iteration",
            ok=not over,
            ours=f"{counted(len(found.packets), 'packet')} for {counted(received, 'message')}"
            + (f"; more in {over}" if over else ""),
            journal="1.00 to 1.17 packets a message in kvs",
        )
    ]


# -- shown


def _verdict(found: Result) -> str:
    totals = {row["module"]: sum(row[kind] for kind in COUNTER_NAMES[1::2]) for row in found.runs}
    most, second = sorted(totals, key=lambda name: -totals[name])[:2]
    return (
        f"A serial job is {sum(totals.values()):.0f} messages received by all modules: {totals[most]:.0f} by {most}, "
        f"{totals[second]:.0f} by {second}."
    )


def _charts(found: Result) -> Iterable[Chart]:
    yield _per_job(found)
    yield from _over_time(found)


def _per_job(found: Result) -> Chart:
    kvs = next(row for row in found.runs if row["module"] == "kvs")
    names = tuple(next(iter(found.parts["journal"].values())))
    marks = tuple(
        BarSet(label=source, values=tuple(values[name] for name in names), colours=(colour,), is_mark=True)
        for colour, (source, values) in zip(
            ("#000000", COLOURS[1]), found.parts["journal"].items(), strict=False
        )
    )
    ours = BarSet(label="brokersim", values=tuple(kvs[name] for name in names), colours=(COLOURS[0],))
    panel = Bars(title="", y="messages per job", groups=names, sets=(ours, *marks))
    return Chart(name="modules-per-job", title="kvs: messages per serial job", panels=(panel,), height=3.2)


def _over_time(found: Result) -> Iterable[Chart]:
    panels = tuple(
        Panel(
            title=module,
            x="time (s)",
            y="metrics/s",
            curves=(Curve(label="metrics/s", points=points[:-1], colour=COLOURS[0]),),
        )
        for module, points in found.series.items()
    )
    yield Chart(
        name="modules", title="Metrics of each module under load", panels=panels, columns=3, height=1.7
    )


EXPERIMENT = Experiment(
    name="modules",
    examples=(("brokersim bench modules", "each module's messages per job"),),
    covers=("J4", "J7", "L1", "L3"),
    plan=Plan,
    run=lambda plan, say, _workers, parts: modules(plan, say, parts),
    unlisted=("clock",),
    columns=columns(
        ("module", "module", ""), *((name, name, ".1f") for name in COUNTER_NAMES),
        ("iterations", "iterations", ",d"), ("packets", "packets", ",d"),
    ),
    journal={"jobs": 10_000},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
