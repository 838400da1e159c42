"""What a watcher is told, against a model of the values; and kvs-watch in a running instance. Virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brokersim
from brokersim.host.handle import Handle
from brokersim.instance import Instance
from brokersim.protocol import treeobj
from brokersim.protocol.blobref import blobref
from brokersim.protocol.errnums import EINVAL, EISDIR, ENODATA, ENOENT, ENOTSUP, EPERM, EPROTO, RequestError
from brokersim.protocol.message import ROLE_USER, Message
from modules.kvs_watch.answers import answers_for
from modules.kvs_watch.messages import Root, WatchRequest, plain_key, plain_keys
from modules.kvs_watch.monitors import Monitor

READDIR, WATCH, WAITCREATE, TREEOBJ, FULL, UNIQ, APPEND, STREAM, SENTINEL = (
    1,
    4,
    8,
    16,
    64,
    128,
    256,
    512,
    1024,
)
STORAGE = ("content-cache", "content-sqlite", "kvs", "kvs-watch")


def valref(*parts: bytes) -> dict[str, Any]:
    return treeobj.valref([blobref(part) for part in parts])


# -- pure


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1))
def test_full_and_uniq_tell_each_value_once_however_often_it_is_committed(values: list[bytes]) -> None:
    answers = answers_for(WATCH | UNIQ)
    told = [answer for value in values for answer in answers.heed(treeobj.val(value)).values]
    expected = [value for at, value in enumerate(values) if at == 0 or values[at - 1] != value]
    assert told == [treeobj.val(value) for value in expected]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_append_tells_every_blob_once_in_order(sizes: list[int]) -> None:
    """Model: the log as a growing list of parts, looked at after some of the appends."""
    answers = answers_for(WATCH | APPEND)
    parts = [str(n).encode() for n in range(sum(sizes))]
    told: list[Any] = []
    seen = 0
    for size in sizes:
        seen += size
        told += answers.heed(valref(*parts[:seen])).values
    assert told == [blobref(part) for part in parts]


def test_append_ends_when_the_value_shrinks_or_is_replaced() -> None:
    for second in (valref(b"1"), treeobj.val(b"new")):
        answers = answers_for(WATCH | APPEND)
        answers.heed(valref(b"1", b"2"))
        assert answers.heed(second).errnum == EINVAL
    assert answers_for(WATCH | APPEND).heed(treeobj.directory()).errnum == EISDIR
    assert answers_for(STREAM).heed(treeobj.symlink("a")).errnum == EINVAL


@pytest.mark.parametrize(
    ("flags", "streaming", "errnum"),
    [
        (WATCH, False, EPROTO),
        (STREAM, False, EPROTO),
        (WATCH | STREAM, True, EPROTO),
        (FULL, True, EPROTO),
        (WATCH | FULL | UNIQ, True, EPROTO),
        (SENTINEL, True, EINVAL),
        (2048, True, EINVAL),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: int, streaming: bool, errnum: int) -> None:
    with pytest.raises(RequestError) as caught:
        WatchRequest(key="a", namespace="primary", flags=flags).check(streaming)
    assert caught.value.errno == errnum


@given(st.lists(st.sampled_from(["", "a", "b"])).filter(lambda names: ".".join(names) != ""))
def test_keys_are_compared_without_their_empty_names(names: list[str]) -> None:
    assert plain_key(".".join(names)) == (".".join(filter(None, names)) or ".")


@given(st.lists(st.text("ab.", max_size=4), max_size=4))
def test_the_keys_of_a_commit_are_compared_as_each_of_them_is(keys):
    assert {*plain_keys(dict.fromkeys(keys))} - {""} == {plain_key(key) for key in keys if key}


# -- live


def live(body: Callable[[Instance], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=STORAGE, **settings) as instance:
            await body(instance)

    brokersim.run(main)


class Watched:
    """What one watch was told: values as bytes (objects where they are no vals), the end as its errnum."""

    def __init__(self, client: Handle, key: str, flags: int, namespace: str = "primary") -> None:
        self.told: list[Any] = []
        request = {"key": key, "namespace": namespace, "flags": flags}
        self.request = client.stream("kvs-watch.lookup", request, self._heed)

    def _heed(self, response: Message, _: None) -> None:
        if response.errnum:
            self.told.append(response.errnum)
        else:
            found = None if response.data is None else response.payload["val"]
            self.told.append(treeobj.val_bytes(found) if found and found["type"] == "val" else found)


def put(key: str, value: str, flags: int = 0) -> dict[str, Any]:
    return {"key": key, "flags": flags, "dirent": treeobj.val(value.encode())}


async def commit(client: Handle, *ops: dict[str, Any], namespace: str = "primary") -> Any:
    return await client.call("kvs.commit", {"namespace": namespace, "flags": 0, "ops": list(ops)})


@pytest.mark.parametrize("rank", [0, 1])
def test_a_watch_tells_the_value_at_once_and_after_each_commit_that_names_the_key(rank: int) -> None:
    async def body(instance: Instance) -> None:
        client = instance.client(rank)
        await commit(client, put("a", "1"))
        plain, uniq, full = (Watched(client, "a", WATCH | kind) for kind in (0, UNIQ, FULL))
        await instance.sleep(1)
        for op in (put("a", "2"), put("a", "2"), put("b", "x"), put("a..", "3"), put("a", "4", 32)):
            await commit(client, op)
        await instance.sleep(1)
        assert plain.told == [b"1", b"2", b"2", b"3", b"34"]
        assert uniq.told == full.told == [b"1", b"2", b"3", b"34"]

    live(body, size=2)


def test_full_sees_changes_that_name_another_key_and_uniq_does_not() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("d.a", "1"), {"key": "l", "flags": 0, "dirent": treeobj.symlink("d")})
        full, uniq = Watched(client, "d.a", WATCH | FULL), Watched(client, "d.a", WATCH | UNIQ)
        await instance.sleep(1)
        await commit(client, put("l.a", "2"))  # the same value, reached by the link
        await commit(client, {"key": "d", "flags": 0, "dirent": None})
        await instance.sleep(1)
        assert (full.told, uniq.told) == ([b"1", b"2", ENOENT], [b"1"])

    live(body)


def test_append_and_stream_tell_one_blob_a_response() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        for part in "123":
            await commit(client, put("log", part, 32))
        grown, streamed = Watched(client, "log", WATCH | APPEND), Watched(client, "log", STREAM)
        await instance.sleep(1)
        await commit(client, put("log", "45", 32), put("log", "6", 32))
        await instance.sleep(1)
        assert grown.told == [b"1", b"2", b"3", b"45", b"6"]
        assert streamed.told == [b"1", b"2", b"3", ENODATA]
        await commit(client, put("log", "new"))
        await instance.sleep(1)
        assert grown.told[-1] == EINVAL

    live(body)


def test_the_sentinel_comes_once_behind_what_there_was_at_the_start() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        for part in "12":
            await commit(client, put("log", part, 32))
        grown = Watched(client, "log", WATCH | APPEND | SENTINEL)
        missing = Watched(client, "new", WATCH | APPEND | WAITCREATE | SENTINEL)
        refused = Watched(client, "new", WATCH | APPEND | SENTINEL)
        plain = Watched(client, "log", WATCH | SENTINEL)
        await instance.sleep(1)
        await commit(client, put("log", "3", 32), put("new", "x"))
        await instance.sleep(1)
        assert plain.told == [EINVAL]
        assert grown.told == [b"1", b"2", None, b"3"]
        assert missing.told == [None, b"x"]
        assert refused.told == [ENOENT]

    live(body)


def test_a_watch_beside_one_that_waits_for_the_namespace_is_told_that_there_is_none() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        waiting = Watched(client, "a", WATCH | WAITCREATE, "later")
        await instance.sleep(1)
        plain = Watched(client, "a", WATCH, "later")
        await instance.sleep(1)
        assert (waiting.told, plain.told) == ([], [ENOTSUP])

    live(body)


def test_waitcreate_waits_for_a_key_and_for_its_namespace() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        waiting = Watched(client, "k", WATCH | WAITCREATE, "ns1")
        once = Watched(client, "k", WAITCREATE, "ns1")
        impatient = Watched(client, "k", WATCH, "ns1")
        missing = Watched(client, "k", WATCH)
        await instance.sleep(1)
        assert (waiting.told, once.told, impatient.told, missing.told) == ([], [], [ENOTSUP], [ENOENT])
        await client.call("kvs.namespace-create", {"namespace": "ns1"}, nodeid=0)
        await commit(client, put("other", "x"), namespace="ns1")
        await commit(client, put("k", "1"), namespace="ns1")
        await commit(client, put("k", "2"), namespace="ns1")
        await instance.sleep(1)
        assert (waiting.told, once.told) == ([b"1", b"2"], [b"1"])
        await client.call("kvs.namespace-remove", {"namespace": "ns1"}, nodeid=0)
        await instance.sleep(1)
        assert waiting.told == [b"1", b"2", ENOTSUP]
        assert (await client.call("kvs-watch.stats-get"))["namespaces"] == {}

    live(body)


def test_directories_and_raw_objects_can_be_watched() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("d.a", "1"))
        whole, raw, value = (Watched(client, "d", WATCH | flag) for flag in (READDIR, TREEOBJ | FULL, 0))
        await instance.sleep(1)
        await commit(client, put("d.b", "2"))
        await instance.sleep(1)
        assert [list(found["data"]) for found in whole.told] == [["a"]]  # no commit named d itself
        assert [found["type"] for found in raw.told] == ["dirref", "dirref"]
        assert value.told == [EISDIR]

    live(body)


def test_cancel_ends_one_stream_and_a_disconnect_all_of_a_client() -> None:
    async def body(instance: Instance) -> None:
        client, other = instance.client(), instance.client()
        await commit(client, put("a", "1"))
        first, second, third = (
            Watched(other, "a", WATCH),
            Watched(other, "a", WATCH),
            Watched(client, "a", WATCH),
        )
        await instance.sleep(1)
        other.request("kvs-watch.cancel", {"matchtag": first.request.matchtag})
        await instance.sleep(1)
        assert first.told == [b"1", ENODATA]
        other.close()
        await commit(client, put("a", "2"))
        await instance.sleep(1)
        assert (first.told, second.told, third.told) == ([b"1", ENODATA], [b"1"], [b"1", b"2"])
        assert (await client.call("kvs-watch.stats-get"))["watchers"] == 1

    live(body)


def test_a_guest_watches_its_own_namespace_and_no_other() -> None:
    async def body(instance: Instance) -> None:
        owner, guest = instance.client(), instance.client()
        guest.userid, guest.rolemask = 4242, ROLE_USER
        for name, user in (("mine", 4242), ("theirs", 4243)):
            await owner.call("kvs.namespace-create", {"namespace": name, "owner": user}, nodeid=0)
            await commit(owner, put("k", name), namespace=name)
        link = {"key": "link", "flags": 0, "dirent": treeobj.symlink("k", "theirs")}
        await commit(owner, link, namespace="mine")
        mine, theirs, primary = (Watched(guest, "k", WATCH, name) for name in ("mine", "theirs", "primary"))
        linked = Watched(guest, "link", WATCH, "mine")
        await instance.sleep(1)
        assert (mine.told, theirs.told, primary.told, linked.told) == ([b"mine"], [EPERM], [EPERM], [EPERM])

    live(body)


def test_a_forged_event_of_a_guest_moves_nothing_and_a_malformed_one_harms_nothing() -> None:
    async def body(instance: Instance) -> None:
        client, guest = instance.client(), instance.client()
        guest.userid, guest.rolemask = 4242, ROLE_USER
        await commit(client, put("a", "1"))
        watched = Watched(client, "a", WATCH | FULL)
        await instance.sleep(1)
        forged = {
            "namespace": "primary",
            "rootseq": 99,
            "rootref": treeobj.EMPTY_DIR_REF,
            "owner": 0,
            "keys": {},
        }
        guest.publish("kvs.namespace-primary-setroot", forged)
        client.publish("kvs.namespace-primary-setroot", {"namespace": 1})
        client.publish("kvs.namespace-primary-setroot")
        await commit(client, put("a", "2"))
        await instance.sleep(1)
        assert watched.told == [b"1", b"2"]

    live(body)


def test_one_put_is_one_event_received_as_in_flux() -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("kvs-watch.stats-clear")
        for n in range(10):
            await commit(client, put("a", str(n)))
        assert instance.broker(0).module("kvs-watch").counts[5] == 10

    live(body)


def test_a_watch_that_went_upstream_is_ended_neither_by_a_cancel_nor_with_its_client_as_in_flux() -> None:
    async def main() -> tuple[list[int], int, int]:
        async with brokersim.open_instance(modules=STORAGE, size=2) as instance:
            client, told = instance.client(rank=1), []
            await instance.remove("kvs-watch", rank=1)
            watch = {"namespace": "primary", "key": ".", "flags": WATCH | READDIR}
            request = client.stream("kvs-watch.lookup", watch, lambda r, _: told.append(r.errnum))
            await instance.sleep(1)
            await instance.load("kvs-watch", rank=1)
            client.request("kvs-watch.cancel", {"matchtag": request.matchtag})
            await instance.sleep(1)
            watching = instance.module(0, "kvs-watch").handle.body.stats()["watchers"]
            client.close()
            await instance.sleep(1)
            return told, watching, instance.module(0, "kvs-watch").handle.body.stats()["watchers"]

    told, before, after = brokersim.run(main)
    assert (told, before, after) == ([0], 1, 1)


# -- whom a commit concerns


class Wire:
    """Stands for the handle of a monitor: subscriptions and requests lead nowhere."""

    def event_subscribe(self, prefix: str) -> None: ...
    def request(self, *args: Any, **kwargs: Any) -> None: ...


class Looker:
    """Stands for a watch: it notes at which commits it looks."""

    def __init__(self, number: int, key: str, flags: int, looks: list[tuple[int, int]]) -> None:
        self.number, self.key, self.flags, self.looks = number, key, flags, looks
        self.msg = Message(1, "kvs-watch.lookup", rolemask=1)
        self.rootseq = -1

    def look(self, _namespace: str, root: Root) -> None:
        self.rootseq = root.rootseq
        self.looks.append((root.rootseq, self.number))


WATCHED = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([WATCH, WATCH, WATCH | FULL]))
MOVES = st.lists(
    st.one_of(
        WATCHED,
        st.integers(0, 9),
        st.lists(st.sampled_from(["a", "b", "c", "d", "a."]), max_size=3, unique=True),
    ),
    max_size=20,
)


@given(MOVES)
def test_a_commit_concerns_those_who_watch_its_keys_in_the_order_they_came(moves: list[Any]) -> None:
    monitor = Monitor(Wire(), "primary")  # type: ignore[arg-type]
    looks: list[tuple[int, int]] = []
    wanted: list[tuple[int, int]] = []
    live: list[Looker] = []
    seq = made = 0
    for move in moves:
        if isinstance(move, int):
            if live:
                monitor.drop(live.pop(move % len(live)))  # type: ignore[arg-type]
        elif isinstance(move, tuple):
            live.append(Looker(made, *move, looks))
            made += 1
            monitor.add(live[-1])  # type: ignore[arg-type]
            if seq:
                wanted.append((seq, live[-1].number))
        else:
            seq += 1
            keys = {plain_key(key) for key in move}
            first = seq == 1
            wanted += [(seq, one.number) for one in live if first or one.flags & FULL or one.key in keys]
            monitor.moved(Root("primary", "sha1-", seq, 0, dict.fromkeys(move)))
    assert looks == wanted
    for one in live:
        monitor.drop(one)  # type: ignore[arg-type]
    assert not (monitor.watches or monitor._by_key or monitor._full)
