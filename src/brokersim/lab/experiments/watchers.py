"""Knows the journal's main experiment: the same jobs without instrumentation and with each hook; what it costs.

Doesn't know how one run is made (hook_run). Source: seeds of weeks 2 and 5 (docs/experiments.md, J4 to J8 and laws L1,
L3, L4, L7). What should agree are orders and ratios, never rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from brokersim.lab.experiments.experiment import (
    DURATION,
    Choice,
    Experiment,
    Number,
    Option,
    Read,
    Table,
    Whole,
    columns,
)
from brokersim.lab.experiments.progress import Progress
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import thinned
from brokersim.lab.load.loads import Load, load_of
from brokersim.lab.measure.figures import FIRST, job_figures, kvs_figures, one_table, told
from brokersim.lab.measure.flux_run import FluxRun
from brokersim.lab.measure.hook_run import HookRun, HookTask, virtual_run
from brokersim.lab.measure.live_run import LiveRun, run_script
from brokersim.lab.measure.noise import FLOOR, times
from brokersim.lab.result import Beside, Check, Result, Row, Say, made_by, rows, silent
from brokersim.lab.show.charts_watchers import charts
from brokersim.lab.show.costs import MODELLED, costs, engine_sentence, sentence, shown
from brokersim.lab.sweep.spread import Done, spread_jobs
from brokersim.program import run
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.protocol.settings import check_hook
from brokersim.reactor.cost import CostModel
from brokersim.realflux.place import find_flux
from brokersim.realflux.preload import build

HOOKS = ("none", "timer:1s", "prepare", "check", "idle")
#: Wall time added to the run without metrics in the journal: 3,730 s for 10,000 jobs.
JOURNAL = {"timer:1s": 0.002, "check": 0.119, "prepare": 0.154, "idle": 0.658}
#: Real runs of equal work differ by this share of wall time: most of it is spent waiting for 10 ms windows.
REAL_SPREAD = 0.03
#: Peaks of equal runs in real time differ by this share: a window of 0.25 s holds few rounds.
WINDOW_SPREAD = 0.25
#: Rounds in real time: three runs say by how much equal ones differ.
ROUNDS = 3
#: Longest first: what is begun last should be over soon.
_BY_LENGTH = ("idle", "prepare", "check", "timer", "none")
Rows = Mapping[str, JsonView]
#: Packets a message, of any hook that looks in every turn.
LOWEST, HIGHEST = 0.8, 1.3
#: metrics/s in the journal: peak and low.
PEAKS = {"prepare": (27_000, 7_000), "check": (25_000, 5_500), "idle": (21_000, 4_500)}
ENGINES = ("brokersim", "flux")
#: From the cheapest, as the journal has them.
ORDER = ("timer:1s", "check", "prepare", "idle")


@attrs.frozen(kw_only=True)
class Plan:
    """What is run: jobs one after the other, each simulated for ``run_time`` seconds, under each hook.

    ``reps`` rounds in real time: in each every hook runs once. Modelled runs are all the same run.
    """

    jobs: int = attrs.field(default=200, validator=attrs.validators.ge(1))
    hooks: tuple[str, ...] = HOOKS
    clock: str = attrs.field(default="real", validator=attrs.validators.in_(("real", "virtual")))
    reps: int = attrs.field(default=ROUNDS, validator=attrs.validators.ge(1))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    run_time: float = attrs.field(default=0.001, validator=attrs.validators.ge(0))
    cost: CostModel = attrs.field(factory=CostModel)
    #: Other than serial jobs (lab/load/loads.py): the first ``limit`` jobs or requests, ``speed`` times as fast
    workload: str = "serial"
    limit: int | None = None
    speed: float = 1.0
    #: Whose modules: brokersim's, or those of a real Flux, of which ``flux`` is the command (None: on PATH)
    engine: str = attrs.field(default="brokersim", validator=attrs.validators.in_(ENGINES))
    flux: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.engine == "flux" and self.clock != "real":
            raise ValueError("a real Flux has no virtual time; leave --clock away")

    def load(self) -> Load:
        """What the instance is loaded with. Raises ValueError."""
        return load_of(self.workload, self.jobs, self.run_time, self.limit, self.speed)

    def task(self, hook: str) -> HookTask:
        """One hook's run."""
        return HookTask(hook=hook, load=self.load(), size=self.size, seed=self.seed, cost=self.cost)


