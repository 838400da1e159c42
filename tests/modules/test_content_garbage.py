"""Garbage collection by order: what nobody marked goes; what comes again meanwhile is stored again, so it is there."""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import brokersim
from brokersim.protocol import blobref, treeobj
from brokersim.protocol.errnums import EINVAL, EIO, ENOENT, ENOSYS, EPROTO, RequestError
from modules.content_sqlite.gc import WINDOW_MAX, Garbage

KVS = ("content-cache", "content-sqlite", "kvs")
#: A value that is a blob of its own.
LONG = "x" * 500
SYNC = 4
UNLINKED = {"key": "a", "flags": 0, "dirent": None}


async def commit(client: Any, *keys: str, value: str | None = None, flags: int = 0) -> str:
    """The new root; without a value the keys are unlinked."""
    data = None if value is None else b64encode(value.encode()).decode()
    dirent = None if data is None else {"ver": 1, "type": "val", "data": data}
    ops = [{"key": key, "flags": 0, "dirent": dirent} for key in keys]
    answer = await client.call("kvs.commit", {"namespace": "primary", "ops": ops, "flags": flags})
    return str(answer["rootref"])


async def tree_below(client: Any, ref: str) -> list[str]:
    """Everything a root leads to, as a client reads it."""
    data = await client.call("content.load", blobref.digest(ref))
    found, text = [ref], data.decode(errors="replace")
    for part in text.split("sha1-")[1:]:
        found += await tree_below(client, f"sha1-{part[:40]}")
    return found


async def sweep(client: Any, info: dict[str, int], **wish: int) -> int:
    """All of it; how many went."""
    cursor, gone = 0, 0
    while cursor < info["high_water"]:
        request = {"epoch": info["current_epoch"], "cursor": cursor, "high_water": info["high_water"]}
        answer = await client.call("content-backing.sweep", request | {"delete_cap": 1, "window": 2} | wish)
        cursor, gone = answer["cursor"], gone + answer["deleted"]
    return gone


async def reread(client: Any, key: str) -> Any:
    """What stands under a key, with nothing of it in a cache."""
    for service in ("kvs", "content"):
        await client.call(f"{service}.dropcache")
    found = await client.call("kvs.lookup", {"namespace": "primary", "key": key, "flags": 0})
    return b64decode(found["val"]["data"]).decode()


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_no_root_leads_to_goes_and_the_rest_can_be_read(is_kept, tmp_path):
    async def main():
        attrs = {"statedir": str(tmp_path)} if is_kept else {}
        async with brokersim.open_instance(modules=KVS, attrs=attrs, clock="virtual", seed=1) as instance:
            client = instance.client()
            await commit(client, "a.b", value=LONG)
            alone = await client.call("content.store", b"of no tree")
            await client.call("content.flush")
            left = await commit(client, "a.b")
            await commit(client, "c", value=f"{LONG}c", flags=SYNC)
            root = await commit(client, "d", value=f"{LONG}d", flags=SYNC)
            before = (await client.call("content-sqlite.stats-get"))["object_count"]

            info = await client.call("content-backing.gc-info", {"epoch": 2, "get_count": True})
            marked = await tree_below(client, root)
            wish = {"epoch": info["current_epoch"], "hashes": [*marked, f"sha1-{'0' * 40}"]}
            assert (await client.call("content-backing.mark", wish))["marked"] == len(marked)
            gone = await sweep(client, info)

            stats = await client.call("content-sqlite.stats-get")
            assert (info["current_epoch"], stats["current_epoch"], info["candidates"]) == (2, 2, before)
            assert stats["object_count"] == before - gone == len(marked)
            for digest in (alone, blobref.digest(left)):
                await client.call("content.dropcache")
                with pytest.raises(RequestError) as caught:
                    await client.call("content.load", digest)
                assert caught.value.errno == ENOENT
            assert await reread(client, "c") == f"{LONG}c"
            assert await reread(client, "d") == f"{LONG}d"

    brokersim.run(main, clock="virtual")


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_garbage_and_comes_again_while_it_is_collected_is_stored_again(size):
    """Neither kvs nor a cache takes it for stored, though each has it."""

    async def main():
        async with brokersim.open_instance(size=size, modules=KVS, clock="virtual", seed=1) as instance:
            client = instance.client(size - 1)
            await commit(client, "a.b", value=LONG)
            alone = await client.call("content.store", b"of no tree")
            await client.call("content.flush")
            await commit(client, "a", flags=SYNC)

            info = await client.call("content-backing.gc-info", {"epoch": 0})
            await commit(client, "a.b", value=LONG)  # its root is none that was looked at
            await client.call("content.store", b"of no tree")
            await client.call("content.flush")
            await sweep(client, info)

            for rank in range(size):
                await instance.client(rank).call("kvs.dropcache")
                await instance.client(rank).call("content.dropcache")
            assert await reread(client, "a.b") == LONG
            assert await client.call("content.load", alone) == b"of no tree"

    brokersim.run(main, clock="virtual")


