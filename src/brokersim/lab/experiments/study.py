"""Knows the answer to the open question from end to end: the law's rows, prices, advice, the simulation that checks it.

Doesn't know how any of them is done, nor how the answer is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import attrs

from brokersim.lab.measure import price
from brokersim.lab.measure.truth import WORKLOADS
from brokersim.lab.result import Check, Result, Say, made_by, silent
from brokersim.lab.sweep.advice import advise, settings
from brokersim.lab.sweep.by_law import Prices, curves_of, facts_of, law_rows
from brokersim.lab.sweep.front import PRICES, Row, combine, front
from brokersim.lab.sweep.intervals import GENERATION, Store, Stream, Unit, subject_of
from brokersim.lab.sweep.plan_file import JOURNAL, SweepPlan
from brokersim.lab.sweep.sweep import RunFile, Shard, rows_in_order, sweep

#: A simulated error is the law's within this share, and three standard errors of its draws.
AGREES_WITHIN = 0.03
Combination = tuple[Stream, Store]


def study(
    plan: SweepPlan,
    file: RunFile,
    *,
    workers: int = 1,
    with_confirmation: bool = False,
    say: Say = silent,
) -> Result:
    """Answer, in the parts ``rows``, ``front``, ``advice``, ``facts``, ``simulated`` and ``curves``.

    ``rows`` has the law's figures of every combination, ``simulated`` those of the combinations that were played
    through the real client and aggregator; each of these is a check. With confirmation the same combinations are
    simulated on the workloads that are not in the plan. Raises RequestError, RuntimeError, RunFileError.
    """
    file.gather()
    combinations = plan.combinations(plan.workloads[0], plan.seeds[0])
    facts = _facts(combinations, file, say)
    rows = law_rows(combinations, facts["facts"], _prices(plan, combinations, file, say))
    for row in rows:
        row["on_front"] = []
    fronts = {price: front(rows, price) for price in PRICES}
    for price_name, ids in fronts.items():
        for at in ids:
            rows[at]["on_front"].append(price_name)
    simulated = list(_simulated(plan, file, workers, with_confirmation, say))
    found = Result(
        meta=_meta(plan),
        parts={
            "rows": rows,
            "front": fronts,
            "advice": advise(rows, plan.max_loss, JOURNAL, facts["facts"]),
            "facts": facts["facts"],
            "simulated": simulated,
            "curves": facts["curves"],
        },
        checks=tuple(checks(simulated)),
    )
    file.note("result", found.to_json())  # so that the file alone can be reported on
    return found


def run_shard(plan: SweepPlan, path: Path, shard: Shard, say: Say = silent) -> int:
    """An array job's element: its share of the units into a file of its own; how many new rows."""
    file = RunFile(shard.path(path))
    try:
        return sweep(shard.of(plan.units()), file, workers=1, say=say)
    finally:
        file.close()


# -- what the law does not know


def _facts(combinations: Sequence[Combination], file: RunFile, say: Say) -> dict[str, Any]:
    """The workload's rate and stays, what each stream sends, and curves to look at; kept in the file."""
    streams = list(dict.fromkeys(stream for stream, _ in combinations))
    key = "facts/" + "/".join(dict.fromkeys(stream.id for stream in streams))
    known: dict[str, Any] | None = file.noted(key)
    if known is None:
        first = streams[0]
        say(f"{first.workload}, {first.jobs} jobs: the true curves, and what {len(streams)} streams send")
        subject = subject_of(first.workload, first.jobs, first.seed)
        shown = [
            {"id": at, "emission": stream.emission, "period": stream.period, **attrs.asdict(store)}
            for at, (stream, store) in enumerate(combinations)
        ]
        known = {"facts": facts_of(subject, streams), "curves": curves_of(subject, shown)}
        file.note(key, known)
    return known


def _prices(plan: SweepPlan, combinations: Sequence[Combination], file: RunFile, say: Say) -> Prices:
    """Prices by emission and client. They are kept in the file: a second look must not measure anew."""
    found: dict[tuple[str, bool], price.Price] = {}
    for aggregated in (False, True):
        wanted = dict.fromkeys(one.emission for one, _ in combinations if (one.period > 0) == aggregated)
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


# -- simulation


def _simulated(
    plan: SweepPlan, file: RunFile, workers: int, with_confirmation: bool, say: Say
) -> Iterator[Row]:
    others = [name for name in WORKLOADS if with_confirmation and name not in plan.workloads]
    for workload in (*plan.workloads, *others):
        say(f"simulated on {workload}")
        units: Sequence[Unit] = attrs.evolve(plan, workloads=(workload,)).units()
        sweep(units, file, workers=workers, say=say)
        for row in combine(rows_in_order(units, file)):
            yield {"workload": workload, **row, **_beside(row)}


def _beside(row: Mapping[str, Any]) -> Row:
    """The simulation over the law, with its standard error; None where the law says nothing."""
    law, errors = row["law_error"], row["errors"]
    if not law or len(errors) < 2:
        return {"ratio": None, "ratio_se": None}
    return {"ratio": fmean(errors) / law, "ratio_se": stdev(errors) / sqrt(len(errors)) / law}


def checks(simulated: Iterable[Row]) -> Iterator[Check]:
    """The law against each combination that was simulated."""
    for row in simulated:
        if row["ratio"] is None:
            continue
        room = 3 * row["ratio_se"] + AGREES_WITHIN
        yield Check(
            id=f"law ({row['workload']}, {settings(row)})",
            sentence="the mean error of the simulation is what the law says",
            ok=abs(row["ratio"] - 1) <= room,
            ours=f"{row['ratio']:.2f} of it, within {room:.2f} of 1 in {len(row['errors'])} draws",
        )


def _meta(plan: SweepPlan) -> dict[str, Any]:
    return {
        "experiment": "intervals",
        "plan": attrs.asdict(plan),
        "clock": "virtual",
        "overhead": plan.overhead.kind,
        "generation": GENERATION,
        **made_by(),
    }