def watchers(plan: Plan, say: Say = silent, workers: int = 1, parts: Parts = NOWHERE) -> Result:
    """Run the plan: a row a hook.

    ``modules`` are each hook's module counters, ``series`` metrics a second and ``kvs`` its counters over time. In real
    time the hooks take turns, a row has the medians of its rounds, and ``walls`` and ``cpus`` the seconds of each. Long
    virtual runs are spread over ``workers`` processes, which a program may only ask for behind
    ``if __name__ == "__main__"``; what they find does not depend on how many.
    """
    plan = attrs.evolve(plan, jobs=plan.load().count)
    runs, engine = _runs(plan, say, workers, parts)
    by_hook = {hook: _row(found, runs.get("none")) for hook, found in runs.items()}
    modules = {found.hook: [attrs.asdict(module) for module in found.modules] for found in runs.values()}
    return Result(
        meta=_meta(plan)
        | (
            {"engine": engine, "note": f"{engine}, hooked by brokersim: compare order and ratios"}
            if engine
            else {}
        ),
        parts={
            "runs": list(by_hook.values()),
            "modules": modules,
            # The last window is cut short by the end.
            "series": {
                found.hook: thinned(found.metrics()[:-1], 600) for found in runs.values() if found.curve
            },
            "kvs": {found.hook: found.counters() for found in runs.values() if found.kvs},
            "beside": rows(_beside(by_hook)),
            "beside_flux": _beside_flux(plan, list(by_hook.values()), modules),
        },
        checks=tuple(_checks(by_hook, modules, plan.clock)),
    )


def _row(found: HookRun, base: HookRun | None) -> JsonObject:
    """Its figures; ``overhead`` is the median over the rounds of the wall time added to none's."""
    added = times(found.walls, base.walls) if base else None
    return {
        **found.to_row(),
        "overhead": None if added is None else added.share,
        "journal": JOURNAL.get(found.hook),
        "walls": list(found.walls),
        "cpus": list(found.cpus),
    }


def _beside_flux(
    plan: Plan, found: Sequence[Row], modules: Mapping[str, Sequence[Row]]
) -> list[dict[str, str]]:
    """This run above the one table of `bench hooks`, as it was recorded (docs/experiments.md)."""
    floor = MODELLED if plan.clock == "virtual" else FLOOR
    ours = job_figures(found, "this run", plan.jobs, floor), kvs_figures(modules, "this run")
    return told([*ours, *(one for one in one_table() if one.work in FIRST)])


def _meta(plan: Plan) -> JsonObject:
    return {
        "experiment": "watchers",
        "plan": {"hooks": list(plan.hooks)},
        "jobs": plan.jobs,
        "clock": plan.clock,
        "reps": plan.reps if plan.clock == "real" else 1,
        "size": plan.size,
        "seed": plan.seed,
        "run_time_s": plan.run_time,
        "workload": plan.workload,
        "cost_model": attrs.asdict(plan.cost) if plan.clock == "virtual" else None,
        **made_by(),
    }


def _runs(plan: Plan, say: Say, workers: int, parts: Parts) -> tuple[dict[str, HookRun], str]:
    """A run a hook, and the version of the Flux it was in; "" for our own modules."""
    if plan.clock == "virtual":
        return _virtual_runs(plan, say, workers, parts), ""
    # Rounds of instances that live side by side: one unit.
    if plan.engine == "brokersim":
        return parts.once("hooks in turns", partial(_real_runs, plan, say, LiveRun)), ""
    flux = find_flux(plan.flux)
    with TemporaryDirectory(prefix="brokersim-hooks-") as folder:
        library = build(flux, Path(folder, "hooks.so"))
        return parts.once(
            "hooks in turns", partial(_real_runs, plan, say, partial(FluxRun, flux=flux, library=library))
        ), flux.version


def _real_runs(plan: Plan, say: Say, live_run: Callable[[HookTask], LiveRun]) -> dict[str, HookRun]:
    """Round by round, so that what slows the machine for a while slows every hook."""
    found: dict[str, HookRun] = {}
    told = Progress(plan.reps * len(plan.hooks), say)
    with ExitStack() as opened:
        lives = {hook: opened.enter_context(closing(live_run(plan.task(hook)))) for hook in plan.hooks}
        # Our own commands only: not timed, and each word a process: that they work is seen in one instance.
        if plan.engine == "brokersim":
            run_script(next(iter(lives.values())).uri)
        for rep in range(plan.reps):
            for hook, live in lives.items():
                told.begin(f"{hook}, round {rep + 1} of {plan.reps}")
                live.round(told.step)
                if rep == plan.reps - 1:
                    found[hook] = live.found()
                    told.done(_told_row(found, hook))
    return found


