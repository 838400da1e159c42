"""kvs transactions: flux-core's root hashes and store counts, and an independent model of nested dicts."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from brokersim.protocol import treeobj
from brokersim.protocol.errnums import (
    EINVAL,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    ENOTSUP,
    EPROTO,
    RequestError,
)
from modules.kvs import directory as directory_file
from modules.kvs import keys
from modules.kvs import objects as objects_file
from modules.kvs import transaction as transaction_file
from modules.kvs.lookup import READDIR, READLINK, TREEOBJ
from modules.kvs.transaction import APPEND, LARGE_VALUE, Op, checked, compacted
from tests.modules.test_kvs_steps import Store, append, link, mkdir, put, unlink


def refused(store: Store, *ops: Op) -> int | None:
    root = store.roots["primary"]
    with pytest.raises(RequestError) as caught:
        store.commit(*ops)
    assert store.roots["primary"] == root
    return caught.value.errno


# -- vectors of flux-core


def test_root_hashes_are_those_of_flux():
    one, two = Store(), Store()
    one.commit(put("q", b"1"))
    two.commit(put("a", b"1"), put("b.c", b"hello"))

    assert one.roots["primary"] == "sha1-465513047ac02de9e99956de8ce6365189b4f329"
    assert two.roots["primary"] == "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17"
    assert two.lookup("b", TREEOBJ)["data"] == ["sha1-d356da329c76e53dc0e73f6882ceae9231cdbe96"]


def test_stores_are_one_for_each_changed_directory_and_large_or_appended_value():
    store = Store()

    assert store.commit(put("a", b"1")) == 1
    assert store.commit(put("k.0", b"0")) == 2
    assert store.commit(*(put(f"k.{i}", b"x%d" % i) for i in range(1, 101))) == 2
    assert store.commit(put("job.0000.0001.0002.0003.eventlog", b"e")) == 6
    assert store.commit(put("large", b"x" * 55)) == 2
    assert store.commit(put("log", b"one\n")) == 1
    assert store.commit(append("log", b"two\n")) == 3  # the value so far becomes a blob, too
    assert store.commit(append("log", b"three\n")) == 2


def test_a_value_is_large_from_73_characters_of_base64_on():
    store = Store()
    store.commit(put("fits", b"x" * 54), put("does not", b"x" * 55))

    assert len(store.lookup("fits", TREEOBJ)["data"]) == LARGE_VALUE
    assert store.lookup("does not", TREEOBJ)["type"] == "valref"


def test_an_object_known_to_be_stored_is_not_stored_again():
    store = Store()
    store.commit(put("a", b"1"))
    store.commit(put("a", b"2"))

    assert store.commit(put("a", b"1")) == 0
    assert store.commit(unlink("nothing")) == 0
    assert store.commit(put("copy", b"x" * 100)) == 2
    assert store.commit(put("copies.are.free", b"x" * 100)) == 3


def test_only_what_is_left_at_the_end_of_a_transaction_is_stored():
    store = Store()

    assert store.commit(put("v", b"x" * 100), put("v", b"small")) == 1
    assert store.commit(put("d.e.v", b"1"), unlink("d")) == 0


def test_objects_are_stored_bottom_up_with_the_root_last():
    store = Store()
    store.commit(put("a.b.v", b"1"))
    blobs = list(store.blobs)

    *_, b, a, root = blobs
    assert store.roots["primary"] == root
    assert store.lookup("a", TREEOBJ)["data"] == [a]
    assert store.lookup("a.b", TREEOBJ)["data"] == [b]


# -- what an operation does


def test_a_value_in_the_way_is_replaced_by_a_directory():
    store = Store()
    store.commit(put("a", b"1"))
    store.commit(put("a.b.c", b"2"))

    assert store.value("a.b.c") == b"2"


def test_unlink_through_what_is_not_there_changes_nothing():
    store = Store()
    store.commit(put("a", b"1"), mkdir("e"))
    root = store.roots["primary"]

    for key in ("a.b", "e.x", "e.x.y", "nothing.at.all"):
        store.commit(unlink(key))

    assert store.roots["primary"] == root


def test_a_link_in_the_middle_is_written_through_and_one_at_the_end_replaced():
    store = Store()
    store.commit(put("d.x", b"1"), link("l", "d"), link("deep", "d.new.more"))
    store.commit(put("l.y", b"2"), put("deep.z", b"3"))

    assert store.value("d.y") == b"2"
    assert store.value("d.new.more.z") == b"3"
    store.commit(put("l", b"no link any more"))
    assert store.value("d.x") == b"1"
    assert store.value("l") == b"no link any more"


def test_an_inline_directory_is_stored_with_everything_in_it():
    store = Store()
    tree = treeobj.directory(
        {"big": treeobj.val(b"x" * 99), "sub": treeobj.directory({"v": treeobj.val(b"1")})}
    )

    assert store.commit(Op("t", 0, tree)) == 4
    assert store.value("t.big") == b"x" * 99
    assert store.value("t.sub.v") == b"1"
    store.commit(Op("u", 0, tree), put("u.sub.w", b"2"))
    assert sorted(store.lookup("u.sub", READDIR)["data"]) == ["v", "w"]


def test_the_dirents_of_a_request_are_never_changed():
    store = Store()
    tree = treeobj.directory({"big": treeobj.val(b"x" * 99)})
    before = json.dumps(tree)
    store.commit(Op("t", 0, tree), put("t.v", b"2"), append("t.big", b"3"))

    assert json.dumps(tree) == before


@pytest.mark.parametrize(
    ("ops", "errnum"),
    [
        ([put(".", b"1")], EINVAL),
        ([put("", b"1")], EINVAL),
        ([put("..", b"1")], EINVAL),
        ([Op("k", 1, treeobj.val(b"1"))], EINVAL),
        ([Op("k", APPEND, None)], EPROTO),
        ([Op("k", APPEND, treeobj.directory())], EPROTO),
        ([Op("k", APPEND, treeobj.symlink("x"))], EPROTO),
        ([Op("k", 0, {"ver": 1, "type": "val"})], EINVAL),
        ([Op("k", 0, {"ver": 1, "type": "val", "data": "not base64!"})], EINVAL),
        ([Op("k", 0, {"ver": 2, "type": "val", "data": "MQ=="})], EINVAL),
        ([mkdir("d"), append("d", b"1")], EISDIR),
        ([put("d.v", b"1"), append("d", b"1")], EISDIR),
        ([link("l", "x"), append("l", b"1")], ENOTSUP),
        ([link("l", "l"), put("l.x", b"1")], ELOOP),
        ([link("a", "b"), link("b", "a"), put("a.x", b"1")], ELOOP),
        ([link("l", "x", "elsewhere"), put("l.x", b"1")], EINVAL),
        ([link("l", ".".join("a" * keys.MAX_NAMES)), put("l.b", b"1")], EINVAL),
        ([put(".".join("a" * (keys.MAX_NAMES + 1)), b"1")], EINVAL),
    ],
)  # fmt: skip
def test_a_wrong_operation_is_refused_and_the_root_stays(ops, errnum):
    store = Store()
    store.commit(put("v", b"1"))

    assert refused(store, put("w", b"2"), *ops) == errnum


def test_a_key_as_deep_as_allowed_works():
    store = Store()
    key = ".".join("a" * keys.MAX_NAMES)
    store.commit(put(key, b"1"))

    assert store.value(key) == b"1"


def test_the_deepest_inline_directory_under_the_deepest_key_is_stored():
    tree = treeobj.val(b"bottom")
    for _ in range(treeobj.MAX_DEPTH):
        tree = treeobj.directory({"d": tree})
    store = Store()
    store.commit(Op(".".join("a" * keys.MAX_NAMES), 0, tree))

    assert store.commit(Op(".".join("a" * keys.MAX_NAMES), 0, tree)) == 0


# -- compacting


def test_compacting_joins_appends_to_one_key():
    ops = compacted([append("log", b"1"), append("other", b"a"), append("log", b"2"), append("log", b"3")])

    assert [(op.key, treeobj.val_bytes(op.dirent or {})) for op in ops] == [("log", b"123"), ("other", b"a")]


@pytest.mark.parametrize("ops", [
    [append("a", b"1"), append("a.b", b"2"), append("a", b"3")],
    [link("a", "c"), append("c", b"1"), append("a.b", b"2"), append("c", b"3")],
])  # fmt: skip
def test_appends_are_not_joined_over_one_that_makes_a_directory_of_the_key(ops):
    assert compacted(ops) == ops


def test_appends_by_one_way_are_joined_whatever_their_order():
    ops = compacted([append("j.a", b"1"), append("j.b", b"2"), append("j.a", b"3"), append("j.b", b"4")])
    assert [(op.key, treeobj.val_bytes(op.dirent or {})) for op in ops] == [("j.a", b"13"), ("j.b", b"24")]


KEYS = st.sampled_from(["a", "b", "a.b", "c"])
OPS = st.lists(
    st.one_of(
        st.builds(append, KEYS, st.binary(max_size=3)),
        st.builds(put, KEYS, st.binary(max_size=3)),
        st.builds(unlink, KEYS),
        st.builds(link, KEYS, KEYS),
    ),
    max_size=8,
)


@given(OPS)
def test_compacting_never_changes_what_is_read_afterwards(ops):
    plain, compact = Store(), Store()
    failures = [_failure(store, list(batch)) for store, batch in ((plain, ops), (compact, compacted(ops)))]

    assert failures[0] == failures[1]
    assert contents(plain) == contents(compact)


def _failure(store: Store, ops: list[Op]) -> int | None:
    try:
        store.commit(*ops)
    except RequestError as error:
        return error.errno
    return None


# -- order


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=2), st.binary(max_size=99), max_size=8), st.data()
)
def test_equal_contents_have_equal_roots_whatever_the_order_and_the_commits(values, data):
    """Names of one letter and two cannot be in each other's way, so the puts are independent."""
    puts = [put(".".join(name), content) for name, content in values.items() if len(name) == 2]
    puts += [put(f"top{name}", content) for name, content in values.items() if len(name) == 1]
    shuffled = data.draw(st.permutations(puts))
    cut = data.draw(st.integers(0, len(puts)))
    at_once, in_parts = Store(), Store()

    at_once.commit(*puts)
    in_parts.commit(*shuffled[:cut])
    in_parts.commit(*shuffled[cut:])

    assert at_once.roots == in_parts.roots


