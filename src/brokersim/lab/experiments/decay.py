"""Knows whether an instance slows down as jobs pile up, and models of why it would. Source: docs/experiments.md, J8."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import log2

import attrs

from brokersim.lab.experiments.experiment import Experiment, Number, Option, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.measure.masked import LINES, MaskedRun, observe, set_masks
from brokersim.lab.result import Check, Result, Row, Say, result, silent
from brokersim.lab.show.chart import COLOURS, Chart, Curve, Panel
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel, Node

MODELS = ("none", "linear", "store")


@attrs.frozen(kw_only=True)
class Plan:
    """``blocks`` of serial jobs one after the other, under each model of decay.

    ``none``: handling a message costs the same all along. ``linear``: it costs ``factor`` times as much at the end.
    ``store``: only the backing store's requests become dearer, with the logarithm of the blobs it holds.
    """

    jobs: int = attrs.field(default=200, validator=attrs.validators.ge(2))
    blocks: int = attrs.field(default=10, validator=attrs.validators.ge(2))
    models: tuple[str, ...] = MODELS
    factor: float = attrs.field(default=4.0, validator=attrs.validators.ge(1))
    hook: str = "prepare"
    run_time: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("virtual",)))
    cost: CostModel = attrs.field(factory=CostModel)


def decay(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Returns ``{"meta", "runs", "checks"}``: a row a model and block, with jobs and metrics a second."""
    found = {}
    for model in plan.models:
        say(f"model {model}, {counted(plan.jobs, 'job')}")
        found[model] = parts.once(model, partial(run, _observe, plan, model, clock="virtual"))
    rows = [_row(model, at, one) for model, blocks in found.items() for at, one in enumerate(blocks)]
    return result("decay", plan, [_check(plan, model, rows) for model in found], runs=rows)


def _row(model: str, at: int, block: tuple[int, MaskedRun]) -> JsonObject:
    jobs, found = block
    return {
        "model": model,
        "block": at,
        "jobs": jobs,
        "wall_s": found.wall_s,
        "jobs_per_s": jobs / found.wall_s,
        "metrics_per_s": LINES * len(found.packets) / found.wall_s,
    }


async def _observe(plan: Plan, model: str) -> list[tuple[int, MaskedRun]]:
    found = []
    done = 0
    async with open_instance(
        size=plan.size, clock="virtual", seed=plan.seed, hook=plan.hook, stats="mem:", cost=plan.cost
    ) as instance:
        await set_masks(instance)
        node = instance.node(0)
        assert node is not None, "a virtual instance with a cost model charges"
        first = node.message
        for block in range(plan.blocks):
            jobs = plan.jobs * (block + 1) // plan.blocks - done
            if jobs:
                _AGEING[model](plan, node, first, done)
                found.append((jobs, await observe(instance, jobs, plan.run_time)))
                done += jobs
    return found


Ageing = Callable[[Plan, Node, int, int], None]


def _none(plan: Plan, node: Node, first: int, done: int) -> None:
    """Nothing ages."""


def _linear(plan: Plan, node: Node, first: int, done: int) -> None:
    node.message = round(first * (1 + (plan.factor - 1) * done / plan.jobs))


def _store(plan: Plan, node: Node, first: int, done: int) -> None:
    # A search tree: each doubling of what it holds costs one more step.
    for topic in ("content-backing.store", "content-backing.load"):
        node.topics[topic] = round(first * (1 + (plan.factor - 1) * log2(1 + done)))


_AGEING: dict[str, Ageing] = {"none": _none, "linear": _linear, "store": _store}


def _check(plan: Plan, model: str, rows: list[JsonObject]) -> Check:
    mine = [row for row in rows if row["model"] == model]
    rate, metrics = (mine[-1][key] / mine[0][key] for key in ("jobs_per_s", "metrics_per_s"))
    follows = abs(metrics / rate - 1) < 0.15
    return Check(
        id=f"J8 ({model})",
        sentence="metrics follow the job rate"
        + (", which stays flat" if model == "none" else ", which falls"),
        ok=follows and (abs(rate - 1) < 0.1 if model == "none" else rate < 0.95),
        ours=f"jobs/s {rate:.0%}, metrics/s {metrics:.0%} of the first block",
        journal="to a quarter over 10,000 jobs",
    )


# -- shown


def _verdict(found: Result) -> str:
    shares = []
    for model in dict.fromkeys(row["model"] for row in found.runs):
        rates = [row["jobs_per_s"] for row in found.runs if row["model"] == model]
        shares.append(f"{model} {rates[-1] / rates[0]:.0%}")
    return f"Jobs a second at the end, as a share of those at first, by model: {', '.join(shares)}."


def _charts(found: Result) -> Iterable[Chart]:
    models: dict[str, list[Row]] = {}
    for row in found.runs:
        models.setdefault(row["model"], []).append(row)
    looks = (("job rate", "jobs_per_s", "jobs/s"), ("metrics", "metrics_per_s", "metrics/s"))
    panels = tuple(
        Panel(
            title=title,
            x="jobs done",
            y=unit,
            curves=tuple(
                Curve(
                    label=f"model {model}",
                    points=[
                        (sum(row["jobs"] for row in rows[: block + 1]), rows[block][key])
                        for block in range(len(rows))
                    ],
                    colour=COLOURS[at],
                    step=False,
                    marker=True,
                )
                for at, (model, rows) in enumerate(models.items())
            ),
        )
        for title, key, unit in looks
    )
    title = "Does it slow down as jobs pile up?"
    yield Chart(name="decay", title=title, panels=panels, columns=2, height=2.8)


EXPERIMENT = Experiment(
    name="decay",
    examples=(("brokersim bench decay", "200 serial jobs in ten blocks under each model"),),
    covers=("J8",),
    plan=Plan,
    run=lambda plan, say, _workers, parts: decay(plan, say, parts),
    options=(
        Option(names=("--blocks",), kind=Whole(2), metavar="N", help="they are counted in  [10]"),
        Option(names=("--factor",), kind=Number(1), metavar="F", help="dearer at the end, for the models  [4]"),
    ),
    unlisted=("clock", "reps"),
    columns=columns(
        ("model", "model", ""), ("block", "block", "d"), ("jobs", "jobs", "d"), ("wall s", "wall_s", ".2f"),
        ("jobs/s", "jobs_per_s", ".2f"), ("metrics/s", "metrics_per_s", ",.0f"),
    ),
    journal={"jobs": 10_000},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
