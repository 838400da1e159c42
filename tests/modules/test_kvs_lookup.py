"""kvs lookup: flags, symlinks, errors; the rules of flux-core as far as a lookup shows them."""

from __future__ import annotations

import base64

import msgspec
import pytest

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import as_blob
from brokersim.protocol.errnums import (
    EFBIG,
    EINVAL,
    EIO,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    ENOTSUP,
    RequestError,
)
from brokersim.protocol.wire import MAX_FRAME
from modules.kvs import keys
from modules.kvs.lookup import MAX_LINKS, READDIR, READLINK, TREEOBJ, VALUE_MAX, WATCH_FLAGS, at_hand
from modules.kvs.messages import LookupRequest
from modules.kvs.objects import StoredObject
from tests.modules.test_kvs_steps import Store, append, link, mkdir, put


@pytest.fixture(params=["warm", "cold"])
def store(request) -> Store:
    store = Store(cold=request.param == "cold")
    store.roots["other"] = treeobj.EMPTY_DIR_REF
    store.commit(
        put("v", b"1"),
        put("d.v", b"2"),
        put("d.big", b"b" * 200),
        mkdir("e"),
        link("lv", "v"),
        link("ld", "d"),
        link("d.up", "v"),
        link("gone", "nowhere"),
        link("far", "x", "other"),
        link("fardir", "sub", "other"),
        link("lost", "x", "no-such-namespace"),
        link("round", "round"),
    )
    store.commit(put("x", b"far away"), put("sub.v", b"deep"), link("sub.l", "x"), namespace="other")
    return store


def errnum_of(store: Store, key: str, flags: int = 0) -> int | None:
    with pytest.raises(RequestError) as caught:
        store.lookup(key, flags)
    return caught.value.errno


def test_a_value_comes_as_val_with_its_base64(store):
    assert store.lookup("v") == {"ver": 1, "type": "val", "data": "MQ=="}
    assert store.lookup("d.v") == {"ver": 1, "type": "val", "data": "Mg=="}


def test_a_large_value_is_stored_as_valref_and_comes_as_val(store):
    assert store.lookup("d.big", TREEOBJ)["type"] == "valref"
    assert store.lookup("d.big") == {"ver": 1, "type": "val", "data": base64.b64encode(b"b" * 200).decode()}


def test_appended_value_is_the_concatenation(store):
    store.commit(append("d.big", b"!"), append("d.big", b"?"))

    assert store.value("d.big") == b"b" * 200 + b"!?"
    assert len(store.lookup("d.big", TREEOBJ)["data"]) == 3


def test_a_look_up_that_needs_nothing_is_answered_at_once_and_any_other_is_not(store):
    store.commit(append("d.big", b"!"))
    if store.cold:
        assert at_hand(store.get, store.roots["primary"], "v", 0) is None
        return

    def found(key: str, flags: int = 0, value_max: int = VALUE_MAX) -> treeobj.TreeObj | None:
        return at_hand(store.get, store.roots["primary"], key, flags, value_max)

    for key in ("v", "d.v", "d.big"):
        for flags in (0, TREEOBJ):
            assert found(key, flags) == store.lookup(key, flags)
    assert found("d", TREEOBJ) == store.lookup("d", TREEOBJ)
    # As long as an answer may be; no longer.
    size = sum(len(store.cache[ref].blob) for ref in found("d.big", TREEOBJ)["data"])
    assert found("d.big", 0, size) is not None and found("d.big", 0, size - 1) is None
    store.cache.pop(found("d.big", TREEOBJ)["data"][-1])
    # Beside what is not here: a directory read as a value, links, what is not there, other flags.
    for key, flags in (
        ("d.big", 0),
        ("d", 0),
        ("lv", 0),
        ("ld.v", 0),
        ("none", 0),
        ("v.x", 0),
        ("v", READLINK),
    ):
        assert found(key, flags) is None, key


def test_a_value_that_no_answer_could_hold_is_refused_before_it_is_made(store, monkeypatch):
    store.commit(append("d.big", b"!"))
    assert treeobj.val_bytes(store.lookup("d.big", value_max=201)) == b"b" * 200 + b"!"
    store.commit(append("d.big", b"?"))
    monkeypatch.setattr(treeobj, "val", None)
    with pytest.raises(RequestError) as caught:
        store.lookup("d.big", value_max=201)
    assert caught.value.errno == EFBIG
    assert caught.value.text.startswith("a value of 202 bytes in 3 objects: an answer holds 201; ask for")
    assert len(store.lookup("d.big", TREEOBJ)["data"]) == 3


def test_a_value_of_one_object_is_given_whatever_its_size(store):
    assert treeobj.val_bytes(store.lookup("d.big", value_max=10)) == b"b" * 200


def test_nobody_asks_for_more_than_an_answer_holds():
    for wrong in (-1, VALUE_MAX + 1):
        with pytest.raises(msgspec.ValidationError, match="value_max"):
            msgspec.convert({"key": "a", "value_max": wrong}, LookupRequest)


def test_the_largest_value_fits_a_frame():
    assert (VALUE_MAX + 2) // 3 * 4 + 4096 < MAX_FRAME


def test_readdir_gives_the_entries_of_a_directory(store):
    assert store.lookup("d", READDIR)["type"] == "dir"
    assert sorted(store.lookup("d", READDIR)["data"]) == ["big", "up", "v"]
    assert store.lookup("e", READDIR) == treeobj.directory()


