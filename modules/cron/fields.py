"""Knows flux-core's calendar entries: a set of numbers a time unit, and the next moment all agree on; not timers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import attrs

from brokersim.brokermod import ranks

_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
#: Unit → least and largest value, as in C's struct tm: months from 0, Sunday is 0, years since 1900.
UNITS: Final = {
    "second": (0, 60),
    "minute": (0, 59),
    "hour": (0, 23),
    "mday": (1, 31),
    "month": (0, 11),
    "year": (0, 1100),
    "weekday": (0, 6),
}
_NAMES: Final[dict[str, Sequence[str]]] = {"month": _MONTHS, "weekday": _DAYS}
#: No moment within that many days is none at all (upstream's bound).
_DAYS_AHEAD: Final = 730


@attrs.frozen(kw_only=True)
class Fields:
    """The values of each unit at which an entry is due."""

    sets: dict[str, tuple[int, ...]]

    def following(self, now: float, is_utc: bool) -> float | None:
        """The first such second after ``now``, in local time or UTC; None if there is none in two years."""
        zone = UTC if is_utc else None
        first = datetime.fromtimestamp(int(now) + 1, zone)
        for ahead in range(_DAYS_AHEAD):
            day = first.date() + timedelta(days=ahead)
            if not self._is_on(day):
                continue
            clock = self._clock((first.hour, first.minute, first.second) if not ahead else (0, 0, 0))
            if clock is not None:
                return datetime(day.year, day.month, day.day, *clock, tzinfo=zone).timestamp()
        return None

    def _is_on(self, day: date) -> bool:
        return (
            day.day in self.sets["mday"]
            and day.month - 1 in self.sets["month"]
            and day.year - 1900 in self.sets["year"]
            and day.isoweekday() % 7 in self.sets["weekday"]
        )

    def _clock(self, least: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """The first time of day that is not before ``least``."""
        hours, minutes = self.sets["hour"], self.sets["minute"]
        seconds = [
            second for second in self.sets["second"] if second < 60
        ]  # 60: leap seconds, which Unix has not
        if not (hours and minutes and seconds):
            return None
        earliest = (minutes[0], seconds[0])
        for hour in hours[bisect_left(hours, least[0]) :]:
            if hour > least[0]:
                return (hour, *earliest)
            for minute in minutes[bisect_left(minutes, least[1]) :]:
                if minute > least[1]:
                    return (hour, minute, seconds[0])
                later = bisect_left(seconds, least[2])
                if later < len(seconds):
                    return (hour, minute, seconds[later])
        return None

    def to_dict(self) -> dict[str, str]:
        """Each unit as an idset."""
        return {unit: ranks.format_ranks(values) for unit, values in self.sets.items()}


def to_fields(args: Mapping[str, Any]) -> Fields:
    """From the arguments of cron.create: a number or a text such as ``1-5,*/10`` a unit; all where it is missing.

    Raises ValueError that names the unit and what would be right.
    """
    return Fields(sets={unit: _values(unit, args.get(unit, "*")) for unit in UNITS})


def _values(unit: str, given: Any) -> tuple[int, ...]:
    if type(given) is int:
        given = str(given)
    if not isinstance(given, str):
        raise _bad(unit, given)
    values: set[int] = set()
    for part in given.split(","):
        span, slash, step = part.partition("/")
        stride = _number(unit, step, given) if slash else 1
        if stride < 1:
            raise _bad(unit, given)
        low, high = _span(unit, span, given)
        values.update(range(low, high + 1, stride))
    return tuple(sorted(values))


def _span(unit: str, text: str, given: str) -> tuple[int, int]:
    least, largest = UNITS[unit]
    if text == "*":
        return least, largest
    first, dash, last = text.partition("-")
    low = _number(unit, first, given)
    high = _number(unit, last, given) if dash else low
    if not least <= low <= high <= largest:
        raise _bad(unit, given)
    return low, high


def _number(unit: str, text: str, given: str) -> int:
    if text.isdecimal() and text.isascii() and len(text) <= 6:
        return int(text)
    for number, name in enumerate(_NAMES.get(unit, ())):
        if text and name.startswith(text.lower()):
            return number
    raise _bad(unit, given)


def _bad(unit: str, given: Any) -> ValueError:
    least, largest = UNITS[unit]
    return ValueError(
        f"datetime: {unit} {given!r:.40} is none: give numbers {least} to {largest}, ranges, */N, or lists of these"
    )
