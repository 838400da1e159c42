"""Each fault: what it does to a running instance, what it reports, and that the laws excuse what it hit."""

from __future__ import annotations

import base64
import hashlib

import pytest

from brokersim.instance import Instance
from brokersim.kit.witness import Witness
from brokersim.protocol.errnums import EHOSTUNREACH, EIO, ENOSPC, RequestError
from brokersim.routing.cut import cut_off, join
from brokersim.testing import Impatient, modules
from tests.host.live import live

ROOT = {"namespace": "primary", "flags": 0}


async def test_a_dropped_request_is_not_answered_and_no_law_is_broken(broker):
    fault = broker.fault("drop", topic="kvs.getroot", type="request", count=1)
    with pytest.raises(Impatient):
        await broker.rpc("kvs.getroot", ROOT, timeout=1)
    await broker.rpc("kvs.getroot", ROOT)
    assert [str(hit) for hit in fault.hits] == ["0.000000 s  request kvs.getroot → kvs.0"]
    assert fault.report() == (
        "fault drop topic=kvs.getroot type=request: 1 hit: 1 × request kvs.getroot → kvs.0"
    )


async def test_a_delayed_answer_comes_that_much_later(broker):
    broker.fault("delay", topic="kvs.getroot", type="response", seconds=0.25)
    await broker.rpc("kvs.getroot", ROOT)
    assert broker.instance.reactor.now == 250_000_000


async def test_a_fault_made_while_the_loop_drains_gives_nothing_twice(broker):
    client, answers = broker.instance.client(), []

    def answered(response, number):
        answers.append(number)
        if number == 0:
            broker.fault("delay", topic="never.*", seconds=1)

    for number in range(4):
        client.request("kvs.getroot", ROOT, answered, number)
    await broker.settle()
    assert (answers, client.stray) == ([0, 1, 2, 3], 0)
    client.request("never.asked", {}, answered, 4)
    await broker.advance(2)
    assert answers[-1] == 4, "the fault is on: the refusal came a second late"


async def test_a_fault_made_while_the_loop_drains_hits_what_is_sent_after_it(broker):
    client, answers = broker.instance.client(), []

    def answered(response, number):
        answers.append((number, broker.instance.reactor.now))
        if number == 0:
            broker.fault("delay", topic="kvs.getroot", type="response", seconds=1)
            client.request("kvs.getroot", ROOT, answered, 1)

    client.request("kvs.getroot", ROOT, answered, 0)
    await broker.advance(2)
    assert answers == [(0, 0), (1, 1_000_000_000)]


async def test_a_doubled_event_reaches_its_subscriber_twice(broker):
    broker.fault("duplicate", topic="heartbeat.pulse", to="kvs", count=1)
    with broker.deltas("kvs", "cron") as d:
        await broker.advance(2)
    assert d == {"kvs.0.event_rx": 2, "cron.0.event_rx": 1}


async def test_reordered_events_change_places(broker):
    await broker.subscribe("news")
    broker.fault("reorder", topic="news.1", to="client")
    for number in (1, 2):
        await broker.publish(f"news.{number}")
    await broker.settle()
    assert [event.topic for event in broker.events] == ["news.2", "news.1"]


async def test_a_request_can_be_made_to_fail(broker):
    broker.fault("fail", topic="content.store", errnum=EIO)
    with pytest.raises(RequestError) as caught:
        await broker.rpc("kvs.commit", {**ROOT, "ops": [_put("a", "b" * 1000)]})
    assert caught.value.errno == EIO


@pytest.mark.brokersim(size=4)
async def test_a_rank_that_is_cut_off_answers_ehostunreach_and_comes_back(broker):
    await broker.load(modules.SILENT, rank=3)
    waiting = []
    broker.instance.client().request("silent.ask", {}, lambda r, _: waiting.append(r.errnum), nodeid=3)
    await broker.settle()
    with broker.fault("disconnect", rank=1) as fault:
        with pytest.raises(RequestError) as caught:
            await broker.rpc("kvs.getroot", ROOT, nodeid=3)
        assert caught.value.errno == EHOSTUNREACH
        assert waiting == [EHOSTUNREACH]
        with broker.deltas("kvs.1", "kvs.2", "kvs.3") as d:
            await broker.advance(2)
            await broker.settle()
        assert d == {"kvs.2.event_rx": 1}
    await broker.settle()
    await broker.rpc("kvs.getroot", ROOT, nodeid=3)
    assert [hit.what for hit in fault.hits] == ["link", "request silent.ask"]


