"""Slots that collide with nobody's, and a schedule that looks closer when it has to."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.schedules.adaptive import Pace, to_rule
from brokersim.protocol.schedules.avoid import merged, overfull, slots


@pytest.mark.parametrize(
    ("now", "every", "duration", "count", "busy", "starts"),
    [
        (0, 60, 5, 4, [], [0, 60, 120, 180]),
        (0, 60, 5, 4, [(62, 70)], [0, 70, 130, 190]),
        (0, 60, 5, 4, [(5, 10)], [0, 60, 120, 180]),
        (1000, 60, 5, 3, [(900, 910)], [1000, 1060, 1120]),
        (0, 60, 5, 4, [(10, 20)], [0, 60, 120, 180]),
        (0, 60, 5, 3, [(0, 100), (10, 20)], [100, 160, 220]),
        (0, 10, 5, 2, [(100, 110), (200, 210)], [0, 10]),
    ],
)
def test_the_table_of_slots(now, every, duration, count, busy, starts):
    assert [start for start, _ in slots(now, every, duration, count, busy)] == starts


intervals = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    max_size=8,
)


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 20), st.integers(0, 8), intervals)
def test_slots_meet_nobody_come_in_time_and_are_as_many_as_asked_for(now, every, duration, count, busy):
    found = slots(now, every, duration, count, busy)
    assert len(found) == count
    assert all(start >= now and end == start + duration for start, end in found)
    assert all(later[0] - earlier[0] >= every for earlier, later in pairwise(found))
    assert all(end <= first or start >= last for start, end in found for first, last in busy)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 30))
def test_competitors_never_overlap_whoever_comes_first(durations, every):
    taken = []
    for duration in durations:
        taken += slots(0, every, duration, 3, taken)
    ordered = sorted(taken)
    # A competitor's own slots may touch if it wants them closer than they are long.
    for duration in durations:
        mine = [slot for slot in ordered if slot[1] - slot[0] == duration]
        others = [slot for slot in ordered if slot[1] - slot[0] != duration]
        assert all(end <= first or start >= last for start, end in mine for first, last in others)


@given(intervals)
def test_merged_intervals_are_the_same_seconds(busy):
    seconds = {second for start, end in busy for second in range(start, end)}
    whole = merged(busy)
    assert {second for start, end in whole for second in range(start, end)} == seconds
    assert all(end < following for (_, end), (following, _) in pairwise(whole))


def test_slots_may_share_a_resource_while_the_sum_of_usages_fits():
    claims = [(0, 10, 0.5), (5, 15, 0.5), (20, 30, 0.7)]
    assert overfull(claims, 0.5) == [(5, 10), (20, 30)]
    assert overfull(claims, 0.3) == [(5, 10)]
    assert overfull(claims, 1.0) == [(0, 15), (20, 30)]
    assert overfull([(0, 10, 0.1)] * 9, 0.1) == []


def test_a_rule_sets_a_fast_grid_from_its_trigger_and_the_base_grid_comes_back():
    readings = {10: 0.9, 11: 0.9, 12: 0.6, 13: 0.4, 14: 0.4}
    rule = to_rule({"metric": "v", "above": 0.8, "every": 1, "below": 0.5, "calm": 2})
    pace, tick, ticks = Pace(0.0, 10.0, (rule,)), 0.0, []
    for _ in range(8):
        ticks.append(tick)
        tick = pace.following(tick, {"v": readings.get(tick, 0.1)})
    assert ticks == [0, 10, 11, 12, 13, 14, 20, 30]


def test_readings_that_are_calm_but_not_in_a_row_keep_the_fast_grid():
    rule = to_rule({"metric": "v", "above": 0.8, "every": 1, "below": 0.5, "calm": 2})
    pace = Pace(0.0, 10.0, (rule,))
    values = [0.9, 0.4, 0.6, 0.4, None, 0.4, 0.4, 0.1]
    tick, ticks = 0.0, []
    for value in values:
        ticks.append(tick)
        tick = pace.following(tick, {} if value is None else {"v": value})
    assert ticks == [0, 1, 2, 3, 4, 5, 6, 10]


@pytest.mark.parametrize(
    "rule",
    [5, {}, {"metric": "v", "above": 1, "every": 1}, {"metric": "v", "above": 1, "every": 0, "below": 0},
     {"metric": "v", "above": 1, "every": 1, "below": 2},
     {"metric": "v", "above": 1, "every": 1, "below": 0, "calm": 0},
     {"metric": "v", "above": 1, "every": 1, "below": 0, "cam": 1}],
)  # fmt: skip
def test_what_is_no_rule(rule):
    with pytest.raises(ValueError):
        to_rule(rule)


def test_a_reading_at_the_bound_breaks_no_rule_and_one_at_the_other_is_not_calm():
    rule = to_rule({"metric": "load", "above": 2.0, "below": 1.0, "every": 1.0, "calm": 1})
    pace = Pace(0.0, 10.0, (rule,))
    assert [pace.following(0.0, {"load": 2.0}), pace.following(0.0, {"load": 2.5})] == [10.0, 1.0]
    assert [pace.following(1.0, {"load": 1.0}), pace.following(1.0, {"load": 0.9})] == [2.0, 10.0]
