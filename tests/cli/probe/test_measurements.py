"""The commands about measurements, against a canned broker, and one live instance started with a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokersim.protocol.errnums import ENOENT, ENOSYS, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker, InTurn

STATUS: dict[str, Any] = {
    "name": "load", "probe": "cpu", "status": "ON", "state": "WAIT", "reason": "", "cost": 0.0012,
    "counts": {"runs": 7, "overrun": 2}, "series": 13, "identity": "a", "plan": "b",
}  # fmt: skip


@pytest.fixture
def probes(fake: FakeBroker) -> FakeBroker:
    sinks = [{"name": "statsd", "trouble": "down", "dropped": {"full": 3}, "queued": 5}]
    fake.answers |= dict.fromkeys(
        ("probe.add", "probe.set", "probe.remove", "probe.restart", "probe.run-now"), STATUS
    )
    fake.answers["probe.status"] = {"rank": 0, "measurements": [STATUS], "sinks": sinks}
    return fake


def test_add_is_a_record_of_a_measurement(probes: FakeBroker, run: Run) -> None:
    result = run(
        "probe", "add", "load", "cpu", "per_core=true", "--every", "1s", "--sink", "lines", "--every-n", "5"
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    [asked] = probes.asked("probe.add")
    assert asked == {
        "name": "load",
        "record": {
            "probe": "cpu", "config": {"per_core": True}, "schedule": {"type": "every", "params": {"every": 1.0}},
            "reporting": {"sinks": ["lines"], "every_n": 5},
        },
    }  # fmt: skip


def test_on_off_and_the_rest_ask_for_one_thing_each(probes: FakeBroker, run: Run) -> None:
    for command in ("on", "off", "rm", "restart", "run-now"):
        assert run("probe", command, "load").code == 0
    assert [one["record"] for one in probes.asked("probe.set")] == [{"status": "ON"}, {"status": "OFF"}]
    assert probes.asked("probe.remove") == probes.asked("probe.restart") == [{"name": "load"}]


def test_of_several_ranks_all_have_the_module_or_nothing_is_changed(probes: FakeBroker, run: Run) -> None:
    probes.answers["probe.list"] = InTurn({"probes": []}, RequestError(ENOSYS))
    refused = run("probe", "add", "load", "cpu", "--every", "1s", "-r", "0-3")
    assert refused.err == (
        "error: the module probe is not loaded on ranks 1-3; nothing is changed (ENOSYS)\n"
        "  try:  brokersim module load -r 1-3 probe\n"
    )
    assert probes.asked("probe.add") == []
    probes.answers["probe.list"] = {"probes": []}
    assert run("probe", "add", "load", "cpu", "--every", "1s", "-r", "0-1").code == 0
    assert probes.nodeids("probe.add") == [0, 1]


def test_a_key_that_no_layer_knows_is_told_with_the_form_of_one(probes: FakeBroker, run: Run) -> None:
    layer = {"layer": "file", "is_set": False, "value": None, "wins": False}
    probes.answers["probe.explain"] = {"merge": "file-wins", "layers": [layer]}
    for form in ((), ("--json",)):
        refused = run("probe", "explain", "probes.load.schedule", *form)
        assert (refused.code, "probes/NAME/schedule" in refused.err, refused.out) == (1, True, "")
    probes.answers["probe.explain"]["layers"] = [{**layer, "is_set": True, "value": 3, "wins": True}]
    assert run("probe", "explain", "merge").out.splitlines()[1].split() == ["file", "3", "stands"]


def test_all_ranks_are_asked_one_by_one(probes: FakeBroker, run: Run) -> None:
    assert len(run("--json", "probe", "status", "-r", "all").json["ranks"]) == 4
    assert len(probes.asked("probe.status")) == 4


def test_status_shows_state_counts_cost_and_the_troubles_of_sinks(probes: FakeBroker, run: Run) -> None:
    result = run("probe", "status", "--tsv")
    assert result.out.splitlines()[1] == "0\tload\tcpu\tWAIT\t7\t0\t0\t2\t0.12\t-"
    assert result.err == "rank 0: sink statsd: down, 3 dropped (full), 5 wait\n"


def test_a_measurement_that_cannot_begin_fails_the_command(probes: FakeBroker, run: Run) -> None:
    probes.answers["probe.add"] = {**STATUS, "state": "FAILED", "reason": "no such file"}
    result = run("probe", "add", "load", "cpu", "--every", "1s")
    assert (result.code, result.out) == (1, "")
    assert "measurement 'load' is FAILED: no such file" in result.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("add", "a", "cpu"), 2, "give either --every or --schedule"),
        (("add", "a", "cpuu", "--every", "1s"), 2, "no probe 'cpuu'; is cpu meant?"),
        (("add", "a", "cpu", "--every", "0"), 2, "0 is no interval; give 1ms or more"),
        (("add", "a", "cpu", "--schedule", "61 * * * *"), 2, "Bad minute"),
        (("validate", "nowhere.toml"), 2, "nowhere.toml: No such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_never_reaches_the_broker(
    probes: FakeBroker, run: Run, words: tuple[str, ...], code: int, says: str
) -> None:
    result = run("probe", *words)
    assert (result.code, result.out) == (code, "")
    assert says in result.err
    assert probes.asked("probe.add") == []


def test_a_module_that_is_not_loaded_and_a_name_that_is_not_there(fake: FakeBroker, run: Run) -> None:
    assert "brokersim module load probe" in run("probe", "status").err
    fake.answers["probe.remove"] = RequestError(ENOENT, "no measurement 'x'; there are: load")
    result = run("probe", "rm", "x")
    assert result.code == 4
    assert "there are: load" in result.err


FILE = """
[sinks.lines]
path = "{path}"

