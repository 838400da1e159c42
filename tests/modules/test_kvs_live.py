"""kvs in a running instance: counters as flux-core's, merging, namespaces, ranks, restarts. Virtual time."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given, settings

import brokersim
from brokersim.host.handle import Handle
from brokersim.instance import Instance
from brokersim.protocol import treeobj
from brokersim.protocol.errnums import (
    EEXIST,
    EFBIG,
    EHOSTUNREACH,
    EINVAL,
    EISDIR,
    ENOENT,
    ENOSPC,
    ENOSYS,
    ENOTSUP,
    EPROTO,
    RequestError,
)
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.cost import CostModel
from tests.effort import examples

SYNC = 4
STORAGE = ("content-cache", "content-sqlite", "kvs")
Body = Callable[[Instance], Awaitable[None]]


def live(body: Body, modules: tuple[str, ...] = STORAGE, **settings: Any) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=modules, **settings) as instance:
            await body(instance)

    brokersim.run(main)


def put(key: str, value: str, flags: int = 0) -> dict[str, Any]:
    return {"key": key, "flags": flags, "dirent": treeobj.val(value.encode())}


async def commit(client: Handle, *ops: dict[str, Any], flags: int = 0, namespace: str = "primary") -> Any:
    return await client.call("kvs.commit", {"namespace": namespace, "flags": flags, "ops": list(ops)})


async def value(client: Handle, key: str, namespace: str = "primary") -> str:
    found = await client.call("kvs.lookup", {"key": key, "namespace": namespace, "flags": 0})
    return treeobj.val_bytes(found["val"]).decode()


async def errnum(awaitable: Awaitable[Any]) -> int | None:
    with pytest.raises(RequestError) as caught:
        await awaitable
    return caught.value.errno


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


class Delta:
    """What a module's eight counters grew by since it was made."""

    def __init__(self, instance: Instance, *names: str, rank: int = 0) -> None:
        self.handles = {name: instance.module(rank, name).handle for name in names}
        self.before = {name: list(handle.counts) for name, handle in self.handles.items()}

    def of(self, name: str) -> dict[str, int]:
        counts = self.handles[name].counts
        grown = zip(
            COUNTER_NAMES,
            (now - then for now, then in zip(counts, self.before[name], strict=True)),
            strict=True,
        )
        return {counter: n for counter, n in grown if n}


class Listener(Handle):
    """A client that keeps the events of a topic prefix."""

    def __init__(self, instance: Instance, prefix: str, rank: int = 0) -> None:
        super().__init__(instance.broker(rank), "listener", instance.identities.uuid(rank, "listener"))
        self.seen: list[tuple[str, Any]] = []
        self.broker.add_endpoint(self)
        self.event_subscribe(prefix)

    def event_handler(self, topic: str) -> Any:
        return lambda message: self.seen.append((topic, message.data))


# -- counters


def test_one_put_costs_the_messages_it_costs_in_flux():
    async def body(instance: Instance) -> None:
        delta = Delta(instance, *STORAGE)
        client = instance.client()
        await commit(client, put("a", "1"))
        client.close()
        await instance.sleep(0.5)

        assert delta.of("kvs") == {
            "request_tx": 1, "response_tx": 1, "event_tx": 1, "request_rx": 2, "response_rx": 1, "event_rx": 1,
        }  # fmt: skip
        assert delta.of("content-cache") == {
            "request_tx": 1,
            "request_rx": 1,
            "response_tx": 1,
            "response_rx": 1,
        }
        assert delta.of("content-sqlite") == {"request_rx": 1, "response_tx": 1}

    live(body)


def test_a_hundred_nested_puts_cost_two_stores_each():
    async def body(instance: Instance) -> None:
        delta = Delta(instance, *STORAGE)
        for n in range(100):
            client = instance.client()
            await commit(client, put(f"k.{n}", str(n)))
            client.close()
        await instance.sleep(0.5)

        assert delta.of("kvs") == {
            "request_tx": 200, "response_tx": 100, "event_tx": 100,
            "request_rx": 200, "response_rx": 200, "event_rx": 100,
        }  # fmt: skip
        assert delta.of("content-sqlite") == {"request_rx": 200, "response_tx": 200}

    live(body)


def test_a_hundred_keys_in_one_commit_cost_two_stores():
    async def body(instance: Instance) -> None:
        delta = Delta(instance, *STORAGE)
        client = instance.client()
        await commit(client, *(put(f"k.{n}", str(n)) for n in range(100)))
        client.close()
        await instance.sleep(0.5)

        assert delta.of("kvs") == {
            "request_tx": 2, "response_tx": 1, "event_tx": 1, "request_rx": 2, "response_rx": 2, "event_rx": 1,
        }  # fmt: skip

    live(body)


