"""The chain of intervals: what limits a curve, what a store refuses, how many slots are in use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brokersim.lab.experiments.resolution import COMPARED, Plan, resolution
from brokersim.lab.measure.slots import highest, mean
from brokersim.lab.result import Result

PLAN = Plan(jobs=80, size=2, timers=(0.1, 0.025), flushes=(0.5, 0.1), retentions=(3.0, 1.0, 0.1))


@pytest.fixture(scope="module")
def found() -> Result:
    return resolution(PLAN)


def rows(found: Result, **wanted: float) -> list[dict[str, Any]]:
    return [row for row in found.runs if all(row[key] == value for key, value in wanted.items())]


def check(found: Result, name: str) -> Result:
    return next(one for one in found.checks if one.id.startswith(name))


def test_every_combination_has_a_row_but_those_of_a_retention_no_whisper_keeps(found: Result) -> None:
    assert {(row["timer_s"], row["flush_s"], row["retention_s"]) for row in found.runs} == {
        (timer, flush, retention)
        for timer in (0.1, 0.025)
        for flush in (0.5, 0.1)
        for retention in (3.0, 1.0)
    }
    assert [one["retention_s"] for one in found.parts["refused"]] == [0.1]
    assert "whisper stores whole seconds" in found.parts["refused"][0]["reason"]
    assert "1s:1d" in found.parts["refused"][0]["hint"]


def test_the_slowest_stage_decides_about_the_error(found: Result) -> None:
    coarse, fine = ([row["error"] for row in rows(found, slowest_s=stage)] for stage in (3.0, 1.0))
    assert max(fine) < min(coarse)


def test_no_stored_value_is_older_or_newer_than_the_stages_allow(found: Result) -> None:
    assert check(found, "J16 bound").ok


def test_a_slow_timer_errs_by_no_more_than_it_is_late_however_often_a_state_fills_and_empties() -> None:
    plan = Plan(jobs=100, batches=2, size=1, timers=(1.0, 0.025), flushes=(0.5,), retentions=(1.0,))
    (found,) = (one for one in resolution(plan).checks if one.id == "J16 b")
    assert found.ok, found.ours


def test_a_faster_timer_costs_no_wall_time(found: Result) -> None:
    assert check(found, "J16 a").ok
    walls = [row["wall_s"] for row in found.parts["timers"]]
    assert max(walls) / min(walls) - 1 < 0.02


def test_slots_are_held_longer_than_jobs_run_and_there_are_never_more_than_there_are(
    found: Result,
) -> None:
    for row in found.parts["timers"]:
        assert 0 < row["slots_running_mean"] < row["slots_allocated_mean"] <= row["slots_allocated_max"] <= 24
    assert found.parts["slots"]["allocated"][-1][1] == found.parts["slots"]["running"][-1][1] == 0


def test_curves_of_every_combination_stand_beside_the_truth(found: Result) -> None:
    assert len(found.series) == len(found.runs)
    assert all(set(states) == set(COMPARED) for states in found.series.values())
    assert set(found.truth) == set(COMPARED)
    for states in found.series.values():
        assert states["INACTIVE"][-1][1] == PLAN.jobs


def test_cache_timings_are_shown_behind_each_flush(found: Result) -> None:
    assert list(found.parts["cache"]) == ["flush 500ms", "flush 100ms"]
    stores = [len(kinds["store"]["mean"]) for kinds in found.parts["cache"].values()]
    assert 0 < stores[0] < stores[1]


def test_the_same_seed_gives_the_same_bytes(found: Result) -> None:
    assert json.dumps(resolution(PLAN).to_json()) == json.dumps(found.to_json())


def test_small_runs_say_what_they_cannot_show(found: Result) -> None:
    # The end is a large part of so short a run; all else holds.
    assert set(found.failed()) <= {"J16 c", "J17 b"}


def test_a_plan_whose_every_retention_is_refused_says_why() -> None:
    with pytest.raises(ValueError, match=r"no retention is left: 0.1s: whisper stores whole seconds"):
        resolution(Plan(jobs=1, retentions=(0.1,)))


@pytest.mark.parametrize("stage", ["timers", "flushes", "retentions"])
def test_a_stage_needs_intervals_that_can_be(stage: str) -> None:
    with pytest.raises(ValueError, match=f"{stage}: give one or more durations"):
        Plan(**{stage: ()})
    with pytest.raises(ValueError, match=f"{stage}: give one or more durations"):
        Plan(**{stage: (0.0,)})


def test_the_mean_of_slots_is_weighted_by_time() -> None:
    points = [(0.0, 0.0), (1.0, 10.0), (3.0, 4.0)]
    assert mean(points, 4.0) == (0 * 1 + 10 * 2 + 4 * 1) / 4
    assert mean(points, 2.0) == 5.0
    assert mean(points, 0.0) == 0.0
    assert highest(points) == 10.0