def test_it_begins_when_the_commits_have_ended_that_were_on_their_way():
    async def main():
        async with brokersim.open_instance(modules=KVS, clock="virtual", seed=1) as instance:
            client, ended = instance.client(), []
            await commit(client, "a", value=LONG)
            for name, topic, wish in (
                ("commit", "kvs.commit", {"namespace": "primary", "ops": [UNLINKED], "flags": SYNC}),
                ("begun", "content-backing.gc-info", {"epoch": 0}),
                ("begun too", "content-backing.gc-info", {"epoch": 0}),
            ):
                client.request(
                    topic, wish, lambda response, name: ended.append((name, response.errnum)), name
                )
            await instance.sleep(1)
            kvs: Any = instance.module(0, "kvs").handle.body
            return ended, len(kvs._endings)

    ended, left = brokersim.run(main, clock="virtual")
    assert (ended, left) == ([("commit", 0), ("begun", 0), ("begun too", 0)], 0)


def test_it_needs_no_kvs_and_no_cache_that_holds_anything():
    async def main():
        async with brokersim.open_instance(modules=KVS[:2], clock="virtual", seed=1) as instance:
            client = instance.client()
            assert await client.call("content-backing.gc-info", {"epoch": 0}) == {
                "current_epoch": 0,
                "high_water": 0,
            }

    brokersim.run(main, clock="virtual")


@pytest.mark.parametrize(
    ("method", "payload", "errnum", "text"),
    [
        ("gc-info", {}, EPROTO, "epoch"),
        ("gc-info", {"epoch": 1 << 63, "get_count": True}, EPROTO, r"\$.epoch"),
        ("mark", {"epoch": 1 << 63, "hashes": [f"sha1-{'0' * 40}"]}, EPROTO, r"\$.epoch"),
        (
            "sweep",
            {"epoch": -1, "cursor": 1 << 70, "high_water": 1 << 71, "delete_cap": 1, "window": 1},
            EPROTO,
            r"\$.cursor",
        ),
        ("mark", {"epoch": 1, "hashes": ["x"]}, EPROTO, "'x'"),
        ("mark", {"epoch": 1, "hashes": [f"sha1-{'0' * 40}"] * 16385}, EINVAL, "exceeds limit of 16384"),
        (
            "sweep",
            {"epoch": 1, "cursor": -1, "high_water": 1, "delete_cap": 1, "window": 1},
            EINVAL,
            "cursor",
        ),
        (
            "sweep",
            {"epoch": 1, "cursor": 0, "high_water": 1, "delete_cap": 0, "window": 1},
            EINVAL,
            "delete_cap",
        ),
    ],
)
def test_wrong_requests_are_refused(method, payload, errnum, text, tmp_path):
    async def main():
        attrs = {"statedir": str(tmp_path)}
        async with brokersim.open_instance(modules=KVS[:2], attrs=attrs, clock="virtual", seed=1) as instance:
            await instance.client().call(f"content-backing.{method}", payload)

    with pytest.raises(RequestError, match=text) as caught:
        brokersim.run(main, clock="virtual")
    assert caught.value.errno == errnum


