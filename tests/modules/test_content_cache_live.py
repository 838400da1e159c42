"""The content service in a running instance, over SQLite and over a backing store that fails on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import brokersim
from brokersim.host.handle import Handle
from brokersim.instance import Instance
from brokersim.protocol.errnums import EFBIG, EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, EPROTO, RequestError

EBUSY = 16
STORAGE = ("content-cache", "content-sqlite")
#: A backing store in a dict that takes its time, counts, and fails when told to.
BACKING = """
from hashlib import sha1
from brokersim.brokermod import BrokerModule, RequestError, request_handler

class Backing(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        h.service_register("content-backing")
        self.blobs, self.errnum, self.delay, self.flushes = {}, 0, 0.0, 0
        self.now, self.most = 0, 0

    @request_handler("control")
    def control(self, msg):
        vars(self).update(msg.payload)
        self.handle.respond(msg)

    @request_handler("spoil")
    def spoil(self, msg):
        self.blobs = {digest: data + b"!" for digest, data in self.blobs.items()}
        self.handle.respond(msg)

    @request_handler("content-backing.store", prefix=False)
    async def store(self, msg):
        await self.wait()
        digest = sha1(msg.raw).digest()
        self.blobs[digest] = msg.raw
        self.handle.respond(msg, digest)

    @request_handler("content-backing.load", prefix=False)
    async def load(self, msg):
        await self.wait()
        if msg.raw not in self.blobs:
            raise RequestError(2)
        self.handle.respond(msg, self.blobs[msg.raw])

    async def wait(self):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.handle.sleep(self.delay)
            if self.errnum:
                raise RequestError(self.errnum, "the disk is on fire")
        finally:
            self.now -= 1

    @request_handler("content-backing.flush", prefix=False)
    def flush(self, msg):
        self.flushes += 1
        self.handle.respond(msg)

    def stats(self):
        return {"blobs": len(self.blobs), "most": self.most, "flushes": self.flushes}
"""
Body = Callable[[Instance], Awaitable[None]]


def live(body: Body, modules: tuple[str, ...] = STORAGE, **settings: Any) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=modules, **settings) as instance:
            await body(instance)

    brokersim.run(main)


@pytest.fixture
def backing(tmp_path) -> Callable[..., Awaitable[Handle]]:
    """Loads the backing store of this file and registers it; gives a client."""
    path = tmp_path / "backing.py"
    path.write_text(BACKING)

    async def load(instance: Instance, **control: Any) -> Handle:
        await instance.load(str(path))
        client = instance.client()
        await client.call("backing.control", control)
        await register(instance)
        return client

    return load


async def register(instance: Instance) -> None:
    """In the name of the backing module, as it would do itself."""
    await instance.module(0, "backing").handle.call("content.register-backing", {"name": "content-sqlite"})


async def errnum(awaitable: Awaitable[Any]) -> int | None:
    with pytest.raises(RequestError) as caught:
        await awaitable
    return caught.value.errno


def digest_of(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


async def start(client: Handle, *requests: tuple[str, Any]) -> list[Any]:
    """Sends all requests at once, and awaits all answers: payloads, or errnums."""
    answers: dict[int, Any] = {}

    def begin(done: Callable[[Any], None]) -> None:
        def answered(response: Any, at: int) -> None:
            answers[at] = response.errnum or response.data
            if len(answers) == len(requests):
                done(None)

        for at, (topic, payload) in enumerate(requests):
            client.request(topic, payload, answered, at)

    await client.occurrence(begin)
    return [answers[at] for at in range(len(requests))]


async def gauges(client: Handle) -> dict[str, int]:
    stats = await client.call("content.stats-get")
    return {name: stats[name] for name in ("count", "valid", "dirty", "size", "flush-batch-count")}


async def pulse(instance: Instance, times: int = 1) -> None:
    for _ in range(times):
        instance.client().publish("heartbeat.pulse")
        await instance.sleep(0.01)


# -- load and store


def test_what_was_stored_is_loaded_under_its_sha1():
    async def body(instance: Instance) -> None:
        client = instance.client()
        assert await client.call("content.store", b"hello\n") == bytes.fromhex(
            "f572d396fae9206628714fb2ce00f72e94f2258f"
        )
        assert await client.call("content.store", b"") == digest_of(b"")
        await client.call("content.flush")
        await client.call("content.dropcache")
        assert (await gauges(client))["count"] == 0
        assert await client.call("content.load", digest_of(b"hello\n")) == b"hello\n"
        assert not await client.call("content.load", digest_of(b""))
        assert await errnum(client.call("content.load", digest_of(b"never stored"))) == ENOENT
        assert (await gauges(client))["count"] == 2  # what was not found is not kept

    live(body)


def test_a_store_is_answered_before_the_backing_store_has_it(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=5.0)
        before = client.now()
        await client.call("content.store", b"x")
        assert client.now() == before
        assert (await gauges(client)) == {
            "count": 1,
            "valid": 1,
            "dirty": 1,
            "size": 1,
            "flush-batch-count": 1,
        }
        await instance.sleep(6)
        assert (await gauges(client)) == {
            "count": 1,
            "valid": 1,
            "dirty": 0,
            "size": 1,
            "flush-batch-count": 0,
        }
        assert (await client.call("backing.stats-get"))["blobs"] == 1

    live(body, modules=("content-cache",))


def test_loads_of_one_missing_blob_share_one_request(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=1.0)
        digest = await client.call("content.store", b"x")
        await client.call("content.flush")
        await client.call("content.dropcache")
        module = instance.module(0, "backing").handle
        before = module.counts[1]
        answers = await start(client, *[("content.load", digest)] * 10)

        assert answers == [b"x"] * 10
        assert module.counts[1] == before + 1

    live(body, modules=("content-cache",))


def test_a_store_answers_the_loads_that_wait_for_the_same_blob(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=1.0)
        before = client.now()
        answers = await start(client, ("content.load", digest_of(b"x")), ("content.store", b"x"))

        assert answers == [b"x", digest_of(b"x")]
        assert client.now() == before
        await client.call("content.flush")
        assert (await gauges(client))["dirty"] == 0

    live(body, modules=("content-cache",))


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("content.load", None, EPROTO),
        ("content.load", b"short", EPROTO),
        ("content.load", b"x" * 21, EPROTO),
        ("content.load", {"hash": "x"}, EPROTO),
        ("content.store", b"x" * 11, EFBIG),
        ("content.register-backing", {}, EPROTO),
        ("content.register-backing", {"name": "content-backing"}, EBUSY),
        ("content.checkpoint-get", {}, ENOENT),
        ("content.checkpoint-put", {"value": 1}, EPROTO),
        ("content.nothing", None, ENOSYS),
    ],
)
def test_every_wrong_request_is_refused_and_harms_nothing(topic, payload, expected):
    async def body(instance: Instance) -> None:
        client = instance.client()
        assert await errnum(client.call(topic, payload)) == expected
        assert await client.call("content.store", b"fits") == digest_of(b"fits")

    live(body, attrs={"content.blob-size-limit": "10"})


# -- write-back


def test_no_more_stores_are_under_way_than_the_batch_limit(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=0.5)
        await start(client, *[("content.store", b"%d" % n) for n in range(20)])
        assert (await gauges(client))["flush-batch-count"] == 4
        await client.call("content.flush")

        stats = await client.call("backing.stats-get")
        assert (stats["blobs"], stats["most"], stats["flushes"]) == (20, 4, 1)
        assert (await gauges(client))["dirty"] == 0

    live(body, modules=("content-cache",), attrs={"content.flush-batch-limit": "4"})


def test_flush_reaches_the_rows_that_sqlite_holds_back():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("content.store", b"x")
        assert (await client.call("content-sqlite.stats-get"))["pending"] == 1
        await client.call("content.flush")
        assert (await client.call("content-sqlite.stats-get"))["pending"] == 0

    live(body)


def test_flush_waits_for_what_is_dirty_now_and_not_for_what_comes_later(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=1.0)
        await client.call("content.store", b"early")
        flushed: list[float] = []
        client.request("content.flush", None, lambda *_: flushed.append(client.now()))
        began = client.now()
        for n in range(10):
            await instance.sleep(0.3)
            await client.call("content.store", b"later %d" % n)

        assert [when - began for when in flushed] == [1.0]

    live(body, modules=("content-cache",))


def test_without_a_backing_store_nothing_is_lost_and_flush_says_so():
    async def body(instance: Instance) -> None:
        client = instance.client()
        digest = await client.call("content.store", b"x")
        assert await errnum(client.call("content.flush")) == ENOSYS
        await client.call("content.dropcache")
        await pulse(instance, 3)
        assert await client.call("content.load", digest) == b"x"
        assert await errnum(client.call("content.load", digest_of(b"y"))) == ENOENT
        assert await errnum(client.call("content.checkpoint-get", {})) == ENOSYS

        await instance.load("content-sqlite")
        await instance.sleep(0.1)
        assert (await gauges(client))["dirty"] == 0
        await client.call("content.flush")
        await client.call("content.dropcache")
        assert await client.call("content.load", digest) == b"x"

    live(
        body,
        modules=("content-cache",),
        attrs={"content.purge-target-size": "0", "content.purge-old-entry": "0"},
    )


def test_flush_without_a_backing_store_says_so():
    async def body(instance: Instance) -> None:
        assert await errnum(instance.client().call("content.flush")) == ENOSYS

    live(body, modules=("content-cache",))


def test_a_backing_store_that_fails_loses_nothing_and_is_tried_again_at_the_heartbeat(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, errnum=ENOSPC)
        await start(client, *[("content.store", b"%d" % n) for n in range(10)])
        await instance.sleep(0.1)
        assert (await gauges(client))["dirty"] == 10
        assert await errnum(client.call("content.flush")) == ENOSPC
        await pulse(instance, 3)
        log = [line for line in instance.broker(0).log.lines() if "the disk is on fire" in line]
        assert len(log) == 1

        await client.call("backing.control", {"errnum": 0})
        await instance.sleep(10)
        assert (await gauges(client))["dirty"] == 10
        await pulse(instance)
        assert (await gauges(client))["dirty"] == 0
        assert (await client.call("backing.stats-get"))["blobs"] == 10
        await client.call("content.flush")

    live(body, modules=("content-cache",))


def test_a_blob_that_comes_back_changed_is_EIO_and_not_kept(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance)
        digest = await client.call("content.store", b"x")
        await client.call("content.flush")
        await client.call("content.dropcache")
        await client.call("backing.spoil")
        assert await errnum(client.call("content.load", digest)) == EIO
        assert (await gauges(client))["count"] == 0

    live(body, modules=("content-cache",))


def test_the_backing_store_may_be_unregistered_and_another_take_its_place(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance)
        await client.call("content.store", b"x")
        await client.call("content.flush")
        await client.call("content.unregister-backing")
        assert await errnum(client.call("content.unregister-backing")) == EINVAL
        await client.call("content.store", b"y")
        assert await errnum(client.call("content.flush")) == ENOSYS
        await instance.remove("backing")
        await instance.load("content-sqlite")
        await client.call("content.flush")
        assert (await client.call("content-sqlite.stats-get"))["writes"] == 1

    live(body, modules=("content-cache",))


def test_a_backing_store_that_is_unloaded_is_unregistered_by_its_disconnect(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance)
        await client.call("content.store", b"x")
        await client.call("content.flush")
        await instance.remove("backing")
        await client.call("content.store", b"y")
        assert await errnum(client.call("content.flush")) == ENOSYS
        assert await client.call("content.load", digest_of(b"x")) == b"x"

    live(body, modules=("content-cache",))


def test_a_reloaded_cache_finds_its_backing_store_again():
    async def body(instance: Instance) -> None:
        client = instance.client()
        digest = await client.call("content.store", b"x")
        await instance.remove("content-cache")
        assert await errnum(client.call("content.load", digest)) == ENOSYS
        await instance.load("content-cache")
        await instance.sleep(0.1)
        assert await client.call("content.load", digest) == b"x"

    live(body)


def test_unloading_the_cache_writes_what_is_dirty(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, errnum=ENOSPC)
        for n in range(3):
            await client.call("content.store", b"%d" % n)
        await instance.sleep(0.1)
        await client.call("backing.control", {"errnum": 0})
        await instance.remove("content-cache")
        assert (await client.call("backing.stats-get"))["blobs"] == 3

    live(body, modules=("content-cache",))


# -- purging


def test_heartbeats_purge_old_clean_entries_down_to_the_target_size():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for n in range(10):
            await client.call("content.store", b"%010d" % n)
        await client.call("content.flush")
        await pulse(instance, 2)
        assert (await gauges(client))["size"] == 100
        await client.call("content.load", digest_of(b"%010d" % 0))
        await pulse(instance)
        assert (await gauges(client))["size"] == 50
        await instance.remove("content-sqlite")
        assert await client.call("content.load", digest_of(b"%010d" % 0)) == b"%010d" % 0

    live(body, attrs={"content.purge-target-size": "50", "content.purge-old-entry": "3"})


# -- ranks


def test_a_store_on_a_far_rank_is_answered_when_rank_0_has_it():
    async def body(instance: Instance) -> None:
        client = instance.client(3)
        before = client.now()
        digest = await client.call("content.store", b"x")
        assert client.now() - before == pytest.approx(2 * 2 * 0.01)
        for rank in (0, 1, 3):
            assert (await gauges(instance.client(rank)))["count"] == 1
        assert await instance.client(2).call("content.load", digest) == b"x"
        await client.call("content.flush")
        assert (await instance.client().call("content-sqlite.stats-get"))["pending"] == 0
        assert await errnum(instance.client(2).call("content.load", digest_of(b"y"))) == ENOENT
        assert await errnum(client.call("content.register-backing", {"name": "content-sqlite"})) == EINVAL
        await client.call("content.checkpoint-put", {"value": {"a": 1}})
        assert await client.call("content.checkpoint-get", {}) == {"value": [{"a": 1}]}

    live(body, size=4, latency=0.01)


def test_stores_of_one_blob_on_a_far_rank_share_one_request():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        answers = await start(client, *[("content.store", b"x")] * 5)
        assert answers == [digest_of(b"x")] * 5
        stats = await instance.client().call("content.stats-get")
        assert stats["rx"]["request"] == 2 + 1  # welcome, the store, stats-get

    live(body, size=2, modules=("content-cache",))


def test_a_store_that_rank_0_refuses_is_refused_on_the_far_rank_and_not_kept():
    async def body(instance: Instance) -> None:
        instance.broker(0).attributes.set("content.blob-size-limit", "10")
        await instance.remove("content-cache")
        await instance.load("content-cache")
        client = instance.client(1)
        assert await errnum(client.call("content.store", b"x" * 11)) == EFBIG
        assert (await gauges(client))["count"] == 0

    live(body, size=2, modules=("content-cache",))


# -- figures


def sent_lines(instance: Instance) -> list[str]:
    packets = [packet for _when, packet in instance.sink.packets]  # type: ignore[attr-defined]
    return [line for packet in packets for line in packet.decode().split("\n") if line]


def test_every_load_and_store_is_a_timing_in_ms_of_its_own(backing):
    async def body(instance: Instance) -> None:
        client = await backing(instance, delay=0.25)
        digest = await client.call("content.store", b"x")
        await client.call("content.flush")
        await client.call("content.dropcache")
        await client.call("backing.control", {"delay": 2.0})
        await client.call("content.load", digest)
        await instance.sleep(5)

        timings = [line for line in sent_lines(instance) if line.endswith("|ms")]
        assert [line.partition(":")[0] for line in timings] == [
            "flux.content-cache.0.store", "flux.content-cache.0.load",
        ]  # fmt: skip
        assert [float(line.split(":")[1].split("|")[0]) for line in timings] == [250.0, 2000.0]
        stats = await client.call("content.stats-get")
        assert (stats["store"]["max"], stats["load"]["max"]) == (250.0, 2000.0)

    live(body, modules=("content-cache",), stats="mem:")


@pytest.mark.parametrize(("timing", "expected"), [("entry", [1000.0, 1000.0]), ("aux", [600.0, 1000.0])])
def test_the_shared_slot_of_timing_aux_shortens_overlapping_operations(timing, expected, backing):
    async def body(instance: Instance) -> None:
        await instance.load("content-cache", f"timing={timing}")
        client = await backing(instance, delay=1.0)
        await client.call("content.store", b"first")
        await instance.sleep(0.4)
        await client.call("content.store", b"second")
        await instance.sleep(5)

        timings = [line for line in sent_lines(instance) if line.endswith("|ms")]
        assert [float(line.split(":")[1].split("|")[0]) for line in timings] == pytest.approx(expected)

    live(body, modules=(), stats="mem:", attrs={"stats.period": "0"})


def test_under_the_real_clock_even_operations_that_stay_in_memory_take_time():
    async def main() -> None:
        async with brokersim.open_instance(modules=STORAGE, clock="real") as instance:
            client = instance.client()
            await start(client, *[("content.store", b"%d" % n) for n in range(50)])
            await client.call("content.flush")
            store = (await client.call("content.stats-get"))["store"]
            assert store["count"] == 50
            assert 0 < store["p50"] <= store["p99"] <= store["max"] < 1000

    brokersim.run(main, clock="real")


@pytest.mark.parametrize(
    ("stats", "names"),
    [
        ("mem:", ["flux.content-cache.0", "flux.content-cache.1"]),
        # Without a rank in it the name is one series: one rank may set it.
        ("mem:,names=journal", ["flux.content-cache"]),
        ("mem:,prefix=site.r{rank}.{module}", ["site.r0.content-cache", "site.r1.content-cache"]),
    ],
)
def test_every_rank_tells_its_gauges_under_a_name_of_its_own(stats: str, names: list[str]):
    async def body(instance: Instance) -> None:
        await instance.client().call("content.store", b"12345")
        await pulse(instance)
        await instance.sleep(5)
        sizes = [line for line in sent_lines(instance) if ".size:" in line]
        assert sorted(sizes) == [f"{name}.size:{5 if name == names[0] else 0}|g" for name in names]

    live(body, size=2, stats=stats)


def test_gauges_are_sent_at_the_heartbeat_while_there_is_a_target():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("content.store", b"12345")
        await instance.sleep(0.1)
        await pulse(instance)
        await instance.sleep(5)

        assert [line for line in sent_lines(instance) if line.endswith("|g")] == [
            "flux.content-cache.0.count:1|g",
            "flux.content-cache.0.valid:1|g",
            "flux.content-cache.0.dirty:0|g",
            "flux.content-cache.0.size:5|g",
            "flux.content-cache.0.flush-batch-count:0|g",
        ]

    live(body, stats="mem:")


# -- settings


@pytest.mark.parametrize("text", ["many", "-1", "1.5", ""])
def test_a_limit_that_is_no_whole_number_is_named_at_load(text):
    async def body(instance: Instance) -> None:
        with pytest.raises(
            RequestError, match=r"attribute content\.flush-batch-limit is .* whole number, 1 or more"
        ):
            await instance.load("content-cache")

    live(body, modules=(), attrs={"content.flush-batch-limit": text})


@pytest.mark.parametrize("arg", ["timing=never", "timing", "speed=fast"])
def test_an_unknown_argument_is_named_at_load(arg):
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=r"argument .*; give timing=entry or timing=aux"):
            await instance.load("content-cache", arg)

    live(body, modules=())


def test_a_tag_that_is_none_has_no_files() -> None:
    async def main() -> int | None:
        async with brokersim.open_instance(modules=["content-cache"]) as instance:
            client = instance.client()
            assert await client.call("content.mmap-remove", {"tag": "main"}) is None
            with pytest.raises(RequestError) as error:
                await client.call("content.mmap-remove", {})
            client.close()
            return error.value.errno

    assert brokersim.run(main) == EPROTO