def _told_row(found: Mapping[str, HookRun], hook: str) -> str:
    rows = [_row(found[each], found.get("none")) for each in dict.fromkeys(("none", hook)) if each in found]
    row = shown(rows, "real")[-1]
    return f"{row['hook']:<10}{row['cpu']:<18}{row['wall']:<18}{row['added'] or ''}"


def _virtual_runs(plan: Plan, say: Say, workers: int, parts: Parts) -> dict[str, HookRun]:
    """Every repetition of a virtual run is the same run, so each hook is run once."""
    order = sorted(plan.hooks, key=by_length)
    tasks = {hook: plan.task(hook) for hook in order}
    found = spread_jobs(_virtual_run, tasks, plan.jobs, workers=workers, say=say, parts=parts)
    by_hook = dict(zip(order, found, strict=True))
    return {hook: by_hook[hook] for hook in plan.hooks}


def by_length(hook: str) -> int:
    """Its place among hooks when the longest run is begun first."""
    return _BY_LENGTH.index(hook.partition(":")[0])


def _virtual_run(task: HookTask, done: Done) -> HookRun:
    return run(virtual_run, task, done, clock="virtual")


# -- what should agree


def _checks(rows: Rows, modules: Mapping[str, Sequence[JsonView]], clock: str) -> list[Check]:
    """Of the hooks that ran; rows by hook, with each hook's modules."""
    found: list[Check] = []
    if rows.keys() >= {"none", *ORDER}:
        found += _costs(rows, clock)
    found += [_share(hook, row) for hook, row in rows.items() if hook in PEAKS]
    if rows.keys() >= {"prepare", "check"}:
        found.append(_more(rows))
    if rows.keys() >= PEAKS.keys():
        found.append(_peaks(rows, max(WINDOW_SPREAD, _noise(rows, clock)[1]) if clock == "real" else 0.0))
    for hook, each in modules.items():
        found += [*_turns(hook, each), *_answers(hook, each)]
    return found


def _beside(rows: Rows) -> Iterator[Beside]:
    """The journal's cost and peaks beside ours: orders agree, numbers need not."""
    for hook, share in JOURNAL.items():
        if hook in rows and rows[hook]["overhead"] is not None:
            ours = rows[hook]["overhead"]
            yield Beside(
                what=f"{hook}: wall time added", ours=f"{ours:+.1%}", journal=f"{share:+.1%}",
                ok=_is_in_order(hook, rows), why="another machine, another broker: its place in the order counts",
            )  # fmt: skip
    for hook, (peak, low) in PEAKS.items():
        if hook in rows:
            row = rows[hook]
            yield Beside(
                what=f"{hook}: metrics/s, peak and low",
                ours=f"{row['metrics_per_s_peak']:,.0f} / {row['metrics_per_s_low']:,.0f}",
                journal=f"{peak:,} / {low:,}",
                ok=row["metrics_per_s_peak"] > row["metrics_per_s_low"],
                why="no decay here; bench decay has its models",
            )
    if PEAKS.keys() <= rows.keys():
        yield Beside(
            what="scatter of metrics/s around their trend",
            ours=", ".join(f"{hook} {rows[hook]['cv']:.2f}" for hook in PEAKS),
            journal="idle jagged, prepare and check smooth",
            ok=True,
            why="here one loop turns all modules in their order, so one that spins delays the others evenly; in the "
            "journal each had a thread, and the kernel decided who waited",
        )


def _is_in_order(hook: str, rows: Rows) -> bool:
    slower = [rows[each]["overhead"] for each in ORDER[ORDER.index(hook) + 1 :] if each in rows]
    ours: float = rows[hook]["overhead"]
    # check and prepare may stand either way round.
    bound = max(slower, default=ours) if hook in ("check", "prepare") else min(slower, default=ours)
    return ours <= bound + _noise(rows, "real")[1]


def _noise(rows: Rows, clock: str) -> tuple[float, float]:
    """By how much rounds differ in CPU and in wall time: nothing below it is judged. Modelled time has none."""
    if clock != "real":
        return 0.0, 0.0
    cpus, walls = costs(list(rows.values()), clock)
    cpu, wall = (max((one.noise for one in each.values()), default=REAL_SPREAD) for each in (cpus, walls))
    return cpu, wall


