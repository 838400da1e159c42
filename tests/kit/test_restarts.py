"""Ranks that crash or lose their parent, and are started anew: nothing is left of them, and nobody waits for ever."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError
from brokersim.protocol.errnums import ECONNRESET, EHOSTUNREACH, ENOENT
from brokersim.testing import modules

ROOT = {"namespace": "primary", "flags": 0}
pytestmark = pytest.mark.brokersim(size=4)


def ask(client, topic, payload=None, **where):
    """Send it; a list that gets the errnum of its answer."""
    got = []
    client.request(topic, payload, lambda response, _: got.append(response.errnum), **where)
    return got


def put(key: str, text: str):
    return {
        **ROOT,
        "ops": [{"key": key, "flags": 0, "dirent": {"ver": 1, "type": "val", "data": text}}],
    }


@pytest.mark.parametrize("kind", ["disconnect", "crash"])
async def test_a_rank_that_comes_back_sees_what_was_committed_meanwhile(broker, kind):
    await broker.rpc("kvs.lookup", {**ROOT, "key": "."} | {"flags": 1}, nodeid=3)
    with broker.fault(kind, rank=1):
        await broker.rpc("kvs.commit", put("a", "MQ=="))
        await broker.advance(1)
    await broker.advance(0.01)
    for rank in (1, 3):
        answer = await broker.rpc("kvs.lookup", {**ROOT, "key": "a"}, nodeid=rank)
        assert answer["val"]["data"] == "MQ=="


@pytest.mark.parametrize("kind", ["disconnect", "crash"])
async def test_it_has_another_identity_and_its_modules_anew(broker, kind):
    before = broker.instance.broker(1).uuid, broker.module("kvs", rank=1)
    await broker.load(modules.SILENT, rank=1)
    broker.fault(kind, rank=1).stop()
    await broker.settle()
    after = broker.instance.broker(1).uuid, broker.module("kvs", rank=1)
    assert before[0] != after[0] and before[1] is not after[1]
    assert [one.name for one in broker.instance.modules(1)] == ["content-cache", "kvs", "kvs-watch"]
    with pytest.raises(RequestError) as caught:
        broker.module("silent", rank=1)
    assert caught.value.errno == ENOENT


async def test_a_crash_ends_clients_of_its_ranks_and_refuses_who_waits_for_them(broker):
    await broker.load(modules.SILENT, rank=3)
    below = ask(broker.instance.client(rank=3), "silent.ask", {})
    across = ask(broker.instance.client(rank=3), "kvs.wait-version", {**ROOT, "rootseq": 1000})
    above = ask(broker.instance.client(rank=2), "silent.ask", {}, nodeid=3)
    await broker.settle()
    fault = broker.fault("crash", rank=1)
    await broker.settle()
    assert (below, across, above) == ([ECONNRESET], [ECONNRESET], [EHOSTUNREACH])
    assert broker.instance.modules(1) == broker.instance.modules(3) == []
    late = ask(broker.instance.client(rank=2), "kvs.getroot", ROOT, nodeid=3)
    await broker.settle()
    assert late == [EHOSTUNREACH]
    fault.stop()
    await broker.settle()
    again = ask(broker.instance.client(rank=2), "kvs.getroot", ROOT, nodeid=3)
    await broker.settle()
    assert again == [0]


async def test_after_a_restart_the_law_of_events_holds_again(broker):
    broker.fault("disconnect", rank=1).stop()
    await broker.publish("news.1")
    await broker.settle()
    assert broker.witness.violations(["events"]) == []
    link = next(link for link in broker.instance.broker(0).children if link.peer.rank == 1)
    link.go_down()
    await broker.publish("news.2")
    await broker.settle()
    link.come_up()
    [violation] = broker.witness.violations(["events"])
    assert "rank 1 never handed out events" in "\n".join(violation.places)
    broker.relax("events", "lost on purpose")
    broker.relax("links", "lost on purpose")


async def test_a_rank_may_crash_again_while_it_starts(broker):
    for _ in range(3):
        with broker.fault("crash", rank=1):
            await broker.advance(0.00005)
        await broker.advance(0.00007)
    await broker.settle()
    assert [one.name for one in broker.instance.modules(3)] == ["content-cache", "kvs", "kvs-watch"]
    assert not [line for line in broker.instance.broker(1).log.lines() if "start of rank" in line]


@pytest.mark.parametrize("rank", [None, 0, 4])
async def test_rank_0_is_no_rank_to_crash(broker, rank):
    with pytest.raises(ValueError, match="fault crash: give rank=1 to 3"):
        broker.fault("crash", rank=rank)
