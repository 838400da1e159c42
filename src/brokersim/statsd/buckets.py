"""Logarithmic buckets: percentiles of any number of values within 1 %, in bounded memory, mergeable.

Knows nothing of keys, flushes or dialects.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

import attrs

from brokersim.statsd.numbers import LARGEST

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / math.log(_GAMMA)
# The point of bucket i that is at most RELATIVE_ERROR away from both its ends.
_MIDDLE = 2 / (1 + _GAMMA)


@attrs.define(eq=False)
class LogBuckets:
    """A histogram whose bucket i holds the values in (γ^(i−1), γ^i]; count, sum, lower and upper are exact.

    Values of 0 and below share one bucket. γ = 1.01 / 0.99, so a percentile is within 1 % of the exact one (statsd
    rule of 1 % after the cap); 2000 buckets span 17 decades.
    """

    counts: Counter[int] = attrs.field(factory=Counter)
    zeros: int = 0
    n: int = 0
    total: float = 0.0
    mean: float = 0.0
    squared_deviations: float = 0.0
    sum_squares: float = 0.0
    lower: float = math.inf
    upper: float = -math.inf

    def add_many(self, values: Iterable[float]) -> None:
        chunk = [min(value, LARGEST) for value in values]
        if not chunk:
            return
        log, ceil = math.log, math.ceil
        above = [value for value in chunk if value > 0]
        self.counts.update([ceil(log(value) * _PER_LOG) for value in above])
        mean = sum(chunk) / len(chunk)
        part = LogBuckets(
            zeros=len(chunk) - len(above),
            n=len(chunk),
            total=sum(chunk),
            mean=mean,
            squared_deviations=sum([(value - mean) * (value - mean) for value in chunk]),
            sum_squares=sum([value * value for value in chunk]),
            lower=min(chunk),
            upper=max(chunk),
        )
        self.merge(part)

    def merge(self, other: LogBuckets) -> None:
        """Takes in all of `other`'s values; counts and percentiles come out as if they had been added here."""
        if not other.n:
            return
        n = self.n + other.n
        apart = other.mean - self.mean
        # Chan's pairwise update: subtracting sums of squares would lose the deviation of large, close values.
        self.squared_deviations += other.squared_deviations + apart * apart * self.n * other.n / n
        self.mean += apart * other.n / n
        self.n = n
        self.zeros += other.zeros
        self.total += other.total
        self.sum_squares += other.sum_squares
        self.lower = min(self.lower, other.lower)
        self.upper = max(self.upper, other.upper)
        self.counts.update(other.counts)

    @property
    def std(self) -> float:
        return math.sqrt(self.squared_deviations / self.n) if self.n else 0.0

    def ascending(self) -> Iterator[tuple[float, int]]:
        """(value, how often), lowest first, the values within 1 % of the true ones and inside [lower, upper]."""
        if self.zeros:
            yield min(0.0, self.upper), self.zeros
        for index in sorted(self.counts):
            middle = math.exp(index / _PER_LOG) * _MIDDLE
            yield min(max(middle, self.lower), self.upper), self.counts[index]

    def at_rank(self, rank: int) -> float:
        """The value that `rank` values (1…n) are not above, within 1 %."""
        steps = list(self.ascending())
        for (value, _), below in zip(steps, accumulate(count for _, count in steps), strict=True):
            if below >= rank:
                return value
        return self.upper

    def lowest(self, k: int) -> tuple[float, float]:
        """Sum and sum of squares of the k lowest values, within 1 % and 2 %."""
        total = squares = 0.0
        for value, count in self.ascending():
            taken = min(count, k)
            total += value * taken
            squares += value * value * taken
            k -= taken
            if k <= 0:
                break
        return total, squares
