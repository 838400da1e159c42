"""A spool holds what found no room, in order, through failures, full disks and lives; the law holds at every step."""

from __future__ import annotations

import errno
import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modules.probe.contract import Field
from modules.probe.sending import spool as spool_file
from modules.probe.sending.outqueue import OutQueue
from modules.probe.sending.series import Sample, Series
from modules.probe.sending.spool import Spool
from tests.effort import examples
from tests.modules.probe.harness import documents, every, lined, probing, run, samples

SERIES = [
    Series(mid=f"sha1-{at}", measurement="m", subject="node/0", metric=f"v{at}", name=f"m.v{at}",
           field=Field(otel=f"v{at}", attributes={"a": "b"}))
    for at in range(2)
]  # fmt: skip


def sample(seq: int) -> Sample:
    return Sample(
        SERIES[seq % 2], seq * 10**9, seq, f"text {seq}" if seq % 3 == 0 else seq / 2, bool(seq % 2)
    )


def told(samples: list[Sample]) -> list[tuple[str, int, int, object, bool]]:
    return [(one.series.mid, one.ts_ns, one.seq, one.value, one.is_timed) for one in samples]


class Queue(RuleBasedStateMachine):
    """Against a plain list: what a sink gets is what was inserted, in order, but for what is counted as dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.path = (
            f"/dev/shm/spool-{os.getpid()}-{random.getrandbits(40):x}" if os.path.isdir("/dev/shm") else ""
        )
        self.path = self.path or f"spool-{os.getpid()}"
        self.seq = 0
        self.got: list[Sample] = []
        self.dropped = 0
        self.lives = 0
        self._begin()

    def _begin(self) -> None:
        self.queue = OutQueue(name="s", max_samples=5, spool=Spool(self.path, 4000))

    @rule(count=st.integers(1, 9))
    def insert(self, count: int) -> None:
        for _ in range(count):
            self.seq += 1
            self.queue.insert(sample(self.seq))

    @rule(is_fine=st.booleans())
    def send(self, is_fine: bool) -> None:
        batch = self.queue.take(1e9)
        if batch and is_fine:
            self.got += batch
            self.queue.delivered_now()
        elif batch:
            self.queue.failed(0.0, random.Random(1), "down")
            self.queue.reset()

    @rule()
    def another_life(self) -> None:
        self.queue.take(1e9)
        self.queue.give_up()
        self.dropped += self.queue.dropped.total()
        self._begin()

    @invariant()
    def is_in_balance(self) -> None:
        assert self.queue.is_in_balance
        assert self.queue.queued + len(self.queue.flight) <= 5

    @invariant()
    def nothing_is_out_of_order_or_twice(self) -> None:
        seqs = [one.seq for one in self.got]
        assert seqs == sorted(set(seqs))
        assert told(self.got) == told([sample(seq) for seq in seqs])

    def teardown(self) -> None:
        while batch := self.queue.take(1e9):
            self.got += batch
            self.queue.delivered_now()
        lost = self.dropped + self.queue.dropped.total()
        assert len(self.got) + lost == self.seq
        assert lost == 0 or self.seq > 20  # only what 4,000 bytes and five samples cannot hold
        self.queue.give_up()
        assert not os.path.exists(self.path)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)


def test_a_spool_has_what_it_was_given_in_the_next_life(tmp_path: Path) -> None:
    path = str(tmp_path / "spool")
    first = Spool(path)
    assert all(first.put(sample(seq)) for seq in range(1, 8))
    assert told(first.take(2)) == told([sample(1), sample(2)])
    assert first.close([sample(2)]) == 1
    again = Spool(path)
    assert (again.count, again.last) == (6, {"sha1-0": 6, "sha1-1": 7})
    assert told(again.take(99)) == told([sample(seq) for seq in range(2, 8)])
    again.close([])
    assert not os.path.exists(path)


def test_what_a_full_disk_keeps_from_the_next_life_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = OutQueue(name="s", max_samples=3, spool=Spool(str(tmp_path / "spool")))
    for seq in range(1, 8):
        queue.insert(sample(seq))
    write, budget = os.write, [3]

    def filling(fd: int, data: bytes) -> int:
        budget[0] -= 1
        if budget[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr(spool_file.os, "write", filling)
    queue.give_up()
    assert queue.is_in_balance and queue.spooled == 3 and dict(queue.dropped) == {"spool": 4}
    monkeypatch.undo()
    assert told(Spool(str(tmp_path / "spool")).take(9)) == told([sample(1), sample(2), sample(3)])


def test_a_line_that_was_cut_short_is_no_sample_and_another_s_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    first = Spool(str(path))
    first.put(sample(1))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"mid": "sha1-0", "ts"')
    assert Spool(str(path)).count == 1 and path.read_bytes() == whole
    for text in (b"notes\n", b"[1]\n", b'{"mid": "x", "seq": 1}\n', b'{"series": {"mid": 1}}\n'):
        path.write_bytes(text)
        with pytest.raises(ValueError, match="no spool of ours"):
            Spool(str(path))
        assert path.read_bytes() == text


def test_a_full_disk_makes_it_memory_alone_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = OutQueue(name="s", max_samples=3, spool=Spool(str(tmp_path / "spool")))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        write(fd, data[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for seq in range(1, 6):
        queue.insert(sample(seq))
    monkeypatch.setattr(spool_file.os, "write", full)
    queue.insert(sample(6))
    assert queue.to_dict()["spool_trouble"].endswith("No space left on device")
    assert (queue.spooled, dict(queue.dropped)) == (2, {"spool": 1})
    monkeypatch.undo()
    queue.insert(sample(7))
    got: list[Sample] = []
    while batch := queue.take(1.0):
        got += batch
        queue.delivered_now()
    assert [one.seq for one in got] == [1, 2, 3, 4, 5, 7] and queue.is_in_balance


def test_a_sink_that_is_down_for_ten_minutes_loses_nothing_and_a_life_between_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = tmp_path / "lines", tmp_path / "spool"
    sinks = {"lines": {"path": str(path), "queue": {"max_samples": 500, "spool": str(kept)}}}
    record = lined("dummy", every(0.1), {"value": 2.0})

    async def life(seconds: float, down: float) -> dict[str, object]:
        async with probing() as (instance, client):
            own = type(instance.module(0, "probe").handle.body).__module__
            sink = sys.modules[f"{own}.sinks"].LineFile

            def broken(self: object, data: bytes) -> None:
                raise sys.modules[f"{own}.sinks"].Down("not there")

            if down:
                monkeypatch.setattr(sink, "_write", broken)
            await client.call("probe.reload", {"config": {"sinks": sinks, "probes": {"m": record}}})
            await instance.sleep(down or 0.05)
            status = await client.call("probe.status")
            if seconds > down:
                monkeypatch.undo()
                await instance.sleep(seconds - down)
            found: dict[str, object] = status["sinks"][0]
            return found

    status = run(life, 700.0, 600.0)
    assert (status["dropped"], status["queued"]) == ({}, 500) and status["spooled"] >= 5500
    seqs = [one["seq"] for one in samples(path)]
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) > 6900
    assert not kept.exists()
    run(life, 30.0, 30.0)
    assert len(samples(path)) == len(seqs) and kept.exists()
    monkeypatch.undo()
    run(life, 1.0, 0.0)
    more = [one["seq"] for one in samples(path)][len(seqs) :]
    assert more == list(range(1, len(more) + 1)) and len(more) > 305
    assert sum("series" in one for one in documents(path)) == 2


def test_a_spool_that_cannot_be_is_refused(tmp_path: Path) -> None:
    from brokersim.protocol.errnums import EINVAL, RequestError

    (tmp_path / "notes").write_text("notes\n")

    async def main() -> None:
        async with probing() as (_, client):
            for spool, says in (
                (str(tmp_path / "notes"), "no spool of ours"),
                ("/dev/null/x", "Not a directory"),
            ):
                sink = {"type": "statsd", "queue": {"spool": spool}}
                with pytest.raises(RequestError, match=says) as caught:
                    await client.call("probe.reload", {"config": {"sinks": {"s": sink}}})
                assert caught.value.errno == EINVAL

    run(main)
