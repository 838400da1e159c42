"""Knows the journal's week 7: increments of job states through a client that adds up over a period, and two cures.

The jobs run once; each client gets the same transitions at the same times, so what differs is the client. Source:
docs/experiments.md, J20 and J21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from math import ceil

import attrs

from brokersim.lab.experiments.experiment import DURATION, DURATIONS, Choice, Experiment, Option, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import STATES, Points, Transition, Truth, bulk_jobs_inside, read_truth, thinned
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import COLOURS, Chart, Curve, Panel, held_until, truth_curve
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel
from brokersim.statsd.client import StatsClient

FIXES = ("none", "skip-zero", "totals")
#: Of a server that has heard of no state, what the truth is compared in: the journal's plugin never counts NEW up.
COMPARED = STATES[1:]


@attrs.frozen(kw_only=True)
class Plan:
    """``jobs`` submitted at once, ``batches`` times; client periods and the aggregator's flush in seconds.

    ``fixes``: ``none`` is the journal's client, ``skip-zero`` leaves increments that cancel away, ``totals`` keeps the
    counts at the sender and sends them as absolute gauges.
    """

    jobs: int = attrs.field(default=500, validator=attrs.validators.ge(1))
    batches: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    run_time: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    periods: tuple[float, ...] = (0.0, 1.0)
    fixes: tuple[str, ...] = FIXES
    flush: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.01))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))
    resources: str = "1x12"
    cost: CostModel = attrs.field(factory=lambda: CostModel(cores=12))


Packets = list[tuple[float, bytes]]


class _Recorder:
    """Where a client sends to: keeps packets with the time of the flush."""

    def __init__(self) -> None:
        self.now = 0.0
        self.packets: Packets = []

    def send(self, packet: bytes) -> bool:
        self.packets.append((self.now, packet))
        return True


@attrs.frozen(kw_only=True)
class ClientRun:
    """One client: period (s), fix, its packets, and what brubeck shows of each state flush by flush."""

    period: float
    fix: str
    packets: Packets
    shown: dict[str, Points]

    @property
    def name(self) -> str:
        return f"{self.period:g} s, {self.fix}"

    def lines(self) -> Iterator[str]:
        for _, packet in self.packets:
            yield from packet.decode().split()

    def values(self, state: str) -> list[float]:
        return [value for _, value in self.shown[state]]

    def last(self, state: str) -> float:
        return self.values(state)[-1] if self.shown[state] else 0

    def to_row(self) -> JsonObject:
        """The figures of the table: lines, and for RUN and CLEANUP zero lines, lowest, flushes below 0, end."""
        lines = list(self.lines())
        row: JsonObject = {
            "period_s": self.period,
            "fix": self.fix,
            "packets": len(self.packets),
            "lines": len(lines),
        }
        for state in ("RUN", "CLEANUP"):
            name, values = state.lower(), self.values(state)
            row |= {
                f"{name}_zero_lines": lines.count(f"{name}:0|g") if self.fix != "totals" else 0,
                f"{name}_lowest": min(values, default=0),
                f"{name}_below_0": sum(value < 0 for value in values),
                f"{name}_end": self.last(state),
            }
        return row | {
            "new_end": self.last("NEW"),
            "sched_end": self.last("SCHED"),
            "inactive_end": self.last("INACTIVE"),
        }


def period(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Run the jobs once and each client on them. Returns ``{"meta", "runs", "series", "truth", "checks"}``."""
    say(f"{plan.batches} x {counted(plan.jobs, 'job')}")
    truth = parts.once("jobs", partial(run, _jobs, plan, clock=plan.clock))
    runs = [
        client_run(truth.transitions, length, fix, plan.flush)
        for length in plan.periods
        for fix in plan.fixes
    ]
    return result(
        "period",
        plan,
        _checks(plan, truth, runs),
        runs=[found.to_row() for found in runs],
        series={found.name: {state: thinned(found.shown[state]) for state in STATES} for found in runs},
        truth={state: thinned(points) for state, points in truth.curves().items()},
        close_up=close_up(runs, truth),
    )


def close_up(runs: Iterable[ClientRun], truth: Truth) -> JsonObject | None:
    """The moments around the first increment of 0 that the journal's client sent for RUN: lines, server, truth.

    ``None`` if no client sent one. ``sent`` and ``zeros`` are [s, increment], ``server`` and ``truth`` [s, jobs].
    """
    for found in runs:
        lines = [
            (t, int(line[4:-2]))
            for t, packet in found.packets
            for line in packet.decode().split()
            if line.startswith("run:") and found.fix == "none" and found.period
        ]
        zero = next((t for t, value in lines if value == 0), None)
        if zero is not None:
            start, end = zero - 3 * found.period, zero + 9 * found.period
            return {
                "client": found.name,
                "sent": [(t, value) for t, value in lines if start <= t <= end and value],
                "zeros": [(t, value) for t, value in lines if start <= t <= end and not value],
                "server": [(t, value) for t, value in found.shown["RUN"] if start <= t <= end],
                "truth": thinned((t, v) for t, v in truth.curves()["RUN"] if start <= t <= end),
            }
    return None


