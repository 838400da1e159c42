"""Queue accounts against plain lists: what came in is what was sent, dropped, held or suppressed, whatever happens."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modules.probe.sending.outqueue import SAMPLE_SIZE, Bounds, OutQueue
from modules.probe.sending.spool import Spool
from tests.effort import examples
from tests.modules.probe.test_spool import SERIES, sample, told

STEPS = st.lists(
    st.sampled_from(["insert", "insert", "insert", "take", "take", "ok", "fail", "final", "shrink"]),
    max_size=60,
)


def weight(seq):
    """Bytes of a sample: what each costs, and its text."""
    value = sample(seq).value
    return SAMPLE_SIZE + (len(value) if isinstance(value, str) else 0)


@given(STEPS, st.integers(1, 8), st.integers(150, 900), st.booleans())
@example(["insert", "take", "insert", "fail"], 1, 900, True)
@example(["insert", "take", "insert", "fail"], 1, 900, False)
def test_what_waits_is_what_a_plain_list_has(steps, most, most_bytes, newest):
    queue = OutQueue(name="q", max_samples=most, max_bytes=most_bytes, drop_newest=newest)
    waiting, flight, sent, dropped, seq = [], [], [], [], 0

    def trim():
        while len(waiting) > most or sum(map(weight, waiting)) > most_bytes:
            dropped.append(waiting.pop(-1 if newest else 0))

    for step in steps:
        if step == "insert":
            seq += 1
            queue.insert(sample(seq))
            waiting.append(seq)
        elif step == "take":
            queue.reset()
            assert [one.seq for one in queue.take(0.0)] == ([] if flight else waiting)
            flight, waiting = (flight, waiting) if flight else (waiting, [])
        elif step == "ok" and flight:
            sent, flight = sent + flight, []
            queue.delivered_now()
        elif step == "shrink":
            most = max(1, most - 1)
            queue.bound(Bounds(max_samples=most, max_bytes=most_bytes, drop_newest=newest))
        elif step in ("fail", "final") and flight:
            queue.failed(0.0, random.Random(1), "down", is_final=step == "final")
            dropped, waiting = (dropped + flight, waiting) if step == "final" else (dropped, flight + waiting)
            flight = []
        trim()
        assert [one.seq for one in queue._samples] == waiting
        assert [one.seq for one in queue.flight] == flight
        assert queue.dropped.total() == len(dropped)
        assert queue.delivered == len(sent)
        assert queue.size == sum(map(weight, waiting))
        assert queue.is_in_balance
    told_of = {(gap.mid, seq) for gap in queue.gaps for seq in range(gap.first, gap.last + 1)}
    if not sent:
        assert {(SERIES[seq % 2].mid, seq) for seq in dropped} <= told_of


LIVES = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 4), st.sampled_from(["end", "kill"])), min_size=1, max_size=5
)


@settings(max_examples=examples(40), deadline=None)
@given(LIVES)
def test_over_lives_that_end_well_or_by_kill_what_was_spooled_comes(tmp_path_factory, lives):
    """Each life puts some in and sends some batches. After kill -9 what was taken out may come twice; none is lost."""
    path = str(tmp_path_factory.getbasetemp() / "spool-of-lives")
    with suppress(FileNotFoundError):
        os.unlink(path)  # of an example that failed
    seq, got, owed = 0, [], set()
    for inserts, batches, end in [*lives, (0, 99, "end")]:
        queue = OutQueue(name="q", max_samples=3, spool=Spool(path))
        assert queue.is_in_balance
        for _ in range(inserts):
            seq += 1
            queue.insert(sample(seq))
        for _ in range(batches):
            batch = queue.take(1.0)
            got += [one.seq for one in batch]
            queue.delivered_now()
            assert queue.is_in_balance
        if end == "kill":
            # What was in memory goes with it; what the file has is owed.
            with open(path, "rb") as file:
                owed |= {one for line in file if (one := json.loads(line).get("seq"))}
            os.close(queue.spool._fd)
        else:
            queue.give_up()
            assert queue.is_in_balance and queue.dropped.total() == 0
    assert owed <= set(got)
    firsts = [one for at, one in enumerate(got) if one not in got[:at]]
    assert firsts == sorted(firsts)
    if all(end == "end" for _, _, end in lives):
        assert got == list(range(1, seq + 1))
    assert not os.path.exists(path)


@pytest.mark.parametrize("change", [b"", b'{"mid":', b"[1]\n", b'{"series":1}\n'])
def test_a_spool_that_somebody_cuts_or_writes_to_is_lost_and_counted_but_holds_nobody(tmp_path, change):
    path = tmp_path / "spool"
    queue = OutQueue(name="q", max_samples=2, spool=Spool(str(path)))
    for seq in range(1, 8):
        queue.insert(sample(seq))
    path.write_bytes(change)
    got = []
    while batch := queue.take(1.0):
        got += batch
        queue.delivered_now()
    assert told(got) == told([sample(1), sample(2)])
    assert dict(queue.dropped) == {"spool": 5} and queue.is_in_balance
    assert "changed by another" in queue.to_dict()["spool_trouble"]
    for seq in range(8, 12):
        queue.insert(sample(seq))
    while batch := queue.take(1.0):
        got += batch
        queue.delivered_now()
    assert [one.seq for one in got] == [1, 2, 8, 9, 10, 11] and queue.is_in_balance


def test_a_spool_is_as_large_as_it_may_be_and_what_finds_no_room_is_counted(tmp_path):
    queue = OutQueue(name="q", max_samples=2, spool=Spool(str(tmp_path / "spool"), 700))
    for seq in range(1, 30):
        queue.insert(sample(seq))
        assert os.path.getsize(tmp_path / "spool") <= 700 and queue.is_in_balance
    assert queue.spooled >= 2 and queue.dropped["spool"] == 27 - queue.spooled
    assert "full, 700 bytes" in queue.to_dict()["spool_trouble"]
