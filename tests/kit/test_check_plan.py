"""What a check is to do and what its outcome means, decided without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brokersim.kit.baseline import Baseline
from brokersim.kit.check import Checked, Judged
from brokersim.kit.check_plan import REAL_RUNS, Asked, CheckError, Point, plan_check
from brokersim.kit.checked_run import CheckedRun
from brokersim.kit.cost import Used
from brokersim.kit.laws import LAWS
from brokersim.kit.verdict import Compared, Verdict

KEPT = Baseline(
    command=("work",), settings={"size": 3, "clock": "virtual", "seed": 7}, versions={}, operations={"job": 2},
    counters={"kvs.0.request_rx": 2}, topics={},
)  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> str:
    path = tmp_path / "kept.toml"
    path.write_text(KEPT.to_toml())
    return str(path)


def test_a_baseline_brings_its_command_and_settings_and_what_is_asked_stands_over_them(kept: str) -> None:
    plan = plan_check(Asked(against=kept, settings={"seed": 1}))
    assert plan.options.command == ("work",)
    assert (plan.options.size, plan.options.seed, plan.options.jobs) == (3, 1, "simulated")
    assert plan.laws == tuple(LAWS)
    assert plan.runs == 1


def test_in_real_time_a_baseline_is_recorded_from_several_runs_unless_told_otherwise() -> None:
    real = {"clock": "real"}
    assert plan_check(Asked(command=("x",), settings=real, record="none.toml")).runs == REAL_RUNS
    assert plan_check(Asked(command=("x",), settings=real, record="none.toml", runs=2)).runs == 2
    assert plan_check(Asked(command=("x",), settings=real)).runs == 1


def test_a_check_has_so_many_runs_for_each_of_its_seeds() -> None:
    plan = plan_check(Asked(command=("x",), seeds="7,2-3", runs=2))
    assert plan.points == tuple(Point(seed, run) for seed in (2, 3, 7) for run in (0, 1))
    assert str(plan.points[1]) == "seed 2, run 2"
    assert plan_check(Asked(command=("x",), settings={"seed": 5})).points == (Point(5),)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"command": ()}, "check runs a command"),
        ({"tolerances": (("a", "2%"),)}, "--tolerance and --per compare with a baseline"),
        ({"tolerances": (("a", "soon"),)}, "--tolerance: "),
        ({"laws": "never"}, "--laws: "),
        ({"relax": (("never", "x"),)}, "--relax: "),
        ({"settings": {"size": 0}}, "size"),
        ({"seeds": "1-x"}, "--seeds: not seeds below 100000: '1-x'"),
        ({"seeds": "0-100000"}, "--seeds: not seeds below 100000"),
        ({"seeds": "0-60000", "runs": 2}, "make 120002 runs; there may be 100000"),
        ({"seeds": "1", "settings": {"seed": 0}}, "--seed and --seeds exclude each other"),
        ({"against": "none.toml"}, "none.toml: No such file"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_run(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(CheckError, match=told):
        plan_check(Asked(**{"command": ("x",), **asked}))


def test_an_operation_the_baseline_does_not_have_is_told_before_anything_is_run(kept: str) -> None:
    with pytest.raises(CheckError, match="no operation 'rpc' in the baseline; it has job"):
        plan_check(Asked(against=kept, per="rpc"))


def checked(code: int, *got: float, record: str | None = None) -> Checked:
    compared = tuple(Compared(name="c", expected=10, got=one, percent=0) for one in got)
    run = CheckedRun(code=code, counted=KEPT, violations=(), used=Used(cpu=0.25, wall=5.0))
    plan = plan_check(Asked(command=("x",), record=record))
    return Checked(plan=plan, judged=(Judged(point=Point(0), run=run, verdict=Verdict(compared=compared)),))


@pytest.mark.parametrize(
    ("code", "got", "state", "exit_code"),
    [
        (0, 10, "OK", 0),
        (0, 9, "WARNING", 1),
        (0, 11, "CRITICAL", 1),
        (3, 10, "UNKNOWN", 3),
        (3, 11, "UNKNOWN", 1),
    ],
)
def test_fewer_messages_are_a_warning_more_are_critical_and_a_failed_command_says_nothing(
    code: int, got: float, state: str, exit_code: int
) -> None:
    found = checked(code, got)
    assert (found.state, found.code) == (state, exit_code)


def test_why_no_baseline_was_written(tmp_path: Path) -> None:
    record = str(tmp_path / "new.toml")
    assert checked(0, 9).why_not_recorded == ""
    assert "something differs" in checked(0, 9, record=record).why_not_recorded
    assert (
        checked(3, 10, record=record).why_not_recorded == "the command ended with 3: no baseline is written"
    )
