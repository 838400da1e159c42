"""Memory by node, from recorded trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.contract import Context
from modules.probe.probes.numa import Numa, local_ratio, parse_node_meminfo, parse_numa_maps, parse_numastat
from modules.probe.procfs import ProcFS

STAT = """\
numa_hit {hit}
numa_miss 2
numa_foreign 3
interleave_hit 4
local_node {local}
other_node {other}
numa_new 9
"""
MEMINFO = """
Node 0 MemTotal:       32 kB
Node 0 MemFree:        12 kB
Node 0 MemUsed:        20 kB
Node 0 HugePages_Total:     0
"""
MAPS = b"""\
55d0c0 default file=/bin/cat mapped=5 N0=3 N1=2 kernelpagesize_kB=4
7f0000 default anon=2 dirty=2 N1=2 kernelpagesize_kB=2048
7f1000 interleave:0-1 anon=1 N0=1
7f2000 default file=/lib/N7=lib
"""


class Ask:
    rank = 3


def tree(root: Path, **counts: int) -> None:
    for node in (0, 10):
        at = root / f"sys/devices/system/node/node{node}"
        at.mkdir(parents=True, exist_ok=True)
        (at / "numastat").write_text(STAT.format(**counts))
        (at / "meminfo").write_text(MEMINFO)
    (root / "sys/devices/system/node/has_cpu").write_text("0")


def test_what_is_in_the_files():
    found = parse_numastat(STAT.format(hit=1, local=5, other=6).encode())
    assert found == {
        "numa_hit": 1, "numa_miss": 2, "numa_foreign": 3, "interleave_hit": 4, "local_node": 5, "other_node": 6
    }  # fmt: skip
    assert parse_node_meminfo(MEMINFO.encode()) == {"total": 32768, "free": 12288, "used": 20480}
    assert parse_numa_maps(MAPS) == {0: 3 * 4096 + 4096, 1: 2 * 4096 + 2 * 2097152}


def test_a_subject_a_node_and_the_local_share_between_two_readings(tmp_path: Path):
    tree(tmp_path, hit=100, local=90, other=10)
    probe = Numa()
    probe.open(Context(ask=Ask(), procfs=ProcFS(tmp_path), config={}))
    first = probe.read()
    assert list(first) == ["node/3/numa/0", "node/3/numa/10"]
    assert first["node/3/numa/0"]["free"] == 12288 and "local_ratio" not in first["node/3/numa/0"]
    tree(tmp_path, hit=140, local=120, other=20)
    assert probe.read()["node/3/numa/10"]["local_ratio"] == 0.75
    probe.context.procfs.close()


def test_of_a_process_what_it_has_on_each_node_or_that_it_is_not_ours(tmp_path: Path, monkeypatch):
    tree(tmp_path, hit=1, local=1, other=1)
    maps = tmp_path / "proc/42/numa_maps"
    maps.parent.mkdir(parents=True)
    maps.write_bytes(MAPS)
    probe = Numa()
    probe.open(Context(ask=Ask(), procfs=ProcFS(tmp_path), config={"pid": 42}))
    found = probe.read()
    assert (found["node/3/numa/0"]["process"], found["node/3/numa/10"]["process"]) == (16384, 0)

    def refuse(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(ProcFS, "read", lambda self, path: refuse(path))
    hidden = probe.read()["node/3/numa/0"]
    assert hidden["partial"] == ("process",) and "process" not in hidden and hidden["numa_hit"] == 1
    probe.context.procfs.close()


def test_a_kernel_without_nodes_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match="shows no NUMA nodes"):
        Numa().open(Context(ask=Ask(), procfs=ProcFS(tmp_path), config={}))


@pytest.mark.skipif(
    not os.path.exists("/sys/devices/system/node/node0/numastat"), reason="no NUMA nodes here"
)
def test_this_machine():
    probe = Numa()
    probe.open(Context(ask=Ask(), procfs=ProcFS(), config={}))
    found = probe.read()["node/3/numa/0"]
    assert found["total"] > found["free"] > 0
    probe.context.procfs.close()


_count = st.integers(0, 2**63)


@given(_count, _count, _count, _count)
def test_a_share_is_between_0_and_1_or_none(local, other, more, further):
    old = {"local_node": local, "other_node": other}
    new = {"local_node": local + more, "other_node": other + further}
    ratio = local_ratio(old, new)
    assert ratio is None if more + further == 0 else 0 <= ratio <= 1
    if more + further:
        assert local_ratio(new, old) is None  # it was reset
