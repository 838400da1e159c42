"""What measuring on a schedule costs, and how wrong its curve is."""

from __future__ import annotations

from random import Random

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


def row(low: float | None, high: float | None) -> dict[str, object]:
    return {"every": "1s", "overhead": 0.02, "low": low, "high": high}


def test_more_than_one_per_cent_is_judged_where_the_interval_lies_on_one_side_of_it_alone() -> None:
    assert [check.ok for check in probes._cheap([row(0.015, 0.05)])] == [False]
    assert [check.ok for check in probes._cheap([row(-0.01, 0.01)])] == [True]
    for undecided in (row(-0.01, 0.05), row(0.01, 0.02), row(None, None)):
        assert probes._cheap([undecided]) == []


def test_what_is_not_judged_is_said_with_what_would_decide_it() -> None:
    assert "takes --reps 6 or more" in probes._undecided([row(None, None)])
    assert "cannot be told from that: more --reps" in probes._undecided([row(-0.01, 0.05)])
    assert probes._undecided([row(0.015, 0.05)]) == probes._undecided([]) == ""


def test_an_interval_is_of_the_values_themselves_and_takes_six() -> None:
    assert probes.bounds([1.0] * (probes.LEAST_ROUNDS - 1)) is None
    assert probes.bounds([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)
    assert probes.bounds([float(n) for n in range(15)]) == (
        3.0,
        11.0,
    )  # 4th and 12th of 15, as in tables of the test


@pytest.mark.parametrize("count", [6, 7, 15, 40])
def test_the_median_lies_in_it_at_least_as_often_as_it_says(count: int) -> None:
    """Values of which a few are far off, as on a machine that is busy in bursts: their median is 0."""
    random, rounds, hits = Random(count), 2000, 0
    for _ in range(rounds):
        values = [random.choice((-1, 1)) * random.paretovariate(0.5) for _ in range(count)]
        low, high = probes.bounds(values) or (0.0, 0.0)
        hits += low <= 0 <= high
    assert hits / rounds >= 0.93, "95 %, less what 2,000 draws may miss by (4 sigma)"


def test_in_real_time_each_round_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes ten times as slow in every round: each adds 1/2 % to its own jobs, and that is told."""
    speeds = iter(range(1, 100))
    speed: dict[str, float] = {}

    def ran(_worked: object, _jobs: int, every: float, _seed: int, clock: str) -> tuple[float, float]:
        if len(speed) == 2 or not speed:
            speed.clear()
            speed["now"] = 10.0 ** next(speeds)
        else:
            speed["then"] = 0
        return speed["now"] * (1.005 if every else 1.0), 1.0

    monkeypatch.setattr(probes, "run", ran)
    found = probes.probes(Plan(jobs=1, intervals=(1.0,), clock="real", reps=6))
    one = found.runs[1]
    assert one["overhead"] == pytest.approx(0.005) == one["low"] == one["high"]
    assert [check.ok for check in found.checks] == [True]


def test_in_real_time_the_jobs_are_timed_with_and_without() -> None:
    found = probes.probes(Plan(jobs=3, intervals=(0.05,), clock="real", reps=2))
    assert [row["every"] for row in found.runs] == ["none", "50ms"]
    assert all(row["cpu_s"] > 0 for row in found.runs)
    assert found.runs[1]["low"] is None is found.runs[1]["high"]