def ask(client, topic, payload=None, **where):
    """Send it; a list that gets the errnum of its answer."""
    got = []
    client.request(topic, payload, lambda response, _: got.append(response.errnum), **where)
    return got


@pytest.mark.brokersim(size=4, fanout=1)
@pytest.mark.parametrize("micros", [20, 60, 120, 160, 220, 260, 320, 1000])
@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_a_request_is_answered_once_wherever_it_or_its_answer_is_when_a_link_goes_down(
    broker, micros, cut
):
    got = ask(broker.instance.client(), "kvs.getroot", ROOT, nodeid=3)
    await broker.advance(micros / 1e6)
    with broker.fault("disconnect", rank=cut):
        await broker.advance(0.001)
    await broker.advance(100)
    # There and back are three hops of 50 µs each; the link above rank N is crossed back from 50 * (6 - N) µs on.
    assert got == [0 if micros > 50 * (7 - cut) else EHOSTUNREACH]


@pytest.mark.brokersim(size=2)
async def test_what_is_on_a_link_that_goes_down_never_arrives_though_it_comes_up_before(broker):
    client = broker.instance.client(rank=1)
    client.broker.subscribe("news", client)
    asked = ask(broker.instance.client(), "kvs.getroot", ROOT, nodeid=1)
    await broker.publish("news")
    await broker.advance(20e-6)
    told = []
    join(cut_off(broker.instance, 1, lambda request: told.append(request.topic)))
    broker.ledger.deliveries.cut_off([1])
    await broker.advance(1)
    assert (asked, told) == ([EHOSTUNREACH], ["kvs.getroot"])
    assert (1, "kvs.getroot") not in broker.ledger.tallies[1, "kvs"]
    assert client.counts[5] == 0


@pytest.mark.brokersim(size=4, fanout=1)
async def test_ranks_below_one_that_was_cut_off_may_have_missed_events_too(broker):
    with broker.fault("disconnect", rank=1):
        await broker.publish("news.1")
        await broker.advance(1)
    await broker.publish("news.2")
    await broker.settle()
    assert broker.witness.violations(["events"]) == []


async def test_only_a_request_that_wants_an_answer_can_be_made_to_fail(broker):
    fault = broker.fault("fail")
    client = broker.instance.client()
    client.request("kvs.getroot", ROOT)
    broker.instance.broker(0).write_log(3, "test", "a line")
    with broker.deltas("kvs") as d:
        await broker.settle()
    assert d == {"kvs.0.request_rx": 1}
    with pytest.raises(RequestError, match=r"kvs\.getroot fails on purpose"):
        await broker.rpc("kvs.getroot", ROOT)
    assert [hit.what for hit in fault.hits] == ["request kvs.getroot"]


async def test_an_event_cannot_be_made_to_fail(broker):
    with pytest.raises(ValueError, match="fault fail: a request can fail, no event"):
        broker.fault("fail", type="event")


async def test_a_killed_module_leaves_its_callers_an_answer(broker):
    broker.fault("kill", to="kvs")
    with pytest.raises(RequestError):
        await broker.rpc("kvs.getroot", ROOT)


async def test_a_module_is_killed_by_the_message_it_was_to_handle(broker):
    fault = broker.fault("kill", to="content-sqlite", topic="content-backing.store")
    await broker.rpc("content.store", b"blob")
    await broker.advance(1)
    assert fault.hits[0].what == "request content-backing.store"
    with pytest.raises(RequestError):
        broker.module("content-sqlite")


async def test_a_full_disk_refuses_writes_and_then_takes_them_again(broker, tmp_path):
    async def store(text: bytes) -> None:
        await broker.rpc("content.store", text * 2000)
        await broker.advance(0.1)

    fault = broker.fault("fill-disk")
    for letter in b"abcdefgh":
        await store(bytes([letter]))
    with pytest.raises(RequestError) as caught:
        await broker.rpc("content.flush")
    assert caught.value.errno == ENOSPC
    assert fault.hits and fault.hits[0].where == "content-sqlite.0"
    fault.stop()
    await broker.advance(3)
    await broker.rpc("content.flush")
    digest = hashlib.sha1(b"h" * 2000).digest()
    await broker.rpc("content.dropcache")
    assert await broker.rpc("content.load", digest) == b"h" * 2000


