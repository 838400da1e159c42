"""Knows the journal's week 5 on the content cache: how long loads and stores take, timed per entry or in one slot.

Doesn't know how they are timed (module content-cache). Source: docs/experiments.md, J12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean, median
from typing import Any

import attrs

from brokersim.lab.experiments.experiment import DURATION, Choice, Experiment, Option, Whole, columns
from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.lab.load.bulk import Points, bulk_jobs_inside
from brokersim.lab.result import Check, Result, Say, result, silent
from brokersim.lab.show.chart import BANDS as SHADES
from brokersim.lab.show.chart import COLOURS, Bars, BarSet, Chart, Curve, Panel
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted
from brokersim.reactor.cost import CostModel
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.recorded.stream import intervals
from brokersim.statsd.timerstats import brubeck_fields

TIMINGS = ("entry", "aux")
KINDS = ("load", "store")
PREFIX = "flux.content-cache"
#: Shares of the percentile bands, with brubeck's names for them.
SHARES = {
    0.5: "median",
    0.75: "percentile.75",
    0.95: "percentile.95",
    0.98: "percentile.98",
    0.99: "percentile.99",
}
#: What brubeck shows of a timer at each flush.
SHOWN = (*SHARES.values(), "mean", "count_ps", "min", "max")


@attrs.frozen(kw_only=True)
class Plan:
    """``jobs`` submitted at once; ``flush`` of the aggregator in s; bytes the cache keeps before it forgets entries.

    flux-core's cache keeps 16 MiB, which 10,000 jobs fill and a few hundred do not: the default is half of that.
    Packets cost nothing here: their number differs by a few digits, and both ways of timing shall see the same run.
    """

    jobs: int = attrs.field(default=500, validator=attrs.validators.ge(1))
    timings: tuple[str, ...] = TIMINGS
    run_time: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    flush: float = attrs.field(default=1.0, validator=attrs.validators.ge(0.01))
    cache_bytes: int = attrs.field(default=8 << 20, validator=attrs.validators.ge(0))
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    clock: str = attrs.field(default="virtual", validator=attrs.validators.in_(("real", "virtual")))
    resources: str = "1x12"
    cost: CostModel = attrs.field(factory=lambda: CostModel(cores=12, packet_s=0.0))


@attrs.frozen(kw_only=True)
class LatencyRun:
    """One way of timing: every sample (s, ms) in order of its end, and brubeck's view flush by flush."""

    timing: str
    samples: dict[str, Points]
    shown: dict[str, dict[str, Points]]
    in_flight_max: dict[str, int]

    def ms(self, kind: str) -> list[float]:
        return [ms for _, ms in self.samples[kind]]

    def to_rows(self) -> list[JsonObject]:
        """Exact figures of all samples, and beside them what an average over the flushes gives, in ms."""
        return [self._row(kind) for kind in KINDS]

    def _row(self, kind: str) -> JsonObject:
        values = sorted(self.ms(kind))
        row: JsonObject = {
            "timing": self.timing,
            "operation": kind,
            "count": len(values),
            "mean": fmean(values) if values else 0.0,
            "min": values[0] if values else 0.0,
            "max": values[-1] if values else 0.0,
            "in_flight_max": self.in_flight_max[kind],
        }
        for share, name in SHARES.items():
            windows = [value for _, value in self.shown[kind][name]]
            row[f"p{share * 100:g}"] = quantile(values, share)
            row[f"p{share * 100:g}_windows"] = fmean(windows) if windows else 0.0
        return row


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that ``share`` of an ascending list does not exceed; 0.0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-round(share * len(ordered) * 1000) // 1000) - 1)]


def latency(plan: Plan, say: Say = silent, parts: Parts = NOWHERE) -> Result:
    """Run each way of timing on the same jobs. Returns ``{"meta", "runs", "series", "checks"}``.

    ``series`` are brubeck's figures flush by flush, by timing, operation and figure.
    """
    runs = []
    for timing in plan.timings:
        say(f"timing={timing}, {counted(plan.jobs, 'job')}")
        runs.append(parts.once(timing, partial(run, _observe, plan, timing, clock=plan.clock)))
    by_timing = {found.timing: found for found in runs}
    return result(
        "latency",
        plan,
        _checks(plan, by_timing),
        runs=[row for found in runs for row in found.to_rows()],
        series={found.timing: found.shown for found in runs},
    )


