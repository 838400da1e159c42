"""Any sequence of KVS requests over the socket, against a model that makes the root hashes by itself."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.effort import examples
from tests.fluxcompat.kvs_model import READDIR, READLINK, TREEOBJ, Failed, Tree, names
from tests.fluxcompat.minimal_client import NORESPONSE, STREAMING, MinimalClient

EMPTY = "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91"
WATCH, WAITCREATE, FULL, UNIQ = 4, 8, 64, 128
ENOENT, EEXIST, ENODATA, ENOTSUP = 2, 17, 61, 95
NO_MERGE, TXN_COMPACT, SYNC = 1, 2, 4
APPEND = 32
_serial = count(1)

name = st.sampled_from("ab")
key = st.lists(name, min_size=1, max_size=3).map(".".join)
anywhere = st.one_of(key, st.just("."), key.map(lambda text: f".{text}..x"))
#: Around the 54 bytes that still stand in a directory.
data = st.one_of(
    st.binary(max_size=3), st.integers(53, 56).map(lambda size: b"v" * size), st.just(b"w" * 5000)
)
operation = st.one_of(
    st.tuples(st.just("put"), key, data),
    st.tuples(st.just("append"), key, data),
    st.tuples(st.just("unlink"), key, st.none()),
    st.tuples(st.just("mkdir"), key, st.none()),
    st.tuples(st.just("link"), key, key),
)
FLAGS = (0, READDIR, READLINK, TREEOBJ)


def treeobj(kind: str, content: Any) -> dict[str, Any]:
    return {"ver": 1, "type": kind, "data": content}


def to_op(verb: str, where: str, argument: Any) -> dict[str, Any]:
    """An operation as it goes over the wire."""
    if verb in ("put", "append"):
        dirent: Any = treeobj("val", base64.b64encode(argument).decode())
    elif verb == "link":
        dirent = treeobj("symlink", {"target": argument})
    else:
        dirent = treeobj("dir", {}) if verb == "mkdir" else None
    return {"key": where, "flags": APPEND if verb == "append" else 0, "dirent": dirent}


def attempt(act: Callable[..., Any], *args: Any) -> tuple[int, Any]:
    """The errnum of what the model does, and its result."""
    try:
        return 0, act(*args)
    except Failed as failed:
        return failed.errnum, None


class Watcher:
    """A watch on one key, and what it must have been told so far."""

    def __init__(
        self, client: MinimalClient, namespace: str, tree: Tree | None, where: str, flags: int
    ) -> None:
        self.client, self.where, self.flags = client, where, flags
        self.expected: list[Any] = []
        self.is_over = False
        self.has_answered = False
        self.last: Any = None
        request = {"key": where, "namespace": namespace, "flags": flags}
        self.tag = client.send("kvs-watch.lookup", request, flags=STREAMING)
        if tree is not None:
            self.look(tree)
        elif not flags & WAITCREATE:
            self.end(ENOTSUP)

    def look(self, tree: Tree) -> None:
        try:
            found = tree.lookup(self.where, self.flags & (READDIR | READLINK | TREEOBJ))
        except Failed as failed:
            if failed.errnum != ENOENT or not self.flags & WAITCREATE or self.has_answered:
                self.end(failed.errnum)
            return
        if not self.flags & (FULL | UNIQ) or found != self.last:
            self.expected.append(found)
            self.has_answered = True
        self.last = found

    def committed(self, tree: Tree, ops: list[tuple[str, str, Any]]) -> None:
        named = any(names(where) == names(self.where) for _, where, _ in ops)
        if not self.is_over and (named or self.flags & FULL):
            self.look(tree)

    def end(self, errnum: int) -> None:
        if not self.is_over:
            self.expected.append(errnum)
            self.is_over = True

    def close(self) -> None:
        """Cancel it, and compare all that it was told."""
        if not self.is_over:
            # What is on its way comes first: the cancel overtakes no answer that is owed.
            told = [self._next() for _ in self.expected]
            self.client.send("kvs-watch.cancel", {"matchtag": self.tag}, flags=NORESPONSE)
            self.end(ENODATA)
            told.append(self._next())
        else:
            told = [self._next() for _ in self.expected]
        assert told == self.expected

    def _next(self) -> Any:
        frame = self.client.answer(self.tag)
        assert frame.flags & STREAMING
        if frame.errnum:
            return frame.errnum
        return None if frame.json["val"] is None else frame.json["val"]


class KvsMachine(RuleBasedStateMachine):
    """Two namespaces, a client on each of two ranks."""

    uri: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.clients = [MinimalClient(self.uri), MinimalClient(self.uri.replace("local-0", "local-1"))]
        for client in self.clients:
            client.socket.settimeout(60)
        self.names = [f"model{next(_serial)}" for _ in range(2)]
        self.trees: list[Tree | None] = [None, None]
        self.watchers: list[tuple[int, Watcher]] = []
        self.create(0)

    def teardown(self) -> None:
        for _, watcher in self.watchers:
            watcher.close()
        for at, tree in enumerate(self.trees):
            if tree is not None:
                self.clients[0].rpc("kvs.namespace-remove", {"namespace": self.names[at]}, 0)
        for client in self.clients:
            client.close()

    at = st.integers(0, 1)

    @rule(at=at)
    def create(self, at: int) -> None:
        request = {"namespace": self.names[at], "rootref": EMPTY, "owner": -1, "flags": 0}
        errnum = self.clients[0].errnum("kvs.namespace-create", request, 0)
        assert errnum == (0 if self.trees[at] is None else EEXIST)
        if not errnum:
            tree = self.trees[at] = Tree()
            for where, watcher in self.watchers:
                if where == at and not watcher.is_over:
                    watcher.look(tree)

    @precondition(lambda self: any(self.trees))
    @rule(at=at)
    def remove(self, at: int) -> None:
        errnum = self.clients[1].errnum("kvs.namespace-remove", {"namespace": self.names[at]}, 0)
        assert errnum == 0
        if self.trees[at] is not None:
            self.trees[at] = None
            for where, watcher in self.watchers:
                if where == at:
                    watcher.end(ENOTSUP)

    @rule(at=at, who=at, ops=st.lists(operation, max_size=4), flags=st.sampled_from([0, 0, NO_MERGE, SYNC]))
    def commit(self, at: int, who: int, ops: list[tuple[str, str, Any]], flags: int) -> None:
        request = {"namespace": self.names[at], "flags": flags, "ops": [to_op(*op) for op in ops]}
        frame = self.clients[who].raw("kvs.commit", request)
        tree = self.trees[at]
        if tree is None:
            assert frame.errnum == ENOTSUP
            return
        errnum, _ = attempt(tree.commit, ops)
        assert frame.errnum == errnum, frame.text
        if errnum:
            return
        assert frame.json == {"rootref": tree.rootref, "rootseq": tree.rootseq}
        for where, watcher in self.watchers:
            if where == at:
                watcher.committed(tree, ops)

    @rule(at=at, who=at, where=anywhere, flags=st.sampled_from(FLAGS))
    def look(self, at: int, who: int, where: str, flags: int) -> None:
        tree = self.trees[at]
        if tree is not None:  # the other rank knows the root when its version has come
            wait = {"rootseq": tree.rootseq, "namespace": self.names[at]}
            self.clients[who].rpc("kvs.wait-version", wait)
        request = {"key": where, "namespace": self.names[at], "flags": flags}
        frame = self.clients[who].raw("kvs.lookup", request)
        if tree is None:
            assert frame.errnum == ENOTSUP
            return
        errnum, expected = attempt(tree.lookup, where, flags)
        assert frame.errnum == errnum
        assert errnum or frame.json == {"val": expected}

    @precondition(lambda self: len(self.watchers) < 4)
    @rule(
        at=at,
        where=key,
        kind=st.sampled_from([0, UNIQ, FULL]),
        more=st.sampled_from([0, WAITCREATE, READDIR, TREEOBJ]),
    )
    def watch(self, at: int, where: str, kind: int, more: int) -> None:
        client = self.clients[0]
        self.watchers.append(
            (at, Watcher(client, self.names[at], self.trees[at], where, WATCH | kind | more))
        )
        client.rpc("kvs-watch.ping", {"seq": 0})  # the watch has begun before anything else is asked

    @precondition(lambda self: bool(self.watchers))
    @rule(which=st.integers(0, 3))
    def stop_watching(self, which: int) -> None:
        self.watchers.pop(which % len(self.watchers))[1].close()

    @invariant()
    def roots_are_where_the_model_has_them(self) -> None:
        for at, tree in enumerate(self.trees):
            frame = self.clients[0].raw("kvs.getroot", {"namespace": self.names[at]})
            if tree is None:
                assert frame.errnum == ENOTSUP
            else:
                assert (frame.json["rootref"], frame.json["rootseq"]) == (tree.rootref, tree.rootseq)


def test_any_sequence_of_requests_leaves_the_roots_the_model_has(uri: str) -> None:
    machine = type("KvsMachine", (KvsMachine,), {"uri": uri})
    # Not shrunk: a request that is never answered would be waited for in each attempt.
    found = (Phase.explicit, Phase.reuse, Phase.generate)
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples(20), stateful_step_count=30, deadline=None, phases=found),
    )


@pytest.mark.parametrize(
    ("ops", "rootref"),
    [
        ([("put", "q", b"1")], "sha1-465513047ac02de9e99956de8ce6365189b4f329"),
        ([("put", "a", b"1"), ("put", "b.c", b"hello")], "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17"),
        ([], EMPTY),
    ],
)
def test_the_models_hashes_are_fluxs(ops: Any, rootref: str) -> None:
    tree = Tree()
    tree.commit(ops)
    assert tree.rootref == rootref
