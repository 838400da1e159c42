"""Knows the answer to the open question from end to end: the law's rows, prices, advice, the simulation that checks it.

Doesn't know how any of them is done. Its plan may be a file (lab/sweep/plan_file.py), its rows are kept in the database
itself, and an array job may find them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import attrs

from brokersim import files
from brokersim.lab.experiments.experiment import Array, Choice, Experiment, Flag, Option, Read, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.measure import price
from brokersim.lab.measure.truth import WORKLOADS
from brokersim.lab.result import Check, Result, Say, made_by, silent
from brokersim.lab.show.charts_intervals import charts
from brokersim.lab.show.front_text import chosen, picture
from brokersim.lab.sweep.advice import advise, settings
from brokersim.lab.sweep.arrays import Share
from brokersim.lab.sweep.by_law import Prices, curves_of, facts_of, law_rows, phases_of
from brokersim.lab.sweep.front import PRICES, Row, combine, front
from brokersim.lab.sweep.intervals import GENERATION, Store, Stream, Unit, subject_of
from brokersim.lab.sweep.plan_file import (
    JOURNAL,
    OVERHEADS,
    SweepPlan,
    fields_of,
    read_share,
    read_table,
    to_toml,
)
from brokersim.lab.sweep.sweep import RunFile, left_of, part_of, rows_in_order, sweep
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.plurals import counted

#: A simulated error is the law's within this share, and three standard errors of its draws.
AGREES_WITHIN = 0.03
Combination = tuple[Stream, Store]


def intervals(plan: SweepPlan, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
    """`study`, with its rows in the database of ``parts``, if there is one."""
    with closing(RunFile(parts.database)) as file:
        return study(plan, file, workers=workers, say=say)


def study(plan: SweepPlan, file: RunFile, *, workers: int = 1, say: Say = silent) -> Result:
    """Answer, in the parts ``rows``, ``front``, ``advice``, ``facts``, ``simulated`` and ``curves``.

    ``rows`` has the law's figures of every combination, ``simulated`` those of the combinations that were played
    through the real client and aggregator; each of these is a check. If the plan is to be confirmed, the same
    combinations are simulated on the workloads that are not in it. Raises RequestError, RuntimeError, RunFileError.
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
    advice = advise(rows, plan.max_loss, JOURNAL, facts["facts"])
    for row in rows:
        if row["id"] in (advice["row"], advice["cheap_store"], advice["journal"]):
            row.update(phases_of(row))
    simulated = list(_simulated(plan, file, workers, say))
    found = Result(
        meta=_meta(plan),
        parts={
            "rows": rows,
            "front": fronts,
            "advice": advice,
            "facts": facts["facts"],
            "simulated": simulated,
            "curves": facts["curves"],
        },
        checks=tuple(checks(simulated)),
    )
    file.note("result", found.to_json())  # so that the file alone can be reported on
    return found


# -- as an array job


def _left(plan: SweepPlan, path: Path) -> int:
    return sum(len(unit.stores) for unit in left_of(plan.units(), RunFile.known(path)))


def _words(plan: SweepPlan, path: Path) -> list[str]:
    plan_path = path.with_name(f"{path.name}.toml")
    files.write_file(plan_path, to_toml(plan))
    return ["bench", "intervals", str(plan_path), "--db", str(path)]


def run_share(plan: SweepPlan, path: Path, share: Share, say: Say = silent) -> int:
    """An element: its share of the units into a file of its own; how many new rows.

    What is shared out is what the run file does not have: it stays as it is until all elements are gathered. The mark
    of the share is there when all of it is on the disk.
    """
    units = part_of(left_of(plan.units(), RunFile.known(path)), share)
    with closing(RunFile(share.path(path))) as file:
        new = sweep(units, file, workers=1, say=say)
    share.mark(path).touch()
    return new


def _element(plan: SweepPlan, path: Path, share: Share, say: Say) -> str:
    return f"{share.path(path)}: {run_share(plan, path, share, say)} new rows"


def _take_over(path: Path) -> None:
    with closing(RunFile(path)) as file:
        file.gather()


# -- what the law does not know


def _facts(combinations: Sequence[Combination], file: RunFile, say: Say) -> JsonObject:
    """The workload's rate and stays, what each stream sends, and curves to look at; kept in the file."""
    streams = list(dict.fromkeys(stream for stream, _ in combinations))
    key = "facts/" + "/".join(dict.fromkeys(stream.id for stream in streams))
    known: JsonObject | None = file.noted(key)
    if known is None:
        first = streams[0]
        say(
            f"{first.workload}, {counted(first.jobs, 'job')}: the true curves, and what {len(streams)} streams send"
        )
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
    jobs, seed = plan.overhead_jobs, plan.seeds[0]
    is_real = plan.overhead == "real"
    # Real runs have no client between hook and socket, so both kinds of rows share one measurement.
    key = f"{plan.overhead}/{jobs}/{plan.reps if is_real else (aggregated, plan.cost)}/{seed}"
    known = {name: price.Price(**each) for name, each in (file.noted(key) or {}).items()}
    new = tuple(emission for emission in emissions if emission not in known)
    if new:
        say("overhead")
        if is_real:
            known |= price.real(new, jobs, seed, plan.reps, say)
        else:
            known |= price.predicted(new, jobs, seed, aggregated=aggregated, cost=plan.cost)
        file.note(key, {name: attrs.asdict(each) for name, each in known.items()})
    return known


