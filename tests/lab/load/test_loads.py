"""What an experiment may be loaded with instead of its serial jobs: the same figures, from the same hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.lab.experiments.watchers import Plan, watchers
from brokersim.lab.load.loads import load_of

LOG = "1 0 0 1 6 -1 -1 6 9 -1 1 1 1 1 1 -1 -1 -1\n2 4 0 1 1 -1 -1 1 9 -1 1 1 1 1 1 -1 -1 -1\n"
TRACE = (
    '{"timestamp":1,"prefix":"rx","name":"cron","type":1,"topic":"cron.list","payload_size":2,"payload":{}}\n'
)


def test_serial_jobs_are_one_load_among_others() -> None:
    plain = watchers(Plan(jobs=2, hooks=("none", "check"), clock="virtual"))
    named = watchers(Plan(jobs=2, hooks=("none", "check"), clock="virtual", workload="serial"))
    assert plain == named


def test_the_jobs_of_a_log_run_under_each_hook_on_a_machine_on_which_they_fit(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text(LOG)
    plan = Plan(hooks=("none", "check"), clock="virtual", workload=f"swf:{tmp_path}/log.swf", speed=2.0)
    found = watchers(plan)
    assert plan.load().resources == "1x6"
    assert (found.meta["jobs"], found.meta["workload"]) == (2, f"swf:{tmp_path}/log.swf")
    assert [2.5 < row["wall_s"] < 3.5 for row in found.runs] == [True, True]  # 4 s and 1 s, twice as fast
    assert found.runs[1]["packets"] > 0


def test_a_trace_is_a_load_too(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text(TRACE * 3)
    found = watchers(Plan(hooks=("none",), clock="virtual", workload=f"trace:{path}", limit=2))
    assert found.meta["jobs"] == 2
    (counts,) = [module["counts"] for module in found.parts["modules"]["none"] if module["name"] == "cron"]
    assert counts[1] >= 2  # request_rx
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="no request to send"):
        load_of(f"trace:{tmp_path}/empty.jsonl", 1, 0.1)


@pytest.mark.parametrize("workload", ["bulk", "burst:2@1s"])
def test_generated_loads_run_as_often_as_asked(workload: str) -> None:
    found = watchers(Plan(jobs=4, hooks=("none",), clock="virtual", workload=workload))
    assert found.runs[0]["jobs_per_s"] == pytest.approx(4 / found.runs[0]["wall_s"])


def test_a_file_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.swf: No such file or directory"):
        load_of(f"swf:{tmp_path}/x.swf", 1, 0.1)


def test_the_log_among_the_examples_runs() -> None:
    path = Path(__file__).parents[3] / "examples" / "workloads" / "small.swf"
    load = load_of(f"swf:{path}", 1, 0.1)
    assert (load.count, load.resources) == (23, "1x16")
    found = watchers(Plan(hooks=("none",), clock="virtual", workload=load.name, speed=50.0))
    assert found.meta["jobs"] == 23
