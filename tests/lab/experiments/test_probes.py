"""What measuring on a schedule costs, and how wrong its curve is."""

from __future__ import annotations

import pytest

from brokersim.lab.experiments import probes
from brokersim.lab.experiments.probes import Plan
from brokersim.lab.measure.probed import held_error


def test_a_counter_that_grows_steadily_is_off_by_half_an_interval() -> None:
    truth = [(n / 100, float(n)) for n in range(1001)]  # 100 a second for 10 s
    every_second = [(float(n), 100.0 * n) for n in range(11)]
    mean, most = held_error(truth, every_second)
    assert mean == pytest.approx(0.05, abs=0.001)  # 50 of 1,000
    assert most == pytest.approx(0.099, abs=0.001)
    assert held_error(truth, truth) == (0.0, 0.0)
    assert held_error(truth, []) == held_error([], every_second) == (0.0, 0.0)


def test_finer_intervals_are_truer_and_the_same_seed_gives_the_same_rows() -> None:
    first, second = (probes.probes(Plan(jobs=30, intervals=(2.0, 0.2))) for _ in range(2))
    coarse, fine = (row["error"] for row in first.runs)
    assert 0 < fine < coarse < 1
    assert first.failed() == []
    assert first.runs == second.runs and first.series == second.series


def test_a_curve_that_got_worse_with_a_shorter_interval_is_said_to_be() -> None:
    rows = [{"every": "1s", "error": 0.1}, {"every": "0.1s", "error": 0.2}]
    assert [check.ok for check in probes._finer(rows)] == [False]
    assert [check.ok for check in probes._finer(rows[::-1])] == [True]


def test_more_than_one_per_cent_is_too_much_if_it_is_no_noise() -> None:
    def row(low: float | None) -> dict[str, object]:
        return {"every": "1s", "overhead": 0.02, "low": low, "high": 0.05}

    assert [check.ok for check in probes._cheap([row(0.015)])] == [False]
    assert [check.ok for check in probes._cheap([row(-0.01)])] == [True]
    assert probes._cheap([row(None)]) == []


def test_in_real_time_the_jobs_are_timed_with_and_without() -> None:
    found = probes.probes(Plan(jobs=3, intervals=(0.05,), clock="real", reps=2))
    assert [row["every"] for row in found.runs] == ["none", "50ms"]
    assert all(row["cpu_s"] > 0 for row in found.runs)
    assert found.runs[1]["low"] <= found.runs[1]["high"]