# -- simulation


def _simulated(plan: SweepPlan, file: RunFile, workers: int, say: Say) -> Iterator[Row]:
    others = [name for name in WORKLOADS if plan.confirm and name not in plan.workloads]
    for workload in (*plan.workloads, *others):
        say(f"simulated on {workload}")
        units: Sequence[Unit] = attrs.evolve(plan, workloads=(workload,)).units()
        sweep(units, file, workers=workers, say=say)
        for row in combine(rows_in_order(units, file)):
            yield {"workload": workload, **row, **_beside(row)}


def _beside(row: JsonView) -> Row:
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


def _meta(plan: SweepPlan) -> JsonObject:
    return {
        "experiment": "intervals",
        "plan": attrs.asdict(plan),
        "clock": plan.clock,
        "seed": plan.seeds[0] if len(plan.seeds) == 1 else list(plan.seeds),
        "overhead": plan.overhead,
        "generation": GENERATION,
        **made_by(),
    }


# -- shown, and asked for


def _verdict(found: Result) -> str:
    return str(found.parts["advice"]["sentence"])


def _notes(found: Result) -> Iterable[str]:
    yield "s off: mean over phases; known: how late, so by what to move it; left: off then"
    yield f"--json has all {len(found.runs)} combinations, --out DIR draws them"
    yield f"overhead {found.meta['overhead']}, {found.meta['plan']['draws']} draws: seconds are of any statsd chain"
    if found.meta["overhead"] == "real":
        yield "overhead is of this program on this machine; of idle it predicts nothing for Flux"


def _from_file(path: str) -> JsonObject:
    return fields_of(Path(path))


def _workloads(text: str) -> JsonObject:
    return read_table("sweep", {"workloads": text.split(",")}, "--workload")


def _seeds(given: str | int) -> dict[str, Any]:
    """``0,1,2``; the book gives a number."""
    seeds = [int(word) if word.isdecimal() else word for word in str(given).split(",")]
    return read_table("sweep", {"seeds": seeds}, "--seed")


def _max_loss(text: str) -> JsonObject:
    return {"max_loss": read_share(text, "--max-loss")}


EXPERIMENT = Experiment(
    name="intervals",
    examples=(
        ("brokersim bench intervals", "how wrong each setting is, and which to use"),
        ("brokersim bench intervals --confirm", "the law checked on other workloads"),
    ),
    covers=("the open question",),
    plan=SweepPlan,
    run=intervals,
    options=(
        Option(names=("plan_file",), kind=Read("file", str), metavar="[PLAN.toml]", to_fields=_from_file),
        Option(
            names=("--workload",), kind=Read("list", str), metavar="LIST", to_fields=_workloads,
            help="of bulk, serial, burst, chatty  [bulk]",
        ),
        Option(names=("--seed",), kind=Read("list", str), metavar="LIST", to_fields=_seeds, help="seeds  [0]"),
        Option(names=("--points",), kind=Whole(0), metavar="N", help="simulated as a check, 0: all  [3]"),
        Option(names=("--draws",), kind=Whole(1), metavar="N", is_hidden=True),
        Option(
            names=("--max-loss",), kind=Read("share", str), metavar="SHARE", to_fields=_max_loss,
            help="most overhead a recommendation may have  [1%]",
        ),
        Option(names=("--overhead",), kind=Choice(OVERHEADS), is_hidden=True),
        Option(names=("--confirm",), kind=Flag(), help="check the law on other workloads too"),
    ),
    unlisted=("clock", "reps"),
    columns=columns(
        ("", "mark", ""), ("emission", "emission", ""), ("client", "period", ""), ("flush", "flush", ""),
        ("keep", "retention", ""), ("s off", "off", ""), ("known", "known", ""), ("left", "left", ""),
        ("worst", "worst", ""), ("pkt/s", "packets", ""),
    ),
    rows=chosen,
    picture=picture,
    notes=_notes,
    #: Of the combinations some are simulated: the law has the figures of all.
    journal={"jobs": 10_000, "points": 12},
    verdict=_verdict,
    charts=charts,
    array=Array(left=_left, words=_words, element=_element, take_over=_take_over),
)  # fmt: skip
