"""Every check of every experiment says yes to what should be, and no to the same with one thing wrong.

A check that always says yes would pass every other test: the experiments find what they should. So each is called here
with figures made up for it, and a check that is new has to bring its own.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from brokersim.lab.experiments import (
    aggregator,
    decay,
    hooks,
    idle,
    intervals,
    latency,
    modules,
    overhead,
    period,
    probes,
    resolution,
    states,
    traps,
    watchers,
)
from brokersim.lab.load.bulk import STATES, Truth
from brokersim.lab.load.flood import Flood
from brokersim.lab.measure.chain import ChainRun, TimerRun
from brokersim.lab.measure.fidelity import SeriesFidelity
from brokersim.lab.measure.masked import MaskedRun
from brokersim.lab.result import Check
from brokersim.protocol.message import COUNTER_NAMES

Key = tuple[str, str, str]
Made = Callable[[], Check | Iterable[Check]]
#: By experiment, function and stem of the check's id: what it must agree with, and what it must not.
CASES: dict[Key, tuple[Made, Made]] = {}


def case(experiment: str, function: str, stem: str, yes: Made, *noes: Made) -> None:
    assert noes
    for at, no in enumerate(noes):
        CASES[experiment, function, stem if not at else f"{stem} #{at}"] = (yes, no)


def checks_in_the_source() -> set[Key]:
    """Where a Check is made, with the words its id begins with."""
    found = set()
    for path in sorted(Path(watchers.__file__).parent.glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Check":
                    found.add((path.stem, function.name, _stem(call)))
    return found


def _stem(call: ast.Call) -> str:
    name = next(keyword.value for keyword in call.keywords if keyword.arg == "id")
    first: Any = name.values[0] if isinstance(name, ast.JoinedStr) else name
    return str(first.value).partition(" (")[0].strip()


# -- aggregator

FLOOD = Flood(
    dialect="etsy", sender="unbounded", offered=10, received=7, dropped=3, shown=7.0, graphite=("foo.bar",),
    buffer=4096, wall_s=1.0, rates=(),
)  # fmt: skip
FULL, PART = float(len(COUNTER_NAMES)), 5.0


def creates(first: float, second: float) -> traps.Creates:
    return traps.Creates(limit=50.0, series={"kvs": [(traps.FLUSH, first), (2 * traps.FLUSH, second)]})


def series(limited: traps.Creates, free: traps.Creates) -> Iterable[Check]:
    return aggregator._series(limited, free)


def sinks(sinking: float, cured: float) -> Check:
    plan = aggregator.Plan(sends=3)
    return aggregator._sinks(plan, {"etsy": [(3.0, sinking)]}, {"etsy": [(3.0, cured)]})


TRAP = next(one for one in traps.traps() if one.codes == ("S101",))
case(
    "aggregator", "_accounted", "J1",
    lambda: aggregator._accounted(FLOOD),
    lambda: aggregator._accounted(attrs.evolve(FLOOD, received=6)),
    lambda: aggregator._accounted(attrs.evolve(FLOOD, shown=6.0)),
    lambda: aggregator._accounted(attrs.evolve(FLOOD, graphite=())),
    lambda: aggregator._accounted(attrs.evolve(FLOOD, sender="bounded")),
)  # fmt: skip
case(
    "aggregator", "_drops", "J1 b",
    lambda: aggregator._drops([FLOOD]), lambda: aggregator._drops([attrs.evolve(FLOOD, dropped=0)]),
)  # fmt: skip
case(
    "aggregator", "_series", "J2 a",
    lambda: series(creates(PART, FULL), creates(FULL, FULL)),
    lambda: series(creates(FULL, FULL), creates(FULL, FULL)),
    lambda: series(creates(PART, FULL), creates(PART, FULL)),
)  # fmt: skip
case(
    "aggregator", "_series", "J2 b",
    lambda: series(creates(PART, FULL), creates(FULL, FULL)),
    lambda: series(creates(PART, PART), creates(FULL, FULL)),
    lambda: series(creates(PART, FULL), creates(PART, PART)),
    lambda: series(creates(FULL, FULL), creates(FULL, FULL)),
)  # fmt: skip
case(
    "aggregator", "_sinks", "J14",
    lambda: sinks(-3.0 * traps.JOBS, -traps.JOBS),
    lambda: sinks(-2.0 * traps.JOBS, -traps.JOBS),
    lambda: sinks(-3.0 * traps.JOBS, 0.0),
)  # fmt: skip
case(
    "aggregator", "_linted", "lint",
    lambda: aggregator._linted(TRAP),
    lambda: aggregator._linted(attrs.evolve(TRAP, records=TRAP.cured)),
    lambda: aggregator._linted(attrs.evolve(TRAP, cured=TRAP.records)),
)  # fmt: skip


# -- decay


def ageing(model: str, jobs: float, metrics: float) -> Check:
    rows = [
        {"model": model, "jobs_per_s": 10.0, "metrics_per_s": 100.0},
        {"model": model, "jobs_per_s": jobs, "metrics_per_s": metrics},
    ]
    return decay._check(decay.Plan(), model, rows)


case(
    "decay", "_check", "J8",
    lambda: ageing("none", 10.0, 100.0), lambda: ageing("none", 8.0, 80.0), lambda: ageing("none", 10.0, 70.0),
)  # fmt: skip
case("decay", "_check", "J8 ages", lambda: ageing("linear", 5.0, 50.0), lambda: ageing("linear", 10.0, 100.0))


# -- hooks

BOUND = {"id": "2 a", "what": "jobs beside eight modules that spin", "ours": 4.0, "least": 4.0, "most": 7.0}
case(
    "hooks", "_in_bounds", "bound",
    lambda: hooks._in_bounds(BOUND),
    lambda: hooks._in_bounds({**BOUND, "ours": 3.9}),
    lambda: hooks._in_bounds({**BOUND, "ours": 7.1}),
)  # fmt: skip


# -- idle

SECONDS = 20.0


def idle_run(
    hook: str = "check", packets: int = 10, spread: float = 1.0, at_rest: bool = False, **more: Any
) -> idle.IdleRun:
    """Ten heartbeats in 20 s and, unless at rest, 31 lines; ``more`` is added to counters, ``kvs__event_tx=1``."""
    lines = 0 if at_rest else 31
    counts = {
        name: dict.fromkeys(COUNTER_NAMES, 0) for name in ("kvs", "cron", "heartbeat", "content-sqlite")
    }
    counts["cron"]["event_rx"] = counts["heartbeat"]["request_tx"] = counts["heartbeat"]["response_rx"] = 10
    counts["kvs"] |= {
        "event_tx": lines, "event_rx": lines + 10, "request_rx": lines, "response_tx": lines, "request_tx": 2 * lines,
        "response_rx": 2 * lines,
    }  # fmt: skip
    counts["content-sqlite"] |= {"request_rx": 2 * lines, "response_tx": 2 * lines}
    for name, n in more.items():
        module, counter = name.split("__")
        counts[module.replace("_", "-")][counter] += n
    times = tuple((at * SECONDS / packets * spread, "kvs") for at in range(packets))
    return idle.IdleRun(
        hook=hook, rest=idle.REST if at_rest else idle.CHATTY, seconds=SECONDS, counts=counts, packets=times
    )


def under(**packets: int) -> dict[tuple[str, str], idle.IdleRun]:
    return {(idle.CHATTY, hook): idle_run(hook, n) for hook, n in packets.items()}


def jagged(**spread: float) -> dict[tuple[str, str], idle.IdleRun]:
    return {(idle.CHATTY, hook): idle_run(hook, 40, share) for hook, share in spread.items()}


PLAN = idle.Plan(seconds=SECONDS)
SCHED = idle.EXACT["sched"]
RIGHT = tuple(a + b for a, b in zip(SCHED.journal, SCHED.differ, strict=True))
case(
    "idle", "_heartbeats", "L2",
    lambda: idle._heartbeats(idle_run(), "x"),
    lambda: idle._heartbeats(idle_run(cron__event_rx=1), "x"),
    lambda: idle._heartbeats(idle_run(cron__event_rx=4, heartbeat__request_tx=4), "x"),
)  # fmt: skip
case(
    "idle", "_answered", "L3",
    lambda: idle._answered(idle_run(), "x"), lambda: idle._answered(idle_run(kvs__request_rx=2), "x"),
    lambda: idle._answered(idle_run(heartbeat__request_tx=2), "x"),
)  # fmt: skip
case(
    "idle", "_setroots", "L4",
    lambda: idle._setroots(idle_run(), "x"), lambda: idle._setroots(idle_run(kvs__event_rx=1), "x"),
)  # fmt: skip
case(
    "idle", "_nothing", "L6",
    lambda: idle._nothing(PLAN, idle_run(at_rest=True), "x"),
    lambda: idle._nothing(PLAN, idle_run(at_rest=True, kvs__event_tx=1), "x"),
    lambda: idle._nothing(PLAN, idle_run(at_rest=True, content_sqlite__request_rx=1), "x"),
)  # fmt: skip
case(
    "idle", "_lines", "L6",
    lambda: idle._lines(PLAN, idle_run(), "x"), lambda: idle._lines(PLAN, idle_run(kvs__event_tx=2), "x"),
)  # fmt: skip
case(
    "idle", "_stores", "L5",
    lambda: idle._stores(PLAN, idle_run(), "x"), lambda: idle._stores(PLAN, idle_run(kvs__request_tx=2), "x"),
    lambda: idle._stores(PLAN, idle_run(content_sqlite__request_rx=2), "x"),
    lambda: idle._stores(PLAN, idle_run(kvs__request_tx=2, content_sqlite__request_rx=2), "x"),
)  # fmt: skip
case(
    "idle", "_single", "J9",
    lambda: idle._single("sched", RIGHT), lambda: idle._single("sched", (RIGHT[0] + 1, *RIGHT[1:])),
)  # fmt: skip
case(
    "idle", "_between", "J11 b",
    lambda: idle._between(idle.CHATTY, under(check=8, idle=9, prepare=10)),
    lambda: idle._between(idle.CHATTY, under(check=8, idle=7, prepare=10)),
    lambda: idle._between(idle.CHATTY, under(check=8, idle=11, prepare=10)),
)  # fmt: skip
case(
    "idle", "_order", "J11 a",
    lambda: idle._order(idle.CHATTY, under(check=8, prepare=10)),
    lambda: idle._order(idle.CHATTY, under(check=10, prepare=8)),
    lambda: idle._order(
        idle.CHATTY, {**under(check=8), (idle.CHATTY, "prepare"): idle_run("prepare", 10, kvs__request_rx=9)}
    ),
)  # fmt: skip
case(
    "idle", "_steadiest", "J11 c",
    lambda: idle._steadiest(idle.CHATTY, jagged(prepare=1.0, check=0.5)),
    lambda: idle._steadiest(idle.CHATTY, jagged(prepare=0.5, check=1.0)),
)  # fmt: skip


# -- latency


def timed(
    stores: Iterable[float], loads: Iterable[float] = (1.0,), windows: float = 9.0, flight: int = 2
) -> Any:
    shown = {kind: {name: [(1.0, windows)] for name in latency.SHOWN} for kind in latency.KINDS}
    return latency.LatencyRun(
        timing="entry", shown=shown, in_flight_max=dict.fromkeys(latency.KINDS, flight),
        samples={"store": [(0.0, ms) for ms in stores], "load": [(0.0, ms) for ms in loads]},
    )  # fmt: skip


LONG = (1.0, 2.0, 9.0)
case(
    "latency", "_ratio", "J12 a",
    lambda: latency._ratio(latency.Plan(), timed([1.0] * 100)),
    lambda: latency._ratio(latency.Plan(), timed([1.0] * 99)),
)  # fmt: skip
case(
    "latency", "_tail", "J12 b",
    lambda: latency._tail(timed(LONG), "store"), lambda: latency._tail(timed([1.0, 8.0, 9.0]), "store"),
)  # fmt: skip
case(
    "latency", "_windows", "J12 c",
    lambda: latency._windows(timed(LONG, windows=5.0)), lambda: latency._windows(timed(LONG, windows=9.0)),
)  # fmt: skip
case(
    "latency", "_aux", "J12 d",
    lambda: latency._aux(timed(LONG), timed((1.0, 1.0, 9.0)), "store"),
    lambda: latency._aux(timed(LONG), timed((1.0, 1.0, 9.5)), "store"),  # too long once
    lambda: latency._aux(timed(LONG), timed(LONG), "store"),  # never too short, though two were under way
    lambda: latency._aux(timed(LONG), timed((1.0, 1.0)), "store"),  # one lost
)  # fmt: skip


# -- modules


def masked(iterations: int = 60, packets: int = 60, **more: int) -> MaskedRun:
    kvs = {**dict.fromkeys(COUNTER_NAMES, 0), **modules.KVS_088}
    # As many as are asked: what clients that left are told has no answer.
    kvs |= {name: kvs[name] + n for name, n in more.items()}
    sqlite = dict.fromkeys(COUNTER_NAMES, 0)
    return MaskedRun(
        wall_s=1.0, packets=tuple((0.0, "kvs") for _ in range(packets)), counts={"kvs": kvs, "content-sqlite": sqlite},
        iterations={"kvs": iterations, "content-sqlite": 0},
    )  # fmt: skip


ONE = modules.Plan(jobs=1)
case(
    "modules", "_counts", "J7",
    lambda: modules._counts(ONE, masked()), lambda: modules._counts(ONE, masked(request_rx=9)),
    lambda: modules._counts(ONE, masked(event_tx=-4)),
)  # fmt: skip
case(
    "modules", "_share", "J7 b",
    lambda: modules._share(masked()), lambda: modules._share(masked(request_tx=20)),
    lambda: modules._share(masked(event_tx=-20)),
)  # fmt: skip
case(
    "modules", "_stores", "L3",
    lambda: modules._stores(masked()), lambda: modules._stores(masked(response_tx=3)),
    lambda: modules._stores(masked(response_tx=-40)), lambda: modules._stores(masked(response_rx=-3)),
)  # fmt: skip
case(
    "modules",
    "_packets",
    "L1",
    lambda: modules._packets(masked()),
    lambda: modules._packets(masked(packets=62)),
)


# -- overhead

ORDERED = {"timer:1s": 0.01, "check": 0.1, "prepare": 0.12, "idle": 0.6}
CPU = {"none": 1.0, "timer:1s": 1.1, "check": 2.0, "prepare": 2.1, "idle": 8.0}
OFF = {"overhead": 0.0, "packets": 0}
case(
    "overhead", "_free", "J3",
    lambda: overhead._free([OFF]), lambda: overhead._free([{**OFF, "packets": 1}]),
    lambda: overhead._free([{**OFF, "overhead": 0.02}]),
)  # fmt: skip
case(
    "overhead", "_ordered", "L7",
    lambda: overhead._ordered(ORDERED, 0.0),
    lambda: overhead._ordered({**ORDERED, "timer:1s": 0.11}, 0.0),
    lambda: overhead._ordered({**ORDERED, "idle": 0.11}, 0.0),
    lambda: overhead._ordered({**ORDERED, "timer:1s": -0.02}, 0.0),
)  # fmt: skip
case(
    "overhead", "_cpu_ordered", "L7 b",
    lambda: overhead._cpu_ordered(CPU), lambda: overhead._cpu_ordered({**CPU, "timer:1s": 2.0}),
    lambda: overhead._cpu_ordered({**CPU, "idle": 2.1}), lambda: overhead._cpu_ordered({**CPU, "none": 2.5}),
)  # fmt: skip


# -- period


def client(length: float = 1.0, fix: str = "none", lines: bytes = b"", **ends: float) -> period.ClientRun:
    """Two jobs, all through; ``ends`` are the last values of states, ``run_low`` and ``cleanup_low`` those before."""
    last = {**dict.fromkeys(STATES, 0.0), "NEW": -2.0, "INACTIVE": 2.0}
    last |= {name: value for name, value in ends.items() if name in STATES}
    lows = {"RUN": ends.get("run_low", 0.0), "CLEANUP": ends.get("cleanup_low", 0.0)}
    shown = {state: [(1.0, lows.get(state, value)), (2.0, value)] for state, value in last.items()}
    return period.ClientRun(period=length, fix=fix, packets=[(1.0, lines)] if lines else [], shown=shown)


def lives(jobs: int, leave_out: int = 0, twice: bool = False) -> Truth:
    moves = [
        (number + at / 10, STATES[at - 1] if at else None, state)
        for number in range(jobs)
        for at, state in enumerate(STATES)
    ]
    if twice:  # as many transitions, of fewer jobs
        moves += [(t + 1.0, STATES[-1], STATES[-1]) for t, *_ in moves]
    return Truth(transitions=tuple(moves[: len(moves) - leave_out]))


def swapped(jobs: int) -> Truth:
    """A job leaves a state before it is in it."""
    first, second, third, *rest = lives(jobs).transitions
    return Truth(transitions=(first, third, second, *rest))


TWO = period.Plan(jobs=1, batches=2)
case(
    "period", "_alike", "J20 a",
    lambda: period._alike(TWO, [client(0.0), client()]), lambda: period._alike(TWO, [client(), client(SCHED=1.0)]),
    lambda: period._alike(TWO, [client(INACTIVE=1.0)]),
)  # fmt: skip
case(
    "period", "_new", "J20 b",
    lambda: period._new(TWO, [client(0.0), client()]), lambda: period._new(TWO, [client(), client(NEW=0.0)]),
)  # fmt: skip
case(
    "period", "_never_below", "J20 c",
    lambda: period._never_below(client(0.0)), lambda: period._never_below(client(0.0, run_low=-1.0)),
    lambda: period._never_below(client(0.0, cleanup_low=-1.0)),
)  # fmt: skip
case(
    "period", "_negative", "J20 d",
    lambda: period._negative(client(lines=b"run:0|g", run_low=-1.0)),
    lambda: period._negative(client(lines=b"run:0|g")),
    lambda: period._negative(client(lines=b"run:+1|g", run_low=-1.0)),
)  # fmt: skip
case(
    "period", "_exact", "J21",
    lambda: period._exact(client(fix="totals"), lives(2)),
    lambda: period._exact(client(fix="totals", RUN=1.0), lives(2)),
    lambda: period._exact(client(fix="totals", run_low=-1.0), lives(2)),
)  # fmt: skip


# -- probes


def measured(**by_interval: float) -> list[dict[str, Any]]:
    return [probes._row(every, error=error) for every, error in by_interval.items()]


def costing(low: float) -> list[dict[str, Any]]:
    return [probes._row("1s", overhead=low + 0.01, low=low, high=low + 0.02)]


case(
    "probes", "_finer", "P1",
    lambda: probes._finer(measured(slow=0.3, fast=0.03)), lambda: probes._finer(measured(slow=0.03, fast=0.3)),
)  # fmt: skip
case("probes", "_cheap", "P2", lambda: probes._cheap(costing(-0.02)), lambda: probes._cheap(costing(0.02)))


# -- resolution

NEAR = SeriesFidelity(
    points=3, peak=10.0, max=1.0, mean=0.1, bias=0.0, whole_mean=0.1, gap=0.0, negatives=0, lowest=0.0, visits=1,
    visits_missed=0, missed_longest=0, is_missed=False, final_error=0.0,
)  # fmt: skip


def chain(
    error: float = 0.01,
    retention: float = 1.0,
    flush: float = 0.1,
    timer: float = 0.1,
    run: float = 5.0,
    outside: int = 0,
) -> ChainRun:
    """A chain whose states are all wrong by a share ``error`` of their peak; its store shows ``run`` jobs at most."""
    wrong = attrs.evolve(NEAR, whole_mean=error * NEAR.peak)
    points = {state: [(0, 0.0), (1, run)] for state in resolution.COMPARED}
    return ChainRun(
        timer=timer, flush=flush, retention=retention, points=points, outside=outside,
        fidelity=dict.fromkeys(resolution.COMPARED, wrong),
    )  # fmt: skip


def timer_run(timer: float = 0.1, wall: float = 10.0, running: float = 6.0) -> TimerRun:
    slots = {name: [(0.0, running), (wall, 0.0)] for name in ("running", "allocated")}
    return TimerRun(timer=timer, wall_s=wall, packets=(), truth=lives(2), slots=slots)


TWELVE = resolution.Plan(size=1, cores=12, timers=(0.1, 0.025), flushes=(1.0, 0.1), retentions=(6.0, 1.0))
TIMERS = [timer_run(1.0), timer_run(0.1)]


def flushed(fine: tuple[float, float], coarse: tuple[float, float]) -> Iterable[Check]:
    """Errors behind a slow and a fast flush, into fine and into coarse slots."""
    chains = [chain(error, 1.0, flush, 0.025) for error, flush in zip(fine, (1.0, 0.1), strict=True)]
    chains += [chain(error, 6.0, flush, 0.025) for error, flush in zip(coarse, (1.0, 0.1), strict=True)]
    return resolution._flush_checks(TWELVE, chains)


REFUSED = {"rule": "0.1s:1d", "reason": "whole seconds", "hint": "1s:1d", "retention_s": 0.1}
case(
    "resolution", "_within", "J16 bound",
    lambda: resolution._within([chain()]), lambda: resolution._within([chain(), chain(outside=1)]),
)  # fmt: skip
case(
    "resolution", "_wall", "J16 a",
    lambda: resolution._wall([timer_run(wall=10.0), timer_run(wall=10.05)], TWELVE),
    lambda: resolution._wall([timer_run(wall=10.0), timer_run(wall=10.2)], TWELVE),
)  # fmt: skip
case(
    "resolution", "_timers", "J16 b",
    lambda: resolution._timers(TIMERS, [chain(0.10, 6.0, timer=1.0), chain(0.11, 6.0, timer=0.1)]),
    lambda: resolution._timers(TIMERS, [chain(0.10, 6.0, timer=1.0), chain(0.90, 6.0, timer=0.1)]),
)  # fmt: skip
case(
    "resolution", "_slots", "J16 c",
    lambda: resolution._slots(TWELVE, timer_run(running=6.0), [chain(run=5.0)]),
    lambda: resolution._slots(TWELVE, timer_run(running=6.0), [chain(run=6.0)]),
    lambda: resolution._slots(TWELVE, timer_run(running=11.0), [chain(run=5.0)]),
    lambda: resolution._slots(TWELVE, timer_run(running=2.0), [chain(run=1.0)]),
)  # fmt: skip
case(
    "resolution", "_slowest", "J16-J18",
    lambda: resolution._slowest([chain(0.02, 1.0), chain(0.10, 6.0)]),
    lambda: resolution._slowest([chain(0.12, 1.0), chain(0.10, 6.0)]),
)  # fmt: skip
case(
    "resolution", "_flush_checks", "J17 a",
    lambda: flushed((0.04, 0.02), (0.1, 0.11)), lambda: flushed((0.02, 0.04), (0.1, 0.11)),
)  # fmt: skip
case(
    "resolution", "_flush_checks", "J17 b",
    lambda: flushed((0.04, 0.02), (0.1, 0.11)), lambda: flushed((0.04, 0.02), (0.1, 0.05)),
)  # fmt: skip
case(
    "resolution", "_refusal", "J18",
    lambda: resolution._refusal(REFUSED), lambda: resolution._refusal({**REFUSED, "reason": ""}),
    lambda: resolution._refusal({**REFUSED, "hint": ""}),
)  # fmt: skip
case(
    "resolution", "_finer", "J18 cured",
    lambda: resolution._finer([chain(0.02, 1.0), chain(0.1, 6.0)], [1.0, 6.0]),
    lambda: resolution._finer([chain(0.2, 1.0), chain(0.1, 6.0)], [1.0, 6.0]),
)  # fmt: skip


# -- states


def form(
    truth: Truth | None = None, eventlog: tuple[str, ...] = STATES, packets: bytes = b"", **shown: Any
) -> Any:
    """Two jobs, all through. ``shown`` are the values of states in order."""
    values = {
        **dict.fromkeys(STATES, (0.0, 0.0)),
        "SCHED": (2.0, 1.0, 0.0),
        "INACTIVE": (0.0, 1.0, 2.0),
        **shown,
    }
    return states.StatesRun(
        form="fixed", wall_s=3.0, packets=((1.0, packets),) if packets else (), truth=truth or lives(2),
        eventlog=eventlog,
        shown={state: [(float(t), value) for t, value in enumerate(each)] for state, each in values.items()},
    )  # fmt: skip


PAIR = states.Plan(jobs=2)
SENT = b"flux.job-states.new:-2|g"
case(
    "states", "_path", "J15",
    lambda: states._path(form()), lambda: states._path(form(eventlog=(*STATES[:3], *STATES[4:]))),
)  # fmt: skip
case(
    "states", "_sum", "L8",
    lambda: states._sum(form(), PAIR), lambda: states._sum(form(lives(2, leave_out=1)), PAIR),
    lambda: states._sum(form(lives(3)), PAIR),
    lambda: states._sum(form(swapped(2)), PAIR), lambda: states._sum(form(lives(1, twice=True)), PAIR),
)  # fmt: skip
case(
    "states", "_mirrors", "J13 a",
    lambda: states._mirrors(PAIR, form()), lambda: states._mirrors(PAIR, form(INACTIVE=(1.0, 0.0, 2.0))),
    lambda: states._mirrors(PAIR, form(INACTIVE=(0.0, 1.0))),
)  # fmt: skip
case(
    "states", "_mirrors", "J13 b",
    lambda: states._mirrors(PAIR, form()), lambda: states._mirrors(PAIR, form(SCHED=(2.0, 0.0, 1.0, 0.0))),
    lambda: states._mirrors(PAIR, form(SCHED=(2.0, 1.0))), lambda: states._mirrors(PAIR, form(SCHED=())),
)  # fmt: skip
case(
    "states", "_unseen", "J13 c",
    lambda: states._unseen(form()), lambda: states._unseen(form(DEPEND=(0.0, 1.0))),
    lambda: states._unseen(form(PRIORITY=(0.0, 1.0))),
    lambda: states._unseen(form(Truth(transitions=()))),
)  # fmt: skip
case(
    "states", "_sinks", "J14 a",
    lambda: states._sinks(form(packets=SENT, NEW=(-1.0, -2.0))),
    lambda: states._sinks(form(packets=SENT, NEW=(-1.0, -3.0))),
    lambda: states._sinks(form(packets=SENT, NEW=(-3.0, -2.0))),
    lambda: states._sinks(form(NEW=(0.0, 0.0))),
)  # fmt: skip
case(
    "states", "_cured", "J14 b",
    lambda: states._cured(form()), lambda: states._cured(form(NEW=(-1.0, 0.0))),
    lambda: states._cured(form(NEW=(0.0, 1.0))),
)  # fmt: skip


# -- watchers


def rows(**changed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Hooks in their order; a change is by hook without its period: ``timer={"overhead": 0.5}``."""
    found = {}
    for hook, cpu in CPU.items():
        share = {"none": 0.0, **ORDERED}[hook]
        found[hook] = {
            "hook": hook, "overhead": share, "cpu_s": cpu, "cpus": [cpu] * 2, "walls": [1 + share] * 2,
            "wall_s": 1 + share,
            "packets_per_message": {"prepare": 1.1, "check": 1.0}.get(hook, 0.9),
            "metrics_per_s_peak": {"prepare": 100.0, "check": 90.0, "idle": 50.0}.get(hook, 1.0),
            "cv": 0.5 if hook == "idle" else 0.1,
            **changed.get(hook.partition(":")[0], {}),
        }  # fmt: skip
    return found