def _costs(rows: Rows, clock: str) -> list[Check]:
    cpu_noise, noise = _noise(rows, clock)
    shares = {hook: float(rows[hook]["overhead"]) for hook in ORDER}
    early, late = sorted((shares["check"], shares["prepare"]))
    within = f" (within the noise of {noise:.0%})" if noise else ""
    found = [
        Check(
            id="L7",
            sentence=f"none ≤ timer < {{check, prepare}} < idle in wall time{within}",
            ok=-0.01 - noise <= shares["timer:1s"] < early + noise and late < shares["idle"] + noise,
            ours=", ".join(f"{hook} {share:+.1%}" for hook, share in shares.items()),
            journal=", ".join(f"{hook} {share:+.1%}" for hook, share in JOURNAL.items()),
        )
    ]
    cpu = {hook: rows[hook]["cpu_s"] for hook in ("none", *ORDER)}
    if all(seconds is not None for seconds in cpu.values()):
        early, late = sorted((cpu["check"], cpu["prepare"]))
        room = 1 + cpu_noise
        found.append(
            Check(
                id="L7 b",
                sentence="a hook in every turn costs CPU, a timer hardly any, and idle most (within the noise of "
                f"{cpu_noise:.0%})",
                ok=max(cpu["none"], cpu["timer:1s"]) < early * room and late < cpu["idle"] * room,
                ours=", ".join(f"{hook} {seconds:.2f} s" for hook, seconds in cpu.items()),
            )
        )
    return found


def _share(hook: str, row: JsonView) -> Check:
    ours = row["packets_per_message"]
    return Check(
        id=f"L1 ({hook})",
        sentence=f"about one packet a message, {LOWEST:g} to {HIGHEST:g}, and under prepare at least 1",
        ok=(1.0 if hook == "prepare" else LOWEST) <= ours <= HIGHEST,
        ours=f"{ours:.2f}",
        journal="kvs: check 1.00, prepare 1.17, idle 1.09",
    )


def _more(rows: Rows) -> Check:
    ours = {hook: rows[hook]["packets_per_message"] for hook in ("prepare", "check")}
    return Check(
        id="J4/J6",
        sentence="prepare sends at least as many packets as check for the same work",
        ok=ours["prepare"] >= ours["check"],
        ours=", ".join(f"{hook} {share:.3f} a message" for hook, share in ours.items()),
        journal="kvs: 1.17 against 1.00",
    )


def _peaks(rows: Rows, spread: float) -> Check:
    peak = {hook: rows[hook]["metrics_per_s_peak"] for hook in PEAKS}
    return Check(
        id="J4-J6",
        sentence="peaks of metrics a second: prepare ≥ check, idle below"
        + (f" (within {spread:.0%}, the spread of real runs)" if spread else ""),
        ok=peak["prepare"] >= peak["check"] * (1 - spread)
        and peak["idle"] * (1 - spread) < max(peak["prepare"], peak["check"]),
        ours=", ".join(f"{hook} {rate:,.0f}" for hook, rate in peak.items()),
        journal="27,000, 25,000, 21,000",
        why="while jobs wait for batches of 10 ms, as serial ones do most of the time, a hook costs processor time and "
        "hardly any rate; --workload bulk keeps the loop busy",
    )


def _turns(hook: str, modules: Sequence[JsonView]) -> Iterator[Check]:
    if hook not in PEAKS:
        return
    over = [each["name"] for each in modules if each["packets"] > each["iterations"] + 1]
    yield Check(
        id=f"L1 b ({hook})",
        sentence="at most one packet a turn of the loop, in every module",
        ok=not over,
        ours=f"{sum(each['packets'] for each in modules):,} packets in "
        f"{sum(each['iterations'] for each in modules):,} turns"
        + (f"; more in {', '.join(over)}" if over else ""),
    )


def _answers(hook: str, modules: Sequence[JsonView]) -> Iterator[Check]:
    kvs = next(
        (dict(zip(COUNTER_NAMES, each["counts"], strict=True)) for each in modules if each["name"] == "kvs"),
        None,
    )
    if kvs is None:
        return
    # Open when it was read: the question itself, and what was asked at start without wanting an answer.
    yield Check(
        id=f"L3 ({hook})",
        sentence="kvs gets an answer to all it asks, and answers all but the notices of clients that left",
        ok=0 <= kvs["request_tx"] - kvs["response_rx"] <= 6 and kvs["request_rx"] >= kvs["response_tx"],
        ours=f"{kvs['request_tx']:,} asked, {kvs['response_rx']:,} answers; {kvs['request_rx']:,} in, "
        f"{kvs['response_tx']:,} answered",
        journal="905k = 905k; 525k, 515k",
    )


