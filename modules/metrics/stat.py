"""Knows what a stat is: its definition as people and peers give it, checked, and the reducers its rows are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import attrs
import msgspec

from brokersim.brokermod import check_nesting, quoted, ranks

from . import keys
from .expression import Expression
from .reducers import Reducer, State, Sum, check_params, reducer
from .values import INT_MAX
from .wire import to_set

#: A key that came to a full table is counted in one row for all such.
MAX_KEYS = 100_000
DEFAULT_EPOCH = 900.0
#: Seconds. A shorter epoch would keep all ranks at nothing else.
SHORTEST_EPOCH = 0.01
#: Streams of one stat, and characters of a name: rows and messages carry them.
STREAMS_MAX = 100
NAME_MAX = 200


class Normalise(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How a stat changes keys; one of these."""

    mask: int | None = None
    table: list[str] | None = None
    drop: list[str] | None = None
    keep: list[str] | None = None
    function: str | None = None


class Source(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One stream of a stat and what is made of it."""

    stream: str
    apply: list[str] = msgspec.field(default_factory=lambda: ["sum"])
    normalize: Normalise | None = None
    where: dict[str, str] | None = None
    pred: str | None = None
    params: dict[str, Any] = {}


class Threshold(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Crossed when ``value`` reaches ``at``, or the levels of ``series`` one after the other."""

    value: str
    at: float | None = None
    series: list[float] | None = None
    hysteresis: float | None = None
    #: What one observation counts for at least: below it slack makes no sense.
    grain: float = 1.0


class Definition(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A stat as it goes over the wire. Durations in seconds; ``epoch`` 0 is ended by hand."""

    name: str
    reducers: list[Source]
    epoch: float = DEFAULT_EPOCH
    align: str = "start"
    threshold: Threshold | None = None
    timeout: float = 300.0
    late: str = "merge-next"
    retain: bool = False
    quorum: float = 0.0
    group: int = 50
    max_keys: int = MAX_KEYS
    ranks: str = "all"
    sinks: list[dict[str, Any]] = []
    compat: str = ""


@attrs.frozen(eq=False)
class Stream:
    """One stream of a stat: its reducers, one state for those that share one, and the filters before them."""

    name: str
    reducers: tuple[Reducer, ...]
    states: tuple[Reducer, ...]
    #: Asked of the key as it is given.
    where: keys.Predicate | None
    normalise: keys.Normalise | None
    #: Asked of the key it counts under.
    pred: keys.Predicate | None
    #: Each reducer with the place of its state.
    places: tuple[tuple[Reducer, int], ...] = attrs.field(init=False)

    @places.default
    def _find_places(self) -> tuple[tuple[Reducer, int], ...]:
        names = [_state_name(state) for state in self.states]
        return tuple((one, names.index(_state_name(one))) for one in self.reducers)

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.reducers)


def _state_name(one: Reducer) -> str:
    return one.state_name or one.name


#: One row on the wire: a key's text, and for each stream of the stat None or [n, begin, end, [states]]; times in ns.
Row = list[Any]
#: Rows that are not to be changed: a list, or what makes each when it is asked for.
Rows = Sequence[Row]


@attrs.frozen(eq=False)
class Stat:
    """A checked definition, with what follows from it."""

    definition: Definition
    streams: tuple[Stream, ...]
    value: Expression | None
    levels: tuple[float, ...]
    hash: str
    #: The row of what rows of one key have counted together, in this order; at least one.
    merge_all: Callable[[Sequence[Row]], Row]
    #: Its states are a few numbers: rows need not be measured before a frame is full of them.
    is_small: bool = attrs.field(init=False)
    #: One stream, and a sum is all that is made of it.
    is_one_sum: bool = attrs.field(init=False)

    @is_small.default
    def _are_few_numbers(self) -> bool:
        states = [one for stream in self.streams for one in stream.states]
        return len(self.streams) <= 2 and all(one.is_small for one in states)

    @is_one_sum.default
    def _has_one_sum(self) -> bool:
        return len(self.streams) == 1 and [type(one) for one in self.streams[0].states] == [Sum]

    @property
    def name(self) -> str:
        return self.definition.name

    def merge(self, a: Row, b: Row) -> Row:
        """The row of what both have counted."""
        return self.merge_all((a, b))

    def check_rows(self, rows: list[Row]) -> None:
        """Raises whatever it takes if these, which come from elsewhere, could not be merged and told."""
        for row in rows:
            key, cells = row
            keys.parsed(key)
            for cell in filter(None, cells):
                n, begin, end, _ = cell
                if not all(type(number) is int for number in (n, begin, end)):
                    raise ValueError(f"a cell begins with three whole numbers, unlike {quoted(cell)}")
            self.finish(self.merge(row, row))

    @property
    def is_watched(self) -> bool:
        """Its threshold can be watched during the epoch: the value only grows."""
        if self.value is None or not self.value.is_sum:
            return False
        by_name = {stream.name: {one.name: one for one in stream.reducers} for stream in self.streams}
        return all(
            result == "n" or (result in by_name[stream] and by_name[stream][result].is_monotone)
            for stream, result in self.value.terms
        )

    def finish(self, row: Row) -> dict[str, Any]:
        """A row as people read it: the key, and of each stream what its reducers tell."""
        told = {stream.name: _told(stream, cell) for stream, cell in zip(self.streams, row[1], strict=True)}
        key = keys.parsed(row[0])
        if len(told) == 1:
            return {"key": key, **next(iter(told.values()))}
        return {"key": key, "streams": told}

    def measure(self, row: Row) -> float | None:
        """The value of a row that its threshold is about; streams it lacks count as empty."""
        if self.value is None:
            return None
        told = {stream.name: _told(stream, cell) for stream, cell in zip(self.streams, row[1], strict=True)}
        return self.value.value(lambda stream, result: told[stream][result])


def _merge_of(streams: tuple[Stream, ...]) -> Callable[[Sequence[Row]], Row]:
    if len(streams) == 1 and len(streams[0].states) == 1 and streams[0].states[0].is_small:
        return _merge_of_one(streams[0].states[0])

    def merge(a: Row, b: Row) -> Row:
        return [a[0], [_merged(one, x, y) for one, x, y in zip(streams, a[1], b[1], strict=True)]]

    return partial(reduce, merge)


def _merge_of_one(one: Reducer) -> Callable[[Sequence[Row]], Row]:
    """What most stats are, one small reducer of one stream, written out: the general way takes four times as long.

    No row in between is made: with eight children that is eight times four lists.
    """
    merged = one.merged

    def merge_all(rows: Sequence[Row]) -> Row:
        key, ((n, begin, end, (state,)),) = rows[0]
        for _, ((n_b, begin_b, end_b, (y,)),) in rows[1:]:
            n += n_b
            if begin_b < begin:
                begin = begin_b
            if end_b > end:
                end = end_b
            state = merged(state, y)
        return [key, [[n, begin, end, [state]]]]

    return _merge_of_sums(merge_all) if type(one) is Sum else merge_all


def _merge_of_sums(any_sums: Callable[[Sequence[Row]], Row]) -> Callable[[Sequence[Row]], Row]:
    """Sums that are integers, without a call for each; all others as they are."""

    def merge_all(rows: Sequence[Row]) -> Row:
        key, ((n, begin, end, (total,)),) = rows[0]
        try:
            for _, ((n_b, begin_b, end_b, (y,)),) in rows[1:]:
                n += n_b
                if begin_b < begin:
                    begin = begin_b
                if end_b > end:
                    end = end_b
                total = total + y  # two lists would become one: told by its type
        except TypeError:  # an integer and a list
            return any_sums(rows)
        if type(total) is int and -INT_MAX < total < INT_MAX:
            return [key, [[n, begin, end, [total]]]]
        return any_sums(rows)

    return merge_all


def _merged(stream: Stream, a: list[Any] | None, b: list[Any] | None) -> list[Any] | None:
    if a is None or b is None:
        return b if a is None else a
    states = [one.merged(x, y) for one, x, y in zip(stream.states, a[3], b[3], strict=True)]
    return [a[0] + b[0], min(a[1], b[1]), max(a[2], b[2]), states]


def _told(stream: Stream, cell: list[Any] | None) -> dict[str, Any]:
    if cell is None:
        found: dict[str, Any] = {"n": 0, "begin": None, "end": None}
        states: list[State] = [None] * len(stream.states)
    else:
        n, begin, end, states = cell
        found = {"n": n, "begin": begin / 1e9, "end": end / 1e9}
    for one, at in stream.places:
        found |= one.finished(states[at])
    return found


def read(data: Any) -> Stat:
    """A stat from its definition as JSON. Raises ValueError that says what is wrong and what would be right."""
    check_nesting(data, "a stat")
    try:
        found = msgspec.convert(data, Definition)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a stat: {error}") from None
    if not found.name or any(char in found.name for char in " /\0") or len(found.name) > NAME_MAX:
        raise ValueError(
            f"a stat's name has no blank, no slash and at most {NAME_MAX} characters, unlike {quoted(found.name)}"
        )
    _check_numbers(found)
    _check_streams(found)
    try:
        check_params(found.reducers)
        streams = tuple(map(_stream, found.reducers))
        value, levels = _threshold(found, streams)
    except ValueError as error:
        raise ValueError(f"stat {found.name}: {error}") from None
    encoded = msgspec.json.encode(found, order="sorted")
    digest = hashlib.sha1(encoded).hexdigest()[:16]
    return Stat(found, streams, value, levels, digest, _merge_of(streams))


_CHOICES = {"align": ("start", "clock"), "late": ("merge-next", "drop"), "compat": ("", "zeek-2011")}


def _check_numbers(one: Definition) -> None:
    for field, choices in _CHOICES.items():
        if getattr(one, field) not in choices:
            raise ValueError(f"stat {one.name}: {field} is {' or '.join(map(repr, choices))}")
    bounds = {
        "epoch": (0, 1e9), "timeout": (0.001, 1e9), "group": (1, 10_000), "max_keys": (1, 10_000_000), "quorum": (0, 1)
    }  # fmt: skip
    for field, (least, most) in bounds.items():
        if not least <= getattr(one, field) <= most:
            raise ValueError(
                f"stat {one.name}: {field} is from {least:g} to {most:g}, not {getattr(one, field):g}"
            )
    if 0 < one.epoch < SHORTEST_EPOCH:
        raise ValueError(f"stat {one.name}: epoch is {SHORTEST_EPOCH:g} s or more, or 0: ended by hand")
    sums = [source.apply == ["sum"] for source in one.reducers]
    if one.compat and sums != [True]:
        raise ValueError(f"stat {one.name}: {one.compat} knows one stream and its sum")
    if one.align == "clock" and not one.epoch:
        raise ValueError(f"stat {one.name}: an epoch that is ended by hand cannot follow the clock")
    try:
        ranks.check_ranks(one.ranks)
        if one.ranks != ranks.ALL:
            to_set(one.ranks)
    except ValueError as error:
        raise ValueError(f"stat {one.name}: {error}") from None


def _check_streams(one: Definition) -> None:
    names = [source.stream for source in one.reducers]
    if not names:
        raise ValueError(f"stat {one.name}: name a stream, such as stream=counters")
    if len(names) > STREAMS_MAX:
        raise ValueError(f"stat {one.name}: {STREAMS_MAX} streams are the most, not {len(names)}")
    for name in names:
        if not 0 < len(name) <= NAME_MAX:
            raise ValueError(
                f"stat {one.name}: a stream has a name of at most {NAME_MAX} characters, unlike {quoted(name)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"stat {one.name}: stream {name} is named twice; list its reducers together")


def _stream(source: Source) -> Stream:
    if not source.apply:
        raise ValueError(f"stream {source.stream}: apply a reducer, such as sum")
    reducers = tuple(reducer(name, source.params) for name in source.apply)
    if len(set(source.apply)) < len(source.apply):
        twice = next(name for name in source.apply if source.apply.count(name) > 1)
        raise ValueError(f"stream {source.stream}: {twice} is applied twice")
    states = {_state_name(one): one for one in reversed(reducers)}
    return Stream(
        source.stream,
        reducers,
        tuple(reversed(states.values())),
        keys.where(source.where) if source.where else None,
        _normaliser(source.normalize),
        keys.named(source.pred) if source.pred else None,
    )


def _normaliser(wish: Normalise | None) -> keys.Normalise | None:
    fields = {} if wish is None else msgspec.structs.asdict(wish)
    given = {name: value for name, value in fields.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"normalize by one of {' and '.join(given)}, not by both")
    makers: dict[str, Any] = {
        "mask": _masked, "table": keys.tabled, "drop": keys.dropped, "keep": keys.kept, "function": keys.named
    }  # fmt: skip
    return next((makers[name](value) for name, value in given.items()), None)


def _masked(bits: int) -> keys.Normalise:
    if not 0 <= bits <= 128:
        raise ValueError(f"a mask has 0 to 128 bits, not {bits}")
    return keys.masked(bits)


def _threshold(one: Definition, streams: tuple[Stream, ...]) -> tuple[Expression | None, tuple[float, ...]]:
    wish = one.threshold
    if wish is None:
        return None, ()
    if (wish.at is None) == (wish.series is None):
        raise ValueError("a threshold is at one number, or a series of them: give one of the two")
    levels = (wish.at,) if wish.at is not None else tuple(wish.series or ())
    if not levels or any(b <= a for a, b in pairwise(levels)):
        raise ValueError(f"a series of thresholds ascends: {list(levels)} does not")
    if wish.hysteresis is not None and wish.hysteresis >= levels[0]:
        raise ValueError(f"hysteresis is a level below {levels[0]:g}, not {wish.hysteresis:g}")
    if wish.grain < 0:
        raise ValueError(f"grain is 0 or more, not {wish.grain:g}")
    return Expression.parse(wish.value, {stream.name: stream.results for stream in streams}), levels