def module(packets: int = 10, **counts: int) -> list[dict[str, Any]]:
    known = {"request_tx": 9, "response_rx": 9, "request_rx": 9, "response_tx": 9, **counts}
    return [
        {
            "name": "kvs",
            "packets": packets,
            "iterations": 9,
            "counts": [known.get(n, 0) for n in COUNTER_NAMES],
        }
    ]


case(
    "watchers", "_costs", "L7",
    lambda: watchers._costs(rows(), "real"),
    lambda: watchers._costs(rows(idle={"overhead": 0.05}), "real"),
    lambda: watchers._costs(rows(timer={"overhead": 0.2}), "real"),
    lambda: watchers._costs(rows(timer={"overhead": -0.2}), "real"),
)  # fmt: skip
case(
    "watchers", "_costs", "L7 b",
    lambda: watchers._costs(rows(), "real"),
    lambda: watchers._costs(rows(idle={"cpu_s": 1.9}), "real"),
    lambda: watchers._costs(rows(timer={"cpu_s": 2.2}), "real"),
)  # fmt: skip
case(
    "watchers", "_share", "L1",
    lambda: watchers._share("prepare", rows()["prepare"]),
    lambda: watchers._share("prepare", {"packets_per_message": 0.99}),
    lambda: watchers._share("check", {"packets_per_message": 0.79}),
    lambda: watchers._share("idle", {"packets_per_message": 1.31}),
)  # fmt: skip
case(
    "watchers", "_more", "J4/J6",
    lambda: watchers._more(rows()), lambda: watchers._more(rows(check={"packets_per_message": 1.2})),
)  # fmt: skip
case(
    "watchers", "_peaks", "J4-J6",
    lambda: watchers._peaks(rows(), 0.0),
    lambda: watchers._peaks(rows(check={"metrics_per_s_peak": 101.0}), 0.0),
    lambda: watchers._peaks(rows(idle={"metrics_per_s_peak": 100.0}), 0.0),
)  # fmt: skip
case(
    "watchers", "_turns", "L1 b",
    lambda: watchers._turns("check", module()), lambda: watchers._turns("check", module(packets=11)),
)  # fmt: skip
case(
    "watchers", "_answers", "L3",
    lambda: watchers._answers("check", module()),
    lambda: watchers._answers("check", module(response_rx=2)),
    lambda: watchers._answers("check", module(response_rx=10)),
    lambda: watchers._answers("check", module(response_tx=10)),
)  # fmt: skip