# -- shown


def _verdict(found: Result) -> str:
    engine = found.meta.get("engine")
    return sentence(found.runs, found.clock) if engine is None else engine_sentence(found.runs, engine)


def _shown(found: Result) -> list[Row]:
    return shown(found.runs, found.clock)


def counter_rows(modules: Iterable[JsonView]) -> list[JsonObject]:
    """The per-module table: a row a module, a column a counter."""
    return [
        {
            "module": module["name"],
            **dict(zip(COUNTER_NAMES, module["counts"], strict=True)),
            "iterations": module["iterations"],
            "packets": module["packets"],
        }
        for module in modules
    ]


#: Every figure of a run: for those who look twice.
EVERY = columns(
    ("hook", "hook", ""), ("wall s", "wall_s", ".2f"), ("jobs/s", "jobs_per_s", ".1f"),
    ("messages", "messages", ",d"), ("iterations", "iterations", ",d"), ("packets", "packets", ",d"),
    ("low metrics/s", "metrics_per_s_low", ",.0f"), ("scatter (CV)", "cv", ".2f"), ("overhead", "overhead", "+.1%"),
    ("journal", "journal", "+.1%"),
)  # fmt: skip


def _tables(found: Result) -> Iterable[Table]:
    """Every figure; and what each module counted under the prepare hook, or the last there was."""
    yield Table(title="every figure", columns=EVERY, rows=tuple(found.runs))
    if flux := found.parts.get("beside_flux"):
        titles = columns(*((name, name, "") for name in flux[0]))
        yield Table(title="beside real Fluxes (bench hooks)", columns=titles, rows=tuple(flux))
    modules = found.parts["modules"]
    hook = "prepare" if "prepare" in modules else list(modules)[-1]
    rows = counter_rows(modules[hook])
    titles = columns(*((name, name, "") for name in rows[0]))
    yield Table(title=f"counters of each module, hook {hook}", columns=titles, rows=tuple(rows))


def _hooks(text: str) -> tuple[str, ...]:
    return tuple(hook if hook == "none" else _hook(hook) for hook in text.split(","))


def _hook(text: str) -> str:
    try:
        return check_hook(text)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


EXPERIMENT = Experiment(
    name="watchers",
    examples=(
        ("brokersim bench watchers", "200 serial jobs under each hook, real time"),
    ),
    covers=("J3", "J4", "J5", "J6", "J7", "J8", "L1", "L3", "L4", "L7"),
    plan=Plan,
    run=watchers,
    options=(
        Option(
            names=("--hooks",), kind=Read("hooks", _hooks, HOOKS), metavar="LIST",
            help="of none, timer:FSD, prepare, check, idle  [all]",
        ),
        Option(names=("-t", "--run-time"), kind=DURATION, metavar="FSD", is_hidden=True),
        Option(
            names=("--engine",), kind=Choice(ENGINES), default="brokersim", metavar="NAME",
            help="brokersim, or flux: a real one, hooked  [brokersim]",
        ),
        Option(names=("--flux",), kind=Read("FLUX", str), metavar="FLUX", is_hidden=True),
        Option(
            names=("--workload",), kind=Read("load", str), default="serial", metavar="LOAD",
            help="bulk, swf:FILE, trace:FILE, ...  [serial]",
        ),
        Option(names=("--limit",), kind=Whole(1), metavar="N", help="of FILE, the first", is_hidden=True),
        Option(
            names=("-x", "--speed"), kind=Number(0, is_open=True), default=1.0, metavar="X", help="of FILE  [1]",
            is_hidden=True,
        ),
    ),
    unlisted=("reps",),
    columns=columns(
        ("hook", "hook", ""), ("CPU", "cpu", ""), ("wall time", "wall", ""), ("added", "added", ""),
        ("pkt/msg", "packets_per_message", ".2f"), ("metrics/s", "metrics_per_s_peak", ",.0f"),
    ),
    rows=_shown,
    tables=_tables,
    journal={"jobs": 10_000},
    book={"clock": "virtual"},
    verdict=_verdict,
    charts=charts,
)  # fmt: skip
