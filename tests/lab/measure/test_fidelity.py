"""Figures of a stored curve against the truth, each against a slow model that looks at every microsecond."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.measure.fidelity import (
    Curve,
    Reach,
    bound,
    lag,
    missed_visits,
    quantile,
    series_fidelity,
    sum_error,
    timer_errors,
)
from brokersim.lab.measure.pipeline import Track, at_ticks, calls, client_packets, flushes, stored
from brokersim.lab.measure.series import US, Steps, distance, steps_of

HORIZON = 60
REACH = Reach(back=0, ahead=0)


@st.composite
def curves(draw: st.DrawFn, lowest: int = 0) -> Steps:
    changes = draw(
        st.lists(st.tuples(st.integers(0, HORIZON - 1), st.integers(lowest, 6)), max_size=12).map(sorted)
    )
    return steps_of(sorted(changes, key=lambda change: change[0]), draw(st.integers(lowest, 6)))


@st.composite
def kept(draw: st.DrawFn) -> list[tuple[int, float]]:
    times = draw(st.lists(st.integers(-5, HORIZON - 1), unique=True, max_size=8).map(sorted))
    return [(t, draw(st.integers(-3, 6))) for t in times]


def drawn(points: list[tuple[int, float]]) -> list[float | None]:
    """What a plot shows in each microsecond."""
    return [next((value for t, value in reversed(points) if t <= now), None) for now in range(HORIZON)]


def true(curve: Steps) -> list[float]:
    """The last value written at or before each microsecond."""
    return [
        [value for t, value in zip(curve.times, curve.values, strict=True) if t <= now][-1]
        for now in range(HORIZON)
    ]


@given(truth=curves(lowest=-3), points=kept())
def test_max_mean_and_bias_are_those_of_every_microsecond(truth: Steps, points: list[tuple[int, float]]):
    errors = [
        shown - value for shown, value in zip(drawn(points), true(truth), strict=True) if shown is not None
    ]
    found = distance(truth, points, HORIZON)
    if not errors:
        assert found is None
        return
    assert found is not None
    assert found.span == len(errors)
    assert found.max == max(map(abs, errors))
    assert found.mean == pytest.approx(fmean(map(abs, errors)))
    assert found.bias == pytest.approx(fmean(errors))


@given(truth=curves(), points=kept())
def test_the_other_figures_are_those_of_every_microsecond(truth: Steps, points: list[tuple[int, float]]):
    found = series_fidelity(Curve.of(truth, HORIZON), points, REACH)
    shown = drawn(points)
    values = true(truth)
    assert found.peak == max(values)
    assert found.gap == shown.count(None) / HORIZON
    whole = fmean(abs((y or 0) - x) for y, x in zip(shown, values, strict=True))
    assert found.whole_mean == pytest.approx(whole)
    assert found.negatives == sum(value < 0 for _, value in points)
    assert found.final_error == (shown[-1] or 0) - values[-1]
    assert found.is_missed == (
        any(value > 0 for value in truth.values) and not any(value > 0 for _, value in points)
    )


def test_a_curve_without_points_is_as_wrong_as_one_at_0_and_is_all_gap():
    found = series_fidelity(Curve.of(steps_of([(0, 4)]), HORIZON), [], REACH)
    assert (found.relative_mean, found.relative_max, found.relative_bias, found.gap) == (1, 1, -1, 1)


def test_a_curve_that_never_rises_has_no_relative_errors():
    found = series_fidelity(Curve.of(steps_of([]), HORIZON), [(0, 2)], REACH)
    assert (found.relative_mean, found.mean) == (None, 2)


def test_a_visit_of_no_length_counts_and_is_missed():
    truth = steps_of([(10, 1), (10, 0), (20, 1), (30, 0)])
    assert truth.visits() == [(10, 10), (20, 30)]
    assert truth.peak(HORIZON) == 1
    found = series_fidelity(Curve.of(truth, HORIZON), [(0, 0), (25, 1), (40, 0)], REACH)
    assert (found.visits, found.visits_missed, found.missed_longest, found.is_missed) == (2, 1, 0, False)


def test_a_point_within_reach_of_a_visit_may_come_from_it():
    visits = [(20, 30)]
    assert missed_visits(visits, [(45, 1)], HORIZON, REACH) == [10]
    assert missed_visits(visits, [(45, 1)], HORIZON, Reach(back=15, ahead=0)) == []
    assert missed_visits(visits, [(12, 1)], HORIZON, Reach(back=0, ahead=8)) == []
    assert missed_visits([(50, None)], [], HORIZON, REACH) == [10]


@given(
    shift=st.integers(0, 8),
    changes=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=8),
)
def test_a_curve_that_is_only_late_is_right_when_moved_by_its_lag(shift: int, changes: list[tuple[int, int]]):
    truth = steps_of(sorted(changes, key=lambda change: change[0]), 0)
    late = [(t + shift, value) for t, value in dict(zip(truth.times, truth.values, strict=True)).items()]
    found = lag(truth, late, HORIZON, Reach(back=16, ahead=0))
    assert found is not None
    moved = distance(truth, late, HORIZON)
    assert moved is not None
    assert found[1] == 0
    assert found[0] == shift or moved.mean == 0 or distance(truth, late, HORIZON, found[0]).mean == 0  # type: ignore[union-attr]


def test_one_late_point_of_a_ramp_is_early_by_half_of_it_and_not_right_where_it_shows_nothing():
    """Drawn from 0 s on: 10. The ramp is there after 10 s; in the middle, 5 s early, it is wrong by 1.25 on average."""
    ramp = steps_of([(at * US // 10, at / 10) for at in range(1, 101)])
    found = lag(ramp, [(0, 10.0)], 20 * US, Reach(back=20 * US, ahead=20 * US))
    assert found is not None
    assert found[0] / US == pytest.approx(-5, abs=0.1)
    assert found[1] == pytest.approx(1.25, rel=0.01)


def test_an_exact_curve_that_is_2_s_late_is_2_s_late_and_right():
    ramp = steps_of([(at * 333_333, float(at * at % 17)) for at in range(1, 40)])
    late = [(t + 2 * US, value) for t, value in zip(ramp.times, ramp.values, strict=True)]
    assert lag(ramp, late, 20 * US, Reach(back=11 * US, ahead=10 * US)) == (2 * US, 0)


def test_a_curve_without_points_has_no_lag():
    assert lag(steps_of([]), [], HORIZON, REACH) is None


def test_states_that_lose_a_job_have_a_sum_error_and_states_that_are_late_have_none():
    total = steps_of([(10, 5), (20, 8)])
    reach = Reach(back=10, ahead=0)
    right = {"a": [(12, 5), (24, 3)], "b": [(24, 5)]}
    assert sum_error(total, right, HORIZON, reach) == 0
    assert sum_error(total, {"a": [(12, 5), (24, 3)], "b": [(24, 4), (40, 4)]}, HORIZON, reach) == 1
    assert sum_error(total, {"a": [(40, -2)], "b": []}, HORIZON, reach) == 10


# -- the bound


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    changes = draw(st.lists(st.tuples(st.integers(0, 30 * US), st.integers(0, 9)), max_size=20).map(sorted))
    return Track(
        names=("x",), first=(0,), times=[t for t, _ in changes], rows=[(value,) for _, value in changes]
    )


@given(
    track=tracks(),
    stages=st.tuples(
        st.sampled_from([25_000, 100_000, 1 * US, 2 * US]),
        st.sampled_from([0, 100_000, 1 * US]),
        st.sampled_from([100_000, 1 * US, 10 * US]),
        st.sampled_from([1 * US, 10 * US]),
    ),
    shares=st.tuples(*[st.floats(0, 0.999)] * 4),
)
def test_an_absolute_gauge_shows_a_value_the_truth_had_within_the_stages(
    track: Track, stages: tuple[int, ...], shares: tuple[float, ...]
):
    """|y - x| is at most the truth's variation over [t - d - a - f, t + r], for any phases."""
    horizon = 45 * US
    emission, period, flush, retention = stages
    phases = [int(share * stage) for share, stage in zip(shares, stages, strict=True)]
    packets = client_packets(
        calls(track, at_ticks(track, emission, phases[0], horizon), "absolute"), style="absolute", period=period,
        phase=phases[1], horizon=horizon,
    )  # fmt: skip
    points = stored(flushes(packets, period=flush, phase=phases[2], horizon=horizon), retention, phases[3])
    reach = Reach.of(emission=emission, period=period, flush=flush, retention=retention)
    truth = track.steps()["x"]
    for t, value in points.get("x", []):
        lowest, highest = bound(truth, t, reach)
        assert lowest <= value <= highest, t


# -- timers


def test_a_quantile_is_a_sample_by_rank():
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.25, 0.5, 0.99, 1)] == [1, 1, 2, 4, 4]
    assert quantile([], 0.5) == 0


def test_one_window_of_all_samples_has_no_timer_errors():
    raw = [5.0, 1.0, 9.0]
    assert timer_errors(raw, [raw, []]) == {"count": 0, "mean": 0, "median": 0, "p99": 0}


def test_percentiles_of_windows_cannot_be_averaged():
    raw = [1.0] * 99 + [100.0]
    found = timer_errors(raw, [[1.0] * 99, [100.0]])
    assert found["count"] == 0
    assert found["p99"] == pytest.approx(49.5)  # shown 50.5, true 1
    assert found["mean"] == pytest.approx(50.5 / 1.99 - 1)


def test_lost_samples_show_in_the_count():
    assert timer_errors([1.0] * 4, [[1.0]])["count"] == -0.75
    assert timer_errors([], []) == {"count": 0, "mean": 0, "median": 0, "p99": 0}
