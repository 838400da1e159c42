"""The job-state experiment: shapes, law L8, NEW sinking by exactly what was sent, and its cure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brokersim.lab.experiments.states import Plan, shown, states
from brokersim.lab.result import Result

SMALL = Plan(jobs=40, run_time=0.3, timer=0.5, tail=5.0)


@pytest.fixture(scope="module")
def found() -> Result:
    return states(SMALL)


def test_everything_the_journal_found_comes_out(found: Result) -> None:
    assert found.failed() == []
    assert [check.id for check in found.checks] == [
        "J15", "L8", "J13 a", "J13 b", "J13 c", "J14 a", "J14 b"
    ]  # fmt: skip


def test_new_ends_at_minus_the_jobs_times_the_sends_after_they_left_it(found: Result) -> None:
    journal, fixed = found.runs
    assert journal["form"] == "journal"
    assert journal["new_end"] % SMALL.jobs == 0
    assert journal["new_end"] == -SMALL.jobs * journal["packets"]
    assert (fixed["new_end"], fixed["new_lowest"], fixed["inactive_end"]) == (0, 0, SMALL.jobs)


def test_the_gauges_lag_behind_the_truth_and_meet_it_at_the_end(found: Result) -> None:
    truth, series = found.truth, found.series["fixed"]
    assert truth["INACTIVE"][-1][1] == series["INACTIVE"][-1][1] == SMALL.jobs
    reached = {name: next(t for t, v in points if v == SMALL.jobs) for name, points in (
        ("truth", truth["INACTIVE"]), ("gauges", series["INACTIVE"])
    )}  # fmt: skip
    assert reached["truth"] < reached["gauges"] <= reached["truth"] + SMALL.timer + SMALL.flush
    assert max(v for _, v in truth["RUN"]) == 12


def test_the_same_seed_gives_the_same_bytes() -> None:
    plan = Plan(jobs=5, seed=4, tail=2.0)
    first, second = (json.dumps(states(plan).to_json()) for _ in range(2))
    assert first == second


def test_brubeck_takes_a_negative_gauge_for_a_decrement() -> None:
    packets = tuple((float(t), b"flux.job-states.new:-5|g\nflux.job-states.run:2|g") for t in range(3))
    curves = shown(packets, 1.0)
    assert curves["NEW"][-1][1] == -15
    assert curves["RUN"][-1][1] == 2
    assert curves["SCHED"] == []


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"timer": 0}, {"flush": 0}, {"clock": "fast"}, {"tail": -1}])
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Plan(**wrong)
