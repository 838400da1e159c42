"""Knows one stream of a sweep: a truth sent in one way, shown by every flush and retention wanted, as rows of figures.

Doesn't know which streams are run, what they cost the instance, or which row is best.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from statistics import fmean, median
from typing import Any

import attrs

from brokersim.lab.measure.fidelity import (
    Curve,
    Reach,
    SeriesFidelity,
    lag,
    series_fidelity,
    sum_error,
    timer_errors,
)
from brokersim.lab.measure.pipeline import Call, Packet, Shown, calls, client_packets, flushes, lossy, stored
from brokersim.lab.measure.series import US, Points, Steps, steps_of
from brokersim.lab.measure.truth import STATE_KEYS, TIMER_KEYS, Recorded, Truth, period_of, record

#: Raised when figures change their meaning: rows of another generation are not taken for done.
GENERATION = 3


@attrs.frozen(kw_only=True)
class Stream:
    """How values leave: everything up to the network. Durations in seconds, ``loss`` the share of packets lost."""

    workload: str
    jobs: int
    seed: int
    emission: str
    period: float
    style: str
    dialect: str
    loss: float
    draws: int

    @property
    def id(self) -> str:
        return "/".join(f"{value}" for value in (GENERATION, *attrs.astuple(self)))


@attrs.frozen
class Store:
    """What a server does with it: the aggregator's flush and the store's retention, in seconds."""

    flush: float
    retention: float


@attrs.frozen
class Unit:
    """A stream and the stores it is shown by: the piece of work a process does."""

    stream: Stream
    stores: tuple[Store, ...]

    def row_id(self, store: Store) -> str:
        return f"{self.stream.id}/{store.flush}/{store.retention}"


def evaluate(unit: Unit) -> list[dict[str, Any]]:
    """A row for each store of the unit, in its order. The truth of the workload is recorded once per process."""
    stream = unit.stream
    return rows_of(subject_of(stream.workload, stream.jobs, stream.seed), unit)


@lru_cache(maxsize=1)
def subject_of(workload: str, jobs: int, seed: int) -> Subject:
    """The truth of a workload; the last one is kept."""
    return Subject(record(workload, jobs, seed))


def rows_of(subject: Subject, unit: Unit) -> list[dict[str, Any]]:
    """The rows of a unit from a truth that is there already: medians over the draws of the phases, and the worst."""
    stream, truth = unit.stream, subject.truth
    drawn: dict[Store, list[dict[str, Any]]] = {store: [] for store in unit.stores}
    sent: list[list[Packet]] = []
    for draw in range(stream.draws):
        phases = Phases.drawn(stream.seed, draw)
        packets = packets_of(truth, stream, phases, draw)
        sent.append(packets)
        for flush in dict.fromkeys(store.flush for store in unit.stores):
            period = round(flush * US)
            shown = flushes(
                packets, period=period, phase=phases.of("flush", period), dialect=stream.dialect, horizon=truth.horizon
            )  # fmt: skip
            timers = _timer_errors(truth, shown)
            for store in unit.stores:
                if store.flush == flush:
                    figures = _figures(subject, stream, store, shown, phases, with_lag=draw == 0)
                    drawn[store].append(figures | {"timers": timers})
    traffic = _traffic(sent, truth)
    return [
        {**attrs.asdict(stream), **attrs.asdict(store), **_summary(drawn[store]), **traffic}
        for store in unit.stores
    ]


@attrs.frozen
class Phases:
    """Where each stage's ticks lie, as shares of its period; the same for every combination of one draw."""

    shares: Mapping[str, float]

    @classmethod
    def drawn(cls, seed: int, draw: int) -> Phases:
        source = random.Random(f"phases/{seed}/{draw}")
        return cls({stage: source.random() for stage in ("emission", "period", "flush", "retention")})

    def of(self, stage: str, period: int) -> int:
        """The phase in µs, from 0 to below ``period``."""
        return int(self.shares[stage] * period)


def packets_of(truth: Truth, stream: Stream, phases: Phases, draw: int) -> list[Packet]:
    """What of the truth arrives at the aggregator."""
    period = round(stream.period * US)
    packets = client_packets(
        _calls(truth, stream, phases), style=stream.style, period=period, phase=phases.of("period", period),
        dialect=stream.dialect, horizon=truth.horizon,
    )  # fmt: skip
    return lossy(packets, stream.loss, f"loss/{stream.seed}/{draw}")


def _calls(truth: Truth, stream: Stream, phases: Phases) -> Iterator[Call]:
    """Job states in the stream's style; counters as the snapshots they always are; each timing when it was taken."""
    phase = phases.of("emission", period_of(stream.emission))

    def told(recorded: Recorded, style: str) -> Iterator[Call]:
        return calls(recorded.track, recorded.emissions(stream.emission, phase, truth.horizon), style)

    timings = (_timings(key, samples, truth.horizon) for key, samples in truth.samples.items())
    return heapq.merge(
        told(truth.states, stream.style),
        told(truth.counters, "absolute"),
        *timings,
        key=lambda call: call[0],
    )


def _timings(key: str, samples: Iterable[tuple[int, float]], horizon: int) -> Iterator[Call]:
    return ((t, "timing", (key, ms)) for t, ms in samples if t < horizon)


