"""What no root leads to is let go by a store in memory, at the second look; everything else stays, whatever happens."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import brokersim
from brokersim.protocol import blobref
from brokersim.protocol.errnums import ENOENT, RequestError
from modules.content_sqlite.collector import Reach
from modules.content_sqlite.memory import MemoryStore
from tests.effort import examples

KVS = ("content-cache", "content-sqlite", "kvs", "heartbeat")


def digest_of(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


class AgainstGraph(RuleBasedStateMachine):
    """The model knows who names whom, what was stored for good, and at which looks each was out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.blobs: dict[bytes, tuple[bytes, list[bytes]]] = {}
        self.for_good: set[bytes] = set()
        self.strikes: dict[bytes, int] = {}
        self.serial = 0

    def keep(self, data: bytes, names: list[bytes], is_rooted: bool, patch: blobref.Patch | None) -> None:
        digest = digest_of(data)
        self.store.store(blobref.Blob(digest, len(data), data.__bytes__, patch, is_rooted))
        self.store.flush()
        self.blobs[digest] = (data, names)
        self.strikes[digest] = 0
        if not is_rooted:
            self.for_good.add(digest)

    @rule(data=st.data(), is_rooted=st.sampled_from([True, True, True, False]))
    def new(self, data, is_rooted):
        names = data.draw(st.lists(st.sampled_from(sorted(self.blobs)), max_size=3)) if self.blobs else []
        self.serial += 1
        text = f"{self.serial} {' '.join(map(blobref.from_digest, names))}".ljust(1500).encode()
        self.keep(text, names, is_rooted, None)

    @rule(data=st.data())
    def next_version(self, data):
        """As a large directory that grows: a difference to one that is there."""
        if not self.blobs:
            return
        base = data.draw(st.sampled_from(sorted(self.blobs)))
        before, names = self.blobs[base]
        name = data.draw(st.sampled_from(sorted(self.blobs)))
        patch = blobref.Patch(base, len(before), 0, b" " + blobref.from_digest(name).encode())
        made = bytearray(before)
        patch.apply(made)
        self.keep(bytes(made), [*names, name], True, patch)

    @rule(data=st.data(), is_rooted=st.booleans())
    def again(self, data, is_rooted):
        if self.blobs:
            content, names = self.blobs[data.draw(st.sampled_from(sorted(self.blobs)))]
            self.keep(content, names, is_rooted, None)

    @rule(data=st.data(), count=st.integers(1, 5))
    def look(self, data, count):
        roots = data.draw(st.lists(st.sampled_from(sorted(self.blobs)), max_size=2)) if self.blobs else []
        reach = Reach(self.store, [*roots, *self.store.holders()])
        while not reach.step(count):
            pass
        self.store.let_go(reach.reached)
        reached, left = set(), [*roots, *self.for_good]
        while left:
            digest = left.pop()
            if digest not in reached:
                reached.add(digest)
                left += self.blobs[digest][1]
        assert reached == {digest for digest in reach.reached if digest in self.blobs}
        for digest in list(self.blobs):
            self.strikes[digest] = 0 if digest in reached else self.strikes[digest] + 1
            if self.strikes[digest] > 1 and not self.is_base(digest):
                del self.blobs[digest]
                assert digest not in self.store._objects
                assert digest not in self.store._patches
        # What is named may go before who names it, if that is out of reach as well.
        for digest, (content, names) in self.blobs.items():
            self.blobs[digest] = (content, [name for name in names if name in self.blobs])

    def is_base(self, digest: bytes) -> bool:
        return digest in self.store._objects or digest in self.store._patches

    @invariant()
    def all_that_may_be_asked_for_is_there(self):
        for digest, (content, _) in self.blobs.items():
            assert self.store.load(digest) == content
        size = sum(map(len, self.store._objects.values()))
        assert self.store._size() == size + sum(len(one.inserted) for one in self.store._patches.values())


TestAgainstGraph = AgainstGraph.TestCase
TestAgainstGraph.settings = settings(max_examples=examples(25), stateful_step_count=25)


def eager(instance: Any) -> MemoryStore:
    """It looks every five minutes."""
    sqlite: Any = instance.module(0, "content-sqlite").handle.body
    sqlite._collector.new_min, sqlite._collector.interval = 10, 300.0
    store: MemoryStore = sqlite._store
    return store


async def put(client: Any, key: str, value: str) -> str:
    dirent = {"ver": 1, "type": "val", "data": b64encode(value.encode()).decode()}
    ops = [{"key": key, "flags": 0, "dirent": dirent}]
    answer = await client.call("kvs.commit", {"namespace": "primary", "ops": ops, "flags": 0})
    return str(answer["rootref"])


async def get(client: Any, key: str) -> Any:
    return (await client.call("kvs.lookup", {"namespace": "primary", "key": key, "flags": 0}))["val"]["data"]


@pytest.mark.parametrize("size", [1, 2])
def test_an_instance_without_a_state_directory_does_not_grow_with_its_commits(size):
    async def main():
        async with brokersim.open_instance(size=size, modules=KVS, clock="virtual", seed=1) as instance:
            store, client, counts = eager(instance), instance.client(size - 1), []
            mine = await client.call("content.store", b"for good")
            first = await put(client, "a.b.c", "AAAA")
            for number in range(150):
                # The same trees come again and again, at times long after they were left.
                await put(client, "a.b.c", ("CCCC", "AAAA", "BBBB")[number // 20 % 3])
                await put(client, f"d.{number % 7}", f"{number % 11:04}")
                await instance.sleep(60)
                counts.append(len(store))
            for rank in range(size):
                await instance.client(rank).call("content.dropcache")
            assert await get(client, "a.b.c") == "QUFBQQ=="
            assert [await get(client, f"d.{n}") for n in range(7)]
            assert mine == digest_of(b"for good")
            assert await client.call("content.load", mine) == b"for good"
            with pytest.raises(RequestError) as caught:
                await client.call("content.load", blobref.digest(first))
            assert caught.value.errno == ENOENT
            return counts

    counts = brokersim.run(main, clock="virtual")
    assert max(counts[75:]) <= max(counts[:75]) < 150


@pytest.mark.parametrize("many", [40, 1_000_000])
def test_many_new_blobs_are_looked_at_sooner_and_few_are_not(many):
    async def main():
        async with brokersim.open_instance(modules=KVS, clock="virtual", seed=1) as instance:
            store, client, counts = eager(instance), instance.client(), []
            sqlite: Any = instance.module(0, "content-sqlite").handle.body
            sqlite._collector.new_many, sqlite._collector.interval_many = many, 20.0
            for number in range(280):
                await put(client, "a.b", f"{number:04}")  # two or three blobs a second
                await instance.sleep(1)
                counts.append(len(store))
            return max(counts)

    most = brokersim.run(main, clock="virtual")
    assert most < 200 if many == 40 else most > 560


@pytest.mark.parametrize("size", [1, 2])
def test_what_somebody_stores_stays_though_it_was_part_of_a_tree_first(size):
    async def main():
        async with brokersim.open_instance(size=size, modules=KVS, clock="virtual", seed=1) as instance:
            store, client = eager(instance), instance.client(size - 1)
            root = blobref.digest(await put(client, "a", "AAAA"))
            copy = await client.call("content.load", root)
            assert await client.call("content.store", copy) == root
            for number in range(40):
                await put(client, "a", f"{number}")
                await instance.sleep(60)
            for rank in range(size):
                await instance.client(rank).call("content.dropcache")
            assert await client.call("content.load", root) == copy
            return len(store)

    assert brokersim.run(main, clock="virtual") < 40
