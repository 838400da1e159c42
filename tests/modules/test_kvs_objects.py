"""What a kvs keeps decoded: an LRU cache bounded by bytes and heartbeats, against a list as model."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import as_blob
from modules.kvs.objects import AGE_LIMIT, ObjectCache, StoredObject

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.integers(0, 6)),
        st.tuples(st.just("get"), NAMES, st.just(0)),
        st.tuples(st.just("expire"), st.just(""), st.just(0)),
    ),
    max_size=60,
)


class Model:
    """A list of [name, size, epoch], least recently used first."""

    def __init__(self, limit: int) -> None:
        self.kept: list[list] = []
        self.limit = limit
        self.epoch = 0

    def put(self, name: str, size: int) -> None:
        self.kept = [item for item in self.kept if item[0] != name] + [[name, size, self.epoch]]
        while sum(item[1] for item in self.kept) > self.limit:
            self.kept.pop(0)

    def get(self, name: str, _size: int) -> None:
        for item in self.kept:
            if item[0] == name:
                self.kept = [one for one in self.kept if one is not item] + [[name, item[1], self.epoch]]

    def expire(self, _name: str, _size: int) -> None:
        self.epoch += 1
        self.kept = [item for item in self.kept if self.epoch - item[2] <= AGE_LIMIT]


@given(STEPS, st.integers(0, 20))
def test_cache_keeps_what_a_plain_list_would_keep(steps, limit):
    cache, model = ObjectCache(size_limit=limit), Model(limit)
    actions = {
        "put": lambda name, size: cache.put(name, StoredObject(as_blob(b"x" * size))),
        "get": lambda name, _size: cache.get(name),
        "expire": lambda _name, _size: cache.expire(),
    }
    for action, name, size in steps:
        actions[action](name, size)
        getattr(model, action)(name, size)

        assert [name for name in "abcdef" if name in cache._objects] == sorted(item[0] for item in model.kept)
        assert cache.statistics() == {
            "#obj": len(model.kept),
            "obj size total": sum(item[1] for item in model.kept),
        }


def test_the_empty_directory_is_always_at_hand():
    cache = ObjectCache(size_limit=0)

    found = cache.get(treeobj.EMPTY_DIR_REF)

    assert found is not None
    assert dict(found.entries) == {}
    assert cache.was_stored(treeobj.EMPTY_DIR_REF)
    assert found.raw == b'{"data":{},"type":"dir","ver":1}'


def test_an_object_older_than_five_heartbeats_is_dropped_unless_used():
    cache = ObjectCache()
    cache.put("used", StoredObject(as_blob(b"1")))
    cache.put("unused", StoredObject(as_blob(b"2")))

    for _ in range(AGE_LIMIT + 1):
        cache.expire()
        cache.get("used")

    assert "used" in cache._objects
    assert "unused" not in cache._objects


def test_only_what_was_stored_from_here_of_late_need_not_be_stored_again():
    """The content store may let go what no root led to for a while; a commit must not build on what it had once."""
    cache = ObjectCache()
    cache.put("loaded", StoredObject(as_blob(b"x")))
    cache.put("stored", StoredObject(as_blob(b"y")), is_stored=True)
    told = []
    for _ in range(AGE_LIMIT + 1):
        told.append((cache.was_stored("loaded"), cache.was_stored("stored"), cache.was_stored("none")))
        cache.expire()
        cache.get("loaded"), cache.get("stored")
    assert told == [(False, True, False)] * AGE_LIMIT + [(False, False, False)]