def test_a_disk_that_fails_refuses_writes_with_EIO_and_still_reads(tmp_path):
    async def body(instance: Instance) -> None:
        faults, client = Witness(instance).faults, instance.client()
        await client.call("content.store", b"before" * 500)
        await client.call("content.flush")
        fault = faults.add("fail-disk")
        await client.call("content.store", b"after" * 500)
        with pytest.raises(RequestError) as caught:
            await client.call("content.flush")
        assert caught.value.errno == EIO
        assert fault.hits and fault.hits[0].where == "content-sqlite.0"
        await client.call("content.dropcache")
        digest = hashlib.sha1(b"before" * 500).digest()
        assert bytes(await client.call("content.load", digest)) == b"before" * 500
        fault.stop()
        await instance.sleep(3)
        await client.call("content.flush")
        client.close()

    live(body, "content-cache", "content-sqlite", state_dir=tmp_path)


@pytest.mark.parametrize("kind", ["fail-disk", "fill-disk"])
def test_a_database_that_its_module_has_closed_is_none(kind, tmp_path):
    async def body(instance: Instance) -> None:
        module = instance.module(0, "content-sqlite")
        module.handle.body.teardown()
        with pytest.raises(ValueError, match="keeps a database"):
            Witness(instance).faults.add(kind, to="content-sqlite")

    live(body, "content-cache", "content-sqlite", state_dir=tmp_path)


def test_what_is_kept_in_memory_has_no_disk_that_fails():
    async def body(instance: Instance) -> None:
        with pytest.raises(ValueError, match="has no disk that fails; give a state directory"):
            Witness(instance).faults.add("fail-disk")

    live(body, "content-cache", "content-sqlite")


@pytest.mark.brokersim(mask={"kvs": 0x1000})
async def test_lost_packets_leave_the_sink_behind(broker, stats_sink):
    await broker.rpc("kvs.getroot", ROOT)
    before = stats_sink.value("flux.kvs.0.request_rx")
    fault = broker.fault("lose-packets", topic="flux.kvs")
    await broker.rpc("kvs.getroot", ROOT)
    assert stats_sink.value("flux.kvs.0.request_rx") == before
    assert fault.hits[0].what == "packet flux.kvs.0.request_tx"


async def test_equal_seeds_give_equal_faults(instance):
    async def hits(seed: int) -> list[int]:
        async with instance(seed=seed) as broker:
            fault = broker.fault("drop", topic="kvs.getroot", type="request", p=0.3)
            hit = []
            for number in range(30):
                before = len(fault.hits)
                try:
                    await broker.rpc("kvs.getroot", ROOT, timeout=1)
                except Impatient:
                    hit.append(number)
                assert (number in hit) == (len(fault.hits) > before)
            return hit

    first = await hits(1)
    assert first == await hits(1) and first != await hits(2)
    assert 2 < len(first) < 20


async def test_a_fault_that_hits_nothing_fails_the_test(broker):
    fault = broker.fault("drop", topic="no.such.topic")
    with pytest.raises(
        AssertionError, match=r"fault drop topic=no\.such\.topic: hit nothing; it tested nothing"
    ):
        await broker.verify()
    fault.hits.append(None)


@pytest.mark.parametrize(
    ("kind", "wanted", "text"),
    [
        ("explode", {}, "no fault 'explode'; there are drop, delay"),
        ("disconnect", {}, "give rank=1"),
        ("disconnect", {"rank": 0}, "give rank=1"),
        ("kill", {}, "give to=MODULE"),
        ("kill", {"to": "nobody"}, "no module 'nobody' on rank 0; loaded: heartbeat"),
        ("fill-disk", {"to": "kvs"}, "no module kvs on rank 0 keeps a database"),
        ("drop", {"speed": 1}, "fault drop: "),
        ("drop", {"p": 0}, "'p' must be > 0"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused(broker, kind, wanted, text):
    with pytest.raises(ValueError) as caught:
        broker.fault(kind, **wanted)
    assert text in str(caught.value)


def _put(key: str, text: str):
    data = base64.b64encode(text.encode()).decode()
    return {"key": key, "flags": 0, "dirent": {"ver": 1, "type": "val", "data": data}}