async def _jobs(plan: Plan) -> Truth:
    async with open_instance(
        size=plan.size, clock=plan.clock, seed=plan.seed, cost=plan.cost, resources=plan.resources
    ) as instance:
        client = instance.client()
        await client.call("job-manager.jobtap-load", {"path": "state-history"})
        start = instance.reactor.now / 1e9
        for _ in range(plan.batches):
            await bulk_jobs_inside(instance, plan.jobs, plan.run_time)
        truth = await read_truth(client, start)
        client.close()
    return truth


def client_run(transitions: Iterable[Transition], length: float, fix: str, flush: float) -> ClientRun:
    """Push transitions through a client; those of times up to k · period belong to its flush k. Raises KeyError."""
    recorder = _Recorder()
    compat = "fripp-2021" if fix == "none" else None
    client = StatsClient(recorder.send, period=length, compat=compat, dialect="brubeck")
    count = _COUNTING[fix](client)
    for when, share in _shares(transitions, length):
        recorder.now = when
        for _, left, entered in share:
            if left is not None:  # as the journal's plugin: no job.new
                count(left.lower(), -1)
                count(entered.lower(), 1)
        client.flush()
    shown: dict[str, Points] = {state: [] for state in STATES}
    from brokersim.statsd.recorded.replay import replay  # dialects and all: not for who asks for help

    for one in replay(recorder.packets, dialect="brubeck", flush=flush, inclusive=True):
        for state in STATES:
            if (value := one.values.get(state.lower())) is not None:
                shown[state].append((one.t, value))
    return ClientRun(period=length, fix=fix, packets=recorder.packets, shown=shown)


def _shares(transitions: Iterable[Transition], length: float) -> Iterator[tuple[float, list[Transition]]]:
    if not length:
        yield from ((one[0], [one]) for one in transitions)
        return
    for number, share in groupby(transitions, key=lambda one: max(1, ceil(one[0] / length))):
        yield number * length, list(share)


def _increments(client: StatsClient) -> Callable[[str, int], None]:
    return client.gauge_inc


def _totals(client: StatsClient) -> Callable[[str, int], None]:
    held: dict[str, int] = {}

    def count(name: str, n: int) -> None:
        held[name] = held.get(name, 0) + n
        client.gauge_set(name, held[name])

    return count


_COUNTING: dict[str, Callable[[StatsClient], Callable[[str, int], None]]] = {
    "none": _increments,
    "skip-zero": _increments,
    "totals": _totals,
}


# -- what should agree


def _checks(plan: Plan, truth: Truth, runs: list[ClientRun]) -> list[Check]:
    at_once = [found for found in runs if not found.period]
    later = [found for found in runs if found.period]
    broken = [found for found in later if found.fix == "none"]
    cured = [found for found in later if found.fix != "none"]
    checks = [_alike(plan, runs), _new(plan, runs)]
    checks += [_never_below(found) for found in at_once]
    checks += [_negative(found) for found in broken]
    checks += [_exact(found, truth) for found in cured]
    return checks


def _alike(plan: Plan, runs: list[ClientRun]) -> Check:
    """SCHED and INACTIVE never cancel within a period."""
    total = plan.jobs * plan.batches
    ends = {(found.last("SCHED"), found.last("INACTIVE")) for found in runs}
    return Check(
        id="J20 a",
        sentence="SCHED and INACTIVE end right with every client",
        ok=ends == {(0, total)},
        ours=", ".join(f"SCHED {sched:g} INACTIVE {inactive:g}" for sched, inactive in sorted(ends)),
        journal="alike with period 0 and 1 s",
    )


def _new(plan: Plan, runs: list[ClientRun]) -> Check:
    """Without job.new NEW counts the jobs down, whatever the period."""
    ends = {found.last("NEW") for found in runs}
    return Check(
        id="J20 b",
        sentence="NEW, counted without job.new, ends at minus all jobs with every client",
        ok=ends == {-plan.jobs * plan.batches},
        ours=", ".join(f"{end:,g}" for end in sorted(ends)),
        journal="−10,000, then −20,000",
    )


def _lows(found: ClientRun) -> str:
    row = found.to_row()
    return f"RUN ≥ {row['run_lowest']:g}, CLEANUP ≥ {row['cleanup_lowest']:g}"


def _never_below(found: ClientRun) -> Check:
    return Check(
        id=f"J20 c ({found.name})",
        sentence="sent at once, RUN and CLEANUP are never below 0",
        ok=all(value >= 0 for state in ("RUN", "CLEANUP") for value in found.values(state)),
        ours=_lows(found),
        journal="never below 0",
    )


def _negative(found: ClientRun) -> Check:
    row = found.to_row()
    zeros = row["run_zero_lines"] + row["cleanup_zero_lines"]
    return Check(
        id=f"J20 d ({found.name})",
        sentence="net-zero increments are sent as a gauge set to 0, and RUN or CLEANUP falls below 0",
        ok=zeros > 0 and min(row["run_lowest"], row["cleanup_lowest"]) < 0,
        ours=f"{_lows(found)}, {zeros} lines of 0",
        journal="negative at times",
    )


