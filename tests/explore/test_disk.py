"""An instance that crashes as a whole, and disks: what was synced is there again, whatever else the disk holds."""

from __future__ import annotations

import random

import attrs
import pytest

from brokersim.explore.author import Author
from brokersim.explore.disk import SECTOR, Disk, left_of
from brokersim.explore.families import FAMILIES
from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import run_plan
from modules.content_sqlite.store import BlobStore
from tests.explore.planted import Planted, plant


def test_of_what_was_not_synced_anything_may_be_left_by_sectors():
    whole = b"s" * 100 + b"a" * SECTOR + b"b" * SECTOR + b"c" * 10
    left = {left_of(whole, 100, random.Random(seed)) for seed in range(200)}
    hole = bytes(SECTOR)
    tails = {one[100:] for one in left}
    assert tails == {
        b"", b"a" * SECTOR, b"a" * SECTOR + b"b" * SECTOR, whole[100:], hole + b"b" * SECTOR,
        hole + b"b" * SECTOR + b"c" * 10, hole + hole + b"c" * 10, b"a" * SECTOR + hole + b"c" * 10,
    }  # fmt: skip
    assert all(one[:100] == b"s" * 100 for one in left)


def test_a_disk_that_lies_keeps_what_was_synced_before_alone(tmp_path):
    disk, file = Disk(tmp_path), tmp_path / "log"
    file.write_bytes(b"1" * SECTOR)
    disk.synced()
    disk.lies = True
    file.write_bytes(b"1" * SECTOR + b"2" * SECTOR)
    disk.synced()
    lengths = set()
    for seed in range(20):
        file.write_bytes(b"1" * SECTOR + b"2" * SECTOR)
        disk.cut(seed)
        lengths.add(file.stat().st_size)
    assert lengths == {SECTOR, 2 * SECTOR}


def test_a_kill_leaves_the_files_as_they_were_and_nobody_has_them_open(tmp_path):
    store = BlobStore(str(tmp_path / "content.sqlite"))
    digest = store.store(b"x" * 1000)
    store.flush()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    Disk(tmp_path).kill([store._db])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = BlobStore(str(tmp_path / "content.sqlite"))
    assert again.load(digest) == b"x" * 1000
    again.close()


def plan(
    kind: str, op: str = "kvs.sync", *, at: float = 0.5, more: tuple[PlannedFault, ...] = (), count: int = 1
) -> Plan:
    """Two puts, one of this kind, then the end of the instance, then one more."""
    args = [
        {"key": "p1", "value": "<0>" + "." * 300},
        {"key": "p1", "value": "<1>"},
        {"key": "d.p2", "value": "<2>"},
    ]
    steps = (
        Step(id=0, op="kvs.sync", at=0.0, args=args[0]), Step(id=1, op="kvs.put", at=0.1, args=args[1]),
        Step(id=2, op="kvs.put", at=1.0, args=args[2]),
    )  # fmt: skip
    faults = (*more, PlannedFault(kind=kind, at=at, count=count))
    return Plan(families=("kvs",), has_disk=True, steps=steps, faults=faults)


@pytest.mark.parametrize("kind", ["crash", "power-cut"])
def test_what_was_synced_outlives_the_instance_and_the_next_one_goes_on(kind):
    outcome = run_plan(plan(kind), keeps_trace=True)
    assert outcome.broken == () and outcome.hits == {kind: 1}
    assert [moment.kind for moment in outcome.moments].count("boot") == 2
    assert [moment.text for moment in outcome.moments if moment.kind == "step"][-1].startswith(
        "step 2: kvs.put"
    )
    assert run_plan(plan(kind), keeps_trace=True).digest == outcome.digest


def test_a_checkpoint_that_is_answered_and_not_put_is_found(tmp_path):
    bug = Planted(
        "a checkpoint answered and not put", "content_sqlite/batches.py",
        "        self._put_checkpoint(text, self.checkpoints_max)\n", "", ("kvs",),
    )  # fmt: skip
    author = Author(module_path=(plant(bug, tmp_path),))
    for kind in ("crash", "power-cut"):
        broken = run_plan(plan(kind), author).broken
        assert broken and broken[0].startswith(
            "kvs: p1 on rank 0 at rest: nothing is none of those it may hold"
        )


def test_behind_a_disk_that_lied_nothing_is_promised_but_that_it_starts():
    lied = PlannedFault(kind="lost-sync", at=0.0, seconds=10.0)
    for count in range(6):
        assert run_plan(plan("power-cut", more=(lied,), count=count)).broken == ()


def test_a_disk_that_fails_refuses_and_nothing_acknowledged_is_lost():
    outcome = run_plan(plan("fail-disk", at=0.05))
    assert outcome.broken == ()


def test_what_broke_is_told_alike_in_each_run_though_its_directory_has_another_name(monkeypatch):
    """A find that named a file there was taken for one that does not come again."""

    async def check(world):
        return [f"content: {world.instance.settings.state_dir}/content.sqlite is full"]

    monkeypatch.setitem(FAMILIES, "content", attrs.evolve(FAMILIES["content"], check=check))
    outcome = run_plan(Plan(families=("content",), has_disk=True))
    assert outcome.broken == ("content: …/content.sqlite is full",)
