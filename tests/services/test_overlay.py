"""The services that disturb the links of a live instance, in virtual time; and that a disturbed link heals."""

from __future__ import annotations

import pytest

from brokersim.protocol.errnums import EHOSTUNREACH, EINVAL, EPROTO, RequestError

SIZE = pytest.mark.brokersim(
    size=5, modules=["heartbeat", "kvs", "content-cache"], laws={"all": "the links fail"}
)


async def begin(broker, kind, rank, **more):
    """A fault that is on once this returns; its answer comes into the list."""
    answers: list[dict] = []
    client = broker.instance.client()
    wish = {"kind": kind, "rank": rank, **more}
    client.request("overlay.fault", wish, lambda r, _: answers.append(r.data))
    await broker.advance(0)
    return client, answers


@SIZE
async def test_delayed_messages_come_that_much_later_and_on_time_afterwards(broker):
    async def took() -> float:
        before = broker.instance.reactor.now
        await broker.rpc("broker.ping", {}, nodeid=3)
        return (broker.instance.reactor.now - before) / 1e9

    usual = await took()
    _, answers = await begin(broker, "delay", 3, seconds=1.0, delay=0.1, topic="broker.*")
    assert await took() == pytest.approx(usual + 0.2)
    await broker.advance(1)
    [found] = answers
    assert (found["hits"], found["what"]) == (2, {"request broker.ping": 1, "response broker.ping": 1})
    assert await took() == usual
    assert all(not hasattr(link.tap, "looks") for link in broker.instance.broker(1).links)


@SIZE
async def test_a_cut_rank_is_unreachable_for_those_who_wait_and_those_who_ask_until_it_is_joined(broker):
    async def ask() -> int:
        try:
            await broker.rpc("broker.ping", {}, nodeid=4, timeout=1)
        except RequestError as error:
            return error.errno or 0
        return 0

    await begin(broker, "delay", 4, seconds=0.5, delay=0.4)
    waiting: list[int] = []
    broker.instance.client().request("broker.ping", {}, lambda r, _: waiting.append(r.errnum), nodeid=4)
    await broker.advance(0.01)
    _, answers = await begin(broker, "disconnect", 1, seconds=2.0)
    assert waiting == [EHOSTUNREACH]
    assert await ask() == EHOSTUNREACH
    health = await broker.rpc("overlay.health", nodeid=0)
    assert (health["status"], health["children"][0]["status"]) == ("degraded", "lost")
    stats = await broker.rpc("overlay.stats-get", nodeid=0)
    assert [stats[key] for key in ("child-count", "child-connected", "parent-count")] == [2, 1, 0]
    await broker.advance(2)
    assert answers[0]["what"] == {"link": 1, "request broker.ping": 1}
    assert await ask() == 0
    assert (await broker.rpc("overlay.health", nodeid=0))["status"] == "full"


@SIZE
async def test_a_fault_ends_when_whoever_asked_for_it_goes(broker):
    client, answers = await begin(broker, "disconnect", 2, seconds=1000.0)
    client.close()
    await broker.settle()
    assert (await broker.rpc("overlay.health", nodeid=0))["status"] == "full"
    assert answers == []


@SIZE
async def test_each_message_is_lost_by_chance_and_equal_seeds_lose_the_same(instance):
    async def lost(seed: int) -> int:
        async with instance(seed=seed) as broker:
            _, answers = await begin(broker, "drop", 1, seconds=100.0, p=0.3, topic="heartbeat.pulse")
            await broker.advance(101)
            return int(answers[0]["hits"])

    first = await lost(1)
    assert 5 < first < 30
    assert first == await lost(1)


@SIZE
@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "explode", "rank": 1},
        {"kind": "drop", "rank": 0},
        {"kind": "drop", "rank": 5},
        {"kind": "drop", "rank": 1, "p": 0},
        {"kind": "kill", "rank": 1, "p": 0.5},
        {"kind": "delay", "rank": 1, "delay": -1},
    ],
)
async def test_a_fault_that_cannot_be_is_refused(broker, wish):
    with pytest.raises(RequestError) as caught:
        await broker.rpc("overlay.fault", wish)
    assert caught.value.errno == EINVAL


@SIZE
async def test_a_trace_of_a_rank_is_a_stream_or_refused(broker):
    with pytest.raises(RequestError, match="must be a streaming request") as caught:
        await broker.rpc("overlay.trace", {}, nodeid=1)
    assert caught.value.errno == EPROTO


@SIZE
@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("overlay.trace", {"topic_glob": "[a" * 300}),
        ("module.trace", {"names": [], "typemask": 15, "topic_glob": "[a" * 300, "full": False}),
        ("overlay.fault", {"kind": "drop", "rank": 1, "topic": "[a" * 300}),
    ],
)
async def test_a_glob_without_end_is_refused(broker, topic, payload):
    answers = []
    broker.instance.client().stream(topic, payload, lambda answer, _: answers.append(answer))
    await broker.advance(1)
    [answer] = answers
    assert (answer.errnum, answer.payload_str[:11]) == (EINVAL, "a glob has ")