def test_one_request_drops_no_more_than_it_may():
    async def main():
        async with brokersim.open_instance(modules=KVS[:2], clock="virtual", seed=1) as instance:
            client = instance.client()
            for number in range(10_002):
                await client.call("content.store", f"{number}".encode())
            await client.call("content.flush")
            info = await client.call("content-backing.gc-info", {"epoch": 0})
            wish = {
                "epoch": 1,
                "cursor": 0,
                "high_water": info["high_water"],
                "delete_cap": 20_000,
                "window": 20_000,
            }
            return await client.call("content-backing.sweep", wish)

    assert brokersim.run(main, clock="virtual")["deleted"] == 10_000


def test_a_tree_that_is_empty_again_is_stored_for_who_looks_for_what_it_leads_to():
    async def main():
        async with brokersim.open_instance(modules=KVS, clock="virtual", seed=1) as instance:
            client = instance.client()
            await commit(client, "a", value=LONG)
            await client.call("content.store", treeobj.encode(treeobj.directory()))
            await client.call("content.flush")
            root = await commit(client, "b", value=LONG, flags=SYNC)
            info = await client.call("content-backing.gc-info", {"epoch": 1})
            wish = {"epoch": info["current_epoch"], "hashes": await tree_below(client, root)}
            await client.call("content-backing.mark", wish)
            assert await sweep(client, info)
            root = await commit(client, "a", "b")
            assert root == treeobj.EMPTY_DIR_REF
            await client.call("content.flush")
            await client.call("content.dropcache")
            assert len(await tree_below(client, root)) == 1

    brokersim.run(main)


class Asked:
    """The handle of a module and its store, which note what they are asked for."""

    def __init__(self) -> None:
        self.epoch = 3
        self.requests: list[tuple[str, Any, Any]] = []
        self.answers: list[Any] = []
        self.swept: list[tuple[int, ...]] = []

    def request(self, topic: str, _payload: None, told: Any, arg: Any) -> None:
        self.requests.append((topic, told, arg))

    def respond(self, _msg: Any, payload: Any) -> None:
        self.answers.append(payload)

    def respond_error(self, _msg: Any, errnum: int, text: str) -> None:
        self.answers.append((errnum, text))

    def high_water(self) -> int:
        return 9

    def sweep(self, *wish: int) -> tuple[int, int]:
        self.swept.append(wish)
        return 0, wish[2]


def ask(payload: dict[str, Any]) -> Any:
    return SimpleNamespace(unpack=partial(msgspec.convert, payload))


@pytest.mark.parametrize(
    ("errnums", "answer"),
    [
        ((0, 0), {"current_epoch": 3, "high_water": 9}),
        ((ENOSYS, ENOSYS), {"current_epoch": 3, "high_water": 9}),
        ((EIO,), (EIO, "why")),
        ((0, EIO), (EIO, "why")),
    ],
)
def test_nothing_is_collected_while_somebody_may_still_take_what_goes_for_stored(errnums, answer):
    asked = Asked()
    Garbage(asked, asked).info(ask({"epoch": 3}))
    for errnum in errnums:
        [(_, told, arg)] = asked.requests
        asked.requests.clear()
        told(SimpleNamespace(errnum=errnum, payload_str="why"), arg)
    assert (asked.answers, asked.requests) == ([answer], [])


def test_one_request_looks_at_no_more_numbers_than_it_may():
    asked = Asked()
    wish = {"epoch": 3, "cursor": 7, "high_water": 1 << 40, "delete_cap": 1, "window": 1 << 40}
    Garbage(asked, asked).sweep(ask(wish))
    assert asked.swept == [(3, 7, 7 + WINDOW_MAX, 1)]
    assert asked.answers == [{"deleted": 0, "cursor": 7 + WINDOW_MAX}]
