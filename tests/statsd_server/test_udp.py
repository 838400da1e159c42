"""Packets leave by UDP without ever waiting or raising: what is refused is counted, what is no address is said."""

from __future__ import annotations

import socket

import pytest

from brokersim.statsd_server.udp import UdpSink, parse_address


@pytest.fixture
def listener():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        yield server


@pytest.fixture
def sink(listener):
    made = UdpSink(f"127.0.0.1:{listener.getsockname()[1]}")
    yield made
    made.close()


def test_packets_arrive_as_they_are_one_datagram_each(listener, sink):
    packets = [b"flux.kvs.0.request_tx:1|g", b"a:1|g\nb:2|g", b"x" * 1440]
    assert [sink.send(packet) for packet in packets] == [True] * 3
    assert [listener.recv(2000) for _ in packets] == packets
    assert (sink.sent, sink.refused) == (3, 0)
    assert sink.target == f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_port_nobody_listens_on_is_counted_and_never_raised(listener, sink):
    listener.close()
    results = [sink.send(b"x") for _ in range(10)]
    # A refusal comes back with the next send, which is then made again: the kernel took every one of them.
    assert results == [True] * 10
    assert (sink.sent, sink.refused) == (10, 9)


def test_a_listener_that_comes_back_gets_packets_again(listener):
    port = listener.getsockname()[1]
    sink = UdpSink(f"127.0.0.1:{port}")
    listener.close()
    for _ in range(3):
        sink.send(b"lost")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
        again.settimeout(60)
        assert sink.send(b"found")
        assert again.recv(100) == b"found"
    sink.close()


class Refusing:
    """A socket that answers each send with the next of these errors; None takes the packet."""

    def __init__(self, *errors: OSError | None) -> None:
        self.errors = list(errors)

    def __call__(self, packet: bytes) -> int:
        error = self.errors.pop(0)
        if error is not None:
            raise error
        return len(packet)


@pytest.mark.parametrize(
    ("errors", "result", "sent", "refused"),
    [
        ((None,), True, 1, 0),
        ((BlockingIOError(),), False, 0, 1),
        ((OSError(105, "No buffer space available"),), False, 0, 1),
        ((OSError(90, "Message too long"),), False, 0, 1),
        ((OSError(101, "Network is unreachable"),), False, 0, 1),
        ((ConnectionRefusedError(), None), True, 1, 1),
        ((ConnectionRefusedError(), ConnectionRefusedError()), False, 0, 2),
        ((ConnectionRefusedError(), BlockingIOError()), False, 0, 2),
    ],
)
def test_whatever_the_socket_says_is_a_count(sink, errors, result, sent, refused):
    sink._send = Refusing(*errors)
    assert sink.send(b"x") is result
    assert (sink.sent, sink.refused) == (sent, refused)


def test_a_packet_larger_than_a_datagram_is_refused_by_the_kernel_and_counted(sink):
    assert sink.send(b"x" * 70_000) is False
    assert (sink.sent, sink.refused) == (0, 1)


def test_sending_never_blocks(sink):
    assert sink._socket.getblocking() is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:8126", ("127.0.0.1", 8126)), ("host:1", ("host", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_address_is_a_host_and_a_port(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "host", ":", ":80", "host:", "host:0", "host:65536", "host:-1", "host:x", "host:8126:", "host: 80"],
)
def test_what_is_no_address_is_an_error_with_an_example(text):
    with pytest.raises(ValueError, match=r"give HOST:PORT, such as 127\.0\.0\.1:8126"):
        UdpSink(text)


@pytest.mark.parametrize("host", ["a" * 100, "a..b", "\ud800", "no such host"])
def test_a_host_that_cannot_be_is_a_value_error_naming_it(host):
    with pytest.raises(ValueError, match="statsd address"):
        UdpSink(f"{host}:8126")


def test_an_address_that_may_not_be_sent_to_is_a_value_error():
    with pytest.raises(ValueError, match=r"statsd address '255\.255\.255\.255:8126' cannot be sent to"):
        UdpSink("255.255.255.255:8126")
