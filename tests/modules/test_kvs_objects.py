"""What a kvs keeps decoded: an LRU cache bounded by bytes and heartbeats, against a list as model."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import Blob, as_blob
from modules.kvs.directory import Directory
from modules.kvs.objects import AGE_LIMIT, COUNTED_MAX, SIZE_LIMIT, VERSION_SIZE, ObjectCache, StoredObject

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
    cache.put_stored({"stored": StoredObject(as_blob(b"y"))})
    told = []
    for _ in range(AGE_LIMIT + 1):
        told.append((cache.was_stored("loaded"), cache.was_stored("stored"), cache.was_stored("none")))
        cache.expire()
        cache.get("loaded"), cache.get("stored")
    assert told == [(False, True, False)] * AGE_LIMIT + [(False, False, False)]


def huge(number: int) -> StoredObject:
    """An object of 50 MB that nobody has to make."""
    return StoredObject(Blob(b"%020d" % number, 50_000_000, lambda: b""))


def test_what_is_larger_than_the_cache_is_kept_and_pushes_out_one_that_is_as_large_not_all_others():
    cache = ObjectCache()
    cache.put("small", StoredObject(as_blob(b"x")))
    fit = SIZE_LIMIT // COUNTED_MAX - 1
    for number in range(fit):
        cache.put(f"huge{number}", huge(number))
    assert {"small", *(f"huge{number}" for number in range(fit))} == cache._objects.keys()
    cache.get("small")
    cache.put("one more", huge(fit))
    assert cache.get("huge0") is None
    assert None not in (cache.get("small"), cache.get("huge1"), cache.get("one more"))


def test_of_versions_of_a_large_directory_only_the_newest_counts_for_what_they_share():
    cache = ObjectCache()
    value = treeobj.val(b"")
    version = Directory.of({f"{number:05}": value for number in range(2000)})
    size = version.blob.size
    cache.put_stored({version.ref: StoredObject(version.blob, version)})
    for number in range(2000, 2010):
        version = version.changed({f"{number:05}": value})
        cache.put_stored({version.ref: StoredObject(version.blob, version)})
    told = cache.statistics()
    assert told["#obj"] == 11
    assert told["obj size total"] == version.blob.size + 10 * VERSION_SIZE < size + 11 * VERSION_SIZE
    for _ in range(AGE_LIMIT + 1):
        cache.expire()
    assert cache.statistics() == {"#obj": 0, "obj size total": 0}


def test_a_large_directory_that_was_loaded_is_prepared_for_changes_once_unless_its_json_is_not_ours():
    entries = {f"{number:03}": treeobj.val(b"") for number in range(100)}
    ours = treeobj.encode(treeobj.directory(entries))
    loaded = StoredObject(as_blob(ours))
    made = loaded.prepared()
    assert isinstance(made, Directory)
    assert (bytes(made.blob), loaded.prepared() is made, loaded.entries is made) == (ours, True, True)
    theirs = StoredObject(as_blob(ours.replace(b":", b": ")))
    assert theirs.prepared() == theirs.entries == entries
    few = StoredObject(as_blob(treeobj.encode(treeobj.directory({"a": entries["000"]}))))
    assert few.prepared() == {"a": entries["000"]}
