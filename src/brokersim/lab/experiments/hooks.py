"""Knows the one table of hooks: what each costs and shows in a real Flux and in every home here, and what differs.

Doesn't measure by itself: requests are asked in every home (homes), the journal's jobs run as `watchers` runs them.
Without a Flux ours are held against the recorded one (figures), and the table says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import attrs

from brokersim.lab.experiments import watchers
from brokersim.lab.experiments.experiment import Experiment, Option, Read, Table, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.measure.figures import (
    COSTS,
    FIRST,
    JOB,
    KVS,
    WORKS,
    Figures,
    job_figures,
    kvs_figures,
    one_table,
    real_of,
    told,
    unlike,
)
from brokersim.lab.measure.homes import (
    COUNT,
    KINDS,
    homes,
    idle_calls,
    jobs_beside_spinners,
    ping_beside_idle,
)
from brokersim.lab.measure.noise import FLOOR
from brokersim.lab.result import Check, Result, Row, Say, made_by, silent
from brokersim.lab.show.chart import Bars, BarSet, Chart, hook_colour
from brokersim.lab.show.costs import MODELLED
from brokersim.realflux.place import Flux, NoFlux, find_flux

#: ``--flux none``: a Flux is not looked for.
NONE = "none"
#: Jobs a round in the real Flux: under idle some twenty modules spin, and one takes seconds where cores are few.
FLUX_JOBS = 5
_WOKEN = "its socket wakes a Python module of Flux more often (docs/reactor.md)"
#: Why a home differs that is meant to.
WHY = {
    "in process": f"one loop for all modules: idle in real time predicts nothing for Flux; {_WOKEN}",
    "--exec": f"who spins here shares the cores with whatever else runs; {_WOKEN}",
    "virtual": f"some messages to a spinning module of Flux arrive inside its poll (decision 25); {_WOKEN}",
}


@attrs.frozen(kw_only=True)
class Plan:
    """``jobs`` one after the other and ``count`` requests of each kind a round, under every hook, in every home.

    ``flux`` is the command of the real one: None is that on PATH, `NONE` none.
    """

    jobs: int = attrs.field(default=24, validator=attrs.validators.ge(1))
    flux_jobs: int = attrs.field(default=FLUX_JOBS, validator=attrs.validators.ge(1))
    count: int = attrs.field(default=COUNT, validator=attrs.validators.ge(1))
    reps: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    clock: str = attrs.field(default="real", validator=attrs.validators.in_(("real",)))
    flux: str | None = None


def hooks(plan: Plan, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
    """Measure all homes. Raises ValueError for a ``flux`` that is none, RuntimeError if an instance does not start."""
    flux, why_not = _flux(plan)
    if why_not:
        say(f"NOT MEASURED IN A REAL FLUX: {why_not}")
    asked = parts.once("requests", lambda: [
        home.figures(kind) for home in homes(flux, plan.reps, plan.count, say) for kind in KINDS
    ])  # fmt: skip
    modelled = watchers.watchers(
        watchers.Plan(jobs=plan.jobs, clock="virtual"),
        _named(say, "virtual"),
        workers,
        parts.within("virtual"),
    )
    found = [*asked, *_jobs(plan, flux, modelled, say, parts)]
    spun = parts.once("spinning", lambda: _spun(say))
    return _result(plan, flux, why_not, found, _bounds(modelled, found, spun))


def _flux(plan: Plan) -> tuple[Flux | None, str]:
    if plan.flux == NONE:
        return None, "it was not wanted (--flux none)"
    try:
        return find_flux(plan.flux), ""
    except NoFlux as error:
        if plan.flux:
            raise ValueError(str(error)) from None
        return None, str(error)


def _named(say: Say, name: str) -> Say:
    return lambda text: say(f"{name}: {text}")


def _jobs(plan: Plan, flux: Flux | None, modelled: Result, say: Say, parts: Parts) -> Iterable[Figures]:
    """The journal's jobs, in the order of the table: a real Flux first."""
    if flux is not None:
        real = watchers.Plan(jobs=plan.flux_jobs, reps=plan.reps, engine="flux", flux=plan.flux)
        ran = watchers.watchers(real, _named(say, flux.version), parts=parts.within("flux"))
        yield from _both(ran, flux.version, plan.flux_jobs)
    live = watchers.Plan(jobs=plan.jobs, reps=plan.reps, clock="real")
    ran = watchers.watchers(live, _named(say, "in process"), parts=parts.within("live"))
    yield from _both(ran, "in process", plan.jobs)
    yield from _both(modelled, "virtual", plan.jobs, MODELLED)