[probes.self]
probe = "process"
schedule = {{ type = "every", params = {{ every = 0.05 }} }}
reporting = {{ sinks = ["lines"] }}

[probes.kvs]
probe = "module"
config = {{ service = "kvs" }}
schedule = {{ type = "every", params = {{ every = 0.05 }} }}
reporting = {{ sinks = ["lines"] }}
"""


def test_a_file_is_validated_with_the_place_of_its_error(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "probes.toml"
    file.write_text(FILE.format(path=tmp_path / "x"))
    assert run("probe", "validate", str(file)).out == f"{file}: 2 measurements\n"
    file.write_text('[probes.a]\nprobe = "cpu"\nreporting = { sinks = ["nowhere"] }\n')
    result = run("probe", "validate", str(file))
    assert result.code == 2
    assert f"{file}: /probes/a/reporting/sinks: no sink 'nowhere'" in result.err
    file.write_text('nme = 1\n[probes.a]\nprobe = "cpux"\n[probes.b]\nprobe = "mem"\njitter = "x"\n')
    lines = run("probe", "validate", str(file)).err.splitlines()
    assert len(lines) == 3
    assert (
        "/nme is no key; is name meant?" in lines[0]
        and "no probe 'cpux'" in lines[1]
        and "/jitter" in lines[2]
    )
    file.write_text("[probes\n")
    assert f"{file}: " in run("probe", "validate", str(file)).err


def test_an_instance_started_with_a_file_measures_and_tells(tmp_path: Path) -> None:
    file, path = tmp_path / "probes.toml", tmp_path / "lines-{rank}"
    file.write_text(FILE.format(path=path))
    wait = "until brokersim --json probe status | grep -q '\"runs\":[3-9]'; do :; done"
    script = f"{wait}; brokersim probe status --tsv -n"
    command = [sys.executable, "-m", "brokersim", "start", "--probes", str(file), "--", "sh", "-c", script]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    states = {line.split("\t")[1]: line.split("\t")[3] for line in done.stdout.splitlines()}
    assert states == {"self": "WAIT", "kvs": "WAIT"} or set(states.values()) <= {"WAIT", "RUN"}
    written = (tmp_path / "lines-0").read_text()
    assert '"metric":"process.cpu.ticks"' in written and '"metric":"brokersim.messages"' in written


def test_start_refuses_a_file_that_is_wrong(run: Run, tmp_path: Path) -> None:
    result = run("start", "--probes", str(tmp_path / "nowhere.toml"), "--", "true")
    assert result.code == 2
    assert "nowhere.toml: No such file" in result.err


def test_the_example_is_right(run: Run) -> None:
    example = Path(__file__).parents[3] / "examples" / "probes.toml"
    assert run("--json", "probe", "validate", str(example)).json == {
        "measurements": ["machine", "self", "kvs", "near", "disks"], "sinks": []
    }  # fmt: skip


@pytest.mark.parametrize("every", ["0", "0.0001", "inf"])
def test_an_interval_that_is_none_is_told_as_it_was_typed(run, every):
    result = run("probe", "add", "x", "cpu", "--every", every)
    assert result.code == 2
    assert f"'--every': {every} is no interval; give 1ms or more, such as 10s" in result.err
