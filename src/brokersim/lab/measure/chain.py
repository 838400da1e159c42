"""Knows one chain of intervals: a plugin's timer, an aggregator's flush, a store's retention; what is kept in the end.

Doesn't compare chains. Flush and retention do not act back on the instance, so each of its packets is shown by all.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, median
from typing import Any

import attrs

from brokersim.lab.load.bulk import Points, Truth
from brokersim.lab.measure.fidelity import Curve, Reach, SeriesFidelity, bound, series_fidelity
from brokersim.lab.measure.pipeline import Shown, flushes, stored
from brokersim.lab.measure.series import US, steps_of
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration

#: The journal's panels: IS (inactive, sched) and CR (cleanup, run).
COMPARED = ("SCHED", "INACTIVE", "RUN", "CLEANUP")
STATES, CACHE = "flux.job-states", "flux.content-cache"


@attrs.frozen(kw_only=True)
class TimerRun:
    """The jobs under one plugin timer: what was sent (µs, packet), the truth, the slots. ``wall_s`` until all ended."""

    timer: float
    wall_s: float
    packets: tuple[tuple[int, bytes], ...]
    truth: Truth
    slots: dict[str, Points]


@attrs.frozen(kw_only=True)
class ChainRun:
    """One timer, flush and retention: points a store keeps (µs, jobs) by state, and how far they are from the truth."""

    timer: float
    flush: float
    retention: float
    points: dict[str, list[tuple[int, float]]]
    fidelity: dict[str, SeriesFidelity]
    outside: int

    @property
    def name(self) -> str:
        parts = (("timer", self.timer), ("flush", self.flush), ("retention", self.retention))
        return ", ".join(f"{stage} {format_duration(length)}" for stage, length in parts)

    @property
    def slowest(self) -> float:
        return max(self.timer, self.flush, self.retention)

    @property
    def error(self) -> float:
        """Mean over the states of the mean absolute error, relative to the state's peak."""
        return fmean(one.relative_whole or 0.0 for one in self.fidelity.values())

    def to_row(self) -> JsonObject:
        """The figures of the table; errors are shares of the state's peak."""
        row: JsonObject = {
            "timer_s": self.timer, "flush_s": self.flush, "retention_s": self.retention, "slowest_s": self.slowest,
            "points": len(self.points["SCHED"]), "error": self.error,
        }  # fmt: skip
        for state, one in self.fidelity.items():
            row |= {f"{state.lower()}_error": one.relative_whole, f"{state.lower()}_max": one.relative_max}
        return row


def horizon_of(runs: list[TimerRun], flush: Iterable[float], retention: Iterable[float]) -> int:
    """Whole slots of the slowest store, until the slowest flush has shown the end; µs."""
    end = max(one.truth.end for one in runs) + max(flush)
    slot = max(retention)
    return round(-(-end // slot) * slot * US)


def flushed(found: TimerRun, flush: float, horizon: int) -> list[Shown]:
    # A microsecond more: the flush at the horizon itself is the last that belongs to it.
    return flushes(found.packets, period=round(flush * US), dialect="brubeck", horizon=horizon + 1)


def chain_of(found: TimerRun, shown: list[Shown], flush: float, retention: float, horizon: int) -> ChainRun:
    reach = Reach.of(
        emission=round(found.timer * US), period=0, flush=round(flush * US), retention=round(retention * US)
    )
    kept = stored(shown, round(retention * US))
    points = {state: kept.get(f"{STATES}.{state.lower()}", []) for state in COMPARED}
    curves = found.truth.curves()
    true = {state: Curve.of(steps(curves[state]), horizon) for state in COMPARED}
    return ChainRun(
        timer=found.timer,
        flush=flush,
        retention=retention,
        points=points,
        fidelity={state: series_fidelity(true[state], points[state], reach) for state in COMPARED},
        outside=sum(_outside(true[state], points[state], reach) for state in COMPARED),
    )


def steps(points: Points) -> Any:
    return steps_of((round(t * US), value) for t, value in points)


def _outside(true: Curve, points: Iterable[tuple[int, float]], reach: Reach) -> int:
    """Points that show what the truth had nowhere within reach: there must be none."""
    wrong = 0
    for t, value in points:
        low, high = bound(true.steps, t, reach)
        wrong += not low <= value <= high
    return wrong


def timings(shown: list[Shown]) -> dict[str, dict[str, Points]]:
    """Mean and median (ms) of the content cache's loads and stores, flush by flush."""
    found: dict[str, dict[str, Points]] = {}
    for kind in ("load", "store"):
        each = ((one.t / US, one.samples.get(f"{CACHE}.{kind}")) for one in shown)
        filled = [(t, samples) for t, samples in each if samples]
        found[kind] = {
            "mean": [(t, fmean(samples)) for t, samples in filled],
            "median": [(t, median(samples)) for t, samples in filled],
        }
    return found
