"""Every kind of schedule by its worked examples: times compared with ==."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest

from brokersim.protocol.schedules import parse_schedule, to_schedule, to_spec

CHANCE = random.Random(0)


def ticks(spec, now, count=12):
    return list(islice(to_schedule(spec).ticks(now, CHANCE), count))


def at(text, zone="Europe/Berlin"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(spec, now, count, zone="Europe/Berlin"):
    found = islice(to_schedule(spec).ticks(now, CHANCE), count)
    return [datetime.fromtimestamp(one, ZoneInfo(zone)).isoformat() for one in found]


def every(**params):
    return {"type": "every", "params": {"every": 5, **params}}


@pytest.mark.parametrize(
    ("spec", "now", "expected"),
    [
        (every(start=100, end=112), 100, [100, 105, 110]),
        (every(start=100, end=110), 100, [100, 105]),
        (every(start=100), 112, [115, 120, 125]),
        (every(start=100), 115, [115, 120, 125]),
        (every(), 7, [7, 12, 17]),
        (every(align="epoch"), 7, [10, 15, 20]),
        (every(align="epoch"), 10, [10, 15, 20]),
        (every(align="epoch", start=21, end=31), 7, [25, 30]),
        (every(start=200, end=100), 0, []),
        ({"type": "onetime", "params": {"start": 100}}, 3, [100]),
        ({"type": "onetime"}, 3, [3]),
        ({"type": "onetime", "params": {"start": 2}}, 3, []),
    ],
)
def test_a_grid_keeps_its_phase_and_ends_before_its_end(spec, now, expected):
    assert ticks(spec, now, 3) == expected


def test_ticks_are_multiplied_so_that_a_million_of_them_do_not_drift():
    schedule = to_schedule({"type": "every", "params": {"every": 0.1, "start": 0}})
    assert next(iter(schedule.ticks(99999.95, CHANCE))) == 100000.0
    assert sum([0.1] * 1_000_000) != 100000.0


@pytest.mark.parametrize("made", [0, 8])
def test_a_window_anchors_the_grid_on_its_own_start(made):
    spec = {"type": "windows", "params": {"windows": [{"start": 10, "end": 21}], "every": 5}}
    assert ticks(spec, made) == [10, 15, 20]


@pytest.mark.parametrize(("made", "expected"), [(12, [15, 20]), (15, [15, 20]), (21, [])])
def test_a_window_that_is_open_already_is_entered_in_its_phase(made, expected):
    spec = {"type": "windows", "params": {"windows": [{"start": 10, "end": 21}], "every": 5}}
    assert ticks(spec, made) == expected


def test_windows_that_overlap_give_each_tick_once_and_the_longer_window():
    schedule = to_schedule(
        {"type": "windows", "params": {"windows": [[0, 20], [10, 25], [3, 9]], "every": 5}}
    )
    assert list(schedule.spans(0, CHANCE)) == [
        (0.0, 20.0), (3.0, 9.0), (5.0, 20.0), (8.0, 9.0), (10.0, 25.0), (15.0, 25.0), (20.0, 25.0)
    ]  # fmt: skip


def deep(levels):
    """A nested schedule of so many levels."""
    spec = ["P", 1, 2]
    for _ in range(levels - 1):
        spec = [spec, 1, 2]
    return spec


def children(levels):
    """A cron expression with a child that has a child ..."""
    spec = {"type": "every", "params": {"every": 1}}
    for _ in range(levels - 1):
        spec = {"type": "cron", "params": {"expr": "0 6 * * *", "window": 60, "child": spec}}
    return spec


def daily(**more):
    params = {"daily": ["08:00-08:30", "20:00-20:20"], "every": 600, "tz": "Europe/Berlin", **more}
    return {"type": "windows", "params": params}


def test_daily_windows_come_every_second_day_from_tomorrow():
    now = at("2026-03-02T12:00")
    days = shown(daily(each_days=2, in_days=1), now, 10)
    clocks = ["08:00", "08:10", "08:20", "20:00", "20:10"]
    assert days == [f"2026-03-{day}T{clock}:00+01:00" for day in ("03", "05") for clock in clocks]


def test_a_daily_window_over_midnight_goes_on_into_the_new_year():
    spec = daily(daily="23:50-00:10")
    assert shown(spec, at("2026-12-31T23:55"), 4) == [
        "2027-01-01T00:00:00+01:00", "2027-01-01T23:50:00+01:00", "2027-01-02T00:00:00+01:00",
        "2027-01-02T23:50:00+01:00",
    ]  # fmt: skip


def test_of_a_daily_time_that_comes_twice_the_first_is_meant_and_a_skipped_one_is_the_end_of_the_gap():
    spec = daily(daily="02:30-03:30", every=1800)
    assert shown(spec, at("2026-03-29T00:00"), 1) == ["2026-03-29T03:00:00+02:00"]
    assert shown(spec, at("2026-10-25T00:00"), 4) == [
        "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]  # fmt: skip
    # From 02:10 to 02:40 is no time at all on that day.
    assert shown(daily(daily="02:10-02:40"), at("2026-03-29T00:00"), 1) == ["2026-03-30T02:10:00+02:00"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (["P", 2, 10], [0, 2, 4, 6, 8]),
        ([["P", 1, 3], 10, 30], [0, 1, 2, 10, 11, 12, 20, 21, 22]),
        ([[["P", 1, 2], 5, 10], 60, 120], [0, 1, 5, 6, 60, 61, 65, 66]),
        ([["P", 1, 3], 2, 6], [0, 1, 2, 3, 4, 5]),
        ([["P", 1, 5], 10, 12], [0, 1, 2, 3, 4, 10, 11]),
        ([["P", 10, 30], 60, 120], [0, 10, 20, 60, 70, 80]),
        ([["P", 1, None], 5, 3], [0, 1, 2]),
    ],
)
def test_nested_levels_are_half_open_and_the_outer_clips_the_inner(spec, expected):
    assert ticks({"type": "nested", "params": {"spec": spec}}, 0, 100) == expected
    shifted = ticks({"type": "nested", "params": {"spec": spec, "start": 0}}, 5, 100)
    assert shifted == [one for one in expected if one >= 5]


def test_a_schedule_is_said_innermost_first():
    schedule = parse_schedule("10s for 1m every 1h")
    assert to_spec(schedule) == {"type": "nested", "params": {"spec": [["P", 10.0, 60.0], 3600.0, None]}}
    assert ticks("10s for 1m every 1h", 0, 8) == [0, 10, 20, 30, 40, 50, 3600, 3610]
    assert parse_schedule("every 10s for 1m every 1h") == schedule
    assert parse_schedule("10s") == to_schedule({"type": "every", "params": {"every": 10}}) == to_schedule(10)


def cron(expr, tz="Europe/Berlin", **more):
    return {"type": "cron", "params": {"expr": expr, "tz": tz, **more}}


@pytest.mark.parametrize(
    ("expr", "now", "expected"),
    [
        ("0 6 * * SUN#3", "2026-01-01T00:00", ["2026-01-18T06", "2026-02-15T06", "2026-03-15T06", "2026-04-19T06"]),
        ("0 0 3 2 *", "2026-01-01T00:00", ["2026-02-03T00", "2027-02-03T00"]),
        ("0 0 1 * *", "2026-01-01T00:00", ["2026-01-01T00", "2026-02-01T00"]),
        ("0 0 13 * FRI", "2026-01-01T00:00", ["2026-01-02T00", "2026-01-09T00", "2026-01-13T00"]),
        ("0 0 * * FRI", "2026-01-01T00:00", ["2026-01-02T00", "2026-01-09T00", "2026-01-16T00"]),
        ("59 59 23 31 12 *", "2026-01-01T00:00", ["2026-12-31T23:59:59", "2027-12-31T23:59:59"]),
        ("0 0 L 2 *", "2027-01-01T00:00", ["2027-02-28T00", "2028-02-29T00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00", "2032-02-29T00"]),
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00", "2026-03-30T02:30"]),
        ("0,30 2 * * *", "2026-03-29T00:00", ["2026-03-29T03:00", "2026-03-30T02:00"]),
        ("*/30 * * * *", "2026-03-29T01:30", ["2026-03-29T01:30", "2026-03-29T03:00"]),
    ],
)  # fmt: skip
def test_cron_expressions(expr, now, expected):
    found = ticks(cron(expr), at(now), len(expected))
    assert found == [at(one) for one in expected]


def test_a_fixed_time_that_comes_twice_fires_the_first_time_and_a_star_runs_through_both_hours():
    assert shown(cron("30 2 * * *"), at("2026-10-25T00:00"), 2) == [
        "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"
    ]  # fmt: skip
    assert shown(cron("*/30 * * * *"), at("2026-10-25T02:00"), 5) == [
        "2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00",
    ]  # fmt: skip


def test_cron_that_begins_in_the_second_of_two_equal_hours_never_answers_with_the_first():
    now = datetime(2026, 10, 25, 1, 10, tzinfo=UTC).timestamp()  # 02:10+01:00, an hour after 02:10+02:00
    assert shown(cron("30 2 * * *"), now, 1) == ["2026-10-26T02:30:00+01:00"]


def test_a_window_of_cron_is_entered_while_it_is_open():
    spec = cron("0 6 * * SUN#3", window="1m", child="20s")
    assert shown(spec, at("2026-01-18T06:00:30"), 2) == [
        "2026-01-18T06:00:40+01:00",
        "2026-02-15T06:00:00+01:00",
    ]
    assert shown(spec, at("2026-01-18T06:01"), 1) == ["2026-02-15T06:00:00+01:00"]
    spans = islice(to_schedule(spec).spans(at("2026-01-18T06:00"), CHANCE), 1)
    assert next(spans) == (at("2026-01-18T06:00"), at("2026-01-18T06:01"))


def test_uniform_gaps_lie_in_their_bounds_and_are_the_seeds():
    schedule = parse_schedule("random low=1s high=3s")
    found = list(islice(schedule.ticks(0, random.Random(7)), 500))
    gaps = [later - earlier for earlier, later in zip([0.0, *found], found, strict=False)]
    assert all(1 <= gap < 3.0000001 for gap in gaps)
    assert min(gaps) < 1.1 and max(gaps) > 2.9
    assert found == list(islice(schedule.ticks(0, random.Random(7)), 500))


def test_exponential_gaps_far_from_their_mean_take_no_redrawing():
    schedule = to_schedule(
        {"type": "random", "params": {"low": 100, "high": 110, "distribution": "exponential", "mean": 1}}
    )
    found = list(islice(schedule.ticks(0, random.Random(7)), 2000))
    gaps = [later - earlier for earlier, later in zip([0.0, *found], found, strict=False)]
    assert all(100 <= gap < 110 for gap in gaps)
    # Beyond `low` it is the same exponential: its mean is 1 (less 10 e^-10 that lies beyond 110).
    assert sum(gaps) / len(gaps) == pytest.approx(101, abs=0.1)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"type": "every", "params": {"every": 0}}, "every must be a time of 1 ms or more"),
        ({"type": "every", "params": {"every": -1}}, "every must be a time of 1 ms or more"),
        ({"type": "every", "params": {"every": math.inf}}, "every must be a time of 1 ms or more"),
        ({"type": "every", "params": {"every": 10**400}}, "every must be a time of 1 ms or more"),
        ({"type": "every", "params": {"every": 1, "start": 10**400}}, "start must be seconds since the epoch"),
        ({"type": "every", "params": {"every": True}}, "every must be a time of 1 ms or more"),
        ({"type": "every", "params": {}}, "every is missing"),
        ({"type": "every", "params": {"evry": 1}}, "no parameter 'evry'; is every meant?"),
        ({"type": "every", "params": {"every": 1, "align": "hour"}}, "align must be epoch"),
        ({"type": "every", "params": {"every": 1, "start": "noon"}}, "start must be seconds since the epoch"),
        ({"type": "evry"}, "no schedule 'evry'; there are every, onetime"),
        ({"params": {}}, "a schedule is {type, params}"),
        ({"type": "windows", "params": {"windows": [[5, 5]], "every": 1}}, "end must come after its start"),
        ({"type": "windows", "params": {"windows": [], "every": 1}}, "windows must be a list"),
        (daily(daily="08:00-08:00"), "is not empty"),
        (daily(daily="25:00-26:00"), "is written 08:00-08:30"),
        (daily(tz="Europe/Berlln"), "is no time zone"),
        (daily(each_days=0), "each_days must be a whole number, 1 or more"),
        (cron("0 0 30 2 *"), "Bad day-of-month"),
        (cron("0 0 * *"), "Wrong number of fields"),
        (cron("0 0 30 2 MON#6"), "Bad day-of-week"),
        (cron("0 6 * * *", window=60), "a window needs a child"),
        (["P", 1, 0], "window must be a time"),
        ([["P", 1], 2, 3], "nested: a level is"),
        ("10s for", "the time after for must be"),
        ("10s for 1m 1h", "is no schedule"),
        ("", "must not be empty"),
        (deep(17), "may be 16 deep"),
        (" every ".join(["10s for 20s"] * 17), "may be 16 deep"),
        (children(17), "may be 16 deep"),
        (children(400), "may be 16 deep"),
        ("random low=3s high=1s", "high must be above low"),
        ("random low=2s high=2s", "high must be above low"),
        ("random low=1s", "uniform gaps have a low and a high"),
        ("random low=1s high=2s distribution=normal", "uniform or exponential"),
        ("random low=1s distribution=exponential", "exponential gaps need a mean"),
        (cron(5), "must be a string such as"),
        ("{", "is not JSON"),
        ({"type": "every", "params": [["every", 1]]}, "params of a schedule must be an object, not [['every', 1]]"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_schedule_is_named_with_what_would_be_right(spec, says):
    given = {"type": "nested", "params": {"spec": spec}} if isinstance(spec, list) else spec
    with pytest.raises(ValueError) as refused:
        to_schedule(given)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["10s", "10s for 1m every 1h", "*/5 * * * *", "random low=1s high=5s", 'windows daily=08:00-09:00 every=1m',
     "cron expr='0 6 * * *' tz=UTC window=1h child=10s",
     'adaptive base=10 rules=\'[{"metric":"v","above":1,"every":1,"below":0.5}]\'',
     "onetime start=5", "windows windows=[[1,2]] every=1"],
)  # fmt: skip
def test_what_a_schedule_is_written_as_reads_back_as_the_same(text):
    schedule = parse_schedule(text)
    assert to_schedule(to_spec(schedule)) == schedule
    assert list(takewhile(lambda one: one < 9e5, islice(schedule.ticks(0, random.Random(1)), 20)))
