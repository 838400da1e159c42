"""Knows one stream of a sweep: a truth sent in one way, shown by every flush and retention wanted, as rows of figures.

Doesn't know which streams are run, what they cost the instance, or which row is best.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from statistics import fmean, median

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
from brokersim.lab.measure.moved import Moved, distinct
from brokersim.lab.measure.pipeline import Call, Packet, Shown, calls, client_packets, flushes, lossy, stored
from brokersim.lab.measure.series import US, Points, Steps, steps_of
from brokersim.lab.measure.truth import STATE_KEYS, TIMER_KEYS, Recorded, Truth, period_of, record
from brokersim.protocol.decoded import JsonObject
from brokersim.statsd.law import Chain

#: Raised when figures change their meaning: rows of another generation are not taken for done.
GENERATION = 4


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


def evaluate(unit: Unit) -> list[JsonObject]:
    """A row for each store of the unit, in its order. The truth of the workload is recorded once per process."""
    stream = unit.stream
    return rows_of(subject_of(stream.workload, stream.jobs, stream.seed), unit)


@lru_cache(maxsize=1)
def subject_of(workload: str, jobs: int, seed: int) -> Subject:
    """The truth of a workload; the last one is kept."""
    return Subject(record(workload, jobs, seed))


def rows_of(subject: Subject, unit: Unit) -> list[JsonObject]:
    """The rows of a unit from a truth that is there already: medians over the draws of the phases, and the worst."""
    stream, truth = unit.stream, subject.truth
    # Until the last slot that is compared is full: a plot is looked at when all is over.
    end = truth.horizon + round(US * max(store.flush + store.retention for store in unit.stores))
    drawn: dict[Store, list[JsonObject]] = {store: [] for store in unit.stores}
    sent: list[list[Packet]] = []
    for draw in range(stream.draws):
        phases = Phases.drawn(stream, draw)
        packets = packets_of(truth, stream, phases, draw, end)
        sent.append(packets)
        for flush in dict.fromkeys(store.flush for store in unit.stores):
            period = round(flush * US)
            shown = flushes(
                packets, period=period, phase=phases.of("flush", period), dialect=stream.dialect, horizon=end
            )  # fmt: skip
            timers = _timer_errors(truth, shown)
            for store in unit.stores:
                if store.flush == flush:
                    drawn[store].append(_figures(subject, stream, store, shown, phases) | {"timers": timers})
    sum_of = traffic(sent, truth)
    return [
        {
            **attrs.asdict(stream), **attrs.asdict(store), **_summary(drawn[store]), **sum_of,
            **_by_law(subject, stream, store),
        }
        for store in unit.stores
    ]  # fmt: skip


def _by_law(subject: Subject, stream: Stream, store: Store) -> dict[str, float | None]:
    """What the law says of the same; it knows no loss and no increments that drift."""
    if stream.loss or stream.style == "increments":
        return {"law_error": None, "law_lag_s": None}
    chain = Chain(
        emission=period_of(stream.emission) / US,
        client=stream.period,
        flush=store.flush,
        retention=store.retention,
    )
    errors = [subject.moved(name).expected(chain.age) / curve.peak for name, curve in subject.counted.items()]
    return {"law_error": fmean(errors) if errors else 0.0, "law_lag_s": chain.age.mean}


@attrs.frozen
class Phases:
    """Where each stage's ticks lie, as shares of its period: each emission's, client's and draw's own.

    Phases that all share would make one lucky draw the luck of every combination. Styles and dialects do share them:
    they are compared with each other.
    """

    shares: Mapping[str, float]

    @classmethod
    def drawn(cls, stream: Stream, draw: int) -> Phases:
        where = (stream.workload, stream.seed, stream.emission, stream.period, draw)
        source = random.Random("/".join(map(str, ("phases", *where))))
        return cls({stage: source.random() for stage in ("emission", "period", "flush", "retention")})

    def of(self, stage: str, period: int) -> int:
        """The phase in µs, from 0 to below ``period``."""
        return int(self.shares[stage] * period)


def packets_of(truth: Truth, stream: Stream, phases: Phases, draw: int, end: int) -> list[Packet]:
    """What of the truth arrives at the aggregator before ``end`` (µs)."""
    period = round(stream.period * US)
    packets = client_packets(
        _calls(truth, stream, phases, end), style=stream.style, period=period, phase=phases.of("period", period),
        dialect=stream.dialect, horizon=end,
    )  # fmt: skip
    return lossy(packets, stream.loss, f"loss/{stream.seed}/{draw}")


def _calls(truth: Truth, stream: Stream, phases: Phases, end: int) -> Iterator[Call]:
    """Job states in the stream's style; counters as the snapshots they always are; each timing when it was taken."""
    phase = phases.of("emission", period_of(stream.emission))

    def told(recorded: Recorded, style: str) -> Iterator[Call]:
        return calls(recorded.track, recorded.emissions(stream.emission, phase, end), style)

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
        every = {**self.states, **self.counters}
        self.leading = self._leading()
        #: What counts towards an error: copies of one ramp weigh once.
        self.counted = {
            name: every[name]
            for name in distinct({name: one.steps for name, one in every.items()}, self.horizon)
        }
        self._moved: dict[str, Moved] = {}

    def moved(self, name: str) -> Moved:
        """How far a series is from itself, moved by up to the horizon, beyond which nothing changes; found once."""
        if name not in self._moved:
            self._moved[name] = Moved.of(self.counted[name].steps, self.horizon)
        return self._moved[name]

    def _leading(self) -> tuple[str, Curve]:
        """The curve whose lag is looked for: jobs ended, which only rises; without jobs, the highest counter."""
        if self.truth.states.track.rows:
            return STATE_KEYS[-1], self.states[STATE_KEYS[-1]]
        return max(self.counters.items(), key=lambda item: item[1].peak)

    def _curves(self, recorded: Recorded) -> dict[str, Curve]:
        return {name: Curve.of(steps, self.horizon) for name, steps in recorded.track.steps().items()}


