"""A content store in a dict that runs the step functions of kvs, and the needs they yield."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import as_blob, blobref
from brokersim.protocol.errnums import ENOENT, RequestError
from modules.kvs import lookup, transaction
from modules.kvs.lookup import VALUE_MAX
from modules.kvs.objects import StoredObject
from modules.kvs.steps import OBJECTS, ROOTS


class Store:
    """Blobs by blobref. Cold, it has nothing at hand, so that every object is asked for."""

    def __init__(self, *, cold: bool = False) -> None:
        self.cold = cold
        self.blobs = {treeobj.EMPTY_DIR_REF: treeobj.encode(treeobj.directory())}
        self.roots = {"primary": treeobj.EMPTY_DIR_REF}
        self.cache: dict[str, StoredObject] = {}
        #: Everything asked for so far, request by request.
        self.needs: list[tuple[str, tuple[str, ...]]] = []

    def get(self, ref: str) -> StoredObject | None:
        return self.cache.get(ref)

    def holds(self, ref: str) -> bool:
        return ref in self.cache

    def root(self, namespace: str) -> str | None:
        return None if self.cold else self.roots.get(namespace)

    def run(self, steps: Any) -> Any:
        step = steps.__next__
        try:
            while True:
                need = step()
                self.needs.append(need)
                step = self._answer(steps, need)
        except StopIteration as stop:
            return stop.value

    def _answer(self, steps: Any, need: tuple[str, tuple[str, ...]]) -> Any:
        kind, names = need
        if kind == ROOTS:
            return lambda: steps.send({name: self.roots[name] for name in names})
        found = {name: StoredObject(as_blob(self.blobs[name])) for name in names}
        if not self.cold:
            self.cache.update(found)
        return lambda: steps.send(found)

    def commit(self, *ops: transaction.Op, namespace: str = "primary") -> int:
        """Applies a transaction; how many objects had to be stored."""
        steps = transaction.apply(self, namespace, self.roots[namespace], transaction.checked(ops))
        outcome = self.run(steps)
        for ref, found in outcome.objects.items():
            assert blobref(found.raw) == ref
            self.blobs[ref] = found.raw
            if not self.cold:
                self.cache[ref] = found
                if found.known_entries is not None:
                    found.stored_form = None
        self.roots[namespace] = outcome.rootref
        return len(outcome.objects)

    def lookup(
        self, key: str, flags: int = 0, namespace: str = "primary", value_max: int = VALUE_MAX
    ) -> treeobj.TreeObj:
        root = self.roots[namespace]
        at_hand = lookup.at_hand(self.get, root, key, flags, value_max)
        found = self.run(lookup.look_up(self, namespace, root, key, flags, value_max))
        assert at_hand in (None, found)
        return dict(found)

    def value(self, key: str, namespace: str = "primary") -> bytes:
        return treeobj.val_bytes(self.lookup(key, namespace=namespace))


def put(key: str, data: bytes) -> transaction.Op:
    return transaction.Op(key, 0, treeobj.val(data))


def append(key: str, data: bytes) -> transaction.Op:
    return transaction.Op(key, transaction.APPEND, treeobj.val(data))


def link(key: str, target: str, namespace: str | None = None) -> transaction.Op:
    return transaction.Op(key, 0, treeobj.symlink(target, namespace))


def mkdir(key: str) -> transaction.Op:
    return transaction.Op(key, 0, treeobj.directory())


def unlink(key: str) -> transaction.Op:
    return transaction.Op(key)


def test_lookup_asks_for_one_directory_after_the_other_and_for_all_blobs_of_a_value_at_once():
    store = Store()
    store.commit(put("a.b.v", b"x" * 100), append("a.b.v", b"y"), append("a.b.v", b"z"))
    store.cache.clear()

    assert store.value("a.b.v") == b"x" * 100 + b"yz"

    asked = [names for kind, names in store.needs if kind == OBJECTS]
    assert [len(names) for names in asked] == [
        1,
        1,
        1,
        1,
        3,
    ]  # root for the commit; root, a, b, then the value


def test_commit_asks_for_the_directories_of_all_its_keys_at_once():
    store = Store()
    store.commit(*(put(f"{name}.v", name.encode()) for name in "abc"))
    store.cache.clear()
    store.needs.clear()

    store.commit(*(put(f"{name}.w", b"2") for name in "abc"))

    assert [len(names) for _kind, names in store.needs] == [1, 3]
    assert store.value("b.w") == b"2"


def test_a_blob_that_cannot_be_loaded_fails_the_lookup_with_that_error():
    store = Store(cold=True)
    steps = lookup.look_up(store, "primary", treeobj.EMPTY_DIR_REF, "a", 0)
    next(steps)

    with pytest.raises(RequestError) as caught:
        steps.throw(RequestError(ENOENT, "gone"))

    assert caught.value.text == "gone"