def test_an_append_to_a_log_costs_two_stores():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("log", "1"))
        await commit(client, put("log", "2", flags=32))
        delta = Delta(instance, "kvs")
        for _ in range(10):
            await commit(client, put("log", "next", flags=32))
        await instance.sleep(0.5)

        # "next" is one blob, stored once; the root is another each time.
        assert delta.of("kvs")["request_tx"] == 10 + 1
        for n in range(10):
            await commit(client, put("log", f"line {n};", flags=32))
        assert delta.of("kvs")["request_tx"] == 10 + 1 + 2 * 10
        assert await value(client, "log") == "12" + "next" * 10 + "".join(f"line {n};" for n in range(10))

    live(body)


def test_a_commit_runs_two_more_iterations_than_messages():
    """The turn that applies it, and the one in which the answer to its store is gone on with."""

    async def body(instance: Instance) -> None:
        client = instance.client()
        kvs = instance.module(0, "kvs").handle
        await instance.sleep(0.5)
        before = kvs.iterations, sum(kvs.counts[1::2])
        for n in range(50):
            await commit(client, put("a", str(n)))
        await instance.sleep(0.5)

        received = sum(kvs.counts[1::2]) - before[1]
        assert received == 3 * 50  # request, answer to one store, own event
        assert kvs.iterations - before[0] == received + 2 * 50

    live(body)


def test_at_rest_kvs_receives_heartbeats_and_sends_nothing():
    async def body(instance: Instance) -> None:
        await instance.sleep(1)
        delta = Delta(instance, "kvs")
        await instance.sleep(60)

        assert delta.of("kvs") == {"event_rx": 30}

    live(body, modules=(*STORAGE, "heartbeat"))


# -- commits


def test_waiting_commits_are_merged_and_each_is_answered():
    async def body(instance: Instance) -> None:
        client = instance.client()
        listener = Listener(instance, "kvs.")
        await instance.sleep(0.1)
        requests = [("kvs.commit", {"ops": [put(f"k{n}", str(n))]}) for n in range(5)]
        answers = await start(client, *requests)
        await instance.sleep(0.1)

        events = [payload for _topic, payload in listener.seen]
        assert sum(len(event["names"]) for event in events) == 5
        assert len(events) < 5
        assert {answer["rootseq"] for answer in answers} == {event["rootseq"] for event in events}
        assert [await value(client, f"k{n}") for n in range(5)] == ["0", "1", "2", "3", "4"]

    live(body)


def test_a_commit_that_does_not_want_to_be_merged_is_not():
    async def body(instance: Instance) -> None:
        client = instance.client()
        requests = [("kvs.commit", {"flags": 1, "ops": [put(f"k{n}", str(n))]}) for n in range(5)]
        answers = await start(client, *requests)

        assert [answer["rootseq"] for answer in answers] == [1, 2, 3, 4, 5]

    live(body)


def test_a_wrong_transaction_among_merged_ones_fails_alone():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, {"key": "d", "flags": 0, "dirent": treeobj.directory()})
        requests: list[tuple[str, Any]] = [("kvs.commit", {"ops": [put(f"k{n}", str(n))]}) for n in range(4)]
        requests.insert(2, ("kvs.commit", {"ops": [put("x", "1"), put("d", "1", flags=32)]}))
        answers = await start(client, *requests)

        assert answers[2] == EISDIR
        assert [await value(client, f"k{n}") for n in range(4)] == ["0", "1", "2", "3"]
        assert await errnum(value(client, "x")) == ENOENT

    live(body)


def test_a_store_that_fails_fails_its_commit_and_the_root_does_not_move():
    async def body(instance: Instance) -> None:
        client = instance.client()
        before = await commit(client, put("a", "1"))
        requests = [
            ("kvs.commit", {"ops": [put("big", "x" * 500)]}),
            ("kvs.commit", {"ops": [put("b", "2")]}),
        ]
        answers = await start(client, *requests)

        assert answers[0] == EFBIG
        assert answers[1]["rootseq"] == before["rootseq"] + 1
        assert await value(client, "b") == "2"
        assert await errnum(value(client, "big")) == ENOENT
        assert await errnum(commit(client, put("big", "x" * 500))) == EFBIG  # not taken for stored either

    live(body, attrs={"content.blob-size-limit": "400"})


