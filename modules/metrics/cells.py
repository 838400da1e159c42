"""Knows one row's observations on one rank: by the counters of its reducers, or written out for a sum alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from brokersim.brokermod import sums

from .reducers import Counter, Origin, Sum
from .reducers.sums import sum_state
from .stat import Row, Stream
from .values import INT_MAX, exact_sum

#: Floats kept as they come before they are folded into an exact sum.
_FOLD = 64


class Cell(Protocol):
    """The observations of one key and stream. Times are the loop's (ns); ``epoch`` makes wall-clock times of them."""

    n: int
    begin: int
    end: int

    def add(self, value: Any, now: int) -> None:
        """One more number."""

    def add_text(self, text: str, texts: tuple[bool, ...], now: int) -> None:
        """One more text: itself to reducers that take texts, 1 to the others."""

    def state(self, epoch: int) -> list[Any]:
        """[n, begin, end, states] with times in ns since the Unix epoch."""


class CounterCell:
    """For any reducers: a counter for each."""

    __slots__ = ("adds", "begin", "counters", "end", "n")

    def __init__(self, counters: list[Counter], now: int) -> None:
        self.n = 0
        self.begin = self.end = now
        self.counters = counters
        self.adds = tuple(counter.add for counter in counters)

    def add(self, value: Any, now: int) -> None:
        self.n += 1
        self.end = now
        for add in self.adds:
            add(value)

    def add_text(self, text: str, texts: tuple[bool, ...], now: int) -> None:
        self.n += 1
        self.end = now
        for add, takes_text in zip(self.adds, texts, strict=True):
            add(text if takes_text else 1)

    def state(self, epoch: int) -> list[Any]:
        return [self.n, epoch + self.begin, epoch + self.end, [counter.state() for counter in self.counters]]


class SumCell:
    """What most rows are, one sum: half the calls an observation, a third of the time a cut."""

    __slots__ = ("begin", "end", "floats", "n", "whole")

    def __init__(self, now: int, n: int = 0, whole: int = 0) -> None:
        self.n = n
        self.begin = self.end = now
        #: The integers; whoever observes may add to it directly.
        self.whole = whole
        #: None until the first: a list for each row would be most of what a row takes.
        self.floats: list[float] | None = None

    def add(self, value: Any, now: int) -> None:
        self.n += 1
        self.end = now
        if type(value) is int:
            self.whole += value
        elif self.floats is None:
            self.floats = [value]
        else:
            self.floats.append(value)
            if len(self.floats) > _FOLD:
                self.floats = exact_sum(self.floats)

    def add_text(self, text: str, texts: tuple[bool, ...], now: int) -> None:
        self.add(1, now)

    def state(self, epoch: int) -> list[Any]:
        whole = self.whole
        if self.floats or not -INT_MAX < whole < INT_MAX:
            return [self.n, epoch + self.begin, epoch + self.end, [sum_state(whole, self.floats or [])]]
        return [self.n, epoch + self.begin, epoch + self.end, [whole]]


if sums.is_compiled:

    class _Compiled(sums.Cell):
        """The same with fields that C reads and writes."""

        __slots__ = ()
        add, add_text, state = SumCell.add, SumCell.add_text, SumCell.state


def sum_cells() -> type[SumCell]:
    """What sums are counted in: Python's, or C's where there is C."""
    return cast(type[SumCell], _Compiled) if sums.is_compiled else SumCell


def sum_rows(texts: Iterable[str], cells: Mapping[str, Any], epoch: int) -> list[Row]:
    """The rows of sums, as ``state`` tells them; a call for each would take as long as all the rest of a row."""
    most = INT_MAX
    return [
        [text, [
            [cell.n, epoch + cell.begin, epoch + cell.end, [cell.whole]]
            if cell.floats is None and -most < cell.whole < most
            else cell.state(epoch)
        ]]
        for text in texts
        for cell in (cells[text],)
    ]  # fmt: skip


def is_one_sum(stream: Stream) -> bool:
    """A sum is all that is made of it."""
    return len(stream.states) == 1 and type(stream.states[0]) is Sum


def new_cell(stream: Stream, origin: Origin, now: int) -> Cell:
    """A row's first, for the reducers of a stream."""
    if is_one_sum(stream):
        return sum_cells()(now)
    return CounterCell([one.counter(origin) for one in stream.states], now)
