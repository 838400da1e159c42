"""Knows the figures of how far a stored curve is from the truth. Not where either came from, nor what is good enough.

Source: the journal's open question. x is the truth, y what the store would draw, each point held until the next.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import attrs

from brokersim.lab.measure.series import Points, Steps, distance
from brokersim.protocol.decoded import JsonObject

#: Shifts tried for the lag: a coarse row over the reach, then so many of the finer ones around its best at a time.
_COARSE, _FINE = 16, 8


@attrs.frozen(kw_only=True)
class Reach:
    """How old (``back``) and how early (``ahead``) a drawn value can be, in µs: y(t) = x(s), t-back <= s <= t+ahead."""

    back: int
    ahead: int

    @classmethod
    def of(cls, *, emission: int, period: int, flush: int, retention: int) -> Reach:
        """Of stages that take so long each: a slot is labelled with its start, so its value may come after it."""
        return cls(back=emission + period + flush, ahead=retention)


@attrs.frozen(kw_only=True)
class Curve:
    """A truth over [0, horizon) with what is asked of it again and again."""

    steps: Steps
    horizon: int
    peak: float
    visits: Sequence[tuple[int, int | None]]
    is_ever_negative: bool

    @classmethod
    def of(cls, steps: Steps, horizon: int) -> Curve:
        return cls(
            steps=steps,
            horizon=horizon,
            peak=steps.peak(horizon),
            visits=steps.visits(),
            is_ever_negative=min(steps.values) < 0,
        )


@attrs.frozen(kw_only=True)
class SeriesFidelity:
    """One series. ``max``, ``mean``, ``bias`` in its units; ``relative_*`` to the truth's peak, None if that is 0.

    They count from the first point on; ``whole_mean`` from 0 on, with a 0 drawn before the first point: else a store
    that shows nothing until all is over would have the least error. ``gap`` is the share of time without a value;
    ``negatives`` counts points below 0 where the truth never is. Of ``visits`` (times above 0) ``visits_missed``
    surely left no point above 0; the longest of them took ``missed_longest`` µs. Without any point the errors are
    those of a curve at 0.
    """

    points: int
    peak: float
    max: float
    mean: float
    bias: float
    whole_mean: float
    gap: float
    negatives: int
    lowest: float
    visits: int
    visits_missed: int
    missed_longest: int
    is_missed: bool
    final_error: float

    @property
    def relative_mean(self) -> float | None:
        return self.mean / self.peak if self.peak else None

    @property
    def relative_whole(self) -> float | None:
        return self.whole_mean / self.peak if self.peak else None

    @property
    def relative_max(self) -> float | None:
        return self.max / self.peak if self.peak else None

    @property
    def relative_bias(self) -> float | None:
        return self.bias / self.peak if self.peak else None

    def to_json(self) -> JsonObject:
        relative = ("relative_mean", "relative_whole", "relative_max", "relative_bias")
        return attrs.asdict(self) | {name: getattr(self, name) for name in relative}


def series_fidelity(truth: Curve, points: Points, reach: Reach) -> SeriesFidelity:
    """Every figure of one series over the truth's horizon."""
    horizon = truth.horizon
    found = distance(truth.steps, points, horizon)
    if found is None:
        points = ()
        found = distance(truth.steps, [(0, 0.0)], horizon)
    assert found is not None
    missed = missed_visits(truth.visits, points, horizon, reach)
    before = horizon - found.span
    unseen = distance(truth.steps, [(0, 0.0)], before) if before else None
    values = [value for _, value in points]
    return SeriesFidelity(
        points=len(points),
        peak=truth.peak,
        max=found.max,
        mean=found.mean,
        bias=found.bias,
        whole_mean=(found.mean * found.span + (unseen.mean * before if unseen else 0)) / horizon,
        gap=before / horizon if points else 1.0,
        negatives=0 if truth.is_ever_negative else sum(value < 0 for value in values),
        lowest=min(values, default=0.0),
        visits=len(truth.visits),
        visits_missed=len(missed),
        missed_longest=max(missed, default=0),
        is_missed=bool(truth.visits) and not any(value > 0 for value in values),
        final_error=(values[-1] if values else 0.0) - truth.steps.at(horizon - 1),
    )


