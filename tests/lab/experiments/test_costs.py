"""Overhead, modules and decay: orders that follow from the loop, masks off that cost nothing, models that age."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from brokersim.lab.experiments.decay import Plan as DecayPlan
from brokersim.lab.experiments.decay import decay
from brokersim.lab.experiments.modules import KVS_088, modules
from brokersim.lab.experiments.modules import Plan as ModulesPlan
from brokersim.lab.experiments.overhead import Plan as OverheadPlan
from brokersim.lab.experiments.overhead import _checks, interval, overhead
from brokersim.lab.result import Result


@pytest.fixture(scope="module")
def costs() -> Result:
    return overhead(OverheadPlan(jobs=8))


def test_masks_off_cost_nothing_and_hooks_come_in_the_journals_order(costs: Result) -> None:
    assert costs.failed() == []
    on = {run["hook"]: run for run in costs.runs if run["masks"] == "on"}
    off = [run for run in costs.runs if run["masks"] == "off"]
    assert len(off) == 5
    assert not any(run["packets"] for run in off)
    assert on["timer:1s"]["packets"] < on["check"]["packets"] < on["prepare"]["packets"]
    assert on["prepare"]["journal"] == 0.154


def test_curves_are_of_hooks_that_are_on(costs: Result) -> None:
    assert list(costs.series) == ["timer:1s", "check", "prepare", "idle"]
    means = {hook: sum(v for _, v in points) / len(points) for hook, points in costs.series.items()}
    assert means["timer:1s"] < means["idle"] < min(means["check"], means["prepare"])


def test_the_interval_of_equal_runs_is_a_point_and_covers_a_difference() -> None:
    assert interval([2.0, 2.0, 2.0], [1.0, 1.0], Random(1)) == (1.0, 1.0)
    low, high = interval([1.1, 1.2, 1.3, 1.15, 1.25], [1.0, 1.01, 0.99, 1.0, 1.02], Random(1))
    assert 0.05 < low < 0.2 < high < 0.32


def test_real_time_measures_none_and_the_hooks() -> None:
    found = overhead(OverheadPlan(jobs=2, hooks=("check",), clock="real"))
    none, check = found.runs
    assert (none["hook"], none["overhead"]) == ("none", 0.0)
    assert check["packets"] > 100
    assert check["cpu_s"] > 0 < none["cpu_s"]
    assert check["wall_s"] == pytest.approx(none["wall_s"] * (1 + check["overhead"]))
    assert (check["low"], check["high"]) == (None, None)  # one run says nothing of the spread
    assert found.series == {}


def real_rows(**cpu: float) -> list[dict[str, Any]]:
    walls = {"timer:1s": 0.01, "check": 0.0, "prepare": 0.02, "idle": 0.1}
    rows: list[dict[str, Any]] = [
        {"hook": "none", "masks": "off", "overhead": 0.0, "packets": 0, "cpu_s": 1.0}
    ]
    for hook, share in walls.items():
        seconds = cpu.get(hook.partition(":")[0], 0.0)
        rows.append({"hook": hook, "masks": "on", "overhead": share, "packets": 9, "cpu_s": seconds})
    return rows


def test_in_real_time_wall_time_has_a_spread_and_cpu_must_be_in_order() -> None:
    plan = OverheadPlan(clock="real")
    right = real_rows(timer=1.05, check=1.4, prepare=1.5, idle=3.0)
    assert [(check.id, check.ok) for check in _checks(plan, right)] == [("L7", True), ("L7 b", True)]
    wrong = real_rows(timer=1.45, check=1.4, prepare=1.5, idle=3.0)
    assert [check.ok for check in _checks(plan, wrong)] == [True, False]
    assert [check.ok for check in _checks(OverheadPlan(), right)] == [False]


def test_modules_show_their_counters_per_job_and_one_packet_an_iteration_at_most() -> None:
    found = modules(ModulesPlan(jobs=20))
    assert {"L1", "L3", "J7 b"}.isdisjoint(found.failed())
    kvs = next(run for run in found.runs if run["module"] == "kvs")
    for kind, wanted in KVS_088.items():
        assert 0.7 < kvs[kind] / wanted < 1.3
    total = sum(v * 0.25 / 8 for points in found.series.values() for _, v in points)
    assert round(total) == sum(run["packets"] for run in found.runs)


def test_the_rate_is_flat_without_a_model_of_decay_and_falls_with_one() -> None:
    found = decay(DecayPlan(jobs=18, blocks=3))
    assert found.failed() == []
    rates = {model: [run["jobs_per_s"] for run in found.runs if run["model"] == model] for model in (
        "none", "linear", "store"
    )}  # fmt: skip
    assert rates["none"][0] == rates["linear"][0] == rates["store"][0]
    assert rates["linear"] == sorted(rates["linear"], reverse=True)
    assert rates["store"] == sorted(rates["store"], reverse=True)


@pytest.mark.parametrize("make", [
    lambda: overhead(OverheadPlan(jobs=2, hooks=("prepare",))),
    lambda: modules(ModulesPlan(jobs=2)),
    lambda: decay(DecayPlan(jobs=2, blocks=2)),
])  # fmt: skip
def test_the_same_seed_gives_the_same_bytes(make: Any) -> None:
    assert json.dumps(make().to_json()) == json.dumps(make().to_json())