def _figures(curves: Subject, stream: Stream, store: Store, shown: list[Shown], phases: Phases) -> JsonObject:
    horizon, retention = curves.horizon, round(store.retention * US)
    reach = Reach.of(
        emission=period_of(stream.emission), period=round(stream.period * US), flush=round(store.flush * US),
        retention=retention,
    )  # fmt: skip
    points = _since_ever(curves, stored(shown, retention, phases.of("retention", retention)))
    states = _each(curves.states, points, reach)
    counters = _each(curves.counters, points, reach)
    seen = [*states.values(), *counters.values()]
    compared = [one for name, one in {**states, **counters}.items() if name in curves.counted]
    visits = sum(one.visits for one in states.values())
    key, leading = curves.leading
    found = lag(leading.steps, points.get(key, ()), horizon, reach)
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


def _since_ever(
    curves: Subject, points: dict[str, list[tuple[int, float]]]
) -> dict[str, list[tuple[int, float]]]:
    """A counter that had a value before the recording began was stored with it before, too."""
    for name, curve in curves.counters.items():
        if name in points and curve.steps.values[0]:
            points[name] = [(min(0, points[name][0][0]) - 1, curve.steps.values[0]), *points[name]]
    return points


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


def _summary(drawn: list[JsonObject]) -> JsonObject:
    first = drawn[0]
    errors = [figures["error"] for figures in drawn]
    row: JsonObject = {name: median(figures[name] for figures in drawn) for name in _MEDIANS}
    row |= {name: worst(figures[name] for figures in drawn) for name, worst in _WORST.items()}
    row |= {name: _median_or_none(drawn, name) for name in ("states_error", "counters_error")}
    missed = {name: None for figures in drawn for name in figures["missed"]}
    lags = [figures["lag"] for figures in drawn if figures["lag"] is not None]
    return row | {
        "errors": errors,
        "error_worst": max(errors),
        "missed": list(missed),
        "lag_s": median(shift for shift, _ in lags) / US if lags else None,
        "lag_error": median(error for _, error in lags) / (first["lag_peak"] or 1) if lags else None,
        "series": {name: _median_or_none([one["series"] for one in drawn], name) for name in first["series"]},
        "timers": {
            key: {name: median(one["timers"][key][name] for one in drawn) for name in figures}
            for key, figures in first["timers"].items()
        },
    }


def _median_or_none(drawn: list[JsonObject], name: str) -> float | None:
    values = [figures[name] for figures in drawn if figures[name] is not None]
    return median(values) if values else None


def traffic(sent: list[list[Packet]], truth: Truth) -> dict[str, float]:
    """Packets and bytes that arrive, of job states, kvs's counters and the cache's timings; per second of the run."""
    span = max(truth.end, 1) / US
    packets = median(len(each) for each in sent)
    size = median(sum(len(packet) for _, packet in each) for each in sent)
    return {"packets": packets, "packets_per_s": packets / span, "bytes_per_s": size / span}