def missed_visits(
    visits: Sequence[tuple[int, int | None]], points: Points, horizon: int, reach: Reach
) -> list[int]:
    """Lengths (µs) of the visits of which no point above 0 can come; a lower bound of those not shown."""
    above = [t for t, value in points if value > 0]
    missed = []
    for start, end in visits:
        stop = horizon if end is None else end
        at = bisect_left(above, start - reach.ahead)
        if at == len(above) or above[at] > stop + reach.back:
            missed.append(stop - start)
    return missed


def lag(truth: Steps, points: Points, horizon: int, reach: Reach) -> tuple[int, float] | None:
    """(shift in µs that minimises the mean error, that error): how late a curve is, and how wrong if moved.

    Compared over [0, horizon), with 0 drawn before the first point: a curve must not be right where it shows nothing.
    ``None`` without points. A shift below 0: the curve is early.
    """
    if not points or points[0][0] >= horizon:
        return None
    whole = [(-(10**15), 0.0), *points]

    def error(shift: int) -> tuple[float, int, int]:
        # Of equal errors the smallest shift.
        moved = distance(truth, whole, horizon, shift)
        return (moved.mean if moved else math.inf), abs(shift), shift

    width = reach.back + reach.ahead
    tried = [error(-reach.ahead + width * i // _COARSE) for i in range(_COARSE + 1)] + [error(0)]
    step = max(1, width // _COARSE)
    # Between two places where a step of the one meets a step of the other the error is straight: its least is at one.
    near = _meetings(truth, points, min(tried)[2], step)
    while near:
        picked = near[:: max(1, len(near) // _FINE)]
        tried += [error(shift) for shift in picked]
        if len(picked) == len(near):
            break
        at = near.index(min(error(shift) for shift in picked)[2])
        beside = len(near) // _FINE
        near = near[max(0, at - beside + 1) : at + beside]
    mean, _, shift = min(tried)
    return shift, mean


def _meetings(truth: Steps, points: Points, around: int, reach: int) -> list[int]:
    """The shifts within reach at which a change of the drawn curve meets one of the truth, ascending."""
    found: set[int] = set()
    before: float | None = None
    for t, value in points:
        if value == before:
            continue
        before = value
        first = bisect_left(truth.times, t - around - reach)
        last = bisect_right(truth.times, t - around + reach)
        found.update(t - change for change in truth.times[first:last])
    return sorted(found)


def sum_error(total: Steps, points: Mapping[str, Points], horizon: int, reach: Reach) -> float:
    """Largest distance of the drawn states' sum from every value their true sum had within reach (law L8).

    ``total`` is the true sum, the jobs submitted so far.
    """
    names = [name for name in points if points[name]]
    latest = dict.fromkeys(names, 0.0)
    worst = 0.0
    changes = sorted((t, name, value) for name in names for t, value in points[name] if t < horizon)
    for at, (t, name, value) in enumerate(changes):
        latest[name] = value
        if at + 1 < len(changes) and changes[at + 1][0] == t:
            continue
        drawn = sum(latest.values())
        near = total.between(t - reach.back, t + reach.ahead)
        worst = max(worst, min(near) - drawn, drawn - max(near))
    return worst


def bound(truth: Steps, t: int, reach: Reach) -> tuple[float, float]:
    """(lowest, highest) value an absolute gauge without loss can show at ``t``."""
    near = truth.between(t - reach.back, t + reach.ahead)
    return min(near), max(near)


# -- timers


def quantile(ascending: Sequence[float], share: float) -> float:
    """The sample that ``share`` of them do not exceed, by rank; 0.0 if there are none."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def timer_figures(samples: Sequence[float]) -> dict[str, float]:
    """count, mean, median and p99 of all samples, in their unit."""
    ascending = sorted(samples)
    mean = math.fsum(ascending) / len(ascending) if ascending else 0.0
    return {
        "count": float(len(ascending)),
        "mean": mean,
        "median": quantile(ascending, 0.5),
        "p99": quantile(ascending, 0.99),
    }


def timer_errors(raw: Sequence[float], windows: Sequence[Sequence[float]]) -> dict[str, float]:
    """Relative errors of what the flushes' own figures give: counts added up, the others averaged over windows.

    That is how a dashboard joins them; percentiles per window cannot be averaged, and this shows by how much.
    """
    truth = timer_figures(raw)
    filled = [timer_figures(window) for window in windows if window]
    shown = {"count": sum(window["count"] for window in filled)}
    for name in ("mean", "median", "p99"):
        shown[name] = math.fsum(window[name] for window in filled) / len(filled) if filled else 0.0
    return {name: (shown[name] - true) / true if true else 0.0 for name, true in truth.items()}
