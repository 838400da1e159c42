"""Knows how far a truth is from itself, moved in time, and what a chain of intervals makes of that; not any client.

D(s) is the mean distance of x(t - s) from x(t) over what is compared. It is a function of the workload alone: with the
ages A that a chain has (statsd.law) the error to expect of its curve is E[D(A)].
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import pairwise
from operator import sub
from statistics import fmean

import attrs

from brokersim.lab.measure.series import US, Steps, distance
from brokersim.statsd.law import Age, Chain

#: Shifts at which D is taken to each side; closer together near 0, where D bends.
_SHIFTS = 40
#: Stretches of an age's range: with 80 the sum is within 0.1 % of the integral.
STRETCHES = 80
#: Shapes, from 0 to 1, whose mean distance is smaller are one: an answer comes microseconds after its request.
_ALIKE = 0.02


@attrs.frozen(kw_only=True)
class Moved:
    """D of one series: ``values`` in its units at ``shifts`` (µs, ascending), straight between them."""

    shifts: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, truth: Steps, horizon: int) -> Moved:
        """From a horizon early to a horizon late: farther away all is as it was at first, or is in the end."""
        late = sorted({horizon * at * at // (_SHIFTS * _SHIFTS) for at in range(_SHIFTS + 1)})
        shifts = (*(-shift for shift in reversed(late[1:])), *late)
        one = _rising(truth, horizon) if _rises(truth) else None
        return cls(
            shifts=shifts,
            values=tuple(one.moved(shift) if one else _apart(truth, horizon, shift) for shift in shifts),
        )

    def at(self, shift: int) -> float:
        right = min(max(1, bisect_left(self.shifts, shift)), len(self.shifts) - 1)
        low, high = self.shifts[right - 1], self.shifts[right]
        share = min(1.0, max(0.0, (shift - low) / (high - low)))
        return self.values[right - 1] + share * (self.values[right] - self.values[right - 1])

    def expected(self, age: Age) -> float:
        """E[D(A)], in the series' units."""
        return age.expected(self.at, STRETCHES)


def _rises(truth: Steps) -> bool:
    return all(later >= earlier for earlier, later in pairwise(truth.values))


def _apart(truth: Steps, horizon: int, shift: int) -> float:
    points = [(-(10**15), truth.values[0]), *zip(truth.times, truth.values, strict=True)]
    found = distance(truth, points, horizon, -shift)
    assert found is not None
    return found.mean


@attrs.frozen
class _Area:
    """The integral of a function that only rises: of such a one D is the difference of two areas."""

    truth: Steps
    sums: tuple[float, ...]
    horizon: int

    def moved(self, shift: int) -> float:
        moved = self._until(self.horizon - shift) - self._until(-shift)
        return abs(moved - self._until(self.horizon)) / self.horizon

    def _until(self, t: int) -> float:
        if t <= 0:
            return self.truth.values[0] * t
        at = bisect_right(self.truth.times, t) - 1
        return self.sums[at] + self.truth.values[at] * (t - self.truth.times[at])


def _rising(truth: Steps, horizon: int) -> _Area:
    sums = [0.0]
    for (start, value), (end, _) in pairwise(zip(truth.times, truth.values, strict=True)):
        sums.append(sums[-1] + value * (end - start))
    return _Area(truth, tuple(sums), horizon)


# -- what counts


def distinct(curves: Mapping[str, Steps], horizon: int) -> list[str]:
    """The names without copies: series that are one another's multiples count once, the first of them.

    Six counters that rise with every request are one curve, and would weigh six times.
    """
    found: list[tuple[str, tuple[float, ...]]] = []
    looks = [horizon * at // 64 for at in range(65)]
    for name, steps in curves.items():
        first, last = steps.values[0], steps.peak(horizon)
        if last == first:
            continue
        shape = tuple((steps.at(t) - first) / (last - first) for t in looks)
        if all(fmean(map(abs, map(sub, shape, other))) > _ALIKE for _, other in found):
            found.append((name, shape))
    return [name for name, _ in found]


def stay(steps: Steps, horizon: int) -> float | None:
    """How long (s) one that enters a state stays in it, on average; None if none ever does.

    By Little's law: the area under the curve over the number of entries, which are its rises.
    """
    entries = max(0.0, steps.values[0]) + sum(max(0.0, b - a) for a, b in pairwise(steps.values))
    if not entries:
        return None
    return sum(value * (end - start) for start, end, value in steps.pieces(0, horizon)) / entries / US


# -- what is drawn


def drawn(truth: Steps, chain: Chain, horizon: int, share: float = 0.5) -> list[tuple[int, float]]:
    """Points (slot's start in µs, value) of a store whose stages all have the phase ``share`` of their period."""
    emission, client, flush, retention = (round(one * US) for one in attrs.astuple(chain))
    found = []
    first = -round(share * retention)
    for slot in range(first, horizon, retention):
        flushed = _last(slot + retention - 1, flush, share)
        if flushed >= slot:
            told = _last(_last(flushed, client, share), emission, share)
            found.append((slot, truth.at(told) if told >= 0 else truth.values[0]))
    return found


def _last(t: int, period: int, share: float) -> int:
    """The last tick at or before ``t``."""
    if not period:
        return t
    phase = round(share * period)
    return (t - phase) // period * period + phase
