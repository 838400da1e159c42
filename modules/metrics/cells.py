"""Knows one row's observations on one rank: by the counters of its reducers, or written out for a sum alone."""

from __future__ import annotations

from typing import Any

from .reducers import Counter, Origin, Sum
from .reducers.sums import sum_state
from .stat import Stream
from .values import INT_MAX, exact_sum

#: Floats kept as they come before they are folded into an exact sum.
_FOLD = 64


class Cell:
    """The observations of one key and stream. Times are the loop's (ns); ``epoch`` makes wall-clock times of them."""

    __slots__ = ("adds", "begin", "counters", "end", "n")

    def __init__(self, counters: list[Counter], now: int) -> None:
        self.n = 0
        self.begin = self.end = now
        self.counters = counters
        self.adds = tuple(counter.add for counter in counters)

    def add(self, value: Any, now: int) -> None:
        """One more number."""
        self.n += 1
        self.end = now
        for add in self.adds:
            add(value)

    def add_text(self, text: str, texts: tuple[bool, ...], now: int) -> None:
        """One more text: itself to reducers that take texts, 1 to the others."""
        self.n += 1
        self.end = now
        for add, takes_text in zip(self.adds, texts, strict=True):
            add(text if takes_text else 1)

    def state(self, epoch: int) -> list[Any]:
        """[n, begin, end, states] with times in ns since the Unix epoch."""
        return [self.n, epoch + self.begin, epoch + self.end, [counter.state() for counter in self.counters]]


class SumCell(Cell):
    """What most rows are, one sum: half the calls an observation, a third of the time a cut."""

    __slots__ = ("_floats", "whole")

    def __init__(self, now: int) -> None:
        self.n = 0
        self.begin = self.end = now
        #: The integers; whoever observes may add to it directly.
        self.whole = 0
        #: None until the first: a list for each row would be most of what a row takes.
        self._floats: list[float] | None = None

    def add(self, value: Any, now: int) -> None:
        self.n += 1
        self.end = now
        if type(value) is int:
            self.whole += value
        elif self._floats is None:
            self._floats = [value]
        else:
            self._floats.append(value)
            if len(self._floats) > _FOLD:
                self._floats = exact_sum(self._floats)

    def add_text(self, text: str, texts: tuple[bool, ...], now: int) -> None:
        self.add(1, now)

    def state(self, epoch: int) -> list[Any]:
        whole = self.whole
        if self._floats or not -INT_MAX < whole < INT_MAX:
            return [self.n, epoch + self.begin, epoch + self.end, [sum_state(whole, self._floats or [])]]
        return [self.n, epoch + self.begin, epoch + self.end, [whole]]


def is_one_sum(stream: Stream) -> bool:
    """A sum is all that is made of it."""
    return len(stream.states) == 1 and type(stream.states[0]) is Sum


def new_cell(stream: Stream, origin: Origin, now: int) -> Cell:
    """A row's first, for the reducers of a stream."""
    if is_one_sum(stream):
        return SumCell(now)
    return Cell([one.counter(origin) for one in stream.states], now)