def _both(ran: Result, home: str, jobs: int, floor: float = FLOOR) -> tuple[Figures, Figures]:
    """Of all modules, and of kvs alone."""
    return job_figures(ran.runs, home, jobs, floor), kvs_figures(ran.parts["modules"], home)


def _spun(say: Say) -> dict[str, float]:
    say("a ping beside a module that spins")
    ping = ping_beside_idle()
    say("jobs beside eight modules that spin")
    return {"ping": ping, "jobs": jobs_beside_spinners(), "calls": float(idle_calls())}


def _result(
    plan: Plan, flux: Flux | None, why_not: str, found: Sequence[Figures], bounds: Sequence[Row]
) -> Result:
    shown = one_table(found)
    return Result(
        meta={
            "experiment": "hooks",
            "plan": attrs.asdict(plan),
            "clock": plan.clock,
            "reps": plan.reps,
            "flux": flux.version if flux else None,
            "no_flux": why_not or None,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            **made_by(),
        },
        parts={
            "runs": [one.to_row() for one in shown],
            "table": told(shown),
            "unlike": list(_unlike_flux(found)),
            "bounds": list(bounds),
        },
        checks=tuple(map(_in_bounds, bounds)),
    )


# -- what differs, and what should agree


def _unlike_flux(found: Sequence[Figures]) -> Iterable[Row]:
    """A row a home and kind of work: what is not Flux's by more than the noise of both, and why."""
    for ours in found:
        real = real_of(ours.work, found)
        if ours.is_flux or real is None:
            continue
        apart = ", ".join(unlike(ours, real))
        yield {
            "work": WORKS[ours.work],
            "home": ours.home,
            "differs": apart or "nothing beyond the noise",
            "why": WHY.get(ours.home, "") if apart else "",
        }


def _bounds(modelled: Result, found: Sequence[Figures], spun: Mapping[str, float]) -> list[Row]:
    """What a real Flux was found to do (0.88 on two cores), and what is allowed here; ``most`` and ``least`` belong."""
    runs = {row["hook"]: row for row in modelled.runs}
    kvs = next(one for one in found if (one.work, one.home) == (KVS, "virtual"))
    asked = [one for one in found if one.work == "rpc" and not one.is_flux]

    def bound(name: str, what: str, ours: float, least: float, most: float) -> Row:
        return {"id": name, "what": what, "ours": ours, "least": least, "most": most}

    return [
        *(bound(f"1 a {one.home}", "turns of a request with one rpc", one.turns or 0.0, 2.9, 3.1) for one in asked),
        *(bound(f"1 b {one.home}", "its packets, prepare", one.packets["prepare"], 2.85, 3.15) for one in asked),
        *(bound(f"1 c {one.home}", "its packets, check", one.packets["check"], 1.85, 2.15) for one in asked),
        # 5 % around what flux-core 0.88 and 0.28 showed: 1.15 and 1.17; 1.06 and 1.00.
        bound("1 d", "packets a message of kvs, prepare, virtual", kvs.packets["prepare"], 1.09, 1.23),
        bound("1 e", "packets a message of kvs, check, virtual", kvs.packets["check"], 0.95, 1.11),
        # Real: 1.28 to 1.37, the connector's turns among them.
        bound("1 f", "turns a message, virtual", runs["none"]["turns_per_message"], 1.2, 1.4),
        bound("2 a", "jobs beside eight modules that spin, virtual, times", spun["jobs"], 4.0, 7.0),
        bound("2 b", "the journal's jobs under idle, virtual, times", 1 + runs["idle"]["overhead"], 20.0, 50.0),
        # The quickest of many looks: but on a machine that does much else who spins is put behind the others.
        bound("3", "a ping beside one module that spins, in process, times", spun["ping"], 0.0, 1.3),
        bound("4", "idle calls for 1,000 messages under prepare, virtual", spun["calls"], 1000.0, 1100.0),
    ]  # fmt: skip


def _in_bounds(row: Row) -> Check:
    return Check(
        id=f"bound ({row['id']})",
        sentence="each difference to a real Flux that was found once is within its bound",
        ok=row["least"] <= row["ours"] <= row["most"],
        ours=f"{row['what']} {row['ours']:.4g}, {row['least']:.4g} to {row['most']:.4g}",
    )


# -- shown


def _figures(found: Result) -> list[Figures]:
    return [Figures.from_row(row) for row in found.runs]


def _shown(found: Result) -> Iterable[Row]:
    """What was not measured now has a star."""
    figures = [one for one in _figures(found) if one.work in FIRST]
    return [row if row["measured"] == "now" else {**row, "home": f"{row['home']} *"} for row in told(figures)]