@given(st.recursive(st.binary(max_size=80), lambda inner: st.dictionaries(st.text("xyz", min_size=1), inner)))
def test_root_hash_is_the_hash_of_sorted_compact_json(tree):
    """Computed anew, from the bottom, with the standard library's JSON."""
    if not isinstance(tree, dict):
        tree = {"v": tree}
    store = Store()
    for key, content in _leaves(tree):
        store.commit(mkdir(key) if content is None else put(key, content))

    assert store.roots["primary"] == _hash_of(tree)


def _leaves(tree: dict[str, Any], at: str = "") -> list[tuple[str, bytes | None]]:
    found: list[tuple[str, bytes | None]] = []
    for name, item in tree.items():
        if not isinstance(item, dict):
            found.append((at + name, item))
        elif not item:
            found.append((at + name, None))
        else:
            found += _leaves(item, f"{at}{name}.")
    return found


def _sha1(data: bytes) -> str:
    return f"sha1-{hashlib.sha1(data).hexdigest()}"


def _hash_of(tree: dict[str, Any]) -> str:
    entries: dict[str, Any] = {}
    for name, item in tree.items():
        if isinstance(item, dict):
            entries[name] = {"data": [_hash_of(item)], "type": "dirref", "ver": 1}
        elif len(item) > 54:
            entries[name] = {"data": [_sha1(item)], "type": "valref", "ver": 1}
        else:
            entries[name] = treeobj.val(item)
    stored = {"data": entries, "type": "dir", "ver": 1}
    return _sha1(json.dumps(stored, sort_keys=True, separators=(",", ":")).encode())


