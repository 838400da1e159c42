"""Laws of schedules, for any of them, any moment and any zone, against models that know no arithmetic of grids."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import attrs
import pytest
from cronsim import CronSim
from hypothesis import assume, example, given
from hypothesis import strategies as st

from brokersim.protocol.schedules import Cron, Daily, Every, Nested, Windows, to_schedule

#: Zones with a half-hour jump, one at midnight, one across the date line, one without any.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "UTC",
]
#: 2018 to 2027: Sao Paulo's days began at 01:00 in spring until 2018.
moments = st.integers(1514764800, 1830297600).map(float)
#: Around jumps and New Year, where moments drawn at random hardly ever fall.
edges = st.builds(
    lambda day, shift: datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + shift,
    st.sampled_from(
        ["2026-03-29", "2026-10-25", "2026-11-01", "2026-04-05", "2018-11-04", "2026-12-31", "2028-02-29"]
    ),
    st.integers(-86400, 86400),
)
nows = st.one_of(moments, edges)
everys = st.sampled_from([0.1, 0.25, 1.0, 7.0, 60.0, 600.0, 3600.0])


def first(schedule, now, count=30):
    return list(islice(schedule.ticks(now, random.Random(0)), count))


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
schedules = st.one_of(
    st.builds(lambda every, start: Every(every=every, start=start), everys, st.none() | nows),
    st.builds(
        lambda every, pairs: Windows(every=every, windows=[(a, a + b) for a, b in pairs]),
        everys,
        st.lists(st.tuples(nows, st.integers(1, 7200)), min_size=1, max_size=4),
    ),
    st.builds(
        lambda every, windows, tz, each, ahead: Daily(
            every=every, daily=[f"{a}-{b}" for a, b in windows if a != b] or "08:00-09:00", tz=tz, each_days=each,
            in_days=ahead,
        ),
        everys, st.lists(st.tuples(clocks, clocks), min_size=1, max_size=3), st.sampled_from(ZONES),
        st.integers(1, 3), st.integers(0, 2),
    ),
    st.builds(
        lambda inner, window, outer: Nested(spec=[["P", inner, window], outer, None]), everys, everys, everys
    ),
    st.builds(
        lambda minute, hour, tz: Cron(expr=f"{minute} {hour} * * *", tz=tz),
        st.sampled_from(["*", "*/7", "0", "30", "0,30"]), st.sampled_from(["*", "*/3", "2", "0", "23", "1-3"]),
        st.sampled_from(ZONES),
    ),
)  # fmt: skip


@given(schedules, nows)
def test_ticks_rise_and_none_lies_before_now(schedule, now):
    found = first(schedule, now)
    assert all(one >= now for one in found)
    assert all(later > earlier for earlier, later in pairwise(found))


@given(schedules, nows, st.integers(0, 12))
def test_a_schedule_that_is_begun_anew_goes_on_where_it_was(schedule, now, index):
    assume(not isinstance(schedule, Nested))  # anchored on its start, which is given below
    if isinstance(schedule, Every) and schedule.start is None:
        schedule = attrs.evolve(schedule, start=now)
    if isinstance(schedule, Daily):
        schedule = attrs.evolve(schedule, in_days=0, each_days=1)
    found = first(schedule, now)
    assume(index < len(found))
    resumed = first(schedule, found[index], len(found) - index)
    # Today's windows begin with today: one of yesterday that is still open is not part of it.
    if isinstance(schedule, Daily):
        resumed = [one for one in resumed if one in found or one > found[-1]]
        assert set(resumed) <= set(found[index:]) | {one for one in resumed if one > found[-1]}
    else:
        assert resumed == found[index:]


@given(everys, everys, everys, nows, st.integers(0, 5000))
def test_a_nested_schedule_that_is_entered_later_has_the_same_ticks(inner, window, outer, start, later):
    schedule = Nested(spec=[["P", inner, window], outer, None], start=start)
    end = start + later + 20
    whole = takewhile(lambda one: one < end, schedule.ticks(start, random.Random(0)))
    assert [one for one in islice(whole, 80000) if one >= start + later] == list(
        takewhile(lambda one: one < end, schedule.ticks(start + later, random.Random(0)))
    )


@given(everys, nows, st.integers(0, 10**6), st.integers(0, 100))
def test_tick_n_is_start_plus_n_times_every(every, start, n, more):
    schedule = Every(every=every, start=start)
    tick = start + n * every
    assert first(schedule, tick, 1) == [tick]
    assert first(schedule, tick, more + 1)[-1] == start + (n + more) * every


@given(
    st.sampled_from(["*/10 * * * *", "0 * * * *", "5,35 */2 * * *", "* 2 * * *", "*/20 0-3 * * *"]),
    nows,
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
)
@example("*/10 * * * *", datetime(2026, 10, 25, 0, 10, tzinfo=UTC).timestamp(), "Europe/Berlin")
@example("*/10 * * * *", datetime(2026, 3, 29, 0, 10, tzinfo=UTC).timestamp(), "Europe/Berlin")
def test_a_cron_expression_with_a_star_fires_at_every_minute_whose_clock_agrees(expr, now, tz):
    zone = ZoneInfo(tz)
    minutes, hours = (
        {*CronSim(expr, datetime(2026, 1, 1)).minutes},
        {*CronSim(expr, datetime(2026, 1, 1)).hours},
    )
    begin = -int(-now // 60) * 60
    walls = [(at, datetime.fromtimestamp(at, zone)) for at in range(begin, begin + 6 * 3600, 60)]
    wanted = [at for at, wall in walls if wall.minute in minutes and wall.hour in hours]
    found = [one for one in first(Cron(expr=expr, tz=tz), now, 400) if one < begin + 6 * 3600]
    assert found == wanted


@given(st.integers(0, 23), st.integers(0, 59), st.sampled_from(ZONES), nows)
def test_a_daily_time_is_that_wall_clock_or_the_first_after_a_gap(hour, minute, tz, now):
    zone = ZoneInfo(tz)
    schedule = Daily(daily=f"{hour:02}:{minute:02}-{hour:02}:{minute:02}:30", every=60.0, tz=tz)
    for tick in first(schedule, now, 3):
        wall = datetime.fromtimestamp(tick, zone)
        if (wall.hour, wall.minute) != (hour, minute):
            # Then no second before it that day shows the time: the clock has jumped over it to here.
            before = datetime.fromtimestamp(tick - 1, zone)
            assert (before.hour, before.minute) < (hour, minute) or before.date() < wall.date()
        else:
            assert wall.fold == 0


@given(everys, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 100)), min_size=1, max_size=5))
def test_windows_are_the_union_of_their_grids(every, pairs):
    windows = [(float(a), float(a + b)) for a, b in pairs]
    wanted = set()
    for start, end in windows:
        n = 0
        while start + n * every < end:
            wanted.add(start + n * every)
            n += 1
    assert first(Windows(windows=windows, every=every), 0, 10**5) == sorted(wanted)


@pytest.mark.parametrize("text", ["0 0 31 6,9 *", "0 0 30 2 *"])
def test_a_day_that_no_month_has_is_refused(text):
    with pytest.raises(ValueError, match="Bad day-of-month"):
        to_schedule({"type": "cron", "params": {"expr": text}})
