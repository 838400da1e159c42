"""No client of the connector ends more than itself, and none can lock others out or fill memory."""

from __future__ import annotations

import resource
from contextlib import suppress
from itertools import islice

import trio

from brokersim.net import unfinished
from brokersim.net.unfinished import Unfinished
from brokersim.protocol.message import EVENT, REQUEST, RESPONSE, Message
from brokersim.protocol.wire import encode
from tests.hostile import COUNT, hostile_inputs
from tests.net.live_socket import Live, Peer, serve


def frame(topic: str, payload=None, kind: int = REQUEST, **fields) -> bytes:
    return encode(Message(kind, topic, payload, 0x08, **{"matchtag": 1, "nodeid": 0xFFFFFFFF, **fields}))


FRAMES = (
    frame("attr.get", {"name": "rank"}), frame("event.subscribe", {"topic": "x"}),
    frame("service.add", {"service": "s"}), frame("kvs.getroot", {"namespace": "primary"}),
    frame("x.y", {"a": [1]}, kind=EVENT), frame("log.append", b"<6>1 x\ny"),
    frame("s.y", {}, kind=RESPONSE, matchtag=7, routes=("a", "b")), frame("rank.get", b"\xff\xfe"), frame("a", "{"),
    frame("content.store", b"blob") + frame("broker.ping", {"pad": "x" * 500}),
    frame("event.pub", {"topic": "a", "flags": 0}),
)  # fmt: skip


def test_no_frame_ends_more_than_its_client(tmp_path):
    """10,000 inputs are tried by `make torture`, on a connection each."""

    async def one(live: Live, data: bytes) -> None:
        peer = await live.peer()
        with suppress(trio.BrokenResourceError):
            await peer.send(data)
            await peer.stream.send_eof()
            while await peer.stream.receive_some(65_536):
                pass
        await peer.close()

    async def body(live: Live) -> None:
        inputs = iter(hostile_inputs(FRAMES))
        while batch := list(islice(inputs, 50)):
            async with trio.open_nursery() as nursery:
                for data in batch:
                    nursery.start_soon(one, live, data)
            for rank in range(2):
                peer = await live.peer(rank)
                assert (await peer.ask("attr.get", {"name": "rank"})).payload["value"] == str(rank)
                await peer.close()
        faults = [line for line in live.instance.broker(0).log.lines() if "Error" in line]
        assert [line for line in faults if "is disconnected" in line] == [], "no fault of ours may be told"

    serve(tmp_path, body, "content-cache", "kvs", size=2, seconds=30 + COUNT / 20)


def test_a_fault_in_taking_a_message_costs_its_client_the_connection_and_nobody_else(tmp_path, monkeypatch):
    async def body(live: Live) -> None:
        other, peer = await live.peer(), await live.peer()
        await live.until(lambda: len(live.connector.connections) == 2)
        victim = list(live.connector.connections)[1]
        monkeypatch.setattr(type(victim), "intercept", lambda self, _: 1 / 0)
        await peer.send(FRAMES[0])
        await peer.until_end()
        monkeypatch.undo()
        assert (await other.ask("attr.get", {"name": "rank"})).payload["value"] == "0"
        assert "is disconnected: ZeroDivisionError" in live.instance.broker(0).log.lines()[-1]

    serve(tmp_path, body)


def test_each_of_many_requests_with_one_matchtag_is_answered(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.send(
            frame("broker.ping", {}, matchtag=5) * 1000 + frame("attr.get", {"name": "rank"}, matchtag=6)
        )
        answers = [await peer.receive() for _ in range(1001)]
        assert [answer.matchtag for answer in answers if answer] == [5] * 1000 + [6]
        assert not next(iter(live.connector.connections)).pending

    serve(tmp_path, body)


def test_a_newcomer_without_a_descriptor_is_told_so_at_once_and_it_is_said_once(tmp_path, monkeypatch):
    async def body(live: Live) -> None:
        here = await live.peer()
        await live.until(lambda: live.connector.connections)
        said = len(live.instance.broker(0).log.lines())
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        streams = [trio.socket.socket(trio.socket.AF_UNIX) for _ in range(30)]
        used = streams[-1].fileno() + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
        try:
            for stream in streams:
                await stream.connect(str(tmp_path / "local-0"))
                assert await stream.recv(10) == bytes([24])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for stream in streams:
            stream.close()
        assert (await here.ask("attr.get", {"name": "rank"})).payload["value"] == "0"
        lines = live.instance.broker(0).log.lines()[said:]
        assert len(lines) == 2
        assert "Too many open files" in lines[0] and "ulimit -n" in lines[0]
        assert "10 newcomers refused so far" in lines[1]
        assert (await live.peer()).hello == b"\0"

    serve(tmp_path, body)


def test_half_frames_of_many_clients_are_bounded_together_and_the_silent_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "UNFINISHED_AT", 250_000)
    part = frame("content.store", b"x" * 200_000)[:100_000]

    async def send(live: Live) -> Peer:
        peer = await live.peer()
        await peer.send(part)
        connection = list(live.connector.connections)[-1]
        await live.until(lambda: connection._decoder.pending == len(part))
        return peer

    async def body(live: Live) -> None:
        first, second = await send(live), await send(live)
        await first.send(b"x")  # it goes on, so the second has been silent longer
        await live.until(lambda: max(c._decoder.pending for c in live.connector.connections) > len(part))
        third = await send(live)  # kept: a peer that nobody holds closes its socket
        await second.until_end()
        await live.until(lambda: len(live.connector.connections) == 2)
        assert "left 100000 bytes of a frame unfinished" in live.instance.broker(0).log.lines()[-1]
        await first.send(b"x" * 100_100)
        assert third is not second

    serve(tmp_path, body)


def test_who_goes_in_the_middle_of_a_frame_leaves_its_room_to_others(tmp_path):
    async def body(live: Live) -> None:
        peer = await live.peer()
        await peer.send(frame("content.store", b"x" * 1000)[:500])
        (connection,) = live.connector.connections
        await live.until(lambda: connection in live.connector.unfinished)
        await peer.close()
        await live.until(lambda: not live.connector.connections)
        assert connection not in live.connector.unfinished

    serve(tmp_path, body)


def test_one_client_may_have_a_frame_as_long_as_frames_may_be():
    class Client:
        def lose(self, why: str) -> None:
            raise AssertionError(why)

    counted = Unfinished()
    client = Client()
    counted.note(client, unfinished.UNFINISHED_AT + 1)
    assert client in counted
    counted.note(client, 0)
    assert client not in counted
