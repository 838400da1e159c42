"""The synchronous client against a real socket; the other end is canned."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokersim.net import client as client_module
from brokersim.net.client import BadPeer, Client, Lost, Refused, Unreachable
from brokersim.protocol.errnums import ECONNRESET, ENOENT, EPERM, EPROTO, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    FLAG_STREAMING,
    NODEID_ANY,
    USERID_UNKNOWN,
    Message,
)
from brokersim.protocol.wire import HEADER_SIZE, decode, encode
from tests.cli.fake_broker import OPEN, SILENCE, FakeBroker


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeBroker]:
    broker = FakeBroker(tmp_path / "local-0")
    yield broker
    broker.close()


@pytest.fixture
def client(fake: FakeBroker) -> Iterator[Client]:
    with Client.connect(fake.uri, timeout=60) as connected:
        yield connected


class Peer:
    """The server's end of one connection, driven by the test byte for byte."""

    def __init__(self, path: Path) -> None:
        self.uri = f"local://{path}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()

    def says(self, *chunks: bytes, then_close: bool = True) -> None:
        def serve() -> None:
            connection, _ = self._listener.accept()
            for chunk in chunks:
                connection.sendall(chunk)
            if then_close:
                connection.close()
            else:
                self._kept = connection

        threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "local-0")


def test_a_request_is_the_frame_flux_sends() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\0")
    client = Client(ours, "local:///test")
    client.send_request("attr.get", {"name": "rank"})
    frame = theirs.recv(1000)
    # the first exchange of `flux getattr rank` as captured from flux-core 0.88
    assert frame.hex() == (
        "1200eeff000000300008617474722e676574107b226e616d65223a2272616e6b227d00"
        "148e01010bffffffff00000000ffffffff00000001"
    )


def test_an_event_is_the_frame_flux_sends() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\0")
    Client(ours, "local:///test").publish("x", {"a": 1})
    assert theirs.recv(1000).hex() == (
        "1200eeff00000021000178087b2261223a317d00148e01040bffffffff000000000000000000000000"
    )


