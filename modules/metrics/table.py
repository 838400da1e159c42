"""Knows what one rank has counted for a stat: observations into rows, the swap at a cut, what is carried over."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

import attrs

from brokersim.brokermod import sums

from . import keys
from .cells import Cell, SumCell, is_one_sum, new_cell, sum_cells, sum_rows
from .reducers import Origin
from .stat import Row, Rows, Stat, Stream
from .values import INT_MAX, MAGNITUDE, can_be_counted


@attrs.define(eq=False)
class Clock:
    """The rank's clock. With each observation the loop's own number (ns) is noted, which costs next to nothing."""

    reactor: Any
    #: Wall-clock time (s) at which that was 0.
    epoch: float = 0.0

    def time(self) -> float:
        return self.epoch + float(self.reactor.now) / 1e9


_NUMBERS = (int, float)


class Tap:
    """One stream of a stat on this rank."""

    def __init__(self, stream: Stream, origin: Origin, clock: Clock, max_keys: int) -> None:
        self.stream = stream
        self.refused = 0
        self.overflowed = 0
        #: Why its filter was disabled: it raised.
        self.fault = ""
        self._origin = origin
        self._reactor = clock.reactor
        self._max_keys = max_keys
        self._is_plain = stream.where is None and stream.normalise is None and stream.pred is None
        self._texts = tuple(one.takes_text for one in stream.states)
        self.cells: dict[str, Cell] = {}
        #: The same cells by keys as they are given: a text costs one look-up then.
        self._by_given: dict[Any, Cell] = {}
        self.watch: Callable[[str, Cell, Any], object] | None = None

    def observe(self, key: keys.Key, value: Any = 1) -> None:
        """One observation. What cannot be counted is refused and counted as that; nothing is raised."""
        try:
            cell = self._by_given[key]  # a key that is no text raises TypeError
        except (KeyError, TypeError):
            self._observe_slowly(key, value)
            return
        if type(value) not in _NUMBERS:
            self._observe_slowly(key, value)  # a text, True, or what is none of these
            return
        if not -MAGNITUDE <= value <= MAGNITUDE:
            self.refused += 1
            return
        cell.add(value, self._reactor.now)
        if self.watch is not None:
            self._told(key, cell, value)

    def _told(self, key: keys.Key, cell: Cell, value: Any) -> None:
        assert self.watch is not None
        text = keys.canonical(key)
        self.watch(text if self.cells.get(text) is cell else keys.OVERFLOW, cell, value)

    def _observe_slowly(self, key: keys.Key, value: Any) -> None:
        if not can_be_counted(value):
            self.refused += 1
            return
        text = self._text(key, value)
        if text is None:
            return
        if type(value) is bool:
            value = int(value)
        cell = self.cells.get(text) or self._new(text)
        if self._is_plain and type(key) is str:
            self._by_given[key] = cell
        if isinstance(value, str):
            cell.add_text(value, self._texts, self._reactor.now)
        else:
            cell.add(value, self._reactor.now)
        if self.watch is not None:
            self.watch(text, cell, 1 if isinstance(value, str) else value)

    def _text(self, key: keys.Key, value: Any) -> str | None:
        """The text of the key it counts under, None if it does not count. A filter that raises is used no more."""
        try:
            text = keys.known(key) if type(key) is str else keys.canonical(key)
        except keys.BadKey:
            self.refused += 1
            return None
        if self._is_plain:
            return text
        if self.fault:
            return None
        copy = keys.parsed(text)  # the caller's stays as it is, and so do those that other stats see
        try:
            if self.stream.where is not None and not self.stream.where(copy, value):
                return None
            normal = copy if self.stream.normalise is None else self.stream.normalise(copy)
            if normal is None:
                return None
            text = keys.canonical(normal)
            return text if self.stream.pred is None or self.stream.pred(normal, value) else None
        except keys.BadKey:
            self.refused += 1
        except Exception as error:  # a filter is somebody's code; it must not end the observer
            self.fault = f"{self.stream.name}: {type(error).__name__}: {error}"
        return None

    def _new(self, text: str) -> Cell:
        if len(self.cells) >= self._max_keys:
            self.overflowed += 1
            if (cell := self.cells.get(keys.OVERFLOW)) is not None:
                return cell
            text = keys.OVERFLOW
        cell = self.cells[text] = new_cell(self.stream, self._origin, self._reactor.now)
        return cell

    def take(self) -> dict[str, Cell]:
        """All cells; from now on it counts anew."""
        cells, self.cells = self.cells, {}
        self._by_given.clear()  # not a new one: whoever listens has it
        return cells

    def watched_by(self, watch: Callable[[str, Cell, Any], object]) -> None:
        """Have this called with (key text, cell, value) after each observation: a threshold that is watched."""
        self.watch = watch

    def listener(self) -> Callable[..., object]:
        """What is to be called with each observation, a key and a value."""
        return self.observe


class SumTap(Tap):
    """What most streams are, one sum of whole numbers: written out, since each observation passes here."""

    def __init__(self, stream: Stream, origin: Origin, clock: Clock, max_keys: int) -> None:
        super().__init__(stream, origin, clock, max_keys)
        self._kind = sum_cells()
        #: Texts of keys that need not be judged.
        self._known: Mapping[str, str] = keys.TEXTS if self._is_plain else {}
        self._counter: sums.Counter | None = None
        if sums.is_compiled:
            self._counter = sums.Counter(
                clock.reactor, self._by_given, self._known, self.cells, super().observe, self._kind, max_keys
            )

    def watched_by(self, watch: Callable[[str, Cell, Any], object]) -> None:
        super().watched_by(watch)
        if self._counter is not None:
            self._counter.is_watched = True

    def take(self) -> dict[str, Cell]:
        cells = super().take()
        if self._counter is not None:
            self._counter.cells = self.cells
        return cells

    def listener(self) -> Callable[..., object]:
        """A function that has all it needs at hand: half the time of a method. In C, where there is C."""
        return self._written_out() if self._counter is None else self._counter

    def _written_out(self) -> Callable[..., object]:
        by_given: dict[Any, SumCell] = self._by_given  # type: ignore[assignment]  # all its cells are such
        reactor, first, odd, most = self._reactor, self._first, super().observe, INT_MAX

        def observe(key: keys.Key, value: Any = 1) -> None:
            try:
                cell = by_given[key]
            except (KeyError, TypeError):
                first(key, value)
                return
            if type(value) is int and -most < value < most:
                cell.n += 1
                cell.end = reactor.now
                cell.whole += value
                if self.watch is not None:
                    self._told(key, cell, value)
            else:
                odd(key, value)

        return observe

    def observe(self, key: keys.Key, value: Any = 1) -> None:
        self.listener()(key, value)

    def _first(self, key: keys.Key, value: Any) -> None:
        """The first of a key in its epoch. Mostly its text is known, and it is a whole number."""
        text = self._known.get(key) if type(key) is str else None
        usual = text is not None and text not in self.cells and len(self.cells) < self._max_keys
        if usual and type(value) is int and -INT_MAX < value < INT_MAX and self.watch is None:
            cell = self._kind(self._reactor.now, 1, value)
            self.cells[text] = self._by_given[key] = cell  # type: ignore[index]  # a text: it is usual
        else:
            self._observe_slowly(key, value)


def new_tap(stream: Stream, origin: Origin, clock: Clock, max_keys: int) -> Tap:
    """The tap of a stream."""
    kind = SumTap if is_one_sum(stream) else Tap
    return kind(stream, origin, clock, max_keys)


class Cut(Sequence[Row]):
    """The rows of a table when it was cut, ascending by key.

    A row is made when it is asked for: most are merged at once, and lists that live long keep the collector busy.
    """

    def __init__(
        self, stat: Stat, epoch: int, cells: list[dict[str, Cell]], carried: Mapping[str, Row]
    ) -> None:
        self._stat = stat
        #: What to add to the cells' times (ns).
        self._epoch = epoch
        self._cells = cells
        self._carried = carried
        self.keys = sorted(cells[0] if len(cells) == 1 and not carried else {*carried}.union(*cells))
        small = all(one.is_small for stream in stat.streams for one in stream.states)
        self._is_plain = len(cells) == 1 and not carried and small
        self._is_sums = self._is_plain and is_one_sum(stat.streams[0])

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, int):
            return self._row(self.keys[at])
        if self._is_sums:
            return sum_rows(self.keys[at], self._cells[0], self._epoch)
        if self._is_plain:
            cells, epoch = self._cells[0], self._epoch
            return [[text, [cells[text].state(epoch)]] for text in self.keys[at]]
        return list(map(self._row, self.keys[at]))

    def _row(self, text: str) -> Row:
        row: Row | None = None
        if any(text in cells for cells in self._cells):
            row = [
                text,
                [
                    self._state(text, stream, cells)
                    for stream, cells in zip(self._stat.streams, self._cells, strict=True)
                ],
            ]
        known = self._carried.get(text)
        if row is None:
            return self._carried[text]
        return row if known is None else self._stat.merge(row, known)

    def _state(self, text: str, stream: Stream, cells: dict[str, Cell]) -> list[Any] | None:
        if text not in cells:
            return None
        state = cells[text].state(self._epoch)
        state[3] = [one.bounded(each) for one, each in zip(stream.states, state[3], strict=True)]
        return state


class Table:
    """What this rank holds of one stat: its taps, and rows that came too late for an epoch or were never taken over."""

    def __init__(self, stat: Stat, rank: int, clock: Clock, seed: str = "") -> None:
        self.stat = stat
        self._clock = clock
        digest = hashlib.sha256(f"{seed}/{rank}/{stat.name}".encode()).digest()
        origin = Origin(rank, random.Random(int.from_bytes(digest[:8], "big")), clock.time)
        self.taps = tuple(new_tap(stream, origin, clock, stat.definition.max_keys) for stream in stat.streams)
        self._carried: dict[str, Row] = {}
        self._taken = 0

    @property
    def observed(self) -> int:
        """Observations ever counted here by this table."""
        return self._taken + self._counting

    @property
    def held(self) -> int:
        """Observations in rows that no collection has taken yet, those carried from elsewhere included."""
        return self._counting + observations(self._carried.values())

    @property
    def _counting(self) -> int:
        return _counted([tap.cells for tap in self.taps])

    @property
    def size(self) -> int:
        """Keys held."""
        return len({text for tap in self.taps for text in tap.cells} | self._carried.keys())

    def carry(self, rows: Iterable[Row]) -> None:
        """Count these rows in the next epoch."""
        for row in rows:
            known = self._carried.get(row[0])
            self._carried[row[0]] = row if known is None else self.stat.merge(known, row)

    def cut(self) -> Rows:
        """All rows, ascending by key; from now on the table counts anew."""
        cells = [tap.take() for tap in self.taps]
        rows = self._cut(cells, self._take_carried())
        self._taken += rows.observed if sums.is_sums(rows) else _counted(cells)
        return rows

    def swap(self) -> list[Row]:
        """As ``cut``, all made."""
        return list(self.cut())

    def _take_carried(self) -> dict[str, Row]:
        carried, self._carried = self._carried, {}
        return carried

    def peek(self, text: str) -> list[Row]:
        """The row of one key, if there is one; it goes on counting."""
        cells = [{text: tap.cells[text]} if text in tap.cells else {} for tap in self.taps]
        return list(self._cut(cells, {text: self._carried[text]} if text in self._carried else {}))

    def _cut(self, cells: list[dict[str, Cell]], carried: Mapping[str, Row]) -> Rows:
        epoch = round(self._clock.epoch * 1e9)
        if sums.is_compiled and self.stat.is_one_sum and not carried:
            rows = sums.Sums.of(sorted(cells[0]), cells[0], epoch)
            if rows is not None:
                return rows
        return Cut(self.stat, epoch, cells, carried)


def _counted(cells: Iterable[Mapping[str, Cell]]) -> int:
    return sum([cell.n for each in cells for cell in each.values()])


def observations(rows: Iterable[Row]) -> int:
    """How many observations are in rows."""
    if sums.is_sums(rows):
        return rows.observed
    return sum(cell[0] for row in rows for cell in row[1] if cell is not None)
