"""Knows at which instants a cron expression fires in a zone: CronSim reads the wall clock, here it meets real time.

CronSim's own zones leave out times where a clock is set back by half an hour, so it is given none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim

from brokersim.protocol.schedules.zone import instant

#: A range of one value with a step. CronSim takes it for one without an end: ``6-6/2`` would be 6, 8, 10 ...
_RANGE_OF_ONE: Final = re.compile(r"(?<![\w#-])(\w+)-\1/\d+(?![\w#-])", re.ASCII | re.IGNORECASE)
#: Seconds. No clock is set by more than a day, nor twice within one.
_DAY: Final = 86400
_EPOCH: Final = datetime(1970, 1, 1)


def walls(text: str, after: datetime) -> Iterator[datetime]:
    """The wall-clock times that an expression means, after one. Raises CronSimError for what is no expression.

    The step of a range of one is looked at first, as only CronSim says what is wrong with it.
    """
    CronSim(text, after)
    return CronSim(_RANGE_OF_ONE.sub(r"\1", text), after)


def runs_on(text: str) -> bool:
    """Does it run on whatever the clock shows? One with a star for minutes or hours does; another means fixed times."""
    return any(field.startswith("*") for field in text.split()[-5:][:2])


def fires(text: str, after: float, where: tzinfo) -> Iterator[float]:
    """The instants (s since the epoch) after ``after`` at which an expression fires, each later than the one before.

    A fixed time that the clock skips fires at the end of the gap, one that comes twice the first time; `*` runs on.
    """
    found = (
        _running(text, math.floor(after), where) if runs_on(text) else _fixed(text, math.floor(after), where)
    )
    last = after
    try:
        for at in found:
            if at > last:
                last = at
                yield at
    except (OverflowError, ValueError, StopIteration):
        return  # the calendar ends with the year 9999


def _fixed(text: str, after: int, where: tzinfo) -> Iterator[float]:
    # What a gap has skipped that ends later is behind the clock already.
    is_near = _offset(after - _DAY, where) != _offset(after + _DAY, where)
    begin = after - _DAY if is_near else after
    return (instant(wall.replace(tzinfo=where)) for wall in walls(text, _wall(begin, _offset(begin, where))))


def _running(text: str, after: int, where: tzinfo) -> Iterator[float]:
    """By stretches in which the clock is not set."""
    begin = after
    while True:
        offset = _offset(begin + 1, where)
        seen = begin + 1
        for wall in walls(text, _wall(begin, offset)):
            at = (wall - _EPOCH) // timedelta(seconds=1) - offset
            change = _change(seen, at, where)
            if change is not None:
                begin = change - 1
                break
            seen = at
            yield float(at)
        else:
            return


def _change(start: int, end: int, where: tzinfo) -> int | None:
    """The first second in (start, end] whose offset is not that of ``start``; None if there is none."""
    offset = _offset(start, where)
    at = start
    while at < end:
        following = min(at + _DAY, end)
        if _offset(following, where) != offset:
            while following - at > 1:
                middle = (at + following) // 2
                at, following = (middle, following) if _offset(middle, where) == offset else (at, middle)
            return following
        at = following
    return None


def _offset(at: int, where: tzinfo) -> int:
    """Seconds of the clock there before UTC."""
    found = datetime.fromtimestamp(at, UTC).astimezone(where).utcoffset()
    assert found is not None
    return found // timedelta(seconds=1)


def _wall(at: int, offset: int) -> datetime:
    return _EPOCH + timedelta(seconds=at + offset)
