"""Knows windows of time, given one by one or by the day, and the grid inside each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import count as counting
from typing import Final

import attrs

from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import (
    Random,
    Schedule,
    Span,
    grid,
    moment,
    to_each_days,
    to_every,
    to_in_days,
    union,
)
from brokersim.protocol.schedules.zone import instant, zone

_CLOCK: Final = r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?"
_DAILY: Final = re.compile(rf"{_CLOCK}-{_CLOCK}", re.ASCII)
_DAY: Final = 86400


def _windows(given: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(f"windows must be a list of {{start, end}}, not {quoted(given)}")
    return tuple(sorted(_window(one) for one in given))


def _window(one: object) -> tuple[float, float]:
    if isinstance(one, dict) and set(one) == {"start", "end"}:
        one = (one["start"], one["end"])
    if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 2:
        raise ValueError(f"a window is {{start, end}}, not {quoted(one)}")
    start, end = moment(one[0], "start"), moment(one[1], "end")
    if start is None or end is None or not start < end:
        raise ValueError(f"a window's end must come after its start, not {one[0]!r:.40} to {one[1]!r:.40}")
    return start, end


@attrs.frozen(kw_only=True)
class Windows(Schedule):
    """Every ``every`` seconds in each window, the grid anchored on the window's own start.

    Windows that overlap are one union: a tick of several comes once.
    """

    windows: tuple[tuple[float, float], ...] = attrs.field(converter=_windows)
    every: float = attrs.field(converter=to_every)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        return union((start, grid(start, self.every, end, now)) for start, end in self.windows if end > now)


def _daily(given: object) -> tuple[tuple[int, int], ...]:
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, Sequence) or not parts:
        raise ValueError(f'daily must be a list such as ["08:00-08:30"], not {quoted(given)}')
    return tuple(sorted(_day_window(one) for one in parts))


def _day_window(one: object) -> tuple[int, int]:
    """Seconds from midnight to its start and its end; an end before its start is the next day's."""
    if isinstance(one, tuple) and len(one) == 2:
        return one
    match = _DAILY.fullmatch(one.strip()) if isinstance(one, str) else None
    if match is None:
        raise ValueError(f"a daily window is written 08:00-08:30, not {quoted(one)}")
    numbers = [int(digits or 0) for digits in match.groups()]
    start = numbers[0] * 3600 + numbers[1] * 60 + numbers[2]
    end = numbers[3] * 3600 + numbers[4] * 60 + numbers[5]
    if start >= _DAY or end > _DAY or start == end:
        raise ValueError(
            f"a daily window begins before 24:00, ends by it, and is not empty: not {quoted(one)}"
        )
    return start, end if end > start else end + _DAY


@attrs.frozen(kw_only=True)
class Daily(Schedule):
    """Every ``every`` seconds in windows of each ``each_days``-th day, the first ``in_days`` days from today.

    Wall-clock times of ``tz`` (this machine's zone): of two the first is meant, a skipped one is the end of the gap.
    """

    daily: tuple[tuple[int, int], ...] = attrs.field(converter=_daily)
    every: float = attrs.field(converter=to_every)
    each_days: int = attrs.field(default=1, converter=to_each_days)
    in_days: int = attrs.field(default=0, converter=to_in_days)
    tz: str | None = None

    def __attrs_post_init__(self) -> None:
        zone(self.tz)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        return union(self._grids(now))

    def _grids(self, now: float) -> Iterator[tuple[float, Iterator[Span]]]:
        today = datetime.fromtimestamp(now, zone(self.tz)).date()
        for n in counting():
            try:
                day = today + timedelta(days=self.in_days + n * self.each_days)
                windows = sorted((self._at(day, start), self._at(day, end)) for start, end in self.daily)
            except OverflowError:
                return  # the calendar ends with the year 9999
            for start, end in windows:
                if start < end and end > now:
                    yield start, grid(start, self.every, end, now)

    def _at(self, day: date, second: int) -> float:
        days, rest = divmod(second, _DAY)
        day = day + timedelta(days=days)
        wall = datetime(day.year, day.month, day.day, tzinfo=zone(self.tz))
        return instant(wall.replace(hour=rest // 3600, minute=rest % 3600 // 60, second=rest % 60))
