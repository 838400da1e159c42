"""A result held against an earlier one: exact figures in virtual time, order and ratios in real time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from brokersim.lab.experiments.decay import Plan as DecayPlan
from brokersim.lab.experiments.decay import decay
from brokersim.lab.keep.baseline import BaselineError, compare, worse
from brokersim.lab.keep.kept import KeptError, keep, read_kept
from brokersim.lab.result import Result
from brokersim.statsd_server.outputs.rundb import read_meta, read_samples, read_series


def result(clock: str = "virtual", *, plan: int = 1, checks: bool = True, **walls: float) -> Result:
    return Result.from_json({
        "meta": {"experiment": "overhead", "clock": clock, "plan": {"jobs": plan}},
        "runs": [{"hook": hook, "wall_s": wall, "jobs_per_s": 100 / wall} for hook, wall in walls.items()],
        "checks": [{"id": "L7", "sentence": "in order", "ok": checks, "ours": "…", "journal": ""}],
    })  # fmt: skip


def told(now: Result, before: Result) -> list[tuple[str, str, bool]]:
    return [(one.where, one.what, one.is_worse) for one in compare(now, before)]


def test_the_same_result_differs_in_nothing() -> None:
    assert compare(result(none=10.0, idle=20.0), result(none=10.0, idle=20.0)) == []


def test_in_virtual_time_a_figure_that_grew_is_worse_and_one_that_fell_is_not() -> None:
    before = result(none=10.0, idle=20.0)
    assert told(result(none=10.0, idle=20.5), before) == [
        ("idle", "wall_s", True),
        ("idle", "jobs_per_s", True),
    ]
    assert {is_worse for _, _, is_worse in told(result(none=10.0, idle=19.0), before)} == {False}


def test_in_real_time_a_slower_machine_is_no_difference_but_a_larger_share_is() -> None:
    before = result("real", none=10.0, idle=20.0)
    assert compare(result("real", none=30.0, idle=60.0), before) == []
    found = compare(result("real", none=10.0, idle=35.0), before)
    assert [one.what for one in worse(found)] == [
        "wall_s, share of the first row's",
        "jobs_per_s, share of the first row's",
    ]


def test_another_plan_is_compared_by_ratios_also_in_virtual_time() -> None:
    assert compare(result(plan=2, none=30.0, idle=60.0), result(plan=1, none=10.0, idle=20.0)) == []


def test_rows_that_changed_places_are_worse() -> None:
    found = told(result("real", none=10.0, idle=20.0), result("real", none=20.0, idle=10.0))
    assert ("none and idle", "order of wall_s", True) in found


def test_a_check_that_agrees_no_more_is_worse_and_one_that_does_now_is_not() -> None:
    good, bad = result(none=1.0), result(none=1.0, checks=False)
    assert told(bad, good) == [("L7", "in order", True)]
    assert told(good, bad) == [("L7", "in order", False)]


def test_a_row_that_is_missing_is_worse_and_a_new_one_is_not() -> None:
    assert told(result(none=1.0), result(none=1.0, idle=2.0)) == [("idle", "row", True)]
    assert told(result(none=1.0, idle=2.0), result(none=1.0)) == []


def test_other_experiments_and_clocks_cannot_be_compared() -> None:
    other = result(none=1.0).with_meta(experiment="idle")
    with pytest.raises(BaselineError, match="the baseline is of idle, not of overhead"):
        compare(result(none=1.0), other)
    with pytest.raises(BaselineError, match="the baseline's clock is real, this run's virtual"):
        compare(result(none=1.0), result("real", none=1.0))


# -- kept


@pytest.fixture(scope="module")
def found() -> Result:
    return decay(DecayPlan(jobs=4, blocks=2, models=("none",)))


def test_a_result_comes_back_from_its_database_as_it_was(found: Result, tmp_path: Path) -> None:
    keep(found, tmp_path / "run.db")
    assert read_kept(tmp_path / "run.db") == Result.from_json(
        msgspec.json.decode(msgspec.json.encode(found.to_json()))
    )


def test_curves_are_series_of_the_database_that_any_reader_sees(tmp_path: Path) -> None:
    kept = {"meta": {"experiment": "states", "seed": 3}, "runs": [], "checks": [],
            "series": {"fixed": {"RUN": [(0.0, 1), (2.5, 4)]}}, "truth": {"RUN": [(0.0, 2)]}}  # fmt: skip
    keep(Result.from_json(kept), tmp_path / "run.db")
    assert read_series(tmp_path / "run.db") == ["series.fixed.RUN"]
    assert read_series(tmp_path / "run.db", "truth") == ["truth.RUN"]
    assert read_samples(tmp_path / "run.db", "series.fixed.RUN") == [(0.0, 1), (2.5, 4)]
    assert read_meta(tmp_path / "run.db")["seed"] == "3"


def test_a_result_is_read_from_its_json_and_its_folder_too(found: Result, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(found.to_json()))
    assert read_kept(tmp_path) == read_kept(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither a run database nor a result"),
        (b"\xff\xfe", "neither a run database nor a result"),
        (b"[1]", "is no result of an experiment"),
        (b'{"meta": {}}', "is no result of an experiment"),
        (b"SQLite format 3\x00 but not really", "holds no experiment's result"),
    ],
)
def test_what_is_no_result_is_refused_in_a_line(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(KeptError, match=why):
        read_kept(tmp_path / "x")
