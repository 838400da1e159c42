"""What becomes of an interval's timings at the flush: statsd's fields, brubeck's fields.

Knows nothing of keys or tables. Source: the formulas of statsd's `process_metrics` and brubeck's histogram.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from operator import mul

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.numbers import Number, single

Fields = dict[str, Number]
Bins = tuple[float, ...]

BRUBECK_RANKS = (("75", 0.75), ("95", 0.95), ("98", 0.98), ("99", 0.99), ("999", 0.999))
# brubeck counts its samples of a key in 16 bits.
BRUBECK_LIMIT = 65_535


def threshold_name(threshold: float) -> str:
    """`90` for 90, `99_9` for 99.9, `top10` for −10."""
    return f"{threshold:g}".replace(".", "_").replace("-", "top")


def threshold_rank(n: int, threshold: float) -> int:
    """How many of n values a threshold takes in: half goes up, where Python's `round()` would go to even."""
    return n if n == 1 else math.floor(abs(threshold) / 100 * n + 0.5)


def statsd_fields(values: Sequence[float], thresholds: Sequence[float]) -> Fields:
    """All fields of ascending, non-empty `values` but `count` and `count_ps`, which need the sample rates.

    A threshold that takes in no value has no fields. `std` is the population's, in two passes: formulas by sums of
    squares fail on 1000000001, …2, …3.
    """
    n = len(values)
    total = sum(values)
    squares = sum(map(mul, values, values))
    mean = total / n
    middle = n // 2
    fields: Fields = {}
    for threshold in thresholds:
        k = min(threshold_rank(n, threshold), n)
        if k:
            fields.update(_threshold_fields(values[:k] if threshold > 0 else values[n - k :], threshold))
    # The distance to a point whose coordinates are all the mean: two passes, in C.
    # It is no number if a value is infinite, as statsd reads the word.
    fields["std"] = math.dist(values, [mean] * n) / math.sqrt(n) if values[-1] < math.inf else math.nan
    fields["upper"] = values[-1]
    fields["lower"] = values[0]
    fields["sum"] = total
    fields["sum_squares"] = squares
    fields["mean"] = mean
    fields["median"] = values[middle] if n % 2 else (values[middle - 1] + values[middle]) / 2
    return fields


def _threshold_fields(taken: Sequence[float], threshold: float) -> Fields:
    name = threshold_name(threshold)
    total = sum(taken)
    bound = ("upper", taken[-1]) if threshold > 0 else ("lower", taken[0])
    return {
        f"count_{name}": len(taken),
        f"mean_{name}": total / len(taken),
        f"{bound[0]}_{name}": bound[1],
        f"sum_{name}": total,
        f"sum_squares_{name}": sum(map(mul, taken, taken)),
    }


def bucket_fields(buckets: LogBuckets, thresholds: Sequence[float]) -> Fields:
    """The same fields from log buckets: percentiles within 1 %; count, sum, mean, lower, upper exact."""
    n = buckets.n
    fields: Fields = {}
    for threshold in thresholds:
        k = min(threshold_rank(n, threshold), n)
        if k:
            fields.update(_bucket_threshold(buckets, k, threshold))
    fields["std"] = buckets.std
    fields["upper"] = buckets.upper
    fields["lower"] = buckets.lower
    fields["sum"] = buckets.total
    fields["sum_squares"] = buckets.sum_squares
    fields["mean"] = buckets.mean
    fields["median"] = (buckets.at_rank((n + 1) // 2) + buckets.at_rank(n // 2 + 1)) / 2
    return fields


def _bucket_threshold(buckets: LogBuckets, k: int, threshold: float) -> Fields:
    name = threshold_name(threshold)
    if threshold > 0:
        (total, squares), bound, value = buckets.lowest(k), "upper", buckets.at_rank(k)
    else:
        low, low_squares = buckets.lowest(buckets.n - k)
        total, squares = buckets.total - low, buckets.sum_squares - low_squares
        bound, value = "lower", buckets.at_rank(buckets.n - k + 1)
    return {
        f"count_{name}": k,
        f"mean_{name}": total / k,
        f"{bound}_{name}": value,
        f"sum_{name}": total,
        f"sum_squares_{name}": squares,
    }


def histogram_fields(values: Sequence[float], bins: Bins) -> Fields:
    """How many ascending values are below each limit and in no earlier bin; `inf` takes the rest."""
    fields: Fields = {}
    before = 0
    for limit in bins:
        below = max(before, bisect_left(values, limit))
        fields[f"histogram.bin_{_bin_name(limit)}"] = below - before
        before = below
    return fields


def _bin_name(limit: float) -> str:
    return "inf" if limit == math.inf else f"{limit:g}".replace(".", "_")


def keep_fields(fields: Fields, wanted: frozenset[str] | None) -> Fields:
    """Only the fields a user asked for; `upper_percent` stands for `upper_` of any threshold, fractional or not."""
    if wanted is None:
        return fields
    return {name: value for name, value in fields.items() if name in wanted or _general(name) in wanted}


def _general(name: str) -> str:
    """`upper_percent` for `upper_90`, `upper_99_9` and `upper_top10`; names without a threshold as they are."""
    if name.startswith("histogram."):
        return "histogram"
    stem = name.rstrip("0123456789_")
    return f"{stem.removesuffix('_top')}_percent" if stem != name else name


def brubeck_fields(values: Sequence[float], count: Number, interval: float) -> Fields:
    """brubeck's fields of ascending `values`; its percentiles are nearest rank in single precision."""
    n = len(values)
    if not n:
        return {"count": count, "count_ps": count / interval}
    total = sum(values)
    fields: Fields = {
        "count": count,
        "count_ps": count / interval,
        "min": values[0],
        "max": values[-1],
        "sum": total,
        "mean": total / n,
        "median": values[_brubeck_index(n, 0.5)],
    }
    for name, rank in BRUBECK_RANKS:
        fields[f"percentile.{name}"] = values[_brubeck_index(n, rank)]
    return fields


def _brubeck_index(n: int, rank: float) -> int:
    return min(max(math.floor(single(single(rank) * n) + 0.5), 1), n) - 1
