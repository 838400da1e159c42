"""Whole readings of interfaces, devices, memory and pressure from recorded trees; not how a line is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.probe.contract import Context, Probe
from modules.probe.probes import PROBES
from modules.probe.probes.net import _LOOK_EVERY
from modules.probe.procfs import ProcFS, Recording

DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
  eth0:{bytes} 2 3 4 0 0 0 0 5 6 7 8
 short: 1 2 3 4 0 0 0 0 5 6 7
"""
SNMP = """\
Tcp: RtoMin InSegs OutSegs RetransSegs
Tcp: 200 10 20 3
Udp: InDatagrams NoPorts OutDatagrams
Udp: 7 0
"""


class Ask:
    rank = 3
    time = 100.0

    def now(self) -> float:
        return self.time


def opened(root: Path, probe: str, **config: Any) -> Probe:
    made = PROBES[probe]()
    made.open(Context(ask=Ask(), procfs=ProcFS(root), config={**made.options, **config}))  # type: ignore[arg-type]
    return made


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(("wanted", "seen"), [([], ["lo", "eth0"]), (["eth0", "eth7"], ["eth0"])])
def test_interfaces_are_all_or_those_that_are_wanted_and_the_node_has_the_protocols(tmp_path, wanted, seen):
    write(tmp_path, {"proc/net/dev": DEV.format(bytes=9), "proc/net/snmp": SNMP})
    found: Any = opened(tmp_path, "net", interfaces=wanted).read()
    assert list(found) == ["node/3", *(f"node/3/net/{name}" for name in seen)]
    # What this kernel does not say is not there.
    assert found["node/3"] == {
        "tcp_segments_in": 10, "tcp_segments_out": 20, "tcp_retransmits": 3, "udp_datagrams_in": 7
    }  # fmt: skip
    assert found["node/3/net/eth0"] == {
        "bytes_in": 9, "packets_in": 2, "bytes_out": 5, "packets_out": 6, "errors": 10, "drops": 12,
        "capacity": None, "identity": "",
    }  # fmt: skip


def test_what_stands_beside_an_interface_is_looked_at_now_and_then(tmp_path):
    about = "sys/class/net/eth0"
    write(
        tmp_path,
        {
            "proc/net/dev": DEV.format(bytes=9),
            "proc/net/snmp": "",
            f"{about}/speed": "1000\n",
            f"{about}/ifindex": "4\n",
        },
    )
    probe: Any = opened(tmp_path, "net", interfaces=["eth0"])
    said = []
    for number in range(_LOOK_EVERY + 1):
        if number == 1:
            write(tmp_path, {f"{about}/speed": "-1\n", f"{about}/ifindex": "5\n"})
        found = probe.read()["node/3/net/eth0"]
        said.append((found["capacity"], found["identity"]))
    assert said == [(1_000_000_000, "4")] * _LOOK_EVERY + [(None, "5")]


DISK = "   8       0 {name} {reads} 0 0 {ms} 0 0 0 0 0 {io} {weighted}\n"


def test_what_a_device_did_is_told_from_its_second_reading_on_and_loops_are_left_out(tmp_path):
    def put(**columns: int) -> None:
        lines = [DISK.format(name=name, **columns) for name in ("sda", "loop0", "ram1")]
        write(tmp_path, {"proc/diskstats": "".join(lines) + "junk\n8 0 x 1 2\n"})

    put(reads=10, ms=100, io=50, weighted=200)
    probe: Any = opened(tmp_path, "disk")
    named: Any = opened(tmp_path, "disk", devices=["loop0"])
    assert list(named.read()) == ["node/3/disk/loop0"]
    first = probe.read()
    assert list(first) == ["node/3/disk/sda"] and "util" not in first["node/3/disk/sda"]
    put(reads=14, ms=300, io=1050, weighted=8200)
    probe.context.ask.time = 102.0
    found = probe.read()["node/3/disk/sda"]
    assert (found["util"], found["queue"], found["await_read"], found["await_write"]) == (
        0.5,
        4.0,
        0.05,
        None,
    )
    put(reads=14, ms=300, io=9050, weighted=8200)
    probe.context.ask.time = 103.0
    assert probe.read()["node/3/disk/sda"]["util"] == 1.0  # no more than all of it


def test_a_kernel_that_does_not_say_what_is_available_is_told_to_be_partial(tmp_path):
    write(tmp_path, {"proc/meminfo": "MemTotal: 32 kB\nMemFree: 12 kB\n"})
    probe: Any = opened(tmp_path, "mem")
    found = probe.read()
    assert (found["used_with_cache"], found["partial"]) == (20 * 1024, ("available", "used"))
    write(tmp_path, {"proc/meminfo": "MemTotal: 32 kB\nMemFree: 12 kB\nMemAvailable: 22 kB\n"})
    assert probe.read()["used"] == 10 * 1024 and "partial" not in probe.read()


@pytest.mark.parametrize(
    ("config", "is_refused"), [({}, True), ({"cgroup": "a"}, False), ({"pid": 4}, False)]
)
def test_a_kernel_without_pressure_is_refused_unless_something_else_is_wanted(tmp_path, config, is_refused):
    write(tmp_path, {"proc/4/schedstat": "1 20 3"})
    if is_refused:
        with pytest.raises(ValueError, match="no /proc/pressure"):
            opened(tmp_path, "pressure", **config)
        write(tmp_path, {"proc/pressure/cpu": "some avg10=0.00 total=5\n"})
        probe: Any = opened(tmp_path, "pressure")
        assert probe.read() == {"cpu_some": 5, "partial": ["memory", "io"]}
    else:
        probe = opened(tmp_path, "pressure", **config)
        found = probe.read()
        assert found["partial"][:3] == ["cpu", "memory", "io"]
        assert ("cgroup_memory" in found["partial"]) == ("cgroup" in config)
        assert (found.get("run_delay"), found.get("switches")) == (
            (20, 3) if "pid" in config else (None, None)
        )


def test_of_a_group_what_its_files_say(tmp_path):
    at = "sys/fs/cgroup/a/b"
    write(
        tmp_path,
        {
            f"{at}/cpu.stat": "usage_usec 7\nuser_usec 1\nnr_throttled 2\nthrottled_usec 3\n",
            f"{at}/memory.current": "4096\n",
        },
    )
    probe: Any = opened(tmp_path, "pressure", cgroup="/a/b/")
    found = probe.read()
    assert (found["cgroup_cpu"], found["throttles"], found["throttled"], found["cgroup_memory"]) == (
        7,
        2,
        3,
        4096,
    )
    assert "user_usec" not in found and set(found["partial"]) == {
        "cpu",
        "memory",
        "io",
        "oom_kills",
        "memory_high",
    }


def test_what_is_read_of_this_machine_is_kept_as_a_tree_to_read_again(tmp_path):
    files = Recording(tmp_path)
    text = files.read("proc/version")
    assert files.read_again("proc/version") == text and files.count == 1
    names = files.names("proc/self/task")
    files.close()
    assert ProcFS(tmp_path).read("proc/version") == text and ProcFS(tmp_path).names("proc/self/task") == names