names = st.text("ab", min_size=1, max_size=2)
one_op = st.builds(
    lambda kind, path, size: {
        "put": put(path, b"x" * size),
        "append": append(path, b"y" * size),
        "unlink": unlink(path),
        "link": link(path, "a.b"),
        "dir": mkdir(path),
        "tree": Op(path, 0, treeobj.directory({"a": treeobj.val(b"z" * size)})),
        "ref": Op(path, 0, treeobj.dirref(treeobj.EMPTY_DIR_REF)),
    }[kind],
    st.sampled_from(["put", "put", "append", "append", "unlink", "link", "dir", "tree", "ref"]),
    st.lists(names, min_size=1, max_size=4).map(".".join),
    st.sampled_from([0, 1, 54, 55, 99]),
)


@given(st.lists(one_op, max_size=25), st.sampled_from([0, 2, 64]), st.booleans())
def test_the_short_way_of_a_usual_commit_leads_where_the_long_one_does(
    ops: list[Op], large: int, cold: bool
) -> None:
    stores = Store(cold=cold), Store(cold=cold)
    for op in ops:
        outcomes = []
        for store, is_short in zip(stores, (True, False), strict=True):
            with pytest.MonkeyPatch.context() as patch:
                for module in (transaction_file, objects_file, directory_file):
                    patch.setattr(module, "LARGE", large)
                if not is_short:
                    patch.setattr(transaction_file, "_of_one", lambda *_: None)
                before = set(store.blobs)
                try:
                    stored: object = store.commit(op)
                except RequestError as error:
                    stored = error.errno
                outcomes.append((stored, [ref for ref in store.blobs if ref not in before], store.roots))
        assert outcomes[0] == outcomes[1]
        assert stores[0].blobs == stores[1].blobs


