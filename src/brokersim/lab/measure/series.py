"""Knows step functions in integer microseconds: a truth that was recorded, points a store kept, their difference.

Doesn't know what the values count, nor how the points came about.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs

#: Microseconds in a second: all times here are integers of them, so that sums are exact.
US = 1_000_000
Points: TypeAlias = Sequence[tuple[int, float]]


@attrs.frozen(kw_only=True)
class Steps:
    """A function of time: ``values[i]`` from ``times[i]`` on. Times never fall; the first is 0.

    Of several values at one time the last is the function's; the others lasted for no time but are kept, since
    a state may be entered and left within one instant. Raises ValueError for times that fall or begin above 0.
    """

    times: Sequence[int]
    values: Sequence[float]

    def __attrs_post_init__(self) -> None:
        if not self.times or self.times[0] != 0 or len(self.times) != len(self.values):
            raise ValueError("a step function needs as many values as times, the first at 0")
        if any(later < earlier for earlier, later in pairwise(self.times)):
            raise ValueError("the times of a step function must not fall")

    def at(self, t: int) -> float:
        """The value at ``t``, changes at ``t`` itself included; before 0 the first value."""
        return self.values[max(0, bisect_right(self.times, t) - 1)]

    def between(self, start: int, end: int) -> Sequence[float]:
        """The values the function has somewhere in [start, end], instants of no length included."""
        first = bisect_right(self.times, start) - 1
        # Values at `start` itself that were replaced at once belong to the interval too.
        first = min(max(0, first), bisect_left(self.times, start))
        return self.values[first : max(first + 1, bisect_right(self.times, end))]

    def peak(self, horizon: int) -> float:
        """The largest value that lasted for some time before ``horizon``."""
        return max(
            (value for start, end, value in self.pieces(0, horizon) if end > start), default=self.at(0)
        )

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, float]]:
        """(from, to, value) over [start, end), pieces of no length left out."""
        times, values = self.times, self.values
        at = max(0, bisect_right(times, start) - 1)
        while start < end:
            stop = times[at + 1] if at + 1 < len(times) else end
            stop = min(stop, end)
            if stop > start:
                yield start, stop, values[at]
                start = stop
            at += 1

    def visits(self) -> list[tuple[int, int | None]]:
        """Maximal intervals with a value above 0, those of no length included; ``None``: it never ended."""
        found: list[tuple[int, int | None]] = []
        since: int | None = None
        for t, value in zip(self.times, self.values, strict=True):
            if value > 0 and since is None:
                since = t
            elif value <= 0 and since is not None:
                found.append((since, t))
                since = None
        return [*found, (since, None)] if since is not None else found


@attrs.frozen(kw_only=True)
class Distance:
    """How far drawn points are from a truth, in the truth's units; ``span`` (µs) is what was compared."""

    max: float
    mean: float
    bias: float
    span: int


def distance(truth: Steps, points: Points, horizon: int, shift: int = 0) -> Distance | None:
    """Each point held until the next, from the first point (or 0) to ``horizon``, moved ``shift`` µs earlier.

    ``None`` if no point lies before the horizon.
    """
    most = area = signed = 0.0
    span = 0
    times, values, at, count = truth.times, truth.values, 0, len(truth.times)
    for start, end, shown in held(points, horizon, shift):
        span += end - start
        # Inline, because this loop is nearly all of the time a sweep takes.
        while start < end:
            stop = end if at + 1 == count else min(end, times[at + 1])
            if stop > start:
                error = shown - values[at]
                size = error if error >= 0 else -error
                if size > most:
                    most = size
                area += size * (stop - start)
                signed += error * (stop - start)
                start = stop
            if start < end:
                at += 1
    if not span:
        return None
    return Distance(max=most, mean=area / span, bias=signed / span, span=span)


def held(points: Points, horizon: int, shift: int = 0) -> Iterator[tuple[int, int, float]]:
    """(from, to, value) of what is drawn over [0, horizon)."""
    for (t, value), (end, _) in pairwise([*points, (horizon + shift, 0.0)]):
        start, stop = max(0, t - shift), min(horizon, end - shift)
        if stop > start:
            yield start, stop, value


def steps_of(changes: Iterable[tuple[int, float]], first: float = 0) -> Steps:
    """A step function that is ``first`` at 0 and changes as given."""
    times, values = [0], [first]
    for t, value in changes:
        times.append(t)
        values.append(value)
    return Steps(times=times, values=values)