def test_a_synced_commit_that_cannot_be_made_durable_fails_and_the_root_does_not_move(tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"), flags=SYNC)
        database = instance.module(0, "content-sqlite").handle.body._store._db
        database.execute("PRAGMA max_page_count=5")
        for flags, data in ((0, "2"), (SYNC, "3" * 20000)):
            answer = commit(client, put("a", data), flags=flags)
            assert (await errnum(answer) if flags else (await answer)["rootseq"]) == (ENOSPC if flags else 2)
        assert await value(client, "a") == "2"
        database.execute("PRAGMA max_page_count=100000")
        await instance.sleep(2)
        assert (await commit(client, put("a", "4"), flags=SYNC))["rootseq"] == 3

    live(body, modules=(*STORAGE, "heartbeat"), state_dir=tmp_path)


def test_a_sync_of_another_namespace_flushes_and_leaves_the_checkpoint_alone():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("kvs.namespace-create", {"namespace": "n"})
        delta = Delta(instance, "content-sqlite")
        await commit(client, put("a", "1"), namespace="n", flags=SYNC)
        assert delta.of("content-sqlite")["request_rx"] == 2  # store, flush
        assert (await client.call("content-sqlite.stats-get"))["pending"] == 0

    live(body)


def test_a_commit_under_way_when_kvs_is_unloaded_is_answered():
    async def body(instance: Instance) -> None:
        client = instance.client()
        answers: list[int] = []
        for n in range(3):
            client.request("kvs.commit", {"ops": [put(f"k{n}", "1")]}, lambda r, _: answers.append(r.errnum))
        await instance.remove("kvs")
        await instance.sleep(0.1)

        assert len(answers) == 3
        assert set(answers) <= {0, EHOSTUNREACH, ENOSYS}

    live(body)


def test_setroot_event_tells_root_keys_and_transactions():
    async def body(instance: Instance) -> None:
        client = instance.client()
        listener = Listener(instance, "kvs.namespace-primary-")
        await instance.sleep(0.1)
        answer = await commit(client, put("a", "1"), put("b.c", "hello"))
        await instance.sleep(0.1)

        owner = int(instance.broker(0).attributes.get("security.owner") or 0)
        assert listener.seen == [
            (
                "kvs.namespace-primary-setroot",
                {
                    "namespace": "primary",
                    "rootseq": 1,
                    "rootref": "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17",
                    "names": ["transaction_req.0.1"],
                    "keys": {"a": None, "b.c": None},
                    "owner": owner,
                },
            )
        ]
        assert answer == {"rootref": "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17", "rootseq": 1}

    live(body)


def test_rootseq_moves_even_when_the_root_does_not():
    async def body(instance: Instance) -> None:
        client = instance.client()
        first = await commit(client, put("a", "1"))
        again = await commit(client, put("a", "1"))

        assert again == {"rootref": first["rootref"], "rootseq": 2}

    live(body)


def test_a_lookup_may_bring_its_own_root():
    async def body(instance: Instance) -> None:
        client = instance.client()
        old = await commit(client, put("a", "old"))
        await commit(client, put("a", "new"))
        for root in ({"rootref": old["rootref"]}, {"rootdir": treeobj.dirref(old["rootref"])}):
            found = await client.call("kvs.lookup", {"key": "a", "flags": 0, **root})
            assert treeobj.val_bytes(found["val"]) == b"old"
        nowhere = "sha1-" + "0" * 40
        assert await errnum(client.call("kvs.lookup", {"key": "a", "rootref": nowhere})) == ENOENT
        assert await errnum(client.call("kvs.lookup", {"key": "a", "rootref": "x"})) == EINVAL
        assert await errnum(client.call("kvs.lookup", {"key": "a", "rootdir": treeobj.val(b"")})) == EINVAL

    live(body)


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("kvs.lookup", None, EPROTO),
        ("kvs.lookup", {"key": 1}, EPROTO),
        ("kvs.lookup", {"key": "a", "flags": "x"}, EPROTO),
        ("kvs.lookup", {"key": "a", "flags": 0}, EPROTO),
        ("kvs.lookup", {"key": "", "flags": 0, "namespace": "primary"}, EINVAL),
        ("kvs.lookup", {"key": "a", "namespace": "none"}, ENOTSUP),
        ("kvs.lookup", {"key": "a", "flags": 4, "namespace": "primary"}, ENOTSUP),
        ("kvs.commit", {}, EPROTO),
        ("kvs.commit", {"ops": [{"flags": 0}]}, EPROTO),
        ("kvs.commit", {"ops": [put(".", "1")]}, EINVAL),
        ("kvs.commit", {"ops": [], "flags": 64}, EINVAL),
        ("kvs.commit", {"ops": [], "namespace": "none"}, ENOTSUP),
        ("kvs.commit", {"ops": [{"key": "a", "dirent": {"ver": 1, "type": "what", "data": ""}}]}, EINVAL),
        ("kvs.getroot", {"namespace": "none"}, ENOTSUP),
        ("kvs.wait-version", {"namespace": "none", "rootseq": 1}, ENOTSUP),
        ("kvs.wait-version", {}, EPROTO),
        ("kvs.namespace-create", {"namespace": ""}, EINVAL),
        ("kvs.namespace-create", {"namespace": "primary"}, EEXIST),
        ("kvs.namespace-create", {"namespace": "n", "rootref": "x"}, EINVAL),
        ("kvs.namespace-remove", {"namespace": "primary"}, ENOTSUP),
        ("kvs.no-such-method", {}, ENOSYS),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rank", [0, 1])
def test_every_wrong_request_is_refused_and_harms_nothing(rank, topic, payload, expected):
    async def body(instance: Instance) -> None:
        client = instance.client(rank)
        assert await errnum(client.call(topic, payload)) == expected
        await commit(client, put("a", "1"))
        assert await value(client, "a") == "1"

    live(body, size=2)


def test_an_event_that_is_none_of_its_own_does_not_move_a_root():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"))
        guest = instance.client()
        guest.rolemask = 2
        forged = {"namespace": "primary", "rootseq": 99, "rootref": treeobj.EMPTY_DIR_REF, "owner": 0}
        guest.publish("kvs.namespace-primary-setroot", forged)
        client.publish("kvs.namespace-primary-setroot", {"rootref": 7})
        client.publish("kvs.namespace-primary-setroot", None)
        await instance.sleep(0.1)

        for rank in range(2):
            assert await value(instance.client(rank), "a") == "1"

    live(body, size=2)


# -- namespaces and versions


def test_namespaces_are_apart_and_gone_when_removed():
    async def body(instance: Instance) -> None:
        client = instance.client()
        listener = Listener(instance, "kvs.namespace-n1-")
        await instance.sleep(0.1)
        await client.call("kvs.namespace-create", {"namespace": "n1", "owner": -1, "flags": 0})
        assert await errnum(client.call("kvs.namespace-create", {"namespace": "n1"})) == EEXIST
        await commit(client, put("q", "1"), namespace="n1")
        root = await client.call("kvs.getroot", {"namespace": "n1"})
        listed = await client.call("kvs.namespace-list")
        assert root["rootref"] == "sha1-465513047ac02de9e99956de8ce6365189b4f329"
        assert root["rootseq"] == 1
        assert [one["namespace"] for one in listed["namespaces"]] == ["primary", "n1"]
        assert await value(client, "q", "n1") == "1"
        assert await errnum(value(client, "q")) == ENOENT

        await client.call("kvs.namespace-remove", {"namespace": "n1"})
        assert await errnum(value(client, "q", "n1")) == ENOTSUP
        await instance.sleep(0.1)
        assert [topic.rpartition("-")[2] for topic, _payload in listener.seen] == [
            "created",
            "setroot",
            "removed",
        ]

    live(body)


def test_a_namespace_may_start_from_the_root_of_another():
    async def body(instance: Instance) -> None:
        client = instance.client()
        root = await commit(client, put("a", "1"))
        await client.call("kvs.namespace-create", {"namespace": "copy", "rootref": root["rootref"]})

        assert await value(client, "a", "copy") == "1"

    live(body)


def test_a_link_leads_into_another_namespace():
    async def body(instance: Instance) -> None:
        for rank in range(2):
            client = instance.client(rank)
            name = f"guest{rank}"
            await client.call("kvs.namespace-create", {"namespace": name})
            await commit(client, put("log", "hello"), namespace=name)
            await commit(client, {"key": name, "flags": 0, "dirent": treeobj.symlink(".", name)})
        for rank in range(2):
            assert await value(instance.client(rank), "guest0.log") == "hello"
            assert await value(instance.client(rank), "guest1.log") == "hello"

    live(body, size=2)


def test_wait_version_is_answered_when_the_version_is_there_and_not_before():
    async def body(instance: Instance) -> None:
        client, other = instance.client(), instance.client()
        reached: list[Any] = []
        other.request(
            "kvs.wait-version", {"rootseq": 2, "namespace": "primary"}, lambda r, _: reached.append(r.data)
        )
        await commit(client, put("a", "1"))
        await instance.sleep(0.1)
        assert reached == []
        root = await commit(client, put("a", "2"))
        await instance.sleep(0.1)

        assert reached == [root]
        assert await client.call("kvs.wait-version", {"rootseq": 1}) == root

    live(body)


def test_a_client_that_disconnects_does_not_wait_any_more():
    async def body(instance: Instance) -> None:
        client = instance.client()
        client.request("kvs.wait-version", {"rootseq": 9}, lambda *_: None)
        await instance.sleep(0.1)
        other = instance.client()
        assert (await other.call("kvs.stats-get"))["namespace"]["primary"]["#versionwaiters"] == 1
        client.close()
        await instance.sleep(0.1)

        assert (await other.call("kvs.stats-get"))["namespace"]["primary"]["#versionwaiters"] == 0

    live(body)


def test_removing_a_namespace_answers_who_waits_in_it():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("kvs.namespace-create", {"namespace": "n"})
        answers = await start(
            client,
            ("kvs.wait-version", {"namespace": "n", "rootseq": 9}),
            ("kvs.commit", {"namespace": "n", "ops": [put("a", "1")]}),
            ("kvs.namespace-remove", {"namespace": "n"}),
        )

        assert answers == [ENOTSUP, ENOTSUP, None]

    live(body)


# -- ranks


def test_what_was_committed_on_a_rank_is_read_there_at_once_and_elsewhere_after_its_version():
    async def body(instance: Instance) -> None:
        for rank in range(7):
            client = instance.client(rank)
            root = await commit(client, put(f"a.b.r{rank}", str(rank)), put("big", "x" * 200 + str(rank)))
            assert await value(client, f"a.b.r{rank}") == str(rank)
            for other in range(7):
                reader = instance.client(other)
                assert await reader.call("kvs.wait-version", {"rootseq": root["rootseq"]}) == root
                assert (await value(reader, "big")).endswith(str(rank))

    live(body, size=7)


def test_a_far_rank_loads_through_the_caches_on_its_way():
    async def body(instance: Instance) -> None:
        await commit(instance.client(0), put("a.v", "1"))
        await instance.sleep(1)
        await value(instance.client(3), "a.v")

        counts = {}
        for rank in range(4):
            stats = await instance.client(rank).call("content.stats-get")
            counts[rank] = stats["load"]["count"]
        assert counts == {0: 0, 1: 2, 2: 0, 3: 2}  # root and a, by 3 from 1 and by 1 from 0

    live(body, size=4)


def test_a_rank_follows_only_the_namespaces_it_uses():
    async def body(instance: Instance) -> None:
        client = instance.client(0)
        for name in ("used", "unused"):
            await client.call("kvs.namespace-create", {"namespace": name})
        assert await errnum(value(instance.client(1), "a", "used")) == ENOENT
        delta = Delta(instance, "kvs", rank=1)
        for name in ("used", "unused", "unused"):
            await commit(client, put("a", "1"), namespace=name)
        await instance.sleep(0.1)
        assert delta.of("kvs") == {"event_rx": 1}
        assert await value(instance.client(1), "a", "unused") == "1"

        for name in ("used", "unused"):
            await client.call("kvs.namespace-remove", {"namespace": name})
        await instance.sleep(0.1)
        delta = Delta(instance, "kvs", rank=1)
        await client.call("kvs.namespace-create", {"namespace": "used"})
        await commit(client, put("a", "1"), namespace="used")
        await instance.sleep(0.1)
        assert delta.of("kvs") == {}
        assert await errnum(value(instance.client(1), "a", "unused")) == ENOTSUP

    live(body, size=2)


def test_news_that_overtake_the_answer_of_a_busy_parent_are_not_lost():
    async def body(instance: Instance) -> None:
        client, far = instance.client(0), instance.client(3)
        await client.call("kvs.namespace-create", {"namespace": "n"})
        assert await errnum(value(instance.client(1), "a", "n")) == ENOENT  # 1, the parent of 3, follows it
        answers: list[int] = []
        far.request("kvs.lookup", {"key": "a", "namespace": "n"}, lambda r, _: answers.append(r.errnum))
        await instance.sleep(0.5)
        await commit(client, put("a", "1"), namespace="n")  # while 1 is about to answer with the root before
        await instance.sleep(2)
        assert answers == [0]
        assert await value(far, "a", "n") == "1"

    slow_parent = CostModel(message_s=1e-6, iteration_s=0, topics={"kvs.getroot": 1.0})
    live(body, size=4, cost=slow_parent)


def test_the_answer_to_a_commit_moves_the_root_even_without_the_event():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        assert await errnum(value(client, "a")) == ENOENT
        instance.module(1, "kvs").handle.event_unsubscribe("kvs.namespace-primary-")
        await instance.sleep(0.1)
        await commit(instance.client(0), put("other", "unseen"))
        assert await errnum(value(client, "other")) == ENOENT
        await commit(client, put("a", "1"))
        assert await value(client, "a") == "1"

    live(body, size=2)


def test_lookups_that_lack_the_same_object_share_one_load():
    async def body(instance: Instance) -> None:
        await commit(instance.client(0), put("a.b", "1"))
        client = instance.client(1)
        assert await errnum(value(client, "nothing")) == ENOENT
        delta = Delta(instance, "kvs", rank=1)
        answers = await start(client, *[("kvs.lookup", {"key": "a.b", "namespace": "primary"})] * 10)
        assert [treeobj.val_bytes(answer["val"]) for answer in answers] == [b"1"] * 10
        assert delta.of("kvs")["request_tx"] == 1  # directory a; the root was loaded before

    live(body, size=2)


def test_two_kvs_under_two_names_are_two_stores():
    async def body(instance: Instance) -> None:
        await instance.load("kvs", name="kvs2")
        client = instance.client()
        await commit(client, put("a", "1"))
        await client.call("kvs2.commit", {"ops": [put("a", "2")]})
        await instance.sleep(0.1)

        assert await value(client, "a") == "1"
        assert (
            treeobj.val_bytes((await client.call("kvs2.lookup", {"key": "a", "namespace": "primary"}))["val"])
            == b"2"
        )
        assert (await client.call("kvs.getroot", {}))["rootseq"] == 1
        for name in ("kvs", "kvs2"):
            await instance.remove(name)
            await instance.load("kvs", name=name)
        assert await value(client, "a") == "1"
        found = await client.call("kvs2.lookup", {"key": "a", "namespace": "primary"})
        assert treeobj.val_bytes(found["val"]) == b"2"

    live(body)


@settings(max_examples=examples(25))
@given(st.integers(0, 2**32), st.booleans())
def test_many_clients_on_many_ranks_read_what_they_wrote_whatever_is_merged_or_dropped(seed, tiny):
    """Each client puts to and appends to keys of its own, in directories they share; answers come in any order."""

    async def body(instance: Instance) -> None:
        draw = instance.broker(0).instance.module(0, "kvs").handle.random
        if tiny:  # nothing stays decoded: every lookup and commit loads all it needs
            for rank in range(instance.size):
                instance.module(rank, "kvs").handle.body._cache._size_limit = 0
        clients = [instance.client(rank) for rank in (0, 0, 1, 3)]
        expected: dict[str, str] = {}
        requests: list[list[tuple[str, Any]]] = [[] for _ in clients]
        for step in range(12):
            for at, sends in enumerate(requests):
                key = f"{draw.choice('ab')}.{draw.choice('cd')}.client{at}"
                data, flags = f"{at}.{step};", draw.choice([0, 32])
                expected[key] = (expected.get(key, "") if flags else "") + data
                sends.append(("kvs.commit", {"flags": draw.choice([0, 1]), "ops": [put(key, data, flags)]}))
        async with trio.open_nursery() as nursery:
            for client, sends in zip(clients, requests, strict=True):
                nursery.start_soon(commit_all, client, sends)

        last = await clients[0].call("kvs.getroot", {})
        for client in clients:
            await client.call("kvs.wait-version", {"rootseq": last["rootseq"]})
            assert {key: await value(client, key) for key in expected} == expected

    async def commit_all(client: Handle, sends: list[tuple[str, Any]]) -> None:
        assert all(isinstance(answer, dict) for answer in await start(client, *sends))

    live(body, size=4, seed=seed)


# -- restarts


def test_an_instance_with_a_state_directory_starts_with_its_data(tmp_path):
    async def write(instance: Instance) -> None:
        await commit(instance.client(), put("a.b", "kept"), put("big", "x" * 300))

    async def read(instance: Instance) -> None:
        client = instance.client()
        assert await value(client, "a.b") == "kept"
        assert await value(client, "big") == "x" * 300
        assert (await client.call("kvs.getroot", {}))["rootseq"] == 1
        assert (await commit(client, put("a.c", "more")))["rootseq"] == 2

    live(write, state_dir=tmp_path)
    live(read, state_dir=tmp_path)


def test_after_a_kill_everything_up_to_the_last_synced_commit_is_there(tmp_path):
    alive, killed = tmp_path / "alive", tmp_path / "killed"
    alive.mkdir()

    async def write(instance: Instance) -> None:
        client = instance.client()
        for n in range(20):
            await commit(client, put(f"k.{n}", str(n)))
        await commit(client, put("last", "synced"), flags=4)
        shutil.copytree(alive, killed)  # what a kill at this moment would leave
        await commit(client, put("last", "lost"))

    async def read(instance: Instance) -> None:
        client = instance.client()
        assert await value(client, "last") == "synced"
        assert [await value(client, f"k.{n}") for n in range(20)] == [str(n) for n in range(20)]

    live(write, state_dir=alive)
    live(read, state_dir=killed)


def test_kvs_reloaded_goes_on_where_it_was():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"))
        await instance.remove("kvs")
        assert await errnum(value(client, "a")) == ENOSYS
        await instance.load("kvs")

        assert await value(client, "a") == "1"

    live(body)


def test_a_checkpoint_that_leads_nowhere_stops_the_start_instead_of_losing_data(tmp_path):
    async def write(instance: Instance) -> None:
        client = instance.client()
        gone = {"rootref": "sha1-" + "1" * 40, "rootseq": 5, "timestamp": 0.0}
        await client.call("content.checkpoint-put", {"value": gone})
        await errnum(instance.load("kvs"))
        assert await client.call("content.checkpoint-get", {}) == {"value": [gone]}

    live(write, modules=("content-cache", "content-sqlite"), state_dir=tmp_path)


def test_told_to_recover_it_goes_back_to_a_checkpoint_whose_root_is_there(tmp_path):
    async def write(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"), flags=4)
        await instance.remove("kvs")
        for ref in ("sha1-" + "1" * 40, "x"):
            gone = {"rootref": ref, "rootseq": 5, "timestamp": 0.0}
            await client.call("content.checkpoint-put", {"value": gone})
        await instance.load("kvs")
        assert await value(client, "a") == "1"

    live(
        write,
        modules=("content-cache", "content-sqlite", "kvs"),
        state_dir=tmp_path,
        attrs={"content.recover": "1"},
    )


@pytest.mark.parametrize("value", [{}, {"rootref": 1, "rootseq": 1}, {"rootref": "x", "rootseq": 1}])
def test_a_damaged_checkpoint_stops_the_start_with_a_clear_line(value, tmp_path):
    async def write(instance: Instance) -> None:
        client = instance.client()
        await client.call("content.checkpoint-put", {"value": value})
        with pytest.raises(RequestError, match=r"checkpoint .*kvs-primary.* is damaged"):
            await instance.load("kvs")

    live(write, modules=("content-cache", "content-sqlite"), state_dir=tmp_path)


def test_kvs_without_a_backing_store_works_and_cannot_sync():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"))
        assert await value(client, "a") == "1"
        assert await errnum(commit(client, put("a", "2"), flags=4)) == ENOSYS
        assert await value(client, "a") == "1"

    live(body, modules=("content-cache", "kvs"))


def test_kvs_without_content_answers_with_the_reason():
    async def body(instance: Instance) -> None:
        client = instance.client()
        assert await errnum(commit(client, put("a", "1"))) == ENOSYS
        assert await errnum(value(client, "a")) == ENOENT

    live(body, modules=("kvs",))


@pytest.mark.parametrize(
    "argument", ["fast=yes", "transaction-merge=2", "initial-rootref=x", "transaction-merge"]
)
def test_kvs_refuses_arguments_that_are_none(argument):
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=f"argument '{argument}'; known are transaction-merge=0|1"):
            await instance.load("kvs", argument)

    live(body, modules=())


def test_commits_that_wait_are_not_merged_if_that_is_not_wanted():
    async def body(instance: Instance) -> None:
        for arguments, commits in (((), 2), (("transaction-merge=0",), 10)):
            await instance.load("kvs", *arguments)
            client = instance.client()
            before = await client.call("kvs.getroot", {"namespace": "primary"})
            wishes = [("kvs.commit", {"ops": [put(f"k{n}", f"{arguments}")]}) for n in range(10)]
            await start(client, *wishes)
            after = await client.call("kvs.getroot", {"namespace": "primary"})
            assert after["rootseq"] - before["rootseq"] <= commits
            assert (after["rootseq"] - before["rootseq"] == 10) == bool(arguments)
            await instance.remove("kvs")

    live(body, modules=("content-cache",))


def test_the_primary_namespace_starts_from_the_root_it_is_told():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await commit(client, put("a", "1"))
        root = (await client.call("kvs.getroot", {"namespace": "primary"}))["rootref"]
        await instance.remove("kvs")
        await instance.load("kvs", f"initial-rootref={root}")
        assert await value(client, "a") == "1"

    live(body, modules=("content-cache", "kvs"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_namespace_may_have_dots_in_its_name_and_be_removed_twice(rank):
    async def body(instance: Instance) -> None:
        client = instance.client(rank)
        await client.call("kvs.namespace-create", {"namespace": "a.b"})
        await client.call("kvs.commit", {"ops": [put("k", "1")], "namespace": "a.b"})
        assert (await client.call("kvs.getroot", {"namespace": "a.b"}))["rootseq"] == 1
        for _ in range(2):
            await client.call("kvs.namespace-remove", {"namespace": "a.b"})
        await instance.sleep(1)
        assert await errnum(client.call("kvs.getroot", {"namespace": "a.b"})) == ENOTSUP

    live(body, size=2)


def test_a_key_of_300_levels_is_stored_and_read():
    async def body(instance: Instance) -> None:
        key = ".".join(["k"] * 300)
        for rank in (0, 1):
            await commit(instance.client(rank), put(key, str(rank)))
            assert await value(instance.client(1), key) == str(rank)

    live(body, size=2)


def test_a_rank_whose_events_are_paused_reads_its_own_writes_and_the_rest_later():
    async def body(instance: Instance) -> None:
        root, paused = instance.client(0), instance.client(1)
        await commit(root, put("a", "1"))
        assert await value(paused, "a") == "1"
        await paused.call("kvs.setroot-pause", {"namespace": "primary"})
        await commit(root, put("a", "2"))
        await instance.sleep(1)
        assert await value(paused, "a") == "1"
        await commit(paused, put("b", "own"))
        assert await value(paused, "b") == "own"
        await commit(root, put("a", "3"))
        await instance.sleep(1)
        assert await value(paused, "a") == "2"
        await paused.call("kvs.setroot-unpause", {"namespace": "primary"})
        assert await value(paused, "a") == "3"

    live(body, size=2)


def test_operations_of_commits_are_counted_until_the_figures_are_cleared():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for count in (1, 2, 6):
            await commit(client, *(put(f"k{n}", "v") for n in range(count)))
        stats = (await client.call("kvs.stats-get"))["transaction-opcount"]["commit"]
        assert stats == {"count": 3, "min": 1, "mean": 3.0, "stddev": pytest.approx(7**0.5), "max": 6}
        await client.call("kvs.stats-clear")
        stats = (await client.call("kvs.stats-get"))["transaction-opcount"]["commit"]
        assert stats == {"count": 0, "min": 0, "mean": 0.0, "stddev": 0.0, "max": 0}

    live(body)


def test_who_waits_for_a_version_is_told_when_the_module_goes():
    async def body(instance: Instance) -> None:
        errors: list[int] = []
        wish = {"namespace": "primary", "rootseq": 99}
        instance.client().request("kvs.wait-version", wish, lambda answer, _: errors.append(answer.errnum))
        await instance.sleep(1)
        await instance.remove("kvs")
        await instance.sleep(1)
        assert errors == [ENOSYS]

    live(body)


VAL = {"ver": 1, "type": "val", "data": ""}
REF = "sha1-8727ddf86fd56772f4ed38703d24d93e9d9e7fa6"


@pytest.mark.parametrize(
    ("dirent", "kind"),
    [
        ({"ver": 1, "type": "symlink", "data": {"target": "x"}}, "symlink"),
        ({"ver": 1, "type": "valref", "data": [REF]}, "valref"),
        ({"ver": 1, "type": "dirref", "data": [REF]}, "dirref"),
        ({"ver": 1, "type": "dir", "data": {"b": VAL}}, "non-empty dir"),
        (VAL, ""),
        ({"ver": 1, "type": "dir", "data": {}}, ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_guest_commits_values_empty_directories_and_unlinks_only(rank, dirent, kind):
    async def body(instance: Instance) -> None:
        owner, guest = instance.client(), instance.client(rank)
        await owner.call("kvs.namespace-create", {"namespace": "its", "owner": 4242})
        guest.userid, guest.rolemask = 4242, 2
        wish = {"ops": [{"key": "k", "flags": 0, "dirent": dirent}], "namespace": "its", "flags": 0}
        if kind:
            with pytest.raises(
                RequestError, match=f"key 'k': guests may not commit {kind} objects"
            ) as caught:
                await guest.call("kvs.commit", wish)
            assert caught.value.errno == 1
        else:
            await guest.call("kvs.commit", wish)
        await owner.call("kvs.commit", wish)

    live(body, size=2)
