"""Job logs and recorded traces against real instances, by their sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_live import brokersim

LOG = """\
; MaxProcs: 4
1 0 0 1 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1
2 1 0 1 1 -1 -1 1 9 -1 1 1 1 1 1 -1 -1 -1
3 2 0 1 64 -1 -1 64 9 -1 1 1 1 1 1 -1 -1 -1
"""
RECORD = """
brokersim module trace --json --full -t request,response -T "kvs.*" -c 5 kvs > day.jsonl & trace=$!
until brokersim kvs put a.b=42; grep -q '"type":1,"topic":"kvs.commit"' day.jsonl; do :; done
brokersim kvs get a.b >/dev/null; brokersim kvs get nope 2>/dev/null
wait $trace
"""


def in_instance(tmp: Path, script: str, clock: str = "real") -> str:
    """The stdout of a script run inside a fresh instance of four cores."""
    (tmp / "script").write_text(f"cd {tmp}\n{script}")
    done = brokersim(tmp, "start", "--clock", clock, "--", "sh", str(tmp / "script"))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("w")


def test_the_jobs_of_a_log_run_in_a_live_instance_and_one_too_wide_fails(tmp: Path) -> None:
    (tmp / "log.swf").write_text(LOG)
    out = in_instance(tmp, "brokersim job swf log.swf -x 20 --wait --json; echo $?").splitlines()
    jobs = json.loads(out[0])["jobs"]
    assert [job["success"] for job in jobs] == [True, True, False]
    assert "unsatisfiable" in jobs[2]["errstr"]
    assert out[1] == "1"
    cut = in_instance(
        tmp, "brokersim job swf log.swf -x 20 --wait --max-cores 4 --json; echo $?"
    ).splitlines()
    assert [job["success"] for job in json.loads(cut[0])["jobs"]] == [True, True, True]
    assert cut[1] == "0"


def test_a_recorded_trace_is_replayed_into_another_instance_and_a_difference_is_told(tmp: Path) -> None:
    in_instance(tmp, RECORD)
    same = json.loads(in_instance(tmp, "brokersim module replay --json day.jsonl"))
    assert same["sent"] >= 1
    assert (same["differently"], same["unanswered"]) == ([], 0)
    trace = (tmp / "day.jsonl").read_text().replace('"kvs.commit"', '"kvs.committ"')
    (tmp / "wrong.jsonl").write_text(trace)
    out = in_instance(tmp, "brokersim module replay -x max --gate wrong.jsonl; echo $?").splitlines()
    assert any("ENOSYS" in line for line in out)
    assert out[-1] == "1"


#: More than the 30 s that any command has here.
FAR_APART = """\
1 0 0 1 1 -1 -1 1 9 -1 1 1 1 1 1 -1 -1 -1
2 3600 0 1 1 -1 -1 1 9 -1 1 1 1 1 1 -1 -1 -1
"""


def test_under_a_virtual_clock_jobs_an_hour_apart_are_submitted_an_hour_apart_at_once(tmp: Path) -> None:
    (tmp / "far.swf").write_text(FAR_APART)
    script = "brokersim job swf far.swf --wait; brokersim job list -a --json"
    jobs = json.loads(in_instance(tmp, script, "virtual").splitlines()[-1])["jobs"]
    first, second = sorted(job["t_submit"] for job in jobs)
    assert second - first == pytest.approx(3600, abs=0.5)


def test_under_a_virtual_clock_a_trace_is_replayed_at_its_times(tmp: Path) -> None:
    records = (
        {"timestamp": at, "prefix": prefix, "rank": -1, "name": "kvs", "type": kind, "topic": "kvs.ping"}
        | {"payload_size": 0, "payload": {"seq": number}, "errnum": 0, "errstr": ""}
        for number, at in enumerate((0.0, 3600.0))
        for prefix, kind in ((">", 1),)
    )
    (tmp / "far.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    out = in_instance(tmp, "brokersim module replay --json far.jsonl; brokersim status --json", "virtual")
    replayed, status = map(json.loads, out.splitlines())
    assert replayed["sent"] == 2
    assert 3600 <= status["uptime"] < 3700
