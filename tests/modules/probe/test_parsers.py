"""What is in files of /proc and /sys, by worked examples of several kernels."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.answers import readings
from modules.probe.contract import Context, Junk
from modules.probe.parse import as_json
from modules.probe.pointer import at_pointer
from modules.probe.probes.cpu import MODES, NONE, Cpu, parse_loadavg, parse_stat, shares
from modules.probe.probes.disk import _max_rate, derived, parse_diskstats
from modules.probe.probes.mem import parse_meminfo
from modules.probe.probes.net import parse_dev, parse_snmp, parse_speed
from modules.probe.probes.pressure import parse_pressure
from modules.probe.probes.process import PAGE
from modules.probe.probes.process import parse_stat as parse_process
from modules.probe.procfs import ProcFS

# -- cpu


def test_shares_since_boot_are_those_of_the_notes():
    times = parse_stat(b"cpu 3579530 297982 559622 300054967 35610 5109 20004 0 0\ncpu0 1 2 3 4\nintr 5\n")
    found = shares(NONE, times["cpu"])
    assert sum(times["cpu"]) == 304552824
    expected = {
        "user": 0.011753396, "nice": 0.000978425, "system": 0.001837520, "idle": 0.985231275, "iowait": 0.000116926,
        "irq": 0.000016775, "softirq": 0.000065683, "steal": 0.0, "guest": 0.0, "guest_nice": 0.0,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-9)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-9)
    assert shares(times["cpu"], times["cpu"]) == dict.fromkeys(MODES, 0.0)


def test_guests_are_taken_out_of_user_time_and_what_goes_back_is_nothing():
    old = (1000, 100, 500, 8000, 200, 10, 20, 5, 300, 40)
    new = (1600, 160, 700, 8900, 190, 15, 25, 10, 500, 70)
    wanted = (400, 30, 200, 900, 0, 5, 5, 5, 200, 30)
    assert shares(old, new) == {mode: part / 1775 for mode, part in zip(MODES, wanted, strict=True)}


def test_cores_come_if_they_are_asked_for():
    data = b"cpu  10 0 0 0\ncpu0 4 0 0 0 0 0 0 0 0 0 77\ncpu12 6 0 0 0\nintr 1\n"
    assert list(parse_stat(data)) == ["cpu"]
    assert {name: times[0] for name, times in parse_stat(data, per_core=True).items()} == {
        "cpu": 10, "cpu0": 4, "cpu12": 6
    }  # fmt: skip
    with pytest.raises(ValueError, match="no line cpu"):
        parse_stat(b"intr 5\n")


_ticks = st.lists(st.integers(0, 2**40), min_size=10, max_size=10)


@given(_ticks, _ticks)
def test_shares_are_between_0_and_1_and_together_1_or_nothing(old, new):
    found = shares(old, new)
    assert all(0 <= share <= 1 for share in found.values())
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-9) or not any(found.values())


def test_loads():
    assert parse_loadavg(b"0.20 1.18 12.01 1/80 1234\n") == {
        "onemin": 0.2,
        "fivemin": 1.18,
        "fifteenmin": 12.01,
    }


# -- mem

MEMINFO = (
    b"MemTotal: 1000 kB\nMemFree: 100 kB\n%sBuffers: 30 kB\nCached: 200 kB\nSwapCached: 9 kB\nSlab: 40 kB\n"
)


def test_memory_in_bytes_and_two_ways_to_be_used():
    assert parse_meminfo(MEMINFO % b"MemAvailable: 300 kB\n") == {
        "free": 102400, "available": 307200, "buffer": 30720, "cache": 204800, "kernel": 40960, "used": 716800,
        "used_with_cache": 921600,
    }  # fmt: skip


def test_a_kernel_that_does_not_say_what_is_available_says_nothing_of_what_is_used():
    found = parse_meminfo(MEMINFO % b"")
    assert "used" not in found and found["used_with_cache"] == 921600
    with pytest.raises(ValueError, match="MemTotal"):
        parse_meminfo(b"MemFree: 1 kB\n")


# -- net

DEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
  eth0:12 2 1 3 0 0 0 0 700 8 4 5 0 0 0 0
    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0
eth0:1: 9 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""


def test_a_number_may_be_glued_to_the_name_of_an_interface():
    found = parse_dev(DEV)
    assert list(found) == ["eth0", "lo", "eth0:1"]
    assert found["eth0"] == {
        "bytes_in": 12, "packets_in": 2, "bytes_out": 700, "packets_out": 8, "errors": 5, "drops": 8
    }  # fmt: skip
    assert found["eth0:1"]["bytes_in"] == 9


def test_tcp_and_udp_are_found_by_name_in_whatever_order():
    data = (
        b"Ip: Forwarding InReceives\nIp: 1 2\nTcp: RetransSegs InSegs OutSegs New\nTcp: 3 1 2 9\n"
        b"Udp: InDatagrams OutDatagrams\nUdp: 4 5\nUdpLite: InDatagrams OutDatagrams\nUdpLite: 6 7\n"
    )
    assert parse_snmp(data) == {
        "tcp_retransmits": 3, "tcp_segments_in": 1, "tcp_segments_out": 2, "udp_datagrams_in": 4,
        "udp_datagrams_out": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "speed"), [(b"1000\n", 10**9), (b"-1\n", None), (b"0\n", None), (b"", None)]
)
def test_a_speed_that_is_not_known_is_none(data, speed):
    assert parse_speed(data) == speed


@pytest.mark.parametrize(("first", "shown"), [("boot", 0.25), ("baseline", None)])
def test_the_first_reading_of_the_processors_is_a_baseline_or_with_first_boot_what_was_since_boot(
    tmp_path, first, shown
):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_bytes(b"cpu 25 0 0 75 0 0 0 0 0 0\n")
    (tmp_path / "proc/loadavg").write_bytes(b"0.5 0.25 0.125 1/2 3\n")
    probe = Cpu()
    probe.open(
        Context(
            ask=SimpleNamespace(rank=0), procfs=ProcFS(tmp_path), config={"per_core": False, "first": first}
        )
    )
    found = probe.read()
    assert (found and next(iter(found.values()))["user"]) == shown


# -- disk


def test_a_device_is_busy_no_longer_than_all_of_a_second_and_its_requests_may_each_wait_that_long():
    assert (_max_rate("io_ms"), _max_rate("read_ms"), _max_rate("reads")) == (2_000.0, 10_000_000.0, math.inf)


def test_a_line_of_diskstats_has_4_11_15_or_17_columns():
    eleven = "10 1 80 4 20 2 160 8 3 30 40"
    data = (
        f"3 1 hda1 35486 38030 38031 38032\n8 0 sda {eleven}\n8 1 sdb {eleven} 5 6 7 9\n"
        f"8 2 sdc {eleven} 5 6 7 9 11 12\n8 3 sdd {eleven} 5 6 7 9 11 12 13 14\n8 4 sde 1 2 3\n\n"
    ).encode()
    found = parse_diskstats(data)
    assert list(found) == ["hda1", "sda", "sdb", "sdc", "sdd"]
    assert found["hda1"] == {
        "reads": 35486, "sectors_read": 38030, "writes": 38031, "sectors_written": 38032, "identity": "3:1"
    }  # fmt: skip
    assert (found["sda"]["in_progress"], found["sda"]["weighted_ms"], len(found["sda"])) == (3, 40, 12)
    assert (found["sdb"]["discard_ms"], len(found["sdb"])) == (9, 16)
    assert (found["sdc"]["flush_ms"], len(found["sdc"])) == (12, 18)
    assert found["sdd"] == found["sdc"] | {"identity": "8:3"}


def disk(**more):
    base = dict(reads=0, read_ms=0, writes=0, write_ms=0, io_ms=0, weighted_ms=0, identity="8:0")
    return base | more


def test_what_a_disk_did_between_two_readings():
    new = disk(reads=10, read_ms=25, writes=0, write_ms=0, io_ms=500, weighted_ms=1500)
    assert derived(disk(), new, 1.0) == {"util": 0.5, "queue": 1.5, "await_read": 0.0025, "await_write": None}
    assert derived(disk(), disk(io_ms=1100), 1.0)["util"] == 1.0
    assert derived(disk(io_ms=2**32 - 100), disk(io_ms=100), 1.0)["util"] == 0.2
    assert derived(disk(io_ms=500), disk(io_ms=5), 1.0)["util"] is None
    assert derived(disk(), disk(identity="8:16"), 1.0) == {}
    assert derived(disk(), disk(), 0.0) == {}


# -- processes, pressure


def test_a_process_may_have_any_name():
    numbers = " ".join(str(n) for n in range(4, 60))
    stat = parse_process(f"42 (a b) c) S {numbers}".encode())
    assert (stat.comm, stat.state) == ("a b) c", "S")
    # Columns by their numbers in proc(5), from 1: minflt 10, majflt 12, utime 14, stime 15, threads 20, start 22 ...
    assert (stat.minor_faults, stat.major_faults, stat.ticks) == (10, 12, 14 + 15)
    assert (stat.threads, stat.start, stat.virtual, stat.resident) == (20, 22, 23, 24 * PAGE)
    for junk in (b"", b"42 (x", b"42 (x) S 1 2"):
        with pytest.raises(ValueError, match="no stat of a process"):
            parse_process(junk)


def test_this_process_reads_as_itself():
    with open(f"/proc/{os.getpid()}/stat", "rb") as file:
        stat = parse_process(file.read())
    assert stat.state == "R" and stat.ticks > 0 and stat.resident > 1 << 20


def test_pressure_totals():
    data = (
        b"some avg10=0.00 avg60=0.00 avg300=0.00 total=9201\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    assert parse_pressure(data) == {"some": 9201, "full": 7}


# -- what a probe may answer


def test_answers_are_flat_by_subject_or_lists_of_either():
    flat = readings({"a": 1, "b": None, "ok": True, "ts": 5, "partial": ["c"], "text": "fine"}, "node/0")
    assert [(r.subject, r.metrics, r.ts, r.partial, r.text) for r in flat] == [
        ("node/0", {"a": 1, "ok": 1}, 5.0, ("c",), "fine")
    ]
    both = readings([{"x": {"a": 1}, "y": {"a": 2}}, {"a": 3}], "node/0")
    assert [(r.subject, r.metrics) for r in both] == [("x", {"a": 1}), ("y", {"a": 2}), ("node/0", {"a": 3})]
    assert readings({}, "x") == readings(None, "x") == readings([], "x") == readings({"a": None}, "x") == []


@pytest.mark.parametrize(
    "answer",
    [5, "text", {"a": float("nan")}, {"a": float("inf")}, {"a": [1]}, {"a": 1, "b": {"c": 1}}, {"a": 1, "ts": "now"},
     {"a": object()}, b"bytes"],
)  # fmt: skip
def test_junk_is_refused(answer):
    with pytest.raises(Junk):
        readings(answer, "node/0")


def test_pointers():
    document = {"tx": {"a/b": [1, {"~": 2}]}}
    assert at_pointer(document, "/tx/a~1b/1/~0") == 2
    assert at_pointer(document, "") == document
    for pointer in ("/rx", "/tx/a~1b/7", "/tx/a~1b/x", "/tx/a~1b/0/z"):
        with pytest.raises(LookupError):
            at_pointer(document, pointer)


def test_output_that_nests_too_deep_is_no_json():
    with pytest.raises(ValueError, match="no JSON"):
        as_json(b"[" * 5000 + b"]" * 5000, {})
