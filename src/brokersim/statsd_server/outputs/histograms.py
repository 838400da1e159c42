"""Knows a timer's histogram since the start, as Prometheus counts one; not what its lines are called.

Its bounds are every sixteenth of the log buckets that timers fold into: seven a decade, so that both count alike.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache

import attrs

from brokersim.statsd.buckets import RELATIVE_ERROR, LogBuckets
from brokersim.statsd.numbers import Number

#: Log buckets to one bound: a quantile is right to about a sixth.
GROUP = 16
_LOG_STEP = GROUP * math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))

#: The last bucket whose bound is a number: e to the 709 is 8e307.
_LAST = math.floor(709 / _LOG_STEP)


@cache
def bound(index: int) -> float:
    """The upper bound of a bucket, in six digits, which people can read and scrapers compare."""
    return float(f"{math.exp(index * _LOG_STEP):.6g}")


@attrs.define(eq=False)
class Histogram:
    """Counts by bucket since the start; `low` are values of 0 and below, which share one.

    `high` are those that no finite bucket ends: infinity too, which some servers take.
    """

    counts: dict[int, Number] = attrs.field(factory=dict)
    low: Number = 0
    high: Number = 0

    def add(self, samples: Sequence[float], weight: Number) -> None:
        """Samples in ascending order, each of which stands for `weight`. Costs by the bucket, not by the sample."""
        at = bisect_right(samples, 0.0)
        self.low += at * weight
        end = bisect_right(samples, bound(_LAST))
        self.high += (len(samples) - end) * weight
        while at < end:
            index = math.ceil(math.log(samples[at]) / _LOG_STEP)
            # The six digits may have moved a bound below a value that is all but on it.
            if samples[at] > bound(index):
                index += 1
            until = bisect_right(samples, bound(index), at)
            self.counts[index] = self.counts.get(index, 0) + (until - at) * weight
            at = until

    def add_fold(self, fold: LogBuckets, weight: Number) -> None:
        self.low += fold.zeros * weight
        for index, count in fold.counts.items():
            group = -(-index // GROUP)
            if group > _LAST:
                self.high += count * weight
            else:
                self.counts[group] = self.counts.get(group, 0) + count * weight

    def cumulative(self) -> Iterator[tuple[float, Number]]:
        """(bound, how many are not above it), without a gap from the first bucket in use to the last, and infinity."""
        total = self.low
        if self.low:
            yield 0.0, total
        if self.counts:
            for index in range(min(self.counts), max(self.counts) + 1):
                total += self.counts.get(index, 0)
                yield bound(index), total
        yield math.inf, total + self.high