def _notes(found: Result) -> Iterable[str]:
    yield "times as long as without a hook (~1: within the noise), packets under prepare / check / idle and turns:"
    yield "of one operation, of jobs of one message (and of the kvs module alone)"
    days = {f"{one.home}: {one.recorded}" for one in _figures(found) if one.recorded}
    if days:
        yield f"* recorded: {'; '.join(sorted(days))}"
    if found.meta.get("no_flux"):
        yield f"NOT MEASURED IN A REAL FLUX: {found.meta['no_flux']}"


def _tables(found: Result) -> Iterable[Table]:
    titles = columns(*((name, name, "") for name in ("work", "home", "differs", "why")))
    yield Table(title="what is not Flux's", columns=titles, rows=tuple(found.parts["unlike"]))
    yield Table(title="every figure", columns=_EVERY, rows=tuple(told(_figures(found))))
    titles = columns(
        ("", "what", ""), ("ours", "ours", ".4g"), ("at least", "least", ".4g"), ("at most", "most", ".4g")
    )
    yield Table(
        title="differences once found, and their bounds", columns=titles, rows=tuple(found.parts["bounds"])
    )


#: As a sentence has them.
_NAMES = {"rpc": "a request with one rpc", JOB: "the journal's jobs"}


def _verdict(found: Result) -> str:
    figures = _figures(found)
    parts = []
    for ours in figures:
        if ours.home != "virtual" or ours.work not in _NAMES:
            continue
        real = real_of(ours.work, figures)
        if real is None:
            continue
        apart = unlike(ours, real)
        parts.append(f"{_NAMES[ours.work]}: " + (", ".join(apart) or "nothing differs"))
    real = real_of(JOB, figures)
    beside = (
        f"{real.home} as it was on {real.recorded}"
        if real and real.recorded
        else real.home
        if real
        else "Flux"
    )
    told_apart = "; ".join(parts) or "nothing was compared"
    return (
        f"Virtual time beside {beside}. {told_apart[:1].upper()}{told_apart[1:]}. In process, idle in real time "
        "predicts nothing for Flux."
    )


def _charts(found: Result) -> Iterable[Chart]:
    """What the hooks add to the journal's jobs, home by home."""
    jobs = [one for one in _figures(found) if one.work == JOB and one.times]
    sets = tuple(
        BarSet(
            label=hook,
            values=tuple(one.times[hook].times if hook in one.times else None for one in jobs),
            colours=(hook_colour(hook),),
            texts=tuple(_above_noise(one, hook) for one in jobs),
            low=tuple(_end(one, hook, -1) for one in jobs),
            high=tuple(_end(one, hook, 1) for one in jobs),
        )
        for hook in COSTS
    )
    if jobs:
        bars = Bars(
            title="serial jobs", y="times that of none (log)", groups=tuple(one.home for one in jobs), sets=sets,
            log=True, base=1.0,
        )  # fmt: skip
        yield Chart(name="hooks", title="Wall time under each hook, in each home", panels=(bars,), height=3.6)


def _above_noise(one: Figures, hook: str) -> str:
    found = one.times.get(hook)
    return "" if found is None or found.is_noise else f"×{found.times:.2g}"


def _end(one: Figures, hook: str, sign: int) -> float | None:
    if hook not in one.times:
        return None
    return one.times[hook].times * (1 + sign * one.times[hook].noise)


_COLUMNS = columns(
    ("work", "work", ""), ("home", "home", ""), ("prepare", "prepare", ""), ("check", "check", ""),
    ("idle", "idle", ""), ("packets", "packets", ""), ("turns", "turns", ""),
)  # fmt: skip
#: Every figure: for those who look twice.
_EVERY = columns(
    ("work", "work", ""), ("home", "home", ""), ("measured", "measured", ""), ("without a hook", "none", ""),
    *((hook, hook, "") for hook in COSTS), ("packets", "packets", ""), ("turns", "turns", ""),
)  # fmt: skip

EXPERIMENT = Experiment(
    name="hooks",
    examples=(
        ("brokersim bench hooks", "each home, and a real Flux if there is one"),
        ("brokersim bench hooks --flux none --reps 5", "ours beside the recorded one"),
    ),
    covers=(),
    plan=Plan,
    run=hooks,
    options=(
        Option(
            names=("--flux",), kind=Read("FLUX", str), metavar="FLUX", help="the real one, or none  [flux on PATH]"
        ),
        Option(names=("--count",), kind=Whole(1), metavar="N", help="requests of a kind a round  [50]"),
        Option(names=("--flux-jobs",), kind=Whole(1), metavar="N", help="jobs a round in a real Flux  [5]"),
    ),
    unlisted=("clock", "seed", "full", "size", "cost"),
    columns=_COLUMNS,
    rows=_shown,
    notes=_notes,
    tables=_tables,
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
