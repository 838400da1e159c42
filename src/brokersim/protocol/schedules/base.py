"""Knows what a schedule is: a value that says when; not clocks, timers, nor what is done then.

Time is handed in as seconds since the epoch, chance as a generator; the same arguments give the same ticks for ever.
"""

from __future__ import annotations

import heapq
import math
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, Protocol

import attrs

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.quoting import quoted

#: A tick (s since the epoch) and the end of the window it lies in, ``math.inf`` where there is none.
Span = tuple[float, float]
#: Ticks closer than a millisecond would be load, not a schedule.
EVERY_MIN: Final = 0.001


class Random(Protocol):
    """What a schedule asks of chance: ``random.Random`` has it."""

    def random(self) -> float:
        """A float in [0, 1)."""


@attrs.frozen(kw_only=True)
class Schedule:
    """When something is due. Windows are half-open, ``[start, end)``; ticks never decrease; their end is for good."""

    @abstractmethod
    def spans(self, now: float, random: Random) -> Iterator[Span]:
        """Ticks from ``now`` on (s since the epoch), each with the end of its window."""

    def ticks(self, now: float, random: Random) -> Iterator[float]:
        """Ticks from ``now`` on, in seconds since the epoch."""
        return (at for at, _ in self.spans(now, random))

    def to_dict(self) -> JsonObject:
        """Its parameters, without those that are as they would be anyway."""
        fields = attrs.fields(type(self))
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}


def first_index(start: float, every: float, now: float) -> int:
    """The least n of 0 or more with ``start + n * every >= now``.

    The quotient is only where to look: division rounds, so that it can be one off either way.
    """
    n = max(0, math.ceil((now - start) / every))
    while n and start + (n - 1) * every >= now:
        n -= 1
    while start + n * every < now:
        n += 1
    return n


class _Grid:
    """An iterator, not a generator: a thousand measurements have one each, at a third of its size."""

    __slots__ = ("_end", "_every", "_n", "_start", "_until")

    def __init__(self, start: float, every: float, end: float, until: float, n: int) -> None:
        self._start, self._every, self._end, self._until, self._n = start, every, end, until, n

    def __iter__(self) -> Iterator[Span]:
        return self

    def __next__(self) -> Span:
        at = self._start + self._n * self._every
        if at >= self._end:
            raise StopIteration
        self._n += 1
        return at, self._until


def grid(start: float, every: float, end: float, now: float, until: float | None = None) -> Iterator[Span]:
    """Ticks ``start + n * every`` in ``[now, end)``: multiplied, since a million additions of 0.1 are 1.3 µs off."""
    return _Grid(start, every, end, end if until is None else until, first_index(start, every, now))


def union(windows: Iterable[tuple[float, Iterator[Span]]]) -> Iterator[Span]:
    """The ticks of windows given in order of their starts, each tick once, however many windows it lies in.

    Only windows that have begun are held, so there may be endlessly many.
    """
    ahead = iter(windows)
    following = next(ahead, None)
    begun: list[tuple[float, float, int, Iterator[Span]]] = []
    count = 0
    last = -math.inf
    while begun or following is not None:
        while following is not None and (not begun or following[0] <= begun[0][0]):
            count += 1
            _push(begun, count, following[1])
            following = next(ahead, None)
        if not begun:
            continue
        at, negative_until, number, rest = heapq.heappop(begun)
        if at > last:
            last = at
            yield at, -negative_until
        _push(begun, number, rest)


def _push(begun: list[tuple[float, float, int, Iterator[Span]]], number: int, rest: Iterator[Span]) -> None:
    span = next(rest, None)
    if span is not None:
        # Of equal ticks the one whose window is open longest comes first and stands for all.
        heapq.heappush(begun, (span[0], -span[1], number, rest))


# -- parameters


def seconds(value: object, name: str) -> float:
    """A length of time: a number of seconds or a duration such as ``10s``; above 0. Raises ValueError."""
    number = _number(value)
    if number is None or not EVERY_MIN <= number < math.inf:
        raise ValueError(f"{name} must be a time of 1 ms or more, such as 10 or 10s, not {quoted(value)}")
    return number


def seconds_or_none(value: object, name: str) -> float | None:
    """As `seconds`, or None, ``null`` and ``inf`` for no end."""
    if value is None or _number(value) == math.inf:
        return None
    return seconds(value, name)


def _number(value: object) -> float | None:
    try:
        if isinstance(value, str):
            return parse_duration(value)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):  # a whole number may be larger than any other
        return None


def moment(value: object, name: str) -> float | None:
    """A moment: seconds since the epoch, or ISO 8601 with its offset; None stays None. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            when = None
        if when is not None and when.tzinfo is not None:
            return when.timestamp()
    raise ValueError(
        f"{name} must be seconds since the epoch, or a time such as 2026-03-01T12:00:00+01:00,"
        f" not {quoted(value)}"
    )


def count(value: object, name: str, least: int) -> int:
    """A whole number of ``least`` or more. Raises ValueError."""
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {quoted(value)}")
    return value


# -- the same for a parameter of that name: what a converter is must be a function with a name


def to_window(given: object) -> float | None:
    return seconds_or_none(given, "window")


def to_every(given: object) -> float:
    return seconds(given, "every")


def to_each_days(given: object) -> int:
    return count(given, "each_days", least=1)


def to_in_days(given: object) -> int:
    return count(given, "in_days", least=0)


def to_start(given: object) -> float | None:
    return moment(given, "start")


def to_end(given: object) -> float | None:
    return moment(given, "end")


def to_low(given: object) -> float:
    return seconds(given, "low")


def to_high(given: object) -> float | None:
    return seconds_or_none(given, "high")


def to_mean(given: object) -> float | None:
    return seconds_or_none(given, "mean")
