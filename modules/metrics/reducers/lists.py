"""Knows the reducers that keep some of the values: the most frequent, a fair sample, the newest."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappush, heappushpop
from typing import Any

from ..values import order, plain
from .base import Counter, Origin, Reducer, State, whole


class _TopCounter(Counter):
    """Space-Saving (Metwally et al. 2005): when it is full, a new value takes the place and the count of the rarest."""

    __slots__ = ("_counts", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[Any, list[int]] = {}

    def add(self, value: Any) -> None:
        value = plain(value)
        found = self._counts.get(value)
        if found is not None:
            found[0] += 1
        elif len(self._counts) < self._size:
            self._counts[value] = [1, 0]
        else:
            rarest = min(self._counts, key=lambda one: (self._counts[one][0], order(one)))
            count, _ = self._counts.pop(rarest)
            self._counts[value] = [count + 1, count]

    def state(self) -> State:
        return _ordered([[value, *counts] for value, counts in self._counts.items()])


def _ordered(entries: list[list[Any]]) -> list[list[Any]]:
    return sorted(entries, key=lambda entry: (-entry[1], order(entry[0])))


class TopK(Reducer):
    """(value, count, epsilon): count - epsilon <= the true number <= count; exact while not full."""

    name = "topk"
    takes_text = True
    is_small = False
    initial = ()
    defaults = {"topk_size": 500}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.size = whole({**self.defaults, **(params or {})}, "topk_size", 1, 10_000)

    def counter(self, origin: Origin) -> Counter:
        return _TopCounter(self.size)

    def merge(self, a: State, b: State) -> State:
        """A value that a full side lacks may have been seen there as often as that side's rarest, no oftener."""
        floor_a, floor_b = (side[-1][1] if len(side) >= self.size else 0 for side in (a, b))
        left = {value: (count, epsilon) for value, count, epsilon in a}
        right = {value: (count, epsilon) for value, count, epsilon in b}
        found = []
        for value in {**left, **right}:
            count_a, epsilon_a = left.get(value, (floor_a, floor_a))
            count_b, epsilon_b = right.get(value, (floor_b, floor_b))
            found.append([value, count_a + count_b, epsilon_a + epsilon_b])
        return _ordered(found)[: self.size]

    def finish(self, state: State) -> dict[str, Any]:
        return {"topk": [list(entry) for entry in state]}


class _SampleCounter(Counter):
    __slots__ = ("_kept", "_origin", "_size", "_total")

    def __init__(self, origin: Origin, size: int) -> None:
        self._origin = origin
        self._size = size
        self._total = 0
        # The largest priority first, to be pushed out: negative, since heapq has the smallest in front.
        self._kept: list[tuple[int, tuple[bool, Any]]] = []

    def add(self, value: Any) -> None:
        self._total += 1
        entry = (-self._origin.random.getrandbits(62), order(plain(value)))
        if len(self._kept) < self._size:
            heappush(self._kept, entry)
        elif self._size:
            heappushpop(self._kept, entry)

    def state(self) -> State:
        return [self._total, sorted(([-one, value] for one, (_, value) in self._kept), key=_priority)]


def _priority(entry: list[Any]) -> tuple[int, Any]:
    return entry[0], order(entry[1])


class Sample(Reducer):
    """A fair sample: each observation draws a number, the smallest stay, however they are merged."""

    name = "sample"
    takes_text = True
    is_small = False
    initial = (0, ())
    defaults = {"num_samples": 10}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.size = whole({**self.defaults, **(params or {})}, "num_samples", 0, 10_000)

    def counter(self, origin: Origin) -> Counter:
        return _SampleCounter(origin, self.size)

    def merge(self, a: State, b: State) -> State:
        return [a[0] + b[0], sorted([*a[1], *b[1]], key=_priority)[: self.size]]

    def finish(self, state: State) -> dict[str, Any]:
        return {"samples": [value for _, value in state[1]], "sample_elements": state[0]}


class _LastCounter(Counter):
    __slots__ = ("_kept", "_origin", "_size")

    def __init__(self, origin: Origin, size: int) -> None:
        self._origin = origin
        self._size = size
        self._kept: list[list[Any]] = []

    def add(self, value: Any) -> None:
        origin = self._origin
        origin.serial += 1
        self._kept.append([origin.time(), origin.rank, origin.serial, plain(value)])
        if len(self._kept) > 2 * self._size + 16:
            self._kept = self.state()

    def state(self) -> State:
        return _newest(self._kept, self._size)


def _newest(entries: list[list[Any]], size: int) -> list[list[Any]]:
    """The newest, in the order of time; at one time by rank and by what came first there."""
    return sorted(entries, key=lambda one: one[:3])[-size:] if size else []


class Last(Reducer):
    """The newest observations over all ranks, by their clocks."""

    name = "last"
    takes_text = True
    is_small = False
    initial = ()
    defaults = {"num_last_elements": 10}  # noqa: RUF012  # never changed

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.size = whole({**self.defaults, **(params or {})}, "num_last_elements", 0, 10_000)

    def counter(self, origin: Origin) -> Counter:
        return _LastCounter(origin, self.size)

    def merge(self, a: State, b: State) -> State:
        return _newest([*a, *b], self.size)

    def finish(self, state: State) -> dict[str, Any]:
        return {"last": [entry[3] for entry in state]}
