"""Schedules by the wall clock against models that look at each minute of it, wherever a zone's clock was ever set."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol.schedules import Cron, Daily, Nested

#: Gaps and hours that come twice: of one hour, of half, of two and three, at midnight, of a whole day; and none.
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"), ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"), ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"), ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Antarctica/Troll", "2026-03-29T01:00"), ("Antarctica/Troll", "2026-10-25T01:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"), ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Havana", "2026-03-08T05:00"), ("America/Havana", "2026-11-01T05:00"),
    ("Africa/Cairo", "2026-04-23T22:00"), ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Antarctica/Casey", "2018-03-10T17:00"), ("Asia/Pyongyang", "2018-05-04T15:00"),
    ("America/Caracas", "2016-05-01T07:00"), ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Tokyo", "2026-12-31T15:00"), ("UTC", "2028-02-29T12:00"), ("Europe/Berlin", "2027-02-28T23:00"),
]  # fmt: skip
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
HOURS = 30


def _moments():
    return st.builds(
        lambda change, shift: (
            change[0],
            datetime.fromisoformat(change[1]).replace(tzinfo=UTC).timestamp() + shift,
        ),
        st.sampled_from(CHANGES),
        st.integers(-HOURS * 3600, 4 * 3600),
    )


@st.composite
def fields(draw, low, high, names=()):
    """A field as text, and the values it means."""
    kind = draw(st.sampled_from(["*", "*/n", "list", "list"]))
    if kind == "*":
        return "*", frozenset(range(low, high + 1))
    if kind == "*/n":
        by = draw(st.integers(2, max(2, (high - low) // 2)))
        return f"*/{by}", frozenset(range(low, high + 1, by))
    parts, values = [], set()
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        by = draw(st.sampled_from([0, 1, 2, 5]))
        if by:
            text = f"{first}-{last}" + (f"/{by}" if by > 1 else "")
            values.update(range(first, last + 1, by))
        else:
            text = names[first - low] if names else str(first)
            values.add(first)
        parts.append(text)
    return ",".join(parts), frozenset(values)


@st.composite
def expressions(draw):
    """A cron expression, and the sets it means: minutes, hours, days of the month, days of the week."""
    minute, hour = draw(fields(0, 59)), draw(fields(0, 23))
    day = draw(st.one_of(st.just(("*", frozenset(range(1, 32)))), fields(1, 31), st.just(("L", frozenset()))))
    week = draw(st.one_of(st.just(("*", frozenset(range(7)))), fields(0, 6, DAYS)))
    return (
        f"{minute[0]} {hour[0]} {day[0]} * {week[0]}",
        (minute[1], hour[1], day[1], week[1]),
    )


def is_meant(text, sets, wall):
    """Does the expression mean this minute? Both days restricted: either will do."""
    minutes, hours, days, week = sets
    _, _, day, _, weekday = text.split()
    is_last = (wall + timedelta(days=1)).day == 1
    by_month = is_last if day == "L" else wall.day in days
    by_week = (wall.weekday() + 1) % 7 in week
    both = day.startswith("*") or weekday.startswith("*")
    is_day = (by_month and by_week) if both else (by_month or by_week)
    return wall.minute in minutes and wall.hour in hours and is_day


def minutes_that_fire(text, sets, zone, now, until):
    """Each minute in [now, until) at which it fires. Without a star: once, after a gap at its end."""
    runs_on = any(field.startswith("*") for field in text.split()[:2])
    at = -int(-now // 60) * 60
    while at < until:
        wall, before = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(at - 60, zone)
        shown, last = wall.replace(tzinfo=None), before.replace(tzinfo=None)
        fires = is_meant(text, sets, shown) and (runs_on or not wall.fold)
        if wall.utcoffset() > before.utcoffset() and not runs_on:
            skipped = int((shown - last).total_seconds()) // 60 - 1
            fires = fires or any(
                is_meant(text, sets, last + timedelta(minutes=n + 1)) for n in range(skipped)
            )
        if fires:
            yield float(at)
        at += 60


@given(expressions(), _moments())
@example(
    ("0 */6 * * 6-6/2", ({0}, {0, 6, 12, 18}, set(), {6})), ("UTC", 1798761600.0)
)  # a range of one is that one
def test_a_cron_expression_fires_at_the_minutes_that_the_clock_shows(expression, moment):
    text, sets = expression
    tz, now = moment
    try:
        schedule = Cron(expr=text, tz=tz)
    except ValueError:
        return  # the 31st of no month
    until = now + 6 * 3600
    found = list(takewhile(lambda tick: tick < until, schedule.ticks(now, random.Random(0))))
    assert found == list(minutes_that_fire(text, sets, ZoneInfo(tz), now, until))


def first_shown(zone, day: date, second: int) -> int:
    """The first instant (s) at which the clock there shows this time of this day, or a later one."""
    wanted = datetime.combine(day, time()) + timedelta(seconds=second)
    at = int(wanted.replace(tzinfo=UTC).timestamp()) - 30 * 3600
    for step in (3600, 60, 1):
        while datetime.fromtimestamp(at + step, zone).replace(tzinfo=None) < wanted:
            at += step
    return at + 1


clocks = st.integers(0, 86399 // 60).map(lambda minute: minute * 60)


@given(
    _moments(), st.lists(st.tuples(clocks, clocks), min_size=1, max_size=2),
    st.sampled_from([60.0, 420.0, 3600.0]), st.integers(1, 3), st.integers(0, 1),
)  # fmt: skip
def test_daily_windows_open_and_close_when_the_clock_first_shows_it(moment, pairs, every, each, ahead):
    tz, now = moment
    zone = ZoneInfo(tz)
    pairs = [pair for pair in pairs if pair[0] != pair[1]] or [(0, 600)]
    text = ["-".join(f"{second // 3600:02}:{second % 3600 // 60:02}" for second in pair) for pair in pairs]
    today = datetime.fromtimestamp(now, zone).date()
    wanted = set()
    for number in range(3):
        day = today + timedelta(days=ahead + number * each)
        for start, end in pairs:
            begin = first_shown(zone, day, start)
            close = first_shown(zone, day, end if end > start else end + 86400)
            count = max(0, math.ceil((close - begin) / every))
            wanted.update(begin + n * every for n in range(count))
    until = now + 86400
    wanted = sorted(tick for tick in wanted if now <= tick < until)
    schedule = Daily(daily=text, every=every, tz=tz, each_days=each, in_days=ahead)
    found = list(takewhile(lambda tick: tick < until, schedule.ticks(now, random.Random(0))))
    assert found == wanted


whole = st.integers(1, 60)


@given(st.lists(st.tuples(whole, whole), min_size=1, max_size=3), st.integers(0, 200))
def test_a_nested_schedule_is_its_definition_second_by_second(levels, later):
    """By recursion over seconds: what is due at `at`, begun at `start`."""
    spec = "P"
    for interval, window in levels:
        spec = [spec, interval, window]

    def is_due(depth: int, at: int) -> bool:
        interval, window = levels[depth]
        if not 0 <= at < window:
            return False
        if depth == 0:
            return at % interval == 0
        step = max(interval, levels[depth - 1][1])
        return is_due(depth - 1, at % step)

    end = levels[-1][1]
    wanted = [float(at) for at in range(later, end) if is_due(len(levels) - 1, at)]
    assert list(Nested(spec=spec, start=0.0).ticks(float(later), random.Random(0))) == wanted


@pytest.mark.parametrize("text", ["0 0 29 2 *", "59 23 31 12 *", "0 0 L 2 *"])
def test_leap_days_and_the_last_of_a_year_for_forty_years(text):
    day = datetime(2020, 1, 1, tzinfo=UTC)
    wanted = []
    while day.year < 2060:
        is_last = (day + timedelta(days=1)).day == 1
        if text == "0 0 29 2 *" and (day.month, day.day) == (2, 29):
            wanted.append(day.timestamp())
        elif text == "59 23 31 12 *" and (day.month, day.day) == (12, 31):
            wanted.append(day.timestamp() + 23 * 3600 + 59 * 60)
        elif text == "0 0 L 2 *" and day.month == 2 and is_last:
            wanted.append(day.timestamp())
        day += timedelta(days=1)
    ticks = Cron(expr=text, tz="UTC").ticks(datetime(2020, 1, 1, tzinfo=UTC).timestamp(), random.Random(0))
    end = datetime(2060, 1, 1, tzinfo=UTC).timestamp()
    assert list(takewhile(lambda tick: tick < end, ticks)) == wanted