class Subject:
    """A truth as curves to compare with, and the sum of its states."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.horizon = truth.horizon
        self.states = self._curves(truth.states)
        self.counters = self._curves(truth.counters)
        self.total: Steps = steps_of(
            (t, sum(row)) for t, row in zip(truth.states.track.times, truth.states.track.rows, strict=True)
        )

        self.leading = self._leading()

    def _leading(self) -> tuple[str, Curve]:
        """The curve whose lag is looked for: jobs ended, which only rises; without jobs, the highest counter."""
        if self.truth.states.track.rows:
            return STATE_KEYS[-1], self.states[STATE_KEYS[-1]]
        return max(self.counters.items(), key=lambda item: item[1].peak)

    def _curves(self, recorded: Recorded) -> dict[str, Curve]:
        return {name: Curve.of(steps, self.horizon) for name, steps in recorded.track.steps().items()}


def _figures(
    curves: Subject, stream: Stream, store: Store, shown: list[Shown], phases: Phases, *, with_lag: bool
) -> dict[str, Any]:
    horizon, retention = curves.horizon, round(store.retention * US)
    reach = Reach.of(
        emission=period_of(stream.emission), period=round(stream.period * US), flush=round(store.flush * US),
        retention=retention,
    )  # fmt: skip
    points = stored(shown, retention, phases.of("retention", retention))
    states = _each(curves.states, points, reach)
    counters = _each(curves.counters, points, reach)
    seen = [*states.values(), *counters.values()]
    compared = [one for one in seen if one.peak]
    visits = sum(one.visits for one in states.values())
    key, leading = curves.leading
    found = lag(leading.steps, points.get(key, ()), horizon, reach) if with_lag else None
    return {
        "error": fmean([one.relative_whole or 0.0 for one in compared]) if compared else 0.0,
        "error_drawn": fmean([one.relative_mean or 0.0 for one in compared]) if compared else 0.0,
        "states_error": _mean_of(states, "relative_whole"),
        "counters_error": _mean_of(counters, "relative_whole"),
        "max_error": max((one.relative_max or 0.0 for one in compared), default=0.0),
        "bias": fmean([one.relative_bias or 0.0 for one in compared]) if compared else 0.0,
        "gap": max((one.gap for one in compared), default=0.0),
        "negatives": sum(one.negatives for one in seen),
        "lowest": min((one.lowest for one in seen), default=0.0),
        "sum_error": sum_error(
            curves.total, {key: points.get(key, ()) for key in STATE_KEYS}, horizon, reach
        ),
        "missed": [name.rpartition(".")[2] for name, one in states.items() if one.is_missed],
        "visits_missed": sum(one.visits_missed for one in states.values()) / visits if visits else 0.0,
        "missed_longest_s": max((one.missed_longest for one in states.values()), default=0) / US,
        "final_error": max((abs(one.final_error) / one.peak for one in compared), default=0.0),
        "lag": found,
        "lag_peak": leading.peak,
        "series": {
            name.removeprefix("flux."): one.relative_whole for name, one in {**states, **counters}.items()
        },
    }


def _each(
    curves: Mapping[str, Curve], points: Mapping[str, Points], reach: Reach
) -> dict[str, SeriesFidelity]:
    return {name: series_fidelity(truth, points.get(name, ()), reach) for name, truth in curves.items()}


def _mean_of(found: Mapping[str, SeriesFidelity], figure: str) -> float | None:
    values = [getattr(one, figure) for one in found.values() if one.peak]
    return fmean(values) if values else None


def _timer_errors(truth: Truth, shown: list[Shown]) -> dict[str, dict[str, float]]:
    """Relative errors of what dashboards make of each timer; none for one that never ran."""
    return {
        key.rpartition(".")[2]: timer_errors(
            [ms for t, ms in truth.samples[key] if t < truth.horizon],
            [flush.samples.get(key, ()) for flush in shown],
        )
        for key in TIMER_KEYS
        if truth.samples.get(key)
    }


#: Figures of which a row shows the median over the draws, and those of which it shows the worst.
_MEDIANS = ("error", "error_drawn", "max_error", "bias", "gap", "visits_missed")
_WORST = {"negatives": max, "lowest": min, "sum_error": max, "missed_longest_s": max, "final_error": max}


def _summary(drawn: list[dict[str, Any]]) -> dict[str, Any]:
    first = drawn[0]
    errors = [figures["error"] for figures in drawn]
    row: dict[str, Any] = {name: median(figures[name] for figures in drawn) for name in _MEDIANS}
    row |= {name: worst(figures[name] for figures in drawn) for name, worst in _WORST.items()}
    row |= {name: _median_or_none(drawn, name) for name in ("states_error", "counters_error")}
    missed = {name: None for figures in drawn for name in figures["missed"]}
    shift, lag_error = first["lag"] or (None, None)
    return row | {
        "errors": errors,
        "error_worst": max(errors),
        "missed": list(missed),
        "lag_s": None if shift is None else shift / US,
        "lag_error": None if lag_error is None else lag_error / (first["lag_peak"] or 1),
        "series": {name: _median_or_none([one["series"] for one in drawn], name) for name in first["series"]},
        "timers": {
            key: {name: median(one["timers"][key][name] for one in drawn) for name in figures}
            for key, figures in first["timers"].items()
        },
    }


def _median_or_none(drawn: list[dict[str, Any]], name: str) -> float | None:
    values = [figures[name] for figures in drawn if figures[name] is not None]
    return median(values) if values else None


def _traffic(sent: list[list[Packet]], truth: Truth) -> dict[str, float]:
    """Packets and bytes that arrive, of job states, kvs's counters and the cache's timings; per second of the run."""
    span = max(truth.end, 1) / US
    packets = median(len(each) for each in sent)
    size = median(sum(len(packet) for _, packet in each) for each in sent)
    return {"packets": packets, "packets_per_s": packets / span, "bytes_per_s": size / span}
