"""Blobs without a state directory: whatever is asked, memory answers as a file does, and so does its module."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import brokersim
from brokersim.protocol import blobref
from brokersim.protocol.errnums import EFBIG, ENOENT, ENOSPC, RequestError
from modules.content_sqlite import chains
from modules.content_sqlite.memory import LONGEST, SHARED_MIN, MemoryStore
from modules.content_sqlite.store import BlobStore

BLOBS = st.one_of(st.binary(max_size=2), st.binary(min_size=2000, max_size=2000))


def digest_of(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


def outcome(action: Callable[..., Any], *args: Any) -> Any:
    try:
        return action(*args)
    except RequestError as error:
        return error.errno


def swept(store: Any, epoch: int, count: int) -> int:
    """How many went below an epoch, so many at a time."""
    at, last, gone = 0, store.high_water(), 0
    while at < last:
        went, at = store.sweep(epoch, at, last, count)
        gone += went
    return gone


class MemoryAgainstFile(RuleBasedStateMachine):
    """Both are told the same; what they answer, and what waits, must be the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = BlobStore(f"{self.folder.name}/content.sqlite", synchronous="OFF")
        self.memory = MemoryStore()
        self.blobs: list[bytes] = [b"never stored"]

    def teardown(self) -> None:
        self.memory.close()
        self.file.close()
        self.folder.cleanup()

    def both(self, method: str, *args: Any) -> Any:
        one, other = (outcome(getattr(store, method), *args) for store in (self.file, self.memory))
        assert one == other
        return one

    @rule(data=BLOBS)
    def store(self, data):
        assert self.both("store", data) == digest_of(data)
        self.blobs.append(data)

    @rule(inserted=st.binary(max_size=2), offset=st.integers(0, 1999), data=st.data())
    def store_as_difference(self, inserted, offset, data):
        base = data.draw(st.sampled_from(self.blobs))
        changed = bytearray(base)
        patch = blobref.Patch(digest_of(base), min(offset, len(base)), 1, inserted)
        patch.apply(changed)
        made = bytes(changed)
        blob = blobref.Blob(digest_of(made), len(made), made.__bytes__, patch)
        assert self.both("store", blob) == blob.digest
        self.blobs.append(made)

    @rule(data=st.data())
    def load(self, data):
        blob = data.draw(st.sampled_from(self.blobs))
        known = blob in self.blobs[1:]
        assert self.both("load", digest_of(blob)) == (blob if known else ENOENT)

    @rule()
    def flush(self):
        self.both("flush")
        assert (
            len(self.memory._patches) == self.file._db.execute("SELECT count(*) FROM patches").fetchone()[0]
        )

    @rule(value=st.dictionaries(st.text(), st.none()))
    def checkpoint_put(self, value):
        self.both("checkpoint_put", value)

    @rule()
    def checkpoints(self):
        self.both("checkpoints")

    @rule(data=st.data(), epoch=st.integers(0, 5))
    def mark(self, data, epoch):
        blobs = data.draw(st.lists(st.sampled_from(self.blobs), unique=True, max_size=5))
        self.both("mark", epoch, [digest_of(blob) for blob in blobs])

    @rule(epoch=st.integers(0, 5), count=st.integers(1, 3))
    def sweep(self, epoch, count):
        """Whole, a few at a time: the same goes from both, and what differed from it can still be read."""
        older = self.both("older", epoch)
        gone = {swept(store, epoch, count) for store in (self.file, self.memory)}
        assert gone == {older}
        assert self.both("older", epoch) == 0
        left = [blob for blob in self.blobs[1:] if self.both("load", digest_of(blob)) == blob]
        self.blobs = [self.blobs[0], *left]

    @invariant()
    def the_same_waits(self):
        assert self.file.epoch == self.memory.epoch
        for figure in ("pending", "writes", "is_batch_full", "failure"):
            assert getattr(self.file, figure) == getattr(self.memory, figure)


