"""How far a truth is from itself, against looking at every microsecond; what is drawn, against the real pipeline."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.measure.moved import Moved, distinct, drawn, stay
from brokersim.lab.measure.pipeline import Track, at_ticks, calls, client_packets, flushes, stored
from brokersim.lab.measure.series import US, Steps, steps_of
from brokersim.statsd.law import Chain

HORIZON = 40


@st.composite
def truths(draw: st.DrawFn) -> Steps:
    changes = draw(st.lists(st.tuples(st.integers(0, HORIZON - 1), st.integers(0, 6)), max_size=8))
    values = [value for _, value in changes]
    if draw(st.booleans()):
        values.sort()
    return steps_of(zip(sorted(t for t, _ in changes), values, strict=True))


@given(truth=truths())
def test_d_is_the_mean_distance_of_every_microsecond_for_curves_that_rise_and_others(truth: Steps) -> None:
    found = Moved.of(truth, HORIZON)
    assert found.shifts[0] == -HORIZON
    assert found.shifts[-1] == HORIZON
    for shift, value in zip(found.shifts, found.values, strict=True):
        looked = fmean(abs(truth.at(t - shift) - truth.at(t)) for t in range(HORIZON))
        assert value == pytest.approx(looked)
        assert found.at(shift) == pytest.approx(value)
    assert found.at(10 * HORIZON) == found.values[-1]


def test_the_error_to_expect_of_a_ramp_is_its_slope_times_the_seconds() -> None:
    ramp = steps_of([(at * US // 10, float(at)) for at in range(1, 4000)])
    age = Chain(emission=1, flush=1, retention=1).age
    assert Moved.of(ramp, 400 * US).expected(age) == pytest.approx(10 * age.off, rel=0.03)


def test_copies_of_one_ramp_count_once_and_what_stands_still_does_not() -> None:
    ramp = [(at * US, float(at)) for at in range(1, 20)]
    curves = {
        "requests": steps_of(ramp),
        "responses": steps_of([(t + 7, 3 * value) for t, value in ramp]),
        "still": steps_of([], 4),
        "jobs": steps_of([(US, 5), (9 * US, 1)]),
    }
    assert distinct(curves, 20 * US) == ["requests", "jobs"]


def test_a_stay_is_the_area_over_the_entries() -> None:
    assert stay(steps_of([(0, 2), (US, 1), (3 * US, 0)]), 10 * US) == 2.0
    assert stay(steps_of([(US, 1), (US, 0)]), 10 * US) == 0
    assert stay(steps_of([]), 10 * US) is None


@pytest.mark.parametrize(
    ("emission", "flush", "retention"), [(0.5, 1.0, 1.0), (0.5, 4.0, 1.0), (1.0, 1.0, 10.0), (0.1, 0.4, 2.0)]
)
def test_what_is_drawn_is_what_the_client_and_the_aggregator_leave_in_a_store(
    emission: float, flush: float, retention: float
) -> None:
    horizon = 30 * US
    times = [at * 370_001 for at in range(1, 70)]
    track = Track(names=("x",), first=(0,), times=times, rows=[(at,) for at in range(1, 70)])
    half = [round(0.5 * US * one) for one in (emission, flush, retention)]
    end = horizon + round(US * (flush + retention))
    packets = client_packets(
        calls(track, at_ticks(track, round(emission * US), half[0], end), "absolute"), style="absolute", period=0,
        horizon=end,
    )  # fmt: skip
    shown = flushes(packets, period=round(flush * US), phase=half[1], horizon=end)
    played = [point for point in stored(shown, round(retention * US), half[2])["x"] if 0 < point[0] < horizon]
    chain = Chain(emission=emission, flush=flush, retention=retention)
    ours = [point for point in drawn(track.steps()["x"], chain, horizon) if point[0] >= played[0][0]]
    assert ours == played