def test_a_way_over_a_link_that_an_operation_replaces_is_looked_for_anew() -> None:
    store = Store()
    store.commit(put("d.x", b"1"), link("d.l", "d"), put("d.l.l", b"2"), put("d.l.k", b"3"))
    assert contents(store) == {"d": {"x": b"1", "l": {"k": b"3"}}}


def test_what_a_job_commits_goes_the_short_way() -> None:
    store = Store()
    store.commit(put("job.0000.0000.0000.0001.J", b"x"), put("exec.eventlog", b"x"))
    job = "job.0000.0000.0000.0001"
    for op in (
        append("exec.eventlog", b"y" * 60),
        append("exec.eventlog", b"z" * 60),
        append("output", b"1"),
        link(f"{job}.guest", "."),
        Op(f"{job}.guest", 0, treeobj.dirref(treeobj.EMPTY_DIR_REF)),
        put(f"{job}.R", b"{}" * 99),
    ):
        assert transaction_file._of_one(store, store.roots["primary"], checked([op])[0]) is not None
        store.commit(op)


# -- against a model


def contents(store: Store, key: str = ".") -> dict[str, Any]:
    """The whole tree as nested dicts of bytes, links as tuples."""
    found: dict[str, Any] = {}
    for name, entry in store.lookup(key, READDIR)["data"].items():
        below = name if key == "." else f"{key}.{name}"
        if entry["type"] in ("dir", "dirref"):
            found[name] = contents(store, below)
        elif entry["type"] == "symlink":
            found[name] = ("link", entry["data"]["target"])
        else:
            found[name] = _bytes_of(store, entry)
    return found


def _bytes_of(store: Store, entry: Any) -> bytes:
    if entry["type"] == "val":
        return treeobj.val_bytes(entry)
    return b"".join(store.blobs[ref] for ref in entry["data"])


class Wrong(Exception):
    def __init__(self, errnum: int) -> None:
        self.errnum = errnum