def test_rpc_returns_json_none_or_raw_bytes(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.json": {"x": 1}, "a.none": None, "a.raw": b"\x00\xff"}
    assert client.rpc("a.json", {"in": "put"}) == {"x": 1}
    assert client.rpc("a.none") is None
    assert client.rpc("a.raw", b"\x01\x02", raw=True) == b"\x00\xff"
    assert [one.raw for one in fake.requests] == [b'{"in":"put"}\0', b"", b"\x01\x02"]


def test_a_request_carries_nodeid_and_unset_credentials(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": None}
    client.rpc("a.b", nodeid=3)
    client.rpc("a.b")
    first, second = fake.requests
    assert (first.nodeid, second.nodeid) == (3, NODEID_ANY)
    assert (first.userid, first.rolemask, first.flags & FLAG_ROUTE) == (USERID_UNKNOWN, 0, FLAG_ROUTE)


def test_an_error_response_is_raised_with_its_text(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.plain": RequestError(ENOENT), "a.text": RequestError(ENOENT, "unknown job id")}
    with pytest.raises(RequestError, match="No such file or directory") as plain:
        client.rpc("a.plain")
    assert plain.value.errno == ENOENT
    with pytest.raises(RequestError, match="unknown job id"):
        client.rpc("a.text")


def test_a_json_answer_that_is_none_is_EPROTO(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": b"\xff\xfe"}
    with pytest.raises(RequestError, match="not JSON") as caught:
        client.rpc("a.b")
    assert caught.value.errno == EPROTO


def test_a_payload_json_cannot_carry_is_refused_before_anything_is_sent(
    fake: FakeBroker, client: Client
) -> None:
    fake.answers = {"a.b": None}
    with pytest.raises(RequestError, match="set_iterator"):
        client.rpc("a.b", {"x": iter({1})})
    assert client.outstanding == 0
    client.rpc("a.b")
    assert [one.matchtag for one in fake.requests] == [1]


def test_matchtags_start_at_1_and_are_reused(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": None}
    for _ in range(3):
        client.rpc("a.b")
    tags = [client.send_request("a.b") for _ in range(3)]
    assert sorted(tags) == [1, 2, 3]
    for tag in tags:
        client.recv_response(tag)
    assert sorted(client.send_request("a.b") for _ in range(3)) == [1, 2, 3]


def test_pipelined_requests_may_be_received_in_any_order(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": lambda request: request.payload}
    tags = [client.send_request("a.b", {"n": n}) for n in range(10)]
    assert client.outstanding == 10
    assert [client.recv_response(tag).payload["n"] for tag in reversed(tags)] == list(reversed(range(10)))
    assert client.outstanding == 0


def test_recv_gives_everything_in_order_of_arrival(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": lambda request: request.payload}
    fake.on_subscribe = [Message(EVENT, topic="e.x", seq=7, flags=FLAG_ROUTE)]
    client.subscribe("e.")
    client.send_request("a.b", {"n": 1})
    client.send_request("a.b", {"n": 2})
    event, first, second = client.recv(), client.recv(), client.recv()
    assert (event.topic, event.seq) == ("e.x", 7)
    assert [first.payload, second.payload] == [{"n": 1}, {"n": 2}]


def test_noresponse_takes_no_matchtag(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.c": None}
    assert client.send_request("a.b", flags=FLAG_NORESPONSE) == 0
    client.rpc("a.c")
    assert [(one.topic, one.matchtag) for one in fake.requests] == [("a.b", 0), ("a.c", 1)]


def test_a_stream_ends_with_ENODATA(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": [{"n": 1}, {"n": 2}]}
    assert list(client.stream("a.b")) == [{"n": 1}, {"n": 2}]
    assert fake.requests[0].flags & FLAG_STREAMING
    assert client.outstanding == 0


def test_a_stream_that_fails_raises_after_what_came(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": [{"n": 1}, RequestError(ENOENT, "gone")]}
    stream = client.stream("a.b")
    assert next(stream) == {"n": 1}
    with pytest.raises(RequestError, match="gone"):
        next(stream)


def test_a_stream_sends_its_request_before_it_is_read(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": [{"n": 1}], "a.c": None}
    stream = client.stream("a.b")
    client.rpc("a.c")
    assert fake.topics == ["a.b", "a.c"]
    assert list(stream) == [{"n": 1}]


def test_closing_a_stream_early_cancels_it_and_drops_the_rest(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": [{"n": 1}, {"n": 2}, OPEN], "a.c": {"other": True}}
    stream: Any = client.stream("a.b", cancel="a.b-cancel")
    assert next(stream) == {"n": 1}
    stream.close()
    assert client.rpc("a.c") == {"other": True}
    assert fake.asked("a.b-cancel") == [{"matchtag": 1}]
    assert client.outstanding == 0
    assert fake.requests[-1].matchtag == 2, "the stream has not ended, so its matchtag must not be reused"


def test_an_unread_stream_may_outlive_its_client(fake: FakeBroker) -> None:
    fake.answers = {"a.b": [{"n": 1}, OPEN]}
    with Client.connect(fake.uri, timeout=60) as client:
        stream: Any = client.stream("a.b", cancel="a.b-cancel")
        next(stream)
    stream.close()


def test_a_timeout_abandons_the_request_and_a_late_answer_is_dropped(fake: FakeBroker) -> None:
    gate = threading.Event()

    def late(_request: Message) -> dict[str, bool]:
        gate.wait(60)
        return {"late": True}

    fake.answers = {"a.b": late, "a.c": {"prompt": True}}
    with Client.connect(fake.uri, timeout=0.05) as client:
        with pytest.raises(TimeoutError, match="no answer in time"):
            client.rpc("a.b")
        client.limits.timeout = 5
        gate.set()
        assert client.rpc("a.c") == {"prompt": True}
        assert client.outstanding == 0


def test_a_deadline_ends_waits_whatever_the_timeout(fake: FakeBroker) -> None:
    fake.answers = {"a.b": SILENCE}
    client = Client.connect(fake.uri, timeout=60, deadline=time.monotonic() + 0.05)
    with client, pytest.raises(TimeoutError):
        client.rpc("a.b")


def test_an_answer_to_a_finished_request_is_a_usage_error(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": None}
    tag = client.send_request("a.b")
    client.recv_response(tag)
    with pytest.raises(ValueError, match="matchtag 1 is not in use"):
        client.recv_response(tag)


def test_events_come_by_prefix_and_keep_apart_from_responses(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": {"n": 1}}
    client.subscribe("foo")
    tag = client.send_request("a.b")
    client.publish("foo.bar", {"x": 1})
    event = client.recv_event()
    assert (event.topic, event.payload) == ("foo.bar", {"x": 1})
    assert client.recv_response(tag).payload == {"n": 1}
    client.unsubscribe("foo")
    assert fake.asked("event.unsubscribe") == [{"topic": "foo"}]


def test_a_full_socket_does_not_block_both_ends(fake: FakeBroker, client: Client) -> None:
    # 3,000 answers of 20 kB: neither side's socket buffer holds them, so a client that only wrote would hang
    fake.answers = {"a.b": lambda request: {"pad": "x" * 20_000, "n": request.payload["n"]}}
    tags = [client.send_request("a.b", {"n": n, "pad": "y" * 5_000}) for n in range(300)]
    assert [client.recv_response(tag).payload["n"] for tag in tags] == list(range(300))


def test_the_handshake_errno_is_named(peer: Peer) -> None:
    peer.says(bytes([EPERM]))
    with pytest.raises(Refused, match=r"refuses this user: Operation not permitted \(EPERM\)") as caught:
        Client.connect(peer.uri, timeout=60)
    assert caught.value.errno == EPERM


def test_a_peer_that_closes_before_the_handshake_is_lost(peer: Peer) -> None:
    peer.says()
    with pytest.raises(Lost, match="closed the connection"):
        Client.connect(peer.uri, timeout=60)


def test_a_peer_that_never_shakes_hands_times_out(peer: Peer) -> None:
    peer.says(then_close=False)
    with pytest.raises(TimeoutError):
        Client.connect(peer.uri, timeout=0.05)


def test_a_connection_lost_while_waiting_is_lost(peer: Peer) -> None:
    peer.says(b"\0")
    client = Client.connect(peer.uri, timeout=60)
    with pytest.raises(Lost) as caught:
        client.rpc("a.b")
    assert caught.value.errno is not None
    assert client.is_closed
    with pytest.raises(Lost, match="connection is closed"):
        client.recv()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n",
        bytes.fromhex("1200eeff40000000"),  # 1 GiB
        bytes.fromhex("1200eeff00000002ffff"),
    ],
)
def test_garbage_is_a_bad_peer(peer: Peer, garbage: bytes) -> None:
    peer.says(b"\0", garbage, then_close=False)
    client = Client.connect(peer.uri, timeout=60)
    with pytest.raises(BadPeer, match="not a broker's protocol"):
        client.recv()
    assert client.is_closed


def test_an_answer_nobody_asked_for_is_a_bad_peer(peer: Peer) -> None:
    peer.says(b"\0", bytes.fromhex(
        "1200eeff00000026000f6576656e742e737562736372696265148e010209ffffffff000000010000000000000001"
    ), then_close=False)  # fmt: skip
    client = Client.connect(peer.uri, timeout=60)
    with pytest.raises(BadPeer, match="answers matchtag 1, which asks nothing"):
        client.recv()


def test_messages_split_at_every_byte_come_whole(peer: Peer) -> None:
    events = [encode(Message(EVENT, topic=f"t.{n}", data={"n": n}, seq=n)) for n in range(5)]
    peer.says(b"\0", *[bytes([byte]) for event in events for byte in event], then_close=False)
    with Client.connect(peer.uri, timeout=60) as client:
        assert [client.recv_event().payload["n"] for _ in range(5)] == list(range(5))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    test, sleep = threading.current_thread(), time.sleep

    def note(seconds: float) -> None:
        # Whatever else runs in this process goes on sleeping.
        if threading.current_thread() is test:
            taken.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(client_module.time, "sleep", note)
    monkeypatch.delenv(client_module.RETRY_VARIABLE, raising=False)
    return taken


def test_connect_retries_five_times_with_doubling_pauses(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(Unreachable, match="No such file") as caught:
        Client.connect(f"local://{tmp_path}/local-0")
    assert pauses == [0.016, 0.032, 0.064, 0.128, 0.256]
    assert caught.value.errno == ENOENT


def test_the_retry_count_is_settable_as_in_flux(
    tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(client_module.RETRY_VARIABLE, "9")
    with pytest.raises(Unreachable):
        Client.connect(f"local://{tmp_path}/local-0")
    assert len(pauses) == 9
    assert max(pauses) == 2.0


def test_connect_succeeds_when_the_socket_appears_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "local-0"
    monkeypatch.setattr(
        client_module.time, "sleep", lambda _s: Peer(path).says(b"\0") if not path.exists() else None
    )
    Client.connect(f"local://{path}", timeout=60).close()


def test_errors_no_retry_can_cure_are_told_at_once(tmp_path: Path, pauses: list[float]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable):
        Client.connect(f"local://{tmp_path}/file/local-0")
    assert pauses == []


def test_a_request_to_a_reset_connection_is_lost() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\0")
    client = Client(ours, "local:///test", timeout=60)
    theirs.close()
    with pytest.raises(Lost) as caught:
        client.publish("x")
    assert caught.value.errno == ECONNRESET


def test_a_client_may_answer_requests_it_serves() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\0")
    client = Client(ours, "local:///test", timeout=60)
    request = Message(1, topic="mine.hello", matchtag=4, flags=FLAG_ROUTE, routes=("abc",))
    theirs.sendall(encode(request))
    received = client.recv()
    client.send(Message(3, topic=received.topic, data={"hi": 1}, matchtag=4, flags=9, routes=received.routes))
    response = decode(theirs.recv(1000)[HEADER_SIZE:])
    assert (response.payload, response.matchtag, response.routes) == ({"hi": 1}, 4, ("abc",))


def test_the_client_imports_no_trio_and_nothing_heavy() -> None:
    probe = (
        "import sys, brokersim.net.client; "
        "print([name for name in ('trio', 'asyncio', 'attrs', 'rich', 'click', 'hypothesis') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_many_requests_in_one_write(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": lambda request: request.payload}
    tags = client.send_requests("a.b", ({"n": n} for n in range(5)), nodeid=2)
    assert [client.recv_response(tag).payload["n"] for tag in tags] == list(range(5))
    assert {one.nodeid for one in fake.requests} == {2}


def test_a_bad_payload_among_many_sends_none_of_them(fake: FakeBroker, client: Client) -> None:
    fake.answers = {"a.b": None}
    with pytest.raises(RequestError):
        client.send_requests("a.b", [{"n": 1}, {"n": iter({1})}])
    assert client.outstanding == 0
    client.rpc("a.b")
    assert len(fake.requests) == 1


def test_recv_within_gives_up_without_ending_the_request(fake: FakeBroker, client: Client) -> None:
    gate = threading.Event()

    def late(_request: Message) -> dict[str, bool]:
        gate.wait(60)
        return {"late": True}

    fake.answers = {"a.b": late}
    tag = client.send_request("a.b")
    assert client.recv_within(tag, 0.02) is None
    gate.set()
    response = client.recv_within(tag, 5)
    assert response is not None
    assert response.payload == {"late": True}


def test_an_abandoned_request_takes_its_waiting_answer_along_and_no_others(
    fake: FakeBroker, client: Client
) -> None:
    fake.answers = {"a.b": {"of": "b"}, "a.c": {"of": "c"}, "a.d": {"of": "d"}}
    first, second = client.send_request("a.b"), client.send_request("a.c")
    assert client.rpc("a.d") == {"of": "d"}  # by now the other two have come
    client.abandon(first)
    assert client.recv_response(second).payload == {"of": "c"}
    assert client.outstanding == 0
    again = {client.send_request("a.b") for _ in range(3)}
    assert again == {1, 2, 3}, "all have ended: their matchtags are free"
