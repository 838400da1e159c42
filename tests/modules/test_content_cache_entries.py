"""The cache behind the content service: states, accounts and purging, against a plain model."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from brokersim.protocol.blobref import as_blob
from modules.content_cache.entries import SIZE_MAX, BlobCache

TARGET = 10
OLD = 3
DIGESTS = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])


class CacheAgainstModel(RuleBasedStateMachine):
    """The model is a list of dicts, least recently used first; nothing is ever looked up by position in it."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = BlobCache(purge_target_size=TARGET, purge_old_entry=OLD)
        self.model: list[dict] = []
        self.epoch = 0
        self.dirtied: list[bytes] = []

    def known(self, digest: bytes) -> dict | None:
        return next((item for item in self.model if item["digest"] == digest), None)

    @rule(digest=DIGESTS)
    def find(self, digest):
        entry, item = self.cache.find(digest), self.known(digest)
        assert (entry is None) == (item is None)
        if item is not None:
            item["used"] = self.epoch
            self.to_the_end(item)

    def to_the_end(self, item: dict) -> None:
        self.model = [one for one in self.model if one is not item] + [item]

    @rule(digest=DIGESTS, size=st.integers(0, 6))
    def add(self, digest, size):
        if self.known(digest) is None:
            self.cache.create(digest)
            self.model.append(
                {"digest": digest, "size": size, "valid": False, "dirty": False, "used": self.epoch}
            )

    @rule(digest=DIGESTS)
    def fill(self, digest):
        item = self.known(digest)
        if item is not None and not item["valid"]:
            entry = self.cache.find(digest)
            assert entry is not None
            self.cache.fill(entry, as_blob(b"x" * item["size"]))
            item["valid"], item["used"] = True, self.epoch
            self.to_the_end(item)

    @rule(digest=DIGESTS)
    def fill_dirty(self, digest):
        item = self.known(digest)
        if item is not None and not item["valid"]:
            entry = self.cache.find(digest)
            assert entry is not None
            self.cache.fill_dirty(entry, as_blob(b"x" * item["size"]))
            item["valid"], item["dirty"], item["used"] = True, True, self.epoch
            self.dirtied.append(digest)

    @precondition(lambda self: self.dirtied)
    @rule(data=st.data())
    def clean(self, data):
        digest = data.draw(st.sampled_from(self.dirtied))
        item, entry = self.known(digest), self.cache.find(digest)
        assert entry is not None
        assert item is not None
        self.cache.clean(entry)
        item["dirty"], item["used"] = False, self.epoch
        self.dirtied.remove(digest)
        self.to_the_end(item)

    @rule()
    def purge(self):
        dropped = self.cache.purge()
        self.epoch += 1
        before = len(self.model)
        for item in list(self.model):
            if not item["valid"] or item["dirty"]:
                continue
            if self.size() <= TARGET or self.epoch - item["used"] < OLD:
                break
            self.model.remove(item)
        assert dropped == before - len(self.model)

    @rule()
    def drop_clean(self):
        kept = [item for item in self.model if item["dirty"] or not item["valid"]]
        assert self.cache.drop_clean() == len(self.model) - len(kept)
        self.model = kept

    def size(self) -> int:
        return sum(item["size"] for item in self.model if item["valid"])

    @invariant()
    def accounts_are_right(self):
        cache = self.cache
        assert (cache.count, cache.valid, cache.dirty, cache.size) == (
            len(self.model),
            sum(item["valid"] for item in self.model),
            sum(item["dirty"] for item in self.model),
            self.size(),
        )
        assert [entry.digest for entry in cache.dirty_entries()] == self.dirtied


TestCacheAgainstModel = CacheAgainstModel.TestCase


def test_what_became_dirty_before_is_stored_when_the_oldest_dirty_entry_is_younger():
    cache = BlobCache()
    entries = [cache.create(bytes([n])) for n in range(3)]
    for entry in entries:
        cache.fill_dirty(entry, as_blob(b"data"))
    first_two = entries[1].seq

    cache.clean(entries[1])
    assert not cache.is_stored_up_to(first_two)
    cache.clean(entries[0])
    assert cache.is_stored_up_to(first_two)
    assert not cache.is_stored_up_to(cache.last_seq)


def test_an_entry_dropped_while_its_load_is_under_way_leaves_no_account():
    cache = BlobCache()
    entry = cache.create(b"a")
    cache.drop(entry)

    assert (cache.count, cache.valid, cache.dirty, cache.size) == (0, 0, 0, 0)


def test_above_its_utmost_size_the_cache_drops_what_is_clean_and_longest_unused_at_once():
    """Flux's rule alone waits for ten heartbeats; as many jobs as one submits at once are over by then."""
    cache = BlobCache(purge_target_size=0)
    assert cache.size_max == SIZE_MAX
    cache.size_max = 30
    entries = [cache.create_dirty(as_blob(b"%010d" % number)) for number in range(5)]
    assert (cache.size, cache.count) == (50, 5), "what is dirty stays, whatever it takes"
    cache.clean(entries[2])
    assert cache.find(entries[2].digest) is None
    cache.clean(entries[0])
    assert (cache.size, cache.find(entries[0].digest)) == (30, None)
    for entry in (entries[1], entries[3]):
        cache.clean(entry)
    cache.find(entries[1].digest)
    loaded = cache.create(as_blob(b"loaded now").digest)
    cache.fill(loaded, as_blob(b"loaded now"))
    assert cache.find(entries[3].digest) is None
    assert None not in (
        cache.find(entries[1].digest),
        cache.find(loaded.digest),
        cache.find(entries[4].digest),
    )
    assert (cache.size, cache.valid, cache.dirty) == (30, 3, 1)