def test_the_root_is_a_directory(store):
    assert "lost" in store.lookup(".", READDIR)["data"]
    assert store.lookup(".", TREEOBJ) == treeobj.dirref(store.roots["primary"])
    assert errnum_of(store, ".") == EISDIR


def test_treeobj_gives_the_entry_as_it_is_stored(store):
    assert store.lookup("d", TREEOBJ)["type"] == "dirref"
    assert store.lookup("v", TREEOBJ) == treeobj.val(b"1")
    assert store.lookup("lv", TREEOBJ) == treeobj.symlink("v")
    assert store.lookup("d", TREEOBJ | READDIR)["type"] == "dirref"


def test_symlinks_are_followed_in_the_middle_and_at_the_end(store):
    assert store.value("lv") == b"1"
    assert store.value("ld.v") == b"2"
    assert store.value("ld.up") == b"1"  # links are keys from the root, not relative to where they stand


def test_readlink_gives_the_link_itself_but_follows_those_in_the_middle(store):
    assert store.lookup("lv", READLINK) == treeobj.symlink("v")
    assert store.lookup("ld.up", READLINK) == treeobj.symlink("v")
    assert store.lookup("far", READLINK) == treeobj.symlink("x", "other")


def test_a_link_may_lead_to_another_namespace(store):
    assert store.value("far") == b"far away"
    assert store.value("fardir.v") == b"deep"


def test_a_link_found_in_another_namespace_means_that_one(store):
    assert store.value("fardir.l") == b"far away"


def test_links_to_links_are_followed_ten_deep_and_no_deeper():
    store = Store()
    deepest = MAX_LINKS + 1
    store.commit(put("l0", b"end"), *(link(f"l{n}", f"l{n - 1}") for n in range(1, deepest + 1)))

    assert store.value(f"l{MAX_LINKS}") == b"end"
    assert errnum_of(store, f"l{deepest}") == ELOOP


def test_links_side_by_side_in_one_path_are_not_nested():
    store = Store()
    # d0.l0 -> d1, d1.l1 -> d2 ...: a path through twenty links, none inside another.
    store.commit(put("d20.v", b"end"), *(link(f"d{n}.l{n}", f"d{n + 1}") for n in range(20)))

    assert store.value("d0." + ".".join(f"l{n}" for n in range(20)) + ".v") == b"end"


def test_paths_full_of_nested_links_end_with_ELOOP_before_they_multiply():
    store = Store()
    # Each level doubles the walk twenty-fold: 20**9 steps without a bound.
    for n in range(9):
        store.commit(link(f"l{n}", ".".join([f"l{n + 1}"] * 20)), link(f"d.l{n}", f"l{n}"))
    store.commit(link("l9", "."))

    assert errnum_of(store, "l0.v") == ELOOP


@pytest.mark.parametrize(
    ("key", "flags", "errnum"),
    [
        ("nokey", 0, ENOENT),
        ("nokey", READDIR, ENOENT),
        ("nokey", TREEOBJ, ENOENT),
        ("d.nokey", 0, ENOENT),
        ("v.below", 0, ENOENT),
        ("v.below.more", READDIR, ENOENT),
        ("gone", 0, ENOENT),
        ("gone.more", 0, ENOENT),
        ("d", 0, EISDIR),
        ("ld", 0, EISDIR),
        ("v", READDIR, ENOTDIR),
        ("d.big", READDIR, ENOTDIR),
        ("v", READDIR | TREEOBJ, ENOTDIR),
        ("v", READLINK, EINVAL),
        ("d", READLINK, EINVAL),
        ("", 0, EINVAL),
        ("v", READDIR | READLINK, EINVAL),
        ("v", 1024, EINVAL),
        ("round", 0, ELOOP),
        ("round.more", 0, ELOOP),
        (".".join("a" * (keys.MAX_NAMES + 1)), 0, EINVAL),
    ],
)  # fmt: skip
def test_lookups_that_find_nothing_say_why(store, key, flags, errnum):
    assert errnum_of(store, key, flags) == errnum


def test_an_unknown_namespace_behind_a_link_is_ENOTSUP():
    store = Store()
    store.commit(link("lost", "x", "no-such-namespace"))
    steps_error = RequestError(ENOTSUP, "namespace 'no-such-namespace' does not exist")

    def refuse(steps, need):
        return lambda: steps.throw(steps_error)

    store._answer = refuse  # type: ignore[method-assign]
    assert errnum_of(store, "lost") == ENOTSUP


@pytest.mark.parametrize("flag", [1 << bit for bit in range(10) if WATCH_FLAGS & 1 << bit])
def test_flags_of_a_watch_are_refused(store, flag):
    assert errnum_of(store, "v", flag) == ENOTSUP


@pytest.mark.parametrize("key", ["d.v", ".d.v", "d..v", "d.v.", "..d...v.."])
def test_dots_too_many_are_ignored(store, key):
    assert store.value(key) == b"2"


@pytest.mark.parametrize("blob", [b"no json", b'{"data":"MQ==","type":"val","ver":1}', b'{"ver":1}', b""])
def test_a_directory_that_is_damaged_is_EIO(blob):
    with pytest.raises(RequestError) as caught:
        _ = StoredObject(as_blob(blob)).entries

    assert caught.value.errno == EIO


def test_a_blob_read_as_value_and_as_directory_serves_both():
    directory = treeobj.encode(treeobj.directory({"x": treeobj.val(b"1")}))
    as_value, as_directory = (
        StoredObject(as_blob(directory)),
        StoredObject(known_entries={"x": treeobj.val(b"1")}),
    )

    assert as_value.entries == as_directory.entries
    assert as_value.raw == as_directory.raw == directory
