"""The console and the forwarding output."""

from __future__ import annotations

import io
import os
import socket
import threading

import pytest
import trio

from brokersim.statsd_server.outputs.base import QueuedOutput
from brokersim.statsd_server.outputs.console import Console, console_lines
from brokersim.statsd_server.outputs.forward import Forward
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeError, ServeSettings
from tests.statsd_server.harness import flush_of, sender_to, serving, tcp_address, tcp_to, until

# --- console


def test_a_flush_reads_as_a_heading_and_a_line_for_every_key_with_something_to_say():
    flush = flush_of(12.5, packets=[b"c:3|c\nidle:0|c\ng:-0|g\nt:1|ms\nt:3|ms\ns:a|s\nbad"])
    assert list(console_lines(flush)) == [
        "12.500 s  1 packet, 7 metrics, 1 bad line",
        "  counter c  3  3/s",
        "  gauge   g  0",
        "  timer   t  2  lower 1  mean 2  median 2  upper_90 3  upper 3",
        "  set     s  1",
    ]


def test_no_control_sequence_of_a_key_reaches_the_terminal():
    flush = flush_of(1.0, dialect="brubeck", packets=[b"\x1b[31mred:1|g"])
    assert "  gauge   \\x1b[31mred  1" in list(console_lines(flush))


async def test_flushes_come_out_in_order_and_the_last_one_before_the_end(nursery):
    stream = io.StringIO()
    console = Console(stream)
    nursery.start_soon(console.run)
    for number in range(3):
        console.offer(flush_of(float(number), packets=[b"k:%d|g" % number]))
    console.close()
    with trio.fail_after(60):
        while console.statistics().state != "closed":
            await trio.sleep(0.001)
    assert [line for line in stream.getvalue().splitlines() if "gauge" in line] == [
        f"  gauge   k  {number}" for number in range(3)
    ]


async def test_a_terminal_that_hangs_drops_flushes_counts_them_and_can_be_cancelled(nursery):
    reader, writer = os.pipe()
    stuck = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text):
            stuck.wait(10)
            return len(text)

    console = Console(Stuck(), limit=2)
    nursery.start_soon(console.run)
    for number in range(5):
        console.offer(flush_of(float(number)))
        await until(lambda: console._writing)
    assert console.statistics().dropped == 3
    nursery.cancel_scope.cancel()
    stuck.set()
    os.close(reader)
    os.close(writer)


async def test_a_terminal_that_is_gone_is_told_and_does_not_end_the_server(nursery):
    stream = io.StringIO()
    stream.close()
    console = Console(stream)
    nursery.start_soon(console.run)
    console.offer(flush_of(1.0))
    with trio.fail_after(60):
        while console.statistics().state != "failed":
            await trio.sleep(0.001)
    assert "closed file" in console.statistics().last_error
    nursery.cancel_scope.cancel()


# --- forward


@pytest.fixture
def other():
    """Another statsd server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(60)
        yield sock


async def test_packets_and_lines_go_on_as_they_came_good_or_bad(other, mock_clock):
    url = f"statsd://127.0.0.1:{other.getsockname()[1]}"
    async with serving(outputs=(url,)) as server:
        sender_to(server).send(b"k:0|g\nk:-5|g\nnonsense\ns:x|s")
        async with await tcp_to(tcp_address(server)) as client:
            await client.send_all(b"t:5|ms|@0.1\n")
        await until(lambda: server.statistics().outputs[0].sent == 2)
        assert {other.recv(1000), other.recv(1000)} == {b"k:0|g\nk:-5|g\nnonsense\ns:x|s", b"t:5|ms|@0.1"}
        assert server.flush_now().gauges == {"k": -5}


async def test_a_server_that_is_not_there_is_counted_as_dropped(mock_clock):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with serving(listen=(), outputs=(f"statsd://127.0.0.1:{port}",)) as server:
        for _ in range(6):
            server.feed(b"k:1|c")
        told = server.statistics().outputs[0]
        assert told.dropped >= 3, "each send but the first is told that the one before came back"
        assert server.flush_now().counters == {"k": 6}


def test_a_packet_beyond_a_datagram_goes_on_in_two(other):
    forward = Forward(f"127.0.0.1:{other.getsockname()[1]}")
    packet = b"\n".join([b"k:1|c"] * 10_922)
    assert len(packet) > 65_507
    forward.packet(packet)
    pieces = [other.recv(65_536), other.recv(65_536)]
    assert b"\n".join(pieces) == packet
    assert all(piece.endswith(b"|c") and piece.startswith(b"k") for piece in pieces)
    forward.close()


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "[::]", "*"])
async def test_a_server_does_not_forward_to_itself(listen):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    target = "[::1]" if listen == "[::]" else "127.0.0.1"
    settings = ServeSettings(listen=(f"udp://{listen}:{port}",), outputs=(f"statsd://{target}:{port}",))
    with pytest.raises(ServeError, match="is this server itself"):
        await StatsdServer(settings).run()


def test_while_all_there_is_room_for_is_being_written_a_flush_is_dropped_and_counted():
    output = QueuedOutput("nowhere", limit=2)
    output._writing = 1
    for number in range(3):
        output.offer(flush_of(float(number)))
    assert ([flush.t for flush in output._queue], output._dropped) == ([2.0], 2)
    output._queue.clear()
    output._writing = 2
    output.offer(flush_of(3.0))
    assert (list(output._queue), output._dropped) == ([], 3)
