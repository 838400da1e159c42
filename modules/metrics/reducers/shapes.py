"""Knows how values are spread: counts between given bounds, and quantiles by a sketch whose bins simply add up."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from brokersim.brokermod import quoted

from ..values import is_number
from .base import Counter, Origin, Reducer, State, share, whole
from .sums import Sum

_SUM = Sum()


class _BucketCounter(Counter):
    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: list[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = _SUM.counter(Origin())

    def add(self, value: Any) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum.add(value)

    def state(self) -> State:
        return [list(self._counts), self._sum.state()]


class Histogram(Reducer):
    """Counts of values up to each of ``bounds`` and beyond the last, and their sum."""

    name = "histogram"
    is_small = False
    defaults = {"bounds": [0.001, 0.01, 0.1, 1, 10, 100]}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        bounds = {**self.defaults, **(params or {})}["bounds"]
        ascends = isinstance(bounds, list | tuple) and bounds and all(map(is_number, bounds))
        if not ascends or len(bounds) > 1000 or any(b <= a for a, b in pairwise(bounds)):
            raise ValueError(f"bounds are 1 to 1000 ascending numbers, not {quoted(bounds)}")
        self.bounds = list(bounds)
        self.initial = [[0] * (len(self.bounds) + 1), 0]

    def counter(self, origin: Origin) -> Counter:
        return _BucketCounter(self.bounds)

    def merge(self, a: State, b: State) -> State:
        return [[x + y for x, y in zip(a[0], b[0], strict=True)], _SUM.merge(a[1], b[1])]

    def finish(self, state: State) -> dict[str, Any]:
        return {
            "histogram": {"bounds": self.bounds, "counts": list(state[0]), **_SUM.finish(state[1])},
        }


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class _BinCounter(Counter):
    __slots__ = ("_bins", "_collapsed", "_least", "_most", "_negative", "_sketch", "_zero", "n")

    def __init__(self, sketch: Quantile) -> None:
        self._sketch = sketch
        self.n = 0
        self._zero = 0
        self._bins: dict[int, int] = {}
        self._negative: dict[int, int] = {}
        self._least = math.inf
        self._most = -math.inf
        self._collapsed = False

    def add(self, value: Any) -> None:
        self.n += 1
        if value < self._least:
            self._least = value
        if value > self._most:
            self._most = value
        if not value:
            self._zero += 1
            return
        bins = self._bins if value > 0 else self._negative
        index = self._sketch.index(abs(value))
        bins[index] = bins.get(index, 0) + 1
        if len(self._bins) + len(self._negative) > 2 * self._sketch.max_bins:
            self._negative, self._bins, collapsed = self._sketch.cut(self._negative, self._bins)
            self._collapsed |= collapsed

    def state(self) -> State:
        negative, bins, collapsed = self._sketch.cut(self._negative, self._bins)
        ends = [self._least, self._most] if self.n else []
        return [self.n, self._zero, _flat(negative), _flat(bins), ends, self._collapsed or collapsed]


def _flat(bins: Mapping[int, int]) -> list[int]:
    return [number for index in sorted(bins) for number in (index, bins[index])]


def _bins(flat: list[int]) -> dict[int, int]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _added(a: list[int], b: list[int]) -> dict[int, int]:
    bins = _bins(a)
    for index, count in _bins(b).items():
        bins[index] = bins.get(index, 0) + count
    return bins


class Quantile(Reducer):
    """DDSketch (Masson et al. 2019): quantiles within ``alpha`` of the value at their rank.

    A bin holds what rounds up to one power of gamma, (1 + alpha)/(1 - alpha). Counts of bins add in any order, so that
    equal observations give equal bytes for any tree; KLL draws random bits, t-digest depends on the order. Beyond
    ``max_bins`` the bins of the smallest magnitudes are thrown together, which is said.
    """

    name = "quantile"
    is_small = False
    initial = (0, 0, (), (), (), False)
    defaults = {"alpha": 0.01, "max_bins": 2048}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        params = {**self.defaults, **(params or {})}
        alpha = share(params, "alpha", 0.5)
        if alpha < 1e-4:
            raise ValueError(f"alpha is 0.0001 or more, not {alpha:g}")
        self.max_bins = whole(params, "max_bins", 16, 20_000)
        self.gamma = (1 + alpha) / (1 - alpha)
        self._scale = 1 / math.log(self.gamma)

    def index(self, magnitude: float) -> int:
        """The bin of a number above 0."""
        return math.ceil(math.log(magnitude) * self._scale)

    def value(self, index: int) -> float:
        """What stands for a bin."""
        return float(2 * self.gamma**index / (self.gamma + 1))

    def cut(
        self, negative: dict[int, int], bins: dict[int, int]
    ) -> tuple[dict[int, int], dict[int, int], bool]:
        """As many bins as there may be: those of the smallest magnitudes become one, first of the negative ones."""
        spare = len(negative) + len(bins) - self.max_bins
        if spare <= 0:
            return negative, bins, False
        of_negative = min(spare, max(0, len(negative) - 1))
        return _thrown_together(negative, of_negative), _thrown_together(bins, spare - of_negative), True

    def counter(self, origin: Origin) -> Counter:
        return _BinCounter(self)

    def merge(self, a: State, b: State) -> State:
        negative, bins, collapsed = self.cut(_added(a[2], b[2]), _added(a[3], b[3]))
        ends = [*a[4], *b[4]]
        return [
            a[0] + b[0], a[1] + b[1], _flat(negative), _flat(bins),
            [min(ends), max(ends)] if ends else [], a[5] or b[5] or collapsed,
        ]  # fmt: skip

    def finish(self, state: State) -> dict[str, Any]:
        found: dict[str, Any] = {name: self._at(state, share) for name, share in _SHARES.items()}
        return found | ({"quantile_collapsed": True} if state[5] else {})

    def _at(self, state: State, share: float) -> float | None:
        n, zero, negative, bins, ends, _ = state
        if not n:
            return None
        wanted = math.floor(share * (n - 1))
        ascending = [
            *((-self.value(index), count) for index, count in sorted(_bins(negative).items(), reverse=True)),
            (0.0, zero),
            *((self.value(index), count) for index, count in sorted(_bins(bins).items())),
        ]
        for value, count in ascending:
            if wanted < count:
                # The ends are known exactly, and no value lies beyond them.
                return float(min(max(value, ends[0]), ends[1]))
            wanted -= count
        return float(ends[1])


def _thrown_together(bins: dict[int, int], spare: int) -> dict[int, int]:
    if spare <= 0:
        return bins
    indexes = sorted(bins)
    rest = {index: bins[index] for index in indexes[spare:]}
    lowest = min(rest) if rest else indexes[-1]
    rest[lowest] = rest.get(lowest, 0) + sum(bins[index] for index in indexes[:spare])
    return rest