async def _observe(plan: Plan, timing: str) -> LatencyRun:
    async with open_instance(
        size=plan.size,
        clock=plan.clock,
        seed=plan.seed,
        stats="mem:,names=journal",
        cost=plan.cost,
        resources=plan.resources,
        attrs={"content.purge-target-size": str(plan.cache_bytes), "content.purge-old-entry": "1"},
    ) as instance:
        await instance.remove("content-cache")
        await instance.load("content-cache", f"timing={timing}")
        start = instance.reactor.now / 1e9
        await bulk_jobs_inside(instance, plan.jobs, plan.run_time)
        await instance.sleep(2.0)  # the last samples wait for their client's period
        client = instance.client()
        stats = await client.call("content-cache.stats-get")
        client.close()
        kept: Any = instance.sink
        packets = [
            (t - start, packet)
            for t, packet in kept.packets
            if t >= start and packet.startswith(PREFIX.encode())
        ]
    return LatencyRun(
        timing=timing,
        samples={kind: _samples(packets, kind) for kind in KINDS},
        shown=_shown(packets, plan.flush),
        in_flight_max={kind: stats[kind]["in-flight-max"] for kind in KINDS},
    )


def _samples(packets: list[tuple[float, bytes]], kind: str) -> Points:
    start = f"{PREFIX}.{kind}:".encode()
    found: Points = []
    for t, packet in packets:
        for line in packet.split(b"\n"):
            if line.startswith(start):
                values = line[len(start) : line.rindex(b"|ms")]
                found += [(t, float(value)) for value in values.split(b":")]
    return found


def _shown(packets: list[tuple[float, bytes]], flush: float) -> dict[str, dict[str, Points]]:
    server = Aggregator("strict", AggregatorConfig(flush=flush, timer_cap=1_000_000))
    curves: dict[str, dict[str, Points]] = {kind: {name: [] for name in SHOWN} for kind in KINDS}
    for when, share in intervals(packets, flush, inclusive=True):
        for _, (t, packet) in share:
            server.feed(packet, t=t)
        flushed = server.flush(when).samples
        for kind in KINDS:
            values = flushed.get(f"{PREFIX}.{kind}", [])
            if values:
                fields = brubeck_fields(values, len(values), flush)
                for name in SHOWN:
                    curves[kind][name].append((when, fields[name]))
    return curves


# -- what should agree


def _checks(plan: Plan, runs: dict[str, LatencyRun]) -> list[Check]:
    checks = []
    entry, aux = runs.get("entry"), runs.get("aux")
    if entry is not None:
        checks += [
            _ratio(plan, entry),
            *(_tail(entry, kind) for kind in KINDS if len(entry.ms(kind)) > 20),
        ]
        if len(entry.shown["store"]["mean"]) > 1:
            checks.append(_windows(entry))
    if entry is not None and aux is not None and plan.clock == "virtual":
        checks += [_aux(entry, aux, kind) for kind in KINDS]
    return checks


def _ratio(plan: Plan, found: LatencyRun) -> Check:
    """A cache that is full lets go of what no job used for a heartbeat: a long queue is loaded again, job by job."""
    loads, stores = (len(found.ms(kind)) for kind in KINDS)
    return Check(
        id="J12 a",
        sentence="at least 100 times more stores than loads",
        ok=stores >= 100 * max(1, loads),
        ours=f"{stores:,} stores, {loads:,} loads",
        journal="≥ 100 ×",
        why=f"{loads / plan.jobs:.1f} loads a job, of what was purged from {plan.cache_bytes >> 20} MiB "
        "while it waited",
    )


def _tail(found: LatencyRun, kind: str) -> Check:
    values = found.ms(kind)
    mean, middle = fmean(values), median(values)
    return Check(
        id=f"J12 b ({kind})",
        sentence="the mean is above the median: tails",
        ok=mean > middle,
        ours=f"mean {mean:.3g} ms, median {middle:.3g} ms",
        journal="mean ≫ median",
    )


def _windows(found: LatencyRun) -> Check:
    row = found.to_rows()[1]
    exact, shown = row["p99"], row["p99_windows"]
    off = shown / exact - 1 if exact else 0.0
    return Check(
        id="J12 c",
        sentence="percentiles of windows, averaged, are not those of all samples",
        ok=shown != exact,
        ours=f"p99 of stores {exact:.3g} ms, averaged over flushes {shown:.3g} ms ({off:+.0%})",
    )


def _aux(entry: LatencyRun, aux: LatencyRun, kind: str) -> Check:
    pairs = list(zip(entry.ms(kind), aux.ms(kind), strict=False))
    longer = sum(b > a + 1e-9 for a, b in pairs)
    shorter = sum(b < a - 1e-9 for a, b in pairs)
    same = len(entry.ms(kind)) == len(aux.ms(kind))
    kept = (
        fmean(b for _, b in pairs) / fmean(a for a, _ in pairs) if pairs and any(a for a, _ in pairs) else 1.0
    )
    return Check(
        id=f"J12 d ({kind})",
        sentence="one slot for all is never longer than a start per entry, and shorter when another began meanwhile",
        ok=same and not longer and (shorter > 0 or entry.in_flight_max[kind] <= 1),
        ours=f"{shorter:,} of {len(pairs):,} too short, {longer} longer; mean {kept:.0%} of the true one",
        journal="earlier timings unusable",
    )


# -- shown


