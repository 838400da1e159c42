"""Knows the reducers that are a few numbers: sum, minimum and maximum, and the moments behind mean and variance."""

from __future__ import annotations

import math
from typing import Any

from ..values import INT_MAX, exact_sum, pieces
from .base import Counter, Origin, Reducer, State

#: Floats kept as they come before they are folded into an exact sum.
_FOLD = 64


def sum_state(whole: int, floats: list[float]) -> State:
    """The state of a sum: an integer below 2^62, or floats whose exact sum it is; the same by whatever way."""
    if not floats and -INT_MAX < whole < INT_MAX:
        return whole
    parts = exact_sum([*floats, *pieces(whole)])
    if all(part.is_integer() for part in parts) and -INT_MAX < (total := sum(map(int, parts))) < INT_MAX:
        return total
    return parts


class _SumCounter(Counter):
    __slots__ = ("floats", "whole")

    def __init__(self) -> None:
        self.whole = 0
        self.floats: list[float] = []

    def add(self, value: Any) -> None:
        if type(value) is int:
            self.whole += value
        else:
            self.floats.append(value)
            if len(self.floats) > _FOLD:
                self.floats = exact_sum(self.floats)

    def state(self) -> State:
        return sum_state(self.whole, self.floats)


class Sum(Reducer):
    """Exact: the same for any order, also of floats."""

    name = "sum"
    is_monotone = True  # unless something negative is observed, which is noticed
    initial = 0

    def counter(self, origin: Origin) -> Counter:
        return _SumCounter()

    def merge(self, a: State, b: State) -> State:
        if type(a) is int and type(b) is int:
            total = a + b
            return total if -INT_MAX < total < INT_MAX else sum_state(total, [])
        whole = sum(one for one in (a, b) if type(one) is int)
        return sum_state(whole, [part for one in (a, b) if type(one) is not int for part in one])

    def finish(self, state: State) -> dict[str, Any]:
        return {"sum": state if type(state) is int else math.fsum(state)}


class _ExtremeCounter(Counter):
    __slots__ = ("_pick", "value")

    def __init__(self, pick: Any) -> None:
        self._pick = pick
        self.value: Any = None

    def add(self, value: Any) -> None:
        self.value = value if self.value is None else self._pick(self.value, value)

    def state(self) -> State:
        value = self.value
        return float(value) if type(value) is int and abs(value) >= INT_MAX else value


class Max(Reducer):
    name = "max"
    is_monotone = True

    def counter(self, origin: Origin) -> Counter:
        return _ExtremeCounter(max)

    def merge(self, a: State, b: State) -> State:
        return a if a > b else b if b > a or type(b) is int else a  # of 2 and 2.0 always the same

    def finish(self, state: State) -> dict[str, Any]:
        return {self.name: state}


class Min(Max):
    name = "min"
    is_monotone = False

    def counter(self, origin: Origin) -> Counter:
        return _ExtremeCounter(min)

    def merge(self, a: State, b: State) -> State:
        return a if a < b else b if b < a or type(b) is int else a


class _MomentsCounter(Counter):
    """Welford's: number, mean, sum of squared distances from it."""

    __slots__ = ("mean", "n", "squares")

    def __init__(self) -> None:
        self.n = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, value: Any) -> None:
        self.n += 1
        distance = value - self.mean
        self.mean += distance / self.n
        self.squares += distance * (value - self.mean)

    def state(self) -> State:
        return [self.n, self.mean, self.squares]


class Average(Reducer):
    """The mean; variance and std_dev are the same state told otherwise, so a stat that asks for all keeps one."""

    name = "average"
    state_name = "moments"
    initial = (0, 0.0, 0.0)

    def counter(self, origin: Origin) -> Counter:
        return _MomentsCounter()

    def merge(self, a: State, b: State) -> State:
        """Chan's: right to 1e-9 for any tree, not to the last bit."""
        n_a, mean_a, squares_a = a
        n_b, mean_b, squares_b = b
        n = n_a + n_b
        if not n_a or not n_b:
            return [n, mean_b, squares_b] if not n_a else [n, mean_a, squares_a]
        distance = mean_b - mean_a
        return [
            n,
            mean_a + distance * n_b / n,
            # n_a n_b first and divided: numbers of observations times squares of 1e150 would be infinite.
            squares_a + squares_b + distance * distance * (n_a * n_b / n),
        ]

    def finish(self, state: State) -> dict[str, Any]:
        return {"average": state[1]}


def _variance(state: State) -> float:
    """Of a sample (n - 1), as Zeek has it; 0 for fewer than two."""
    return float(state[2]) / (state[0] - 1) if state[0] > 1 else 0.0


class Variance(Average):
    name = "variance"

    def finish(self, state: State) -> dict[str, Any]:
        return {"variance": _variance(state)}


class StdDev(Average):
    name = "std_dev"

    def finish(self, state: State) -> dict[str, Any]:
        return {"std_dev": math.sqrt(_variance(state))}