class Model:
    """What a KVS is to its users: directories are dicts, values bytes, links ("link", target)."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}

    def write(self, key: str, change: Any, create: bool) -> None:
        names = key.split(".")
        for _ in range(11):
            where, names_left = self._descend(names[:-1], create)
            if names_left is None:
                if where is not None:
                    change(where, names[-1])
                return
            names = names_left + names[-1:]
        raise Wrong(ELOOP)

    def _descend(self, names: list[str], create: bool) -> tuple[dict[str, Any] | None, list[str] | None]:
        """The directory, or the names to start over with since a link was met."""
        here = self.tree
        for at, name in enumerate(names):
            item = here.get(name)
            if isinstance(item, tuple):
                return None, item[1].split(".") + names[at + 1 :]
            if not isinstance(item, dict):
                if not create:
                    return None, None
                item = here[name] = {}
            here = item
        return here, None

    def read(self, key: str, follow_last: bool, depth: int = 0) -> Any:
        item: Any = self.tree
        names = [] if key == "." else key.split(".")
        for at, name in enumerate(names):
            if not isinstance(item, dict) or name not in item:
                raise Wrong(ENOENT)
            item = item[name]
            if isinstance(item, tuple) and (at < len(names) - 1 or follow_last):
                if depth == 10:
                    raise Wrong(ELOOP)
                item = self.read(item[1], True, depth + 1)
        return item


def model_append(data: bytes) -> Any:
    def change(where: dict[str, Any], name: str) -> None:
        before = where.get(name)
        if isinstance(before, dict):
            raise Wrong(EISDIR)
        if isinstance(before, tuple):
            raise Wrong(ENOTSUP)
        where[name] = (before or b"") + data

    return change


NAMES = st.sampled_from("abc")
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)
BYTES = st.one_of(st.binary(max_size=4), st.binary(min_size=55, max_size=60))


class KvsAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = Store()

    @initialize(cold=st.booleans())
    def start(self, cold: bool) -> None:
        self.store = Store(cold=cold)

    def both(self, key: str, op: Op, change: Any, create: bool = True) -> None:
        tree = json_copy(self.model.tree)
        expected: int | None = None
        try:
            self.model.write(key, change, create)
        except Wrong as wrong:
            self.model.tree = tree
            expected = wrong.errnum
        if expected is None:
            self.store.commit(op)
        else:
            assert refused(self.store, op) == expected

    @rule(key=PATHS, data=BYTES)
    def put(self, key: str, data: bytes) -> None:
        self.both(key, put(key, data), lambda where, name: where.update({name: data}))

    @rule(key=PATHS, data=BYTES)
    def append(self, key: str, data: bytes) -> None:
        self.both(key, append(key, data), model_append(data))

    @rule(key=PATHS)
    def mkdir(self, key: str) -> None:
        self.both(key, mkdir(key), lambda where, name: where.update({name: {}}))

    @rule(key=PATHS, to=PATHS)
    def link(self, key: str, to: str) -> None:
        self.both(key, link(key, to), lambda where, name: where.update({name: ("link", to)}))

    @rule(key=PATHS)
    def unlink(self, key: str) -> None:
        self.both(key, unlink(key), lambda where, name: where.pop(name, None), create=False)

    @rule(key=st.one_of(st.just("."), PATHS), flags=st.sampled_from([0, READDIR, READLINK, TREEOBJ]))
    def lookup(self, key: str, flags: int) -> None:
        try:
            expected = self.expected(self.model.read(key, not flags & (READLINK | TREEOBJ)), flags)
        except Wrong as wrong:
            expected = wrong.errnum
        assert self.seen(key, flags) == expected

    def expected(self, item: Any, flags: int) -> Any:
        if flags == READDIR:
            return sorted(item) if isinstance(item, dict) else ENOTDIR
        if flags == READLINK:
            return item[1] if isinstance(item, tuple) else EINVAL
        if flags == TREEOBJ:
            return type(item)
        return EISDIR if isinstance(item, dict) else item

    def seen(self, key: str, flags: int) -> Any:
        try:
            found = self.store.lookup(key, flags)
        except RequestError as error:
            return error.errno
        kinds = {"dirref": dict, "symlink": tuple, "val": bytes, "valref": bytes}
        shown = {
            READDIR: lambda: sorted(found["data"]),
            READLINK: lambda: found["data"]["target"],
            TREEOBJ: lambda: kinds[found["type"]],
            0: lambda: treeobj.val_bytes(found),
        }
        return shown[flags]()

    @invariant()
    def the_trees_are_equal(self) -> None:
        assert contents(self.store) == self.model.tree


def json_copy(tree: Any) -> Any:
    return {name: json_copy(item) for name, item in tree.items()} if isinstance(tree, dict) else tree


TestKvsAgainstModel = KvsAgainstModel.TestCase


def test_checked_operations_are_the_same_operations():
    ops = [put("a", b"1"), unlink("b")]

    assert checked(ops) is ops


def test_what_a_value_holds_is_read_from_it_whatever_a_peer_says():
    store, wrong = Store(), {"key": "k", "# held": "d3Jvbmc="}
    put_it = msgspec.convert({**wrong, "dirent": treeobj.val(b"right" * 20)}, Op)
    more = msgspec.convert({**wrong, "flags": APPEND, "dirent": treeobj.val(b"!")}, Op)
    store.commit(*checked([put_it]))
    store.commit(*checked([more]))

    assert store.value("k") == b"right" * 20 + b"!"