TestMemoryAgainstFile = MemoryAgainstFile.TestCase


def test_the_longest_blob_is_that_of_a_file(tmp_path):
    file, memory = BlobStore(str(tmp_path / "content.sqlite")), MemoryStore()
    assert (file._longest, memory._longest) == (LONGEST, LONGEST)
    file.close()
    memory._longest = 10
    with pytest.raises(RequestError) as caught:
        memory.store(b"0123456789+")
    assert caught.value.errno == EFBIG


def test_its_size_is_that_of_what_was_written():
    store = MemoryStore()
    store.store(b"x" * 100)
    assert store.statistics() == {
        "object_count": 0,
        "current_epoch": 0,
        "dbfile_size": 0,
        "pending": 1,
        "writes": 0,
        "checkpoints": [],
    }
    for _ in range(2):
        store.store(b"x" * 100)
        store.flush()
    assert store.statistics() == {
        "object_count": 1,
        "current_epoch": 0,
        "dbfile_size": 100,
        "pending": 0,
        "writes": 2,
        "checkpoints": [],
    }


def test_told_to_stop_growing_it_is_full_for_what_is_new_and_loses_nothing():
    store = MemoryStore()
    store.store(b"old")
    store.flush()
    go_on = store.stop_growing()
    store.store(b"old")
    store.flush()
    store.store(b"new")
    for action, *args in (
        (store.flush,),
        (store.store, b"refused while it fails"),
        (store.checkpoint_put, {}),
    ):
        assert outcome(action, *args) == ENOSPC
    assert (store.pending, store.load(digest_of(b"new"))) == (1, b"new")

    go_on()
    store.flush()
    assert (store.pending, store.load(digest_of(b"new")), store.failure) == (0, b"new", None)


def test_an_instance_without_a_state_directory_has_no_file_and_reads_what_its_cache_dropped():
    async def main() -> None:
        async with brokersim.open_instance(modules=("content-cache", "content-sqlite")) as instance:
            client = instance.client()
            digest = await client.call("content.store", b"x")
            await client.call("content.flush")
            await client.call("content.dropcache")
            assert await client.call("content.load", digest) == b"x"
            assert instance.module(0, "content-sqlite").handle.body._store.path == ":memory:"

    brokersim.run(main)


def test_a_large_version_kept_whole_is_not_copied_but_made_when_it_is_read():
    """Else a folder of a million keys took 50 MB more at every so many changes."""
    data, small = b"x" * SHARED_MIN, b"y" * (SHARED_MIN - 1)
    made = []

    def make() -> bytes:
        made.append(1)
        return data

    store = MemoryStore()
    digest = store.store(blobref.Blob(digest_of(data), len(data), make))
    short = store.store(blobref.Blob(digest_of(small), len(small), small.__bytes__))
    store.flush()
    assert (made, type(store._objects[digest]), store._objects[short]) == ([], blobref.Blob, small)
    assert store.statistics()["dbfile_size"] == len(data) + len(small)
    assert (store.load(digest), made) == (data, [1])


def test_a_large_blob_may_be_more_differences_away_from_one_that_is_kept_whole(monkeypatch):
    monkeypatch.setattr(chains, "STEPS_MAX", 2)
    kept = {}
    for size in (100, 3):
        store, data = MemoryStore(), bytearray(b"x" * size * chains.STEP_BYTES)
        blob = blobref.Blob(digest_of(data), len(data), bytes(data).__bytes__)
        store.store(blob)
        for number in range(10):
            patch = blobref.Patch(blob.digest, number, 1, b"y")
            patch.apply(data)
            blob = blobref.Blob(digest_of(data), len(data), bytes(data).__bytes__, patch)
            store.store(blob)
        store.flush()
        kept[size] = len(store._objects)
        assert store.load(blob.digest) == data
    assert kept == {100: 1, 3: 2}