def _exact(found: ClientRun, truth: Truth) -> Check:
    wrong = sum(found.last(state) != count for state, count in _end(truth).items())
    below = sum(value < 0 for state in COMPARED for value in found.values(state))
    return Check(
        id=f"J21 ({found.name})",
        sentence="cured: nothing below 0, and what the server holds at the end is what was counted",
        ok=not wrong and not below,
        ours=f"{_lows(found)}, {wrong} of {len(COMPARED)} states wrong at the end",
        journal="what arrives sums to what was counted",
    )


def _end(truth: Truth) -> dict[str, float]:
    curves = truth.curves()
    return {state: curves[state][-1][1] for state in COMPARED}


# -- shown


def _verdict(found: Result) -> str:
    lows = {
        (row["period_s"], row["fix"]): min(row["run_lowest"], row["cleanup_lowest"]) for row in found.runs
    }
    broken = {key: low for key, low in lows.items() if key[1] == "none" and key[0] and low < 0}
    cures = sorted({fix for (_, fix), low in lows.items() if fix != "none" and low >= 0})
    if not broken:
        return "No client showed a count below 0."
    told = "; ".join(f"a period of {length:g} s down to {low:g}" for (length, _), low in broken.items())
    cured = f" Cured by {' or '.join(cures)}." if cures else ""
    return (
        f"Adding up increments sends a net zero as a gauge set to 0, and counts fall below 0: {told}.{cured}"
    )


def _charts(found: Result) -> Iterable[Chart]:
    yield from (*_net_zero(found), *_clients(found))


def _clients(found: Result) -> Iterable[Chart]:
    panels = []
    for client, shown in found.series.items():
        for state in ("RUN", "CLEANUP"):
            is_broken = min((v for _, v in shown[state]), default=0) < 0
            curves = (
                truth_curve(found.truth[state]),
                Curve(label="server", points=shown[state], colour=COLOURS[0]),
            )
            title = (
                f"{state}, client period {client.replace(', ', ', fix ')}{': below 0' if is_broken else ''}"
            )
            panels.append(Panel(title=title, x="time (s)", y="jobs", curves=curves))
    title = "Increments through an aggregating client"
    yield Chart(name="period", title=title, panels=tuple(panels), columns=2, height=1.6)


def _net_zero(found: Result) -> Iterable[Chart]:
    """What was sent, what the server made of it and what was true, on one time axis."""
    seen = found.parts.get("close_up")
    if not seen:
        return
    lines = (
        Curve(label="increment", points=seen["sent"], colour=COLOURS[0], step=False, dots=True),
        Curve(label="0: sets the gauge", points=seen["zeros"], colour=COLOURS[1], step=False, dots=True),
    )
    end = max(points[-1][0] for points in (seen["sent"], seen["zeros"], seen["server"]) if points)
    values = (
        truth_curve(seen["truth"], end),
        Curve(label="server", points=held_until(seen["server"], end), colour=COLOURS[0]),
    )
    panels = (
        Panel(title="lines sent for RUN", x="time (s)", y="increment (jobs)", curves=lines),
        Panel(title="RUN", x="time (s)", y="jobs", curves=values),
    )
    title = f"Net zero: client period {seen['client'].replace(', ', ', fix ')}"
    yield Chart(name="period-net-zero", title=title, panels=panels, height=2.4)


EXPERIMENT = Experiment(
    name="period",
    examples=(
        ("brokersim bench period", "client period 0 and 1s, and both cures"),
        ("brokersim bench period --fix none --periods 0,0.1s,1s", "one client"),
    ),
    covers=("J20", "J21"),
    plan=Plan,
    run=lambda plan, say, _workers, parts: period(plan, say, parts),
    options=(
        Option(names=("--periods",), kind=DURATIONS, metavar="LIST", help="of the client  [0,1s]"),
        Option(
            names=("--fix",), kind=Choice((*FIXES, "all")), default="all", help="[all]",
            to_fields=lambda fix: {} if fix == "all" else {"fixes": (fix,)},
        ),
        Option(names=("--flush",), kind=DURATION, metavar="FSD", help="of the aggregator  [1s]"),
    ),
    unlisted=("reps", "plot"),
    columns=columns(
        ("period s", "period_s", "g"), ("fix", "fix", ""), ("packets", "packets", ",d"), ("lines", "lines", ",d"),
        ("RUN 0-lines", "run_zero_lines", "d"), ("lowest", "run_lowest", ".0f"), ("below 0", "run_below_0", "d"),
        ("end", "run_end", ".0f"), ("CLEANUP 0-lines", "cleanup_zero_lines", "d"),
        ("lowest", "cleanup_lowest", ".0f"), ("below 0", "cleanup_below_0", "d"), ("end", "cleanup_end", ".0f"),
        ("NEW end", "new_end", ",.0f"),
    ),
    journal={"jobs": 10_000, "flush": 10.0},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
