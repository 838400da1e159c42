"""Knows the answer to the open question from end to end: sweep, prices, fronts, advice, test on other workloads.

Doesn't know how any of them is done, nor how the answer is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from brokersim.lab.measure import price
from brokersim.lab.measure.truth import WORKLOADS
from brokersim.lab.result import Result, made_by
from brokersim.lab.sweep.advice import Prices, advise, confirm, priced
from brokersim.lab.sweep.front import PRICES, Row, combine, front
from brokersim.lab.sweep.intervals import Unit
from brokersim.lab.sweep.plan_file import JOURNAL, SweepPlan
from brokersim.lab.sweep.sweep import RunFile, Shard, rows_in_order, sweep

Say = Callable[[str], object]


def study(
    plan: SweepPlan,
    file: RunFile,
    *,
    workers: int = 1,
    with_confirmation: bool = False,
    say: Say = lambda _: None,
) -> Result:
    """Run what is left of the plan and answer, in the parts ``rows``, ``front`` and ``advice``.

    ``rows`` has one row a combination, over all its workloads and seeds; ``front`` the ids on the front against each
    price, cheapest first. With confirmation the advice is held against the fronts of the workloads that are not in
    the plan, which runs the plan once more for each. Raises RequestError, RuntimeError, RunFileError.
    """
    file.gather()
    rows = _rows(plan, file, workers, say)
    prices = _prices(plan, file, say)
    rows = priced(rows, prices, plan.seeds[0])
    advice = advise(rows, plan.max_loss, JOURNAL, _about(plan))
    if with_confirmation and advice["row"] is not None:
        advice["confirmed"] = _confirmed(plan, rows[advice["row"]], file, workers, say)
    found = Result(
        meta=_meta(plan),
        parts={
            "rows": rows,
            "front": {each: [rows[at]["id"] for at in front(rows, each)] for each in PRICES},
            "advice": advice,
        },
    )
    file.note("result", found.to_json())  # so that the file alone can be reported on
    return found


def run_shard(plan: SweepPlan, path: Path, shard: Shard, say: Say = lambda _: None) -> int:
    """An array job's element: its share of the units into a file of its own; how many new rows."""
    file = RunFile(shard.path(path))
    try:
        return sweep(shard.of(plan.units()), file, workers=1, say=say)
    finally:
        file.close()


def _rows(plan: SweepPlan, file: RunFile, workers: int, say: Say) -> list[Row]:
    units: Sequence[Unit] = plan.units()
    sweep(units, file, workers=workers, say=say)
    return combine(rows_in_order(units, file))


def _prices(plan: SweepPlan, file: RunFile, say: Say) -> Prices:
    """Prices by emission and client. They are kept in the file: a second look must not measure anew."""
    streams = [unit.stream for unit in plan.units()]
    found: dict[tuple[str, bool], price.Price] = {}
    for aggregated in (False, True):
        wanted = dict.fromkeys(one.emission for one in streams if (one.period > 0) == aggregated)
        known = _some_prices(plan, tuple(wanted), aggregated, file, say)
        found |= {(emission, aggregated): known[emission] for emission in wanted}
    return found


def _some_prices(
    plan: SweepPlan, emissions: tuple[str, ...], aggregated: bool, file: RunFile, say: Say
) -> dict[str, price.Price]:
    overhead, seed = plan.overhead, plan.seeds[0]
    is_real = overhead.kind == "real"
    # Real runs have no client between hook and socket, so both kinds of rows share one measurement.
    key = f"{overhead.kind}/{overhead.jobs}/{overhead.reps if is_real else aggregated}/{seed}"
    known = {name: price.Price(**each) for name, each in (file.noted(key) or {}).items()}
    new = tuple(emission for emission in emissions if emission not in known)
    if new:
        say("overhead")
        if is_real:
            known |= price.real(new, overhead.jobs, seed, overhead.reps, say)
        else:
            known |= price.predicted(new, overhead.jobs, seed, aggregated=aggregated)
        file.note(key, {name: attrs.asdict(each) for name, each in known.items()})
    return known


def _confirmed(plan: SweepPlan, chosen: Row, file: RunFile, workers: int, say: Say) -> list[dict[str, Any]]:
    prices = _prices(plan, file, say)
    others = {}
    for workload in WORKLOADS:
        if workload in plan.workloads:
            continue
        say(f"confirming on {workload}")
        found = _rows(attrs.evolve(plan, workloads=(workload,)), file, workers, say)
        others[workload] = priced(found, prices, plan.seeds[0])
    return confirm(chosen, others)


def _about(plan: SweepPlan) -> str:
    return f"{plan.jobs:,} jobs ({', '.join(plan.workloads)})"


def _meta(plan: SweepPlan) -> dict[str, Any]:
    return {
        "experiment": "intervals",
        "plan": attrs.asdict(plan),
        "clock": "virtual",
        "overhead": plan.overhead.kind,
        **made_by(),
    }