def simulated(ratio: float) -> list[dict[str, Any]]:
    """One combination whose simulation is so many times what the law says, from 25 draws."""
    return [
        {
            "workload": "serial",
            "emission": "prepare",
            "style": "absolute",
            "dialect": "strict",
            "loss": 0.0,
            "period": 0.0,
            "flush": 1.0,
            "retention": 1.0,
        }
        | {"ratio": ratio, "ratio_se": 0.01, "errors": [1.0] * 25}
    ]


#: 3 SE of 0.01 and the share the law may be off by anyway.
case(
    "intervals", "checks", "law",
    lambda: intervals.checks(simulated(1.0 + intervals.AGREES_WITHIN)),
    lambda: intervals.checks(simulated(1.031 + intervals.AGREES_WITHIN)),
)  # fmt: skip

#: What says no only where the source itself is wrong, and says so by itself.
NOT_OF_A_RESULT = {
    ("aggregator", "_series", "J2 c"): "the longest packet is formatted, not measured; see below"
}


# -- the tests


def test_every_check_of_every_experiment_has_figures_it_says_no_to() -> None:
    assert checks_in_the_source() - NOT_OF_A_RESULT.keys() <= CASES.keys()


@pytest.mark.parametrize("key", CASES, ids=" ".join)
def test_a_check_agrees_with_what_should_be_and_not_with_one_thing_wrong(key: Key) -> None:
    stem = key[2].partition(" #")[0].removesuffix(" ages")
    agreed, apart = (the(make, stem) for make in CASES[key])
    assert (agreed.ok, apart.ok) == (True, False), (agreed, apart)


def the(make: Made, stem: str) -> Check:
    found = make()
    every = [found] if isinstance(found, Check) else list(found)
    (one,) = (check for check in every if check.id == stem or check.id.startswith((f"{stem} (", f"{stem} S")))
    return one


def test_a_packet_that_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traps, "longest_packet", lambda: 1441)
    assert not the(lambda: series(creates(PART, FULL), creates(FULL, FULL)), "J2 c").ok
