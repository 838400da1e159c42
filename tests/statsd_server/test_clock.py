"""The instants of flushes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd_server.flush_clock import STEP_S, FlushGrid, TimeAxis, lead_of

INTERVALS = st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 1.0, 7.0, 60.0])


@given(INTERVALS, st.floats(0, 2e9), st.lists(st.floats(0, 1000), max_size=30))
def test_instants_are_multiples_each_after_the_last_and_none_but_the_skipped_is_left_out(
    interval, start, delays
):
    grid = FlushGrid(interval)
    instants = [grid.start(start)]
    now = start
    for delay in delays:
        now = max(now, instants[-1]) + delay
        instants.append(grid.advance(now))
    numbers = [round(instant / interval) for instant in instants]
    assert all(
        abs(n * interval - t) < 1e-6 * max(1, interval) for n, t in zip(numbers, instants, strict=True)
    )
    assert all(a < b for a, b in pairwise(numbers))
    assert grid.skipped == numbers[-1] - numbers[0] - len(delays)


@given(INTERVALS, st.floats(0, 2e9))
def test_the_first_instant_is_the_next_multiple(interval, now):
    first = FlushGrid(interval).start(now)
    assert now - 1e-6 < first <= now + interval + 1e-6


def test_a_clock_set_back_starts_the_grid_anew_and_skips_nothing():
    grid = FlushGrid(1.0)
    grid.start(100.5)
    assert (grid.advance(50.2), grid.skipped) == (51.0, 0)


def test_a_wall_clock_is_followed_only_when_it_steps():
    steady, wall = [0.0], [1000.0]
    axis = TimeAxis(lambda: steady[0], lambda: wall[0])
    steady[0], wall[0] = 10.0, 1010.0 + STEP_S / 2
    axis.follow()
    assert axis.now() == 1010.0
    wall[0] = 500.0
    axis.follow()
    assert (axis.now(), axis.steady_at(501.0)) == (500.0, 11.0)


def test_without_a_wall_clock_the_steady_one_is_the_time():
    assert TimeAxis(lambda: 7.0, None).now() == 7.0


@given(INTERVALS, st.floats(0, 2e9), st.lists(st.floats(0, 1000), max_size=10))
def test_an_aligned_server_flushes_a_moment_before_each_multiple_and_leaves_none_out(interval, start, delays):
    """So the flush lies in the slot that ends there, whatever slots of whole intervals a store has."""
    plain, aligned = FlushGrid(interval), FlushGrid(interval, lead_of(interval))
    lead = lead_of(interval)
    assert 0 < lead <= 0.05
    assert plain.start(start + lead) - aligned.start(start) == pytest.approx(lead, abs=3e-6)
    now = start
    for delay in delays:
        now = max(now, aligned.instant) + delay
        assert plain.advance(now + lead) - aligned.advance(now) == pytest.approx(lead, abs=3e-6)
    assert plain.skipped == aligned.skipped


def test_an_aligned_flush_is_the_last_of_its_slot():
    grid = FlushGrid(1.0, lead_of(1.0))
    assert [grid.start(8.97), grid.advance(9.95), grid.advance(10.96)] == [9.95, 10.95, 11.95]
