"""Probes in processes of their own: whatever one does, it ends alone, is told, and leaves nothing behind.

Real processes in real time; the machine is not asked to be quick, only right.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modules.probe.plan import to_measurement
from modules.probe.probes.mem import Mem
from tests.modules.probe.harness import every, lined
from tests.modules.probe.test_command import measured, runs, values

ANSWERS = "while read line; do echo '{\"n\": 1}'; done"


def shell(script, seconds=0.05, **more):
    return lined("execd", every(seconds), {"argv": ["sh", "-c", script]}, **more)


def of(marker):
    """Processes of ours whose command line has this word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return [pid for pid in found if pid != os.getpid()]


def test_one_of_ours_is_read_in_a_process_of_its_own_as_it_is_in_the_loop(tmp_path):
    records = {
        "apart": lined("mem", every(0.05), isolation="process", timeout=10),
        "broken": lined("dummy", every(0.05), {"fail": "why"}, isolation="process", timeout=10),
    }
    found, lines = measured(
        tmp_path,
        records,
        lambda found: runs(found, "apart") > 2 and found["broken"]["counts"].get("fail", 0) > 0,
    )
    got = values(lines)
    assert {name for name in got if name.startswith("apart.")} == {f"apart.{name}" for name in Mem.fields}
    assert got["apart.used"] + got["apart.available"] > got["apart.free"] > 0
    assert found["broken"]["last_failure"] == "ValueError: ValueError: why"


#: What each does after a first answer, and what is told of it.
MISBEHAVING = {
    "hangs": (
        "read line; trap '' TERM; sleep 60; sleep 60",
        "no answer within 1.5 s, two processes within 60 s",
    ),
    "forks": (
        "read line; sleep 61 & sleep 61 & sleep 61",
        "no answer within 1.5 s, two processes within 60 s",
    ),
    "deaf": ("exec <&-; sleep 62", "no answer within 1.5 s, two processes within 60 s"),
    "silent": ("exec >&-; sleep 62", "no answer within 1.5 s, two processes within 60 s"),
    "floods": (
        "read line; head -c 3000000 /dev/zero | tr '\\0' x; sleep 60",
        "it printed a line of more than",
    ),
    "chatters": ("head -c 3000000 /dev/zero; sleep 60", "without being asked more than"),
    "junk": ("read line; echo '{\"n\": '; sleep 60", "Junk: "),
    "ends": ("read line; echo why >&2; exit 3", "WorkerGone: it ended: exit code 3: why"),
    "killed": ("read line; kill -9 $$", "WorkerGone: it ended: killed by signal 9"),
}


def test_those_that_misbehave_end_alone_and_are_told(tmp_path):
    marker = f"brokersim-misbehaves-{os.getpid()}"
    records = {"good": shell(ANSWERS, timeout=20)}
    for kind, (script, _) in MISBEHAVING.items():
        whole = f": {marker}; read line; echo '{{\"n\": 1}}'; {script}"
        # On a busy machine a shell starts in half a second. What ends is started anew: some 80 times, not 600.
        records[kind] = shell(whole, 0.5, timeout=1.5)
    told = {}

    def enough(found):
        for kind, (_, says) in MISBEHAVING.items():
            if says in found[kind]["last_failure"]:
                told[kind] = found[kind]["state"]
        return len(told) == len(MISBEHAVING) and runs(found, "good") > 5

    found, lines = measured(tmp_path, records, enough, 60.0)
    # Only what hangs again and again is given up: the rest is started anew.
    assert {kind for kind, state in told.items() if state == "FAILED"} == {"hangs", "forks", "deaf", "silent"}
    assert "fail" not in found["good"]["counts"]
    assert values(lines)["good.n"] == 1
    assert of(marker) == []


def test_a_process_that_ends_is_started_again_and_the_descriptors_are_as_they_were(tmp_path):
    script = 'for n in 3 4 5 6 7 8 9; do eval "exec $n</dev/null"; done; read line; echo \'{"n": 1}\''
    before = len(os.listdir("/proc/self/fd"))
    found, _ = measured(
        tmp_path, {"brief": shell(script, timeout=5)}, lambda found: runs(found, "brief") > 12, 60.0
    )
    assert found["brief"]["counts"]["fail"] >= 2 and found["brief"]["state"] != "FAILED"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_that_is_not_there_fails_with_its_name(tmp_path):
    records = {"absent": lined("execd", every(0.05), {"argv": ["/nowhere/x"]}, restart="never")}
    found, _ = measured(tmp_path, records, lambda found: found["absent"]["state"] == "FAILED")
    assert "/nowhere/x" in found["absent"]["reason"] or "No such file" in found["absent"]["reason"]


@pytest.mark.parametrize(
    ("probe", "config", "says"),
    [
        ("module", {"service": "kvs"}, "asks by messages"), ("ping", {}, "asks by messages"),
        ("process", {}, "name what is meant"), ("command", {"argv": ["x"], "regex": "(?P<a>x)"}, "own already"),
        ("execd", {"argv": ["x"]}, "own already"), ("netlogger", {"file": "x"}, "kept by messages"),
        ("process", {"pid": 1}, ""), ("cpu", {}, ""), ("disk", {}, ""),
    ],
)  # fmt: skip
def test_which_probes_can_be_read_apart(probe, config, says):
    record = {"probe": probe, "config": config, "isolation": "process"}
    if not says:
        assert to_measurement("m", record).is_isolated
        return
    with pytest.raises(ValueError, match=says):
        to_measurement("m", record)


def test_what_a_probe_prints_by_mistake_is_no_reading():
    import subprocess

    program = Path(__file__).parents[3] / "modules/probe/programs/reader.py"
    what = '{"probe": "dummy", "config": {"value": 4.0}, "rank": 0}'
    done = subprocess.run(
        [sys.executable, program, what], input=b"\n\n", capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b'{"answer": {"value": 4.0}}\n' * 2
