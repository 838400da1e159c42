"""Which processes are meant and what each has used between two readings, from recorded trees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from brokersim.brokermod import RequestError
from modules.probe.contract import Context
from modules.probe.probes.process import PAGE, TICKS, Process
from modules.probe.procfs import ProcFS

PARTIAL = [
    "switches",
    "preemptions",
    "read_chars",
    "write_chars",
    "read_bytes",
    "write_bytes",
    "fds",
    "run_delay",
]


class Ask:
    rank = 3
    time = 100.0
    mods: list[dict[str, Any]] | None = None

    def now(self) -> float:
        return self.time

    async def call(self, topic: str, payload: object, nodeid: int) -> dict[str, Any]:
        assert (topic, payload, nodeid) == ("module.list", {}, 3)
        if self.mods is None:
            raise RequestError(38, "no such service")
        return {"mods": self.mods}


def there(root: Path, pid: int, name: str, ticks: int = 0, start: int = 7, words: str = "") -> Path:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = ["0"] * 60
    numbers[10], numbers[16], numbers[18], numbers[20] = str(ticks), "2", str(start), "5"
    (folder / "stat").write_text(f"{pid} ({name}) S {' '.join(numbers)}")
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(words.replace(" ", "\0").encode() + b"\0")
    return folder


def opened(root: Path, **config: Any) -> Process:
    probe = Process()
    whole = {**Process.options, **config}
    Process.check(whole)
    probe.open(Context(ask=Ask(), procfs=ProcFS(root), config=whole))  # type: ignore[arg-type]
    return probe


def read(probe: Process) -> dict[str, Any]:
    return trio.run(probe.read)


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        ({"name": "^worker"}, [4, 30]),
        ({"cmdline": "--for me"}, [5, 30]),
        ({"name": "worker", "max_processes": 1}, [4]),
        ({"pid": 5}, [5]),
        ({"name": "nobody"}, []),
    ],
)
def test_processes_are_meant_by_their_name_or_a_part_of_their_command_line_or_their_number(
    tmp_path, config, meant
):
    there(tmp_path, 30, "worker-b", words="w --for me")
    there(tmp_path, 4, "worker", words="w --for you")
    there(tmp_path, 5, "sworker", words="s --for me")
    (tmp_path / "proc/uptime").write_text("1 1")
    (tmp_path / "proc/6").mkdir()  # it ends while it is looked at
    found = read(opened(tmp_path, **config))
    assert [name for name in found if "/process/" in name] == [f"node/3/process/{pid}" for pid in meant]
    more = {"node/3": {"uncounted": 2}} if "max_processes" in config else {}
    assert {name: one for name, one in found.items() if "/process/" not in name} == more


def test_a_file_may_say_its_number(tmp_path):
    there(tmp_path, 12, "x")
    (tmp_path / "pid").write_text("12\n")
    assert list(read(opened(tmp_path, pidfile=str(tmp_path / "pid")))) == ["node/3/process/12"]


@pytest.mark.parametrize(
    ("mods", "subjects"),
    [
        (None, ["node/3"]),
        (
            [{"name": "kvs", "pid": 12}, {"name": "in", "pid": 0}, {"name": "also"}],
            ["node/3", "node/3/module/kvs"],
        ),
    ],
)
def test_unless_another_is_meant_it_is_the_broker_and_its_modules_that_are_processes(
    tmp_path, mods, subjects
):
    there(tmp_path, os.getpid(), "broker")
    there(tmp_path, 12, "kvs")
    probe = opened(tmp_path)
    probe.context.ask.mods = mods  # type: ignore[attr-defined]
    assert list(read(probe)) == subjects


def test_its_share_of_a_core_is_what_it_used_since_it_was_read_last(tmp_path):
    there(tmp_path, 12, "x", ticks=100)
    probe = opened(tmp_path, pid=12)
    first = read(probe)["node/3/process/12"]
    assert "cpu" not in first and first["cpu_ticks"] == 100 and first["identity"] == "12@7"
    there(tmp_path, 12, "x", ticks=100 + TICKS)
    assert "cpu" not in read(probe)["node/3/process/12"]  # no time has passed
    probe.context.ask.time = 104.0  # type: ignore[attr-defined]
    there(tmp_path, 12, "x", ticks=100 + 7 * TICKS)
    assert read(probe)["node/3/process/12"]["cpu"] == 1.5


def test_one_that_has_gone_is_told_once_and_so_is_one_whose_number_is_anothers(tmp_path):
    there(tmp_path, 12, "x")
    probe = opened(tmp_path, pid=12)
    assert read(probe)["node/3/process/12"]["state"] == "S"
    there(tmp_path, 12, "y", start=9)
    assert read(probe) == {"node/3/process/12": {"state": "gone"}}
    assert read(probe)["node/3/process/12"]["identity"] == "12@9"
    for name in ("stat", "comm", "cmdline"):
        (tmp_path / "proc/12" / name).unlink()
    assert read(probe) == {"node/3/process/12": {"state": "gone"}}
    assert read(probe) == {}
    # By name it is not even found any more.
    there(tmp_path, 12, "x")
    named = opened(tmp_path, name="x")
    read(named)
    there(tmp_path, 12, "y")
    assert read(named) == {"node/3/process/12": {"state": "gone"}} and read(named) == {}


def test_what_may_not_be_read_is_named_and_the_rest_is_told(tmp_path):
    folder = there(tmp_path, 12, "x")
    probe = opened(tmp_path, pid=12)
    assert read(probe)["node/3/process/12"]["partial"] == PARTIAL
    (folder / "status").write_text("Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n")
    (folder / "io").write_text("rchar: 5\nwchar: 6\nread_bytes: 7\nwrite_bytes: 8\n")
    (folder / "schedstat").write_text("1 9 2")
    (folder / "fd").mkdir()
    for number in range(3):
        (folder / f"fd/{number}").touch()
    found = read(probe)["node/3/process/12"]
    assert found["partial"] == [] and [found[name] for name in PARTIAL] == [3, 4, 5, 6, 7, 8, 3, 9]
    assert (found["threads"], found["resident"]) == (2, 5 * PAGE)
    (folder / "schedstat").write_text("1")
    assert read(probe)["node/3/process/12"]["partial"] == ["run_delay"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"pid": 1, "name": "x"}, "give one of self, pid, pidfile, name, cmdline, not pid and name"),
        ({"name": "("}, "name '\\(' is no regular expression"),
        ({"cmdline": "["}, "cmdline '\\[' is no regular expression"),
    ],
)
def test_who_is_meant_is_said_in_one_way_and_well(config, says):
    with pytest.raises(ValueError, match=says):
        Process.check(config)
