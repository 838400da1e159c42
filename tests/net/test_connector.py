"""The local connector on a live socket: captured frames, own topics, bad bytes, bad clients, and nobody else harmed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import brokersim
from brokersim.net import connector as connector_file
from brokersim.net.connector import Connection, Connector, bind
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_STREAMING,
    REQUEST,
    RESPONSE,
    ROLE_USER,
    Message,
)
from brokersim.protocol.wire import MAX_FRAME, encode
from brokersim.reactor.loop import Reactor
from tests.net.live_socket import FIXTURES, Live, Peer, serve

# -- the handshake


def test_the_server_speaks_first_with_one_zero_byte(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        assert peer.hello == b"\0"

    serve(tmp_path, body)


def test_a_guest_is_refused_with_byte_1_and_the_end(tmp_path):
    async def body(live: Live) -> None:
        live.instance.broker(0).owner += 1
        peer = await live.peer()
        assert peer.hello == b"\1"
        assert await peer.receive() is None
        live.instance.broker(0).owner -= 1
        assert (await live.peer()).hello == b"\0"

    serve(tmp_path, body)


def test_the_socket_of_every_rank_is_open_to_all_and_named_in_an_attribute(tmp_path):
    async def body(live: Live) -> None:
        for rank in range(3):
            path = tmp_path / f"local-{rank}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o777
            peer = await live.peer(rank)
            for name, value in (("local-uri", f"local://{path}"), ("rank", str(rank))):
                assert (await peer.ask("attr.get", {"name": name})).payload["value"] == value

    serve(tmp_path, body, size=3)
    assert list(tmp_path.iterdir()) == []  # gone with the instance


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def test_a_client_costs_no_task_but_while_it_leaves_something_unread(tmp_path):
    async def body(live: Live) -> None:
        first = await live.peer()
        await first.ask("attr.get", {"name": "rank"})  # all that serves runs now
        before = tasks()
        peer = await live.peer()
        await peer.ask("attr.get", {"name": "rank"})
        assert tasks() == before
        while tasks() == before:
            await peer.post("broker.ping", {"seq": 0, "pad": "x" * (1 << 19)})
        await peer.stream.aclose()  # with a task that waits to write
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert tasks() == before

    serve(tmp_path, body)


# -- captured frames


def frame(hex_text: str) -> bytes:
    return bytes.fromhex(hex_text)


#: Request and answer as flux-core 0.88's own clients and broker exchange them; the owner is uid 0 in them.
VECTORS = {
    "attr.get": (
        "1200eeff000000300008617474722e676574107b226e616d65223a2272616e6b227d00148e01010bffffffff00000000ffffffff00000001",
        "1200eeff000000380008617474722e676574187b2276616c7565223a2230222c22666c616773223a317d00148e01020b00000000000000050000000000000001",
    ),
    "event.subscribe": (
        "1200eeff00000037000f6576656e742e737562736372696265107b22746f706963223a22666f6f227d00148e01010bffffffff00000000ffffffff00000001",
        "1200eeff00000026000f6576656e742e737562736372696265148e010209ffffffff000000010000000000000001",
    ),
    "content.store": (
        "1200eeff0000002b000d636f6e74656e742e73746f72650668656c6c6f0a148e01010bffffffff00000000ffffffff00000001",
        "1200eeff00000039000d636f6e74656e742e73746f726514f572d396fae9206628714fb2ce00f72e94f2258f148e01020b0000000000000005"
        "0000000000000001",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_captured_requests_get_the_captured_answers_byte_for_byte(tmp_path, name):
    sent, expected = (frame(text) for text in VECTORS[name])
    # The owner's uid is the one field that depends on who runs the test.
    owner = os.getuid().to_bytes(4, "big")
    if expected[-16:-12] == b"\0\0\0\0":
        expected = expected[:-16] + owner + expected[-12:]

    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.send(sent)
        answer = await peer.receive()
        assert answer is not None
        assert peer.bytes_in.hex() == expected.hex()

    serve(tmp_path, body, "content-cache", "content-sqlite")


def test_the_captured_first_commit_of_a_namespace_gets_the_captured_root(tmp_path):
    sent = frame(
        "1200eeff0000008c000a6b76732e636f6d6d69746a7b226e616d657370616365223a226e7331222c22666c616773223a302c226f7073"
        "223a5b7b226b6579223a2271222c22666c616773223a302c22646972656e74223a7b22766572223a312c2274797065223a2276616c22"
        "2c2264617461223a224d513d3d227d7d5d7d00148e01010bffffffff00000000ffffffff00000001"
    )
    expected = frame(
        "1200eeff0000006a000a6b76732e636f6d6d6974487b22726f6f74726566223a22736861312d343635353133303437616330326465396"
        "53939393536646538636536333635313839623466333239222c22726f6f74736571223a317d00148e01020b0000000000000005000000"
        "0000000001"
    )
    expected = expected[:-16] + os.getuid().to_bytes(4, "big") + expected[-12:]

    async def body(live: Live) -> None:
        creator, peer = await live.peer(), await live.peer()
        empty = "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91"
        arguments = {"namespace": "ns1", "rootref": empty, "owner": -1, "flags": 0}
        assert (await creator.ask("kvs.namespace-create", arguments, nodeid=0)).errnum == 0
        await peer.send(sent)
        assert await peer.receive() is not None
        assert peer.bytes_in.hex() == expected.hex()

    serve(tmp_path, body, "content-cache", "content-sqlite", "kvs")


def test_an_unknown_service_is_answered_with_the_captured_text(tmp_path):
    expected = frame(
        "1200eeff00000051000b6e6f737563682e70696e672e4e6f2073657276696365206d61746368696e67206e6f737563682e70696e67"
        "206973207265676973746572656400148e01020b00000000000000050000002600000001"
    )
    expected = expected[:-16] + os.getuid().to_bytes(4, "big") + expected[-12:]

    async def body(live: Live) -> None:
        peer = await live.peer()
        answer = await peer.ask("nosuch.ping")
        assert answer.errnum == 38
        assert peer.bytes_in.hex() == expected.hex()

    serve(tmp_path, body)


def test_a_missing_key_is_answered_with_an_errnum_and_no_text(tmp_path):
    async def body(live: Live) -> None:
        answer = await (await live.peer()).ask("attr.get", {"name": "nosuch"})
        assert (answer.errnum, answer.data) == (2, None)

    serve(tmp_path, body)


def test_a_stream_ends_with_errnum_61_and_keeps_its_flag(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.post("kinds.count", {"to": 2}, FLAG_STREAMING)
        answers = [await peer.receive() for _ in range(3)]
        assert [(one.errnum, one.flags & 0x48, one.routes) for one in answers if one] == [
            (0, 0x48, ()), (0, 0x48, ()), (61, 0x48, ())
        ]  # fmt: skip

    serve(tmp_path, body, "kinds")


# -- credentials


def test_an_owner_may_pose_as_a_guest_and_is_then_treated_as_one(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        answer = await peer.ask("kinds.guests", userid=1234, rolemask=2)
        assert answer.payload == {"userid": 1234, "rolemask": 2}
        answer = await peer.ask("kinds.sync", userid=1234, rolemask=2)
        assert (answer.errnum, answer.payload_str) == (1, "Request requires owner credentials")
        answer = await peer.ask("kinds.guests")
        assert answer.payload == {"userid": os.getuid(), "rolemask": 5}

    serve(tmp_path, body, "kinds")


def test_a_guests_claims_are_overwritten(tmp_path):
    async def body(live: Live) -> None:
        live.instance.broker(0).owner += 1  # now we are somebody else
        live.instance.broker(0).attributes.set("access.allow-guest-user", "true")
        peer = await live.peer()
        assert peer.hello == b"\0"
        answer = await peer.ask("kinds.guests", userid=live.instance.broker(0).owner, rolemask=1)
        assert answer.payload == {"userid": os.getuid(), "rolemask": 6}
        assert (await peer.ask("kinds.sync", rolemask=1)).errnum == 1

    serve(tmp_path, body, "kinds")


def test_root_is_the_owner_too_where_the_table_access_says_so(tmp_path, monkeypatch):
    async def body(live: Live) -> None:
        broker = live.instance.broker(0)
        owner, broker.owner = broker.owner, 4242
        monkeypatch.setattr(connector_file, "_UCRED", Credentials(uid=0))
        assert (await live.peer()).hello == b"\1"
        live.instance.conf = {"access": {"allow-root-owner": True}}
        answer = await (await live.peer()).ask("kinds.guests")
        assert answer.payload == {"userid": 0, "rolemask": 5}
        monkeypatch.setattr(connector_file, "_UCRED", Credentials(uid=7))
        assert (await live.peer()).hello == b"\1"
        broker.owner = owner

    serve(tmp_path, body, "kinds")


def test_events_of_the_kvs_tell_a_guest_nothing_of_keys_and_namespaces(tmp_path):
    async def body(live: Live) -> None:
        owner = await live.peer()
        await owner.ask("connector-local.debug", {"op": "set", "flags": 4})
        guest = await live.peer()
        await guest.ask("event.subscribe", {"topic": ""})
        await owner.ask("kvs.namespace-create", {"namespace": "n", "owner": os.getuid(), "flags": 0})
        put = {"key": "secret", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": ""}}
        await owner.ask("kvs.commit", {"namespace": "n", "flags": 0, "ops": [put]})
        await owner.ask("kvs.namespace-remove", {"namespace": "n"})
        await owner.ask("event.publish", {"topic": "last", "flags": 0})
        event = await guest.receive()
        assert event is not None and event.topic == "last"

    serve(tmp_path, body, "content-cache", "kvs")


class Credentials:
    """Whoever connects is this user."""

    size = 12

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 1, self._uid, self._uid


def test_debug_bits_of_the_connector_are_for_the_next_client_only(tmp_path):
    async def body(live: Live) -> None:
        first = await live.peer()
        await first.ask("connector-local.debug", {"op": "set", "flags": 1})
        assert [(await live.peer()).hello for _ in range(2)] == [b"\1", b"\0"]
        await first.ask("connector-local.debug", {"op": "set", "flags": 4})
        seen = [(await (await live.peer()).ask("kinds.guests")).payload for _ in range(2)]
        assert seen == [{"userid": 0xFFFFFFFF, "rolemask": 6}, {"userid": os.getuid(), "rolemask": 5}]

    serve(tmp_path, body, "kinds")


# -- the connector's own topics


def test_events_reach_subscribers_over_the_socket_by_prefix_and_the_publisher_too(tmp_path):
    async def body(live: Live) -> None:
        publisher, other = await live.peer(1), await live.peer(0)
        for peer in (publisher, other):
            answer = await peer.ask("event.subscribe", {"topic": "fo"})
            assert (answer.userid, answer.rolemask, answer.data) == (0xFFFFFFFF, 1, None)
        await publisher.publish("bar", {"x": 0})
        await publisher.publish("foo.bar", {"x": 1})
        for peer in (publisher, other):
            event = await peer.receive()
            assert event is not None
            assert (event.type, event.topic, event.payload, event.seq) == (EVENT, "foo.bar", {"x": 1}, 2)
            assert len(event.routes) == 2
        assert (await publisher.ask("event.unsubscribe", {"topic": "fo"})).errnum == 0
        assert (await publisher.ask("event.unsubscribe", {"topic": "fo"})).errnum == 2

    serve(tmp_path, body, size=2)


@pytest.mark.parametrize("topic", ["event.subscribe", "event.unsubscribe", "service.add", "service.remove"])
def test_own_topics_with_nonsense_are_answered_with_EPROTO(tmp_path, topic):
    async def body(live: Live) -> None:
        peer = await live.peer()
        for payload in (None, {}, {"topic": 5, "service": 5}, b"[]", b"x", b"\xff"):
            answer = await peer.ask(topic, payload)
            assert answer.errnum == 71, payload
            assert answer.payload_str

    serve(tmp_path, body)


def test_a_client_can_be_a_service(tmp_path):
    async def body(live: Live) -> None:
        server, client = await live.peer(0), await live.peer(1)
        assert (await server.ask("service.add", {"service": "mine"})).errnum == 0
        tag = await client.post("mine.double", {"n": 21})
        request = await server.receive()
        assert request is not None
        assert (request.type, request.topic, request.payload) == (REQUEST, "mine.double", {"n": 21})
        assert request.userid == os.getuid()
        await server.send(
            encode(Message(RESPONSE, "mine.double", {"n": 42}, 0x08, request.matchtag, routes=request.routes))
        )
        answer = await client.receive()
        assert answer is not None
        assert (answer.matchtag, answer.payload, answer.routes) == (tag, {"n": 42}, ())
        # An error with text comes through as well.
        await client.post("mine.fail")
        request = await server.receive()
        assert request is not None
        await server.send(
            encode(
                Message(
                    RESPONSE, request.topic, "no\0", 0x08, request.matchtag, errnum=22, routes=request.routes
                )
            )
        )
        answer = await client.receive()
        assert answer is not None
        assert (answer.errnum, (answer.payload_str or "").rstrip("\0")) == (22, "no")
        # A made-up answer goes nowhere and harms nobody.
        await server.send(encode(Message(RESPONSE, "mine.x", None, 0x08, 999, routes=("a", "b"))))
        assert (await server.ask("service.add", {"service": "mine"})).errnum == 17
        assert (await server.ask("service.add", {"service": "attr"})).errnum == 17
        assert (await server.ask("service.add", {"service": "a.b"})).errnum == 22
        assert (await server.ask("service.remove", {"service": "mine"})).errnum == 0
        assert (await client.ask("mine.double")).errnum == 38

    serve(tmp_path, body, size=2)


def test_a_service_client_that_leaves_owes_nobody(tmp_path):
    async def body(live: Live) -> None:
        server, client = await live.peer(), await live.peer()
        await server.ask("service.add", {"service": "mine"})
        await client.post("mine.wait")
        await client.post("mine.stream", None, FLAG_STREAMING)
        await server.receive()
        await server.close()
        answers = [await client.receive() for _ in range(2)]
        assert sorted((one.matchtag, one.errnum) for one in answers if one) == [(1, 113), (2, 113)]
        assert (await client.ask("mine.wait")).errnum == 38

    serve(tmp_path, body)


# -- coming apart


def test_frames_may_arrive_byte_by_byte(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        for byte in encode(Message(REQUEST, "kinds.ping", {"seq": 1}, 0x08, matchtag=9)):
            await peer.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        answer = await peer.receive()
        assert answer is not None
        assert (answer.matchtag, answer.payload["seq"]) == (9, 1)

    serve(tmp_path, body, "kinds")


GARBAGE = {
    "no magic": b"GET / HTTP/1.1\r\n\r\n",
    "one wrong byte": b"\x13",
    "1 GiB": b"\x12\x00\xee\xff" + (1 << 30).to_bytes(4, "big"),
    "one too long": b"\x12\x00\xee\xff" + (MAX_FRAME + 1).to_bytes(4, "big"),
    "empty frame": b"\x12\x00\xee\xff" + bytes(4),
    "no proto": b"\x12\x00\xee\xff" + (30).to_bytes(4, "big") + bytes(30),
    "a good one before": encode(Message(REQUEST, "kinds.ping", {}, 0x08, matchtag=1)) + b"\xff" * 100,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_ends_its_connection_and_no_other(tmp_path, what):
    async def body(live: Live) -> None:
        good, bad = await live.peer(), await live.peer()
        await bad.send(GARBAGE[what])
        await bad.until_end()
        assert (await good.ask("kinds.sync")).errnum == 0
        assert list(live.connector.connections) != []
        await live.until(lambda: len(live.connector.connections) == 1)
        assert "is disconnected" in live.instance.broker(0).log.lines()[-1]

    serve(tmp_path, body, "kinds")


def test_half_a_frame_and_then_the_end_is_a_plain_goodbye(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.ask("kinds.sync")
        await peer.send(encode(Message(REQUEST, "kinds.ping", {"pad": "x" * 1000}, 0x08, matchtag=2))[:500])
        await peer.close()
        body = live.instance.broker(0).module("kinds").body
        await live.until(lambda: body.heard)
        assert [what for what, _ in body.heard] == ["disconnect"]
        assert live.connector.connections == {}

    serve(tmp_path, body, "kinds")


def test_a_frame_at_the_limit_passes(tmp_path, monkeypatch):
    async def body(live: Live) -> None:
        peer = await live.peer()
        big = "x" * (1 << 20)
        answer = await peer.ask("kinds.ping", {"pad": big})
        assert answer.payload["pad"] == big

    serve(tmp_path, body, "kinds")


def test_messages_of_a_strange_kind_are_passed_over(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.send(encode(Message(7, flags=0)))  # control never crosses the connector
        await peer.send(encode(Message(EVENT, "", None)))
        await peer.send(encode(Message(RESPONSE, "kinds.sync", None, 0x08, 1)))
        assert (await peer.ask("kinds.sync")).errnum == 0
        assert (await peer.ask("")).errnum == 38
        assert (await peer.ask("kinds.sync", nodeid=77)).errnum == 113

    serve(tmp_path, body, "kinds")


def test_a_client_that_vanishes_in_the_middle_of_a_stream_has_it_cancelled(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        log = live.instance.broker(0).log
        log.append("<40>1 - 0 x - - - a line")
        for topic, payload in (("log.dmesg", {"follow": True}), ("module.trace", {"names": ["kinds"]})):
            await peer.post(topic, payload, FLAG_STREAMING)
        assert (await peer.receive()) is not None
        await live.until(lambda: live.instance.broker(0).traces)
        assert len(log.followers) == 1
        await peer.close()
        await live.until(lambda: not live.connector.connections)
        await live.until(lambda: not log.followers and not live.instance.broker(0).traces)
        log.append("<40>1 - 0 x - - - another")

    serve(tmp_path, body, "kinds")


def test_one_disconnect_a_service_is_sent_whatever_the_number_of_requests(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        for _ in range(5):
            await peer.ask("kinds.sync")
        await peer.post("kinds.sync", flags=FLAG_NORESPONSE)
        await peer.ask("attr.get", {"name": "rank"})
        kinds = live.instance.broker(0).module("kinds")
        before = kinds.counts[1]
        await peer.close()
        await live.until(lambda: not live.connector.connections)
        await live.until(lambda: kinds.body.heard)
        assert kinds.counts[1] - before <= 2
        assert len(kinds.body.heard) == 1

    serve(tmp_path, body, "kinds")


def test_a_request_of_a_client_that_left_is_answered_into_nothing(tmp_path):
    async def body(live: Live) -> None:
        peer, other = await live.peer(), await live.peer()
        await peer.post("kinds.hold")
        await live.until(lambda: live.instance.broker(0).module("kinds").body.held)
        await peer.close()
        await live.until(lambda: len(live.connector.connections) == 1)
        assert (await other.ask("kinds.release")).payload == {"count": 1}

    serve(tmp_path, body, "kinds")


# -- load


def test_a_client_that_does_not_read_is_disconnected_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(connector_file, "DROP_AT", 1 << 20)
    monkeypatch.setattr(connector_file, "STALL", 0.0)

    async def body(live: Live) -> None:
        deaf, good = await live.peer(), await live.peer()
        await deaf.ask("event.subscribe", {"topic": "news"})
        publisher = live.instance.client()
        for _ in range(300):
            publisher.publish("news", {"pad": "x" * 10_000})
            assert (await good.ask("kinds.sync")).errnum == 0
            if len(live.connector.connections) == 1:
                break
        assert len(live.connector.connections) == 1
        assert "bytes unread" in live.instance.broker(0).log.lines()[-1]
        await deaf.until_end()

    serve(tmp_path, body, "kinds")


def test_a_burst_of_20000_pipelined_requests_is_answered_in_order_with_bounded_memory(tmp_path, monkeypatch):
    queued: list[int] = []
    waiting: list[int] = []
    plain = Connection.intercept

    def intercept(connection: Connection, request: Message) -> bool:
        queued.append(len(connection.reactor.fifo))
        waiting.append(connection.outbox.size)
        return plain(connection, request)

    monkeypatch.setattr(Connection, "intercept", intercept)

    async def body(live: Live) -> None:
        peer = await live.peer()
        async with trio.open_nursery() as nursery:
            pings = [
                encode(Message(REQUEST, "kinds.ping", {"seq": n}, 0x08, matchtag=n + 1))
                for n in range(20_000)
            ]
            nursery.start_soon(peer.send, b"".join(pings))
            for number in range(20_000):
                answer = await peer.receive()
                assert answer is not None
                assert answer.matchtag == number + 1
        assert len(queued) == 20_000
        assert max(queued) < 2 * connector_file.QUEUE_AT
        assert max(waiting) < 2 * connector_file.PAUSE_AT

    serve(tmp_path, body, "kinds")


def test_a_client_that_reads_a_little_is_disconnected_at_the_last_limit_only(tmp_path, monkeypatch):
    monkeypatch.setattr(connector_file, "DROP_AT", 1 << 20)
    monkeypatch.setattr(connector_file, "DROP_ALWAYS", 1 << 22)

    async def body(live: Live) -> None:
        slow = await live.peer()
        await slow.ask("event.subscribe", {"topic": "news"})
        publisher = live.instance.client()
        (connection,) = live.connector.connections
        sizes = [0]
        while live.connector.connections and sizes[-1] < 1 << 23:
            publisher.publish("news", {"pad": "x" * 10_000})
            await trio.lowlevel.checkpoint()
            sizes.append(connection.outbox.size)
        assert (1 << 22) - 20_000 < max(sizes) <= 1 << 22

    serve(tmp_path, body, "kinds")


@pytest.mark.parametrize(("count", "pad"), [(5, 500_000), (300, 10_000), (3000, 2000)])
def test_a_client_that_reads_no_answer_before_all_is_sent_gets_all_in_order(tmp_path, count, pad):
    async def body(live: Live) -> None:
        peer = await live.peer()
        ask = {"pad": "x" * pad}
        asks = (encode(Message(REQUEST, "kinds.ping", ask, 0x08, matchtag=n + 1)) for n in range(count))
        await peer.send(b"".join(asks))
        for number in range(count):
            answer = await peer.receive()
            assert answer is not None
            assert (answer.matchtag, len(answer.payload["pad"])) == (number + 1, pad)

    serve(tmp_path, body, "kinds")


def test_a_client_that_sends_for_ever_and_never_reads_is_disconnected(tmp_path, monkeypatch):
    monkeypatch.setattr(connector_file, "PAUSE_AT", 1 << 16)
    monkeypatch.setattr(connector_file, "STALL", 0.0)

    async def body(live: Live) -> None:
        deaf, good = await live.peer(), await live.peer()
        ping = encode(Message(REQUEST, "kinds.ping", {"pad": "x" * 10_000}, 0x08, matchtag=1))
        with pytest.raises(trio.BrokenResourceError):
            await deaf.send(ping * 1000)
        assert (await good.ask("kinds.sync")).errnum == 0
        assert "bytes unread and asks for more" in live.instance.broker(0).log.lines()[-1]
        assert len(live.connector.connections) == 1

    serve(tmp_path, body, "kinds")


def test_a_client_that_asks_without_reading_is_not_read_any_further_until_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(connector_file, "PAUSE_AT", 1 << 16)

    async def body(live: Live) -> None:
        peer = await live.peer()
        (connection,) = live.connector.connections
        deepest = 0
        async with trio.open_nursery() as nursery:
            pings = [
                encode(Message(REQUEST, "kinds.ping", {"pad": "x" * 1000}, 0x08, matchtag=n + 1))
                for n in range(5000)
            ]
            nursery.start_soon(peer.send, b"".join(pings))
            for _ in range(3000):
                await trio.lowlevel.checkpoint()
                deepest = max(deepest, connection.outbox.size)
            # The answers to what was read when the limit was passed come on top.
            assert (1 << 16) < deepest < (1 << 18)
            for number in range(5000):
                answer = await peer.receive()
                assert answer is not None
                assert answer.matchtag == number + 1

    serve(tmp_path, body, "kinds")


def test_requests_without_answers_do_not_fill_memory_either(tmp_path, monkeypatch):
    monkeypatch.setattr(connector_file, "QUEUE_AT", 500)

    async def body(live: Live) -> None:
        peer = await live.peer()
        deepest = [0]
        reactor = live.instance.reactor
        plain = Reactor.drain

        def drain(self: Reactor, budget: int = 256) -> None:
            deepest[0] = max(deepest[0], len(reactor.fifo))
            plain(self, budget)

        monkeypatch.setattr(Reactor, "drain", drain)
        one = encode(Message(REQUEST, "kinds.note", {"from": 1}, 0x08 | FLAG_NORESPONSE))
        await peer.send(one * 20_000)
        await peer.ask("kinds.sync")
        assert len(live.instance.broker(0).module("kinds").body.heard) == 20_000
        # A read brings at most this many requests on top of what was queued.
        assert deepest[0] <= 500 + (1 << 16) // len(one) + 2

    serve(tmp_path, body, "kinds")


def test_a_matchtag_is_reused_as_soon_as_it_is_answered(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        for number in range(50):
            await peer.post("kinds.ping", {"seq": number}, tag=1)
            answer = await peer.receive()
            assert answer is not None
            assert (answer.matchtag, answer.payload["seq"]) == (1, number)
        (connection,) = live.connector.connections
        assert connection.pending == {}

    serve(tmp_path, body, "kinds")


def test_an_answer_that_cannot_be_sent_becomes_an_error_and_the_client_stays(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        kinds = live.instance.broker(0).module("kinds")
        await peer.post("kinds.hold")
        await live.until(lambda: kinds.body.held)
        live.instance.client().call_later(0, lambda: kinds.respond(kinds.body.held[0], {"bad": object()}))
        answer = await peer.receive()
        assert answer is not None
        assert answer.errnum == 71
        assert "cannot be sent" in (answer.payload_str or "")
        assert (await peer.ask("kinds.sync")).errnum == 0

    serve(tmp_path, body, "kinds")


def test_an_event_that_cannot_be_sent_is_logged_and_the_subscriber_stays(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.ask("event.subscribe", {"topic": ""})
        client = live.instance.client()
        client.publish("bad\0topic")
        client.publish("bad.payload", {"x": object()})
        client.publish("good")
        event = await peer.receive()
        assert event is not None
        assert event.topic == "good"
        lines = live.instance.broker(0).log.lines()
        assert len([line for line in lines if "cannot be sent" in line]) == 2

    serve(tmp_path, body)


# -- socket files


def test_a_stale_socket_of_a_dead_instance_is_replaced(tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "local-0"))
    left.close()  # the file stays, as after a kill

    async def body(live: Live) -> None:
        assert (await live.peer()).hello == b"\0"

    serve(tmp_path, body)


def test_the_socket_of_a_live_instance_is_refused_and_left_alone(tmp_path):
    async def body(live: Live) -> None:
        with pytest.raises(OSError, match="a live instance listens there already") as caught:
            bind(tmp_path / "local-0")
        assert str(tmp_path / "local-0") in str(caught.value)
        assert (await live.peer()).hello == b"\0"

    serve(tmp_path, body)


def test_a_live_instance_too_busy_to_answer_is_still_alive(tmp_path, monkeypatch):
    path = tmp_path / "local-0"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        for _ in range(2):  # fill its backlog
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            try:
                one.connect(str(path))
            except BlockingIOError:
                pass
            waiting.append(one)
        with pytest.raises(OSError, match="a live instance listens there already"):
            bind(path)
        for one in waiting:
            one.close()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path):
    path = tmp_path / "local-0"
    path.write_text("somebody's notes")
    with pytest.raises(OSError, match="a file that is no socket is in the way"):
        bind(path)
    assert path.read_text() == "somebody's notes"


@pytest.mark.parametrize("name", ["x" * 108, "x" * 300])
def test_a_path_too_long_for_a_socket_is_an_error_that_says_the_limit(tmp_path, name):
    with pytest.raises(OSError, match=r"is longer than a Unix socket allows \(107 bytes\)"):
        bind(tmp_path / name)


def test_a_folder_that_is_not_there_or_not_writable_is_named(tmp_path):
    for folder in (tmp_path / "nosuch", Path("/proc")):
        with pytest.raises(OSError, match="local-0: ") as caught:
            bind(folder / "local-0")
        assert str(folder) in str(caught.value)


def test_when_one_ranks_socket_cannot_be_bound_the_others_are_taken_away_again(tmp_path):
    (tmp_path / "local-1").write_text("in the way")

    async def body(live: Live) -> None:
        pytest.fail("served")

    with pytest.raises(OSError, match="local-1: a file that is no socket"):
        serve(tmp_path, body, size=2)
    assert [path.name for path in tmp_path.iterdir()] == ["local-1"]


def test_two_instances_at_once_keep_to_themselves(tmp_path):
    async def body(live: Live) -> None:
        (tmp_path / "b").mkdir(exist_ok=True)
        other_peer: list[Peer] = []

        async def inner(other: Live) -> None:
            peer = await live.peer()
            other_peer.append(await other.peer())
            assert (await peer.ask("kinds.sync")).errnum == 0
            assert (await other_peer[0].ask("kinds.sync")).errnum == 38

        await _serve_inside(tmp_path / "b", inner)

    (tmp_path / "a").mkdir()
    serve(tmp_path / "a", body, "kinds")


async def _serve_inside(folder: Path, body: Any) -> None:
    async with brokersim.open_instance(modules=[], clock="real") as instance:
        connector = Connector(instance, folder)
        connector.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connector.serve)
            await body(Live(instance, connector, folder))
            nursery.cancel_scope.cancel()
        connector.close()


# -- virtual time


def test_virtual_time_moves_only_while_a_client_waits_for_an_answer(tmp_path):
    async def body(live: Live) -> None:
        instance = live.instance
        peer = await live.peer()
        ticks: list[float] = []
        handle = instance.broker(0).endpoint
        handle.timer_watcher_create(1.0, lambda *_: ticks.append(handle.now()), repeat=1.0).start()
        assert (await peer.ask("kinds.sync")).payload["now"] == 0.0
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert (ticks, instance.reactor.now) == ([], 0)
        assert (await peer.ask("kinds.step")).payload["now"] == 0.25
        assert ticks == []
        for number in range(8):
            assert (await peer.ask("kinds.step")).payload["now"] == 0.5 + number * 0.25
        assert ticks == [1.0, 2.0]

    serve(tmp_path, body, "kinds", clock="virtual")


def test_a_newcomer_for_whom_there_was_no_descriptor_is_taken_in_later_in_virtual_time_too(
    tmp_path, monkeypatch
):
    """Virtual time stands still while nobody waits for an answer, so the pause before the next try is a real one."""
    monkeypatch.setattr("brokersim.net.doorway._PAUSE", 0.001)

    async def body(live: Live) -> None:
        listener, path = live.connector._listeners[0]
        stingy = Stingy(listener, 2)
        live.connector._listeners[0] = (stingy, path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.connector.serve)
            peer = await live.peer()
            assert (await peer.ask("kinds.sync")).payload["now"] == 0.0
            nursery.cancel_scope.cancel()
        assert stingy.refusals == 0

    async def main() -> None:
        async with brokersim.open_instance(
            modules=["kinds"], module_path=[FIXTURES], clock="virtual"
        ) as instance:
            connector = Connector(instance, tmp_path)
            connector.listen()
            try:
                await body(Live(instance, connector, tmp_path))
            finally:
                connector.close()

    brokersim.run(main, clock="virtual")


class Stingy:
    """A listening socket that runs out of descriptors some times."""

    def __init__(self, listener: socket.socket, refusals: int) -> None:
        self._listener = listener
        self.refusals = refusals

    def accept(self):
        if self.refusals:
            self.refusals -= 1
            raise OSError(24, "Too many open files")
        return self._listener.accept()

    def fileno(self) -> int:
        return self._listener.fileno()

    def close(self) -> None:
        self._listener.close()


def test_a_way_remembered_for_the_owner_is_not_taken_by_who_poses_as_a_guest(tmp_path):
    """The next request for a topic takes a short cut past the check of roles."""

    async def body(live: Live) -> None:
        peer = await live.peer()
        for _ in range(2):
            assert (await peer.ask("log.clear", {})).errnum == 0
        assert "log.clear" in next(iter(live.connector.connections)).routes
        denied = await peer.ask("log.clear", {}, userid=4242, rolemask=ROLE_USER)
        assert (denied.errnum, denied.payload_str) == (1, "Request requires owner credentials")

    serve(tmp_path, body)