def _verdict(found: Result) -> str:
    rows = {(row["timing"], row["operation"]): row for row in found.runs}
    timing = next(iter(rows))[0]
    store, load = rows[timing, "store"], rows[timing, "load"]
    told = (
        f"Of {store['count']:,} stores 99 % took up to {store['p99']:.3g} ms, of {load['count']:,} loads "
        f"{load['p99']:.3g} ms."
    )
    aux = rows.get(("aux", "store"))
    if timing == "aux" or aux is None or not store["mean"]:
        return told
    return f"{told} One start for all shows {aux['mean'] / store['mean']:.0%} of the true mean of stores."


def _charts(found: Result) -> Iterable[Chart]:
    yield from _percentiles(found)
    yield _slots(found)
    yield _figures(found)


def _slots(found: Result) -> Chart:
    """A start per entry beside one slot for all, and what an average over flushes makes of either."""
    shares = ("p50", "p75", "p95", "p98", "p99", "max")
    panels = []
    for kind in KINDS:
        rows = [row for row in found.runs if row["operation"] == kind]
        sets = [
            BarSet(
                label=row["timing"], values=tuple(row[share] for share in shares), colours=(COLOURS[2 + at],)
            )
            for at, row in enumerate(rows)
        ]
        windows = tuple(rows[0].get(f"{share}_windows") for share in shares)
        sets.append(
            BarSet(
                label=f"{rows[0]['timing']}, averaged over flushes",
                values=windows,
                colours=("#000000",),
                is_mark=True,
            )
        )
        panels.append(Bars(title=f"{kind}, all samples", y="duration (ms)", groups=shares, sets=tuple(sets)))
    title = "A start per entry, and one slot for all"
    return Chart(name="latency-slots", title=title, panels=tuple(panels), columns=2, height=2.9)


def _percentiles(found: Result) -> Iterable[Chart]:
    curves = next(iter(found.series.values()))
    yield Chart(
        name="latency-percentiles",
        title="Content cache: percentiles",
        panels=tuple(_band(kind, curves[kind]) for kind in ("load", "store")),
        columns=2,
        height=3.0,
    )


def _figures(found: Result) -> Chart:
    curves = next(iter(found.series.values()))
    looks = (
        ("mean and median", ("mean", "median"), "ms (log)", True),
        ("operations per second", ("count_ps",), "1/s", False),
        ("longest", ("max",), "ms (log)", True),
        ("shortest", ("min",), "ms", False),
    )
    panels = tuple(
        Panel(title=title, x="time (s)", y=unit, curves=_timings(curves, names), log=log)
        for title, names, unit, log in looks
    )
    title = "Content cache: figures of each flush"
    return Chart(name="latency-figures", title=title, panels=panels, columns=2)


def _band(kind: str, curves: Mapping[str, Points]) -> Panel:
    names = ("percentile.99", "percentile.98", "percentile.95", "percentile.75", "median")
    shown = tuple(
        Curve(
            label=name.replace("percentile.", "p"), points=curves[name], colour=colour, step=False, area=True
        )
        for name, colour in zip(names, SHADES, strict=True)
    )
    return Panel(title=kind, x="time (s)", y="duration (ms)", curves=shown)


def _timings(curves: Mapping[str, Mapping[str, Points]], names: Sequence[str]) -> tuple[Curve, ...]:
    return tuple(
        Curve(
            label=f"{kind}, {name}" if len(names) > 1 else kind,
            points=curves[kind][name],
            colour=COLOURS[at],
            dash="2 2" if name == "median" else "",
            step=False,
            marker=True,
        )
        for at, kind in enumerate(("load", "store"))
        for name in names
    )


EXPERIMENT = Experiment(
    name="latency",
    examples=(("brokersim bench latency", "500 jobs, timed per entry and in one slot"),),
    covers=("J12",),
    plan=Plan,
    run=lambda plan, say, _workers, parts: latency(plan, say, parts),
    options=(
        Option(
            names=("--timing",), kind=Choice((*TIMINGS, "both")), default="both", help="[both]",
            to_fields=lambda timing: {} if timing == "both" else {"timings": (timing,)},
        ),
        Option(names=("--flush",), kind=DURATION, metavar="FSD", help="of the aggregator  [1s]"),
        Option(names=("--cache-bytes",), kind=Whole(0), metavar="N", help="kept by the cache  [8388608]"),
    ),
    columns=columns(
        ("timing", "timing", ""), ("operation", "operation", ""), ("count", "count", ",d"),
        ("mean ms", "mean", ".3f"), ("p50", "p50", ".3f"), ("p95", "p95", ".3f"), ("p99", "p99", ".3f"),
        ("p99 of windows", "p99_windows", ".3f"), ("min", "min", ".3f"), ("max", "max", ".3f"),
        ("under way", "in_flight_max", "d"),
    ),
    journal={"jobs": 10_000, "flush": 10.0, "cache_bytes": 16 << 20},
    verdict=_verdict,
    charts=_charts,
)  # fmt: skip
