"""Graphite over TCP: lines, outages, hanging peers, the end."""

from __future__ import annotations

import math
import socket
import struct

import attrs
import pytest
import trio

from brokersim.statsd import Aggregator
from brokersim.statsd.numbers import format_number
from brokersim.statsd_server.outputs.graphite import Graphite
from brokersim.statsd_server.outputs.line_texts import LineTexts
from tests.statsd_server.harness import flush_of, serving, until


class Carbon:
    """A listening socket whose connections the test accepts, reads, resets and closes as it likes."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(5)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]

    async def accept(self) -> trio.SocketStream:
        sock, _ = await trio.socket.from_stdlib_socket(self.listener).accept()
        return trio.SocketStream(sock)

    def close(self) -> None:
        self.listener.close()


async def lines_from(stream: trio.SocketStream, count: int) -> list[str]:
    received = b""
    while received.count(b"\n") < count:
        data = await stream.receive_some(65_536)
        assert data, f"only {received!r} came"
        received += data
    return received.decode().splitlines()


def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def small_flush(number: int):
    """One line: `stats.gauges.k <number> <number>`."""
    flush = flush_of(float(number), packets=[b"k:%d|g" % number])
    return attrs.evolve(flush, self_values={})


def line(number: int) -> str:
    return f"stats.gauges.k {number} {number}"


@pytest.fixture
async def carbon():
    peer = Carbon()
    yield peer
    peer.close()


@pytest.fixture
async def running(nursery, carbon, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    output = Graphite("127.0.0.1", carbon.port, buffer=20)
    nursery.start_soon(output.run)
    yield output
    output.close()
    nursery.cancel_scope.cancel()


async def test_lines_are_path_value_and_whole_seconds(running, carbon):
    stream = await carbon.accept()
    running.offer(attrs.evolve(small_flush(7), t=1234.9))
    assert await lines_from(stream, 1) == ["stats.gauges.k 7 1234"]


async def test_flushes_made_before_the_server_was_there_arrive_in_order(nursery, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    probe = Carbon()
    probe.close()
    output = Graphite("127.0.0.1", probe.port)
    nursery.start_soon(output.run)
    for number in range(5):
        output.offer(small_flush(number))
    await trio.sleep(30)
    told = output.statistics()
    assert (told.state, told.queued, told.dropped) == ("retrying", 5, 0)
    assert told.last_error.startswith("cannot connect: ")
    # 0, then after 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7 and 22.7 s: the pauses double up to 10 s.
    assert 8 <= told.retries <= 9
    peer = Carbon(probe.port)
    stream = await peer.accept()
    assert await lines_from(stream, 5) == [line(number) for number in range(5)]
    nursery.cancel_scope.cancel()
    peer.close()


async def test_nothing_is_lost_across_an_outage_that_the_buffer_can_bridge(running, carbon):
    stream = await carbon.accept()
    running.offer(small_flush(1))
    assert await lines_from(stream, 1) == [line(1)]
    running.offer(small_flush(2))
    await until(lambda: running.statistics().sent == 2)
    reset(stream)  # 2 was never read
    await trio.sleep(0)
    running.offer(small_flush(3))
    stream = await carbon.accept()
    received = await lines_from(stream, 3)
    assert received == [line(1), line(2), line(3)], "the last 10 s are sent again, in order"
    told = running.statistics()
    assert told.dropped == 0
    assert told.resent >= 2


async def test_lines_that_died_unread_long_after_they_were_acknowledged_are_sent_again(
    autojump_clock, running, carbon
):
    stream = await carbon.accept()
    for number in (1, 2):
        running.offer(small_flush(number))
    await until(lambda: running.statistics().sent == 2)
    await trio.sleep(3600)
    stream.socket.close()  # with both lines unread, which its kernel answers with a reset
    stream = await carbon.accept()
    assert await lines_from(stream, 2) == [line(1), line(2)]
    told = running.statistics()
    assert (told.resent, told.dropped, told.in_doubt) == (2, 0, 0)
    assert "reset" in told.last_error


async def test_lines_that_were_read_long_before_an_orderly_end_are_not_sent_again(
    autojump_clock, running, carbon
):
    stream = await carbon.accept()
    running.offer(small_flush(1))
    assert await lines_from(stream, 1) == [line(1)]
    await trio.sleep(3600)
    running.offer(small_flush(2))
    assert await lines_from(stream, 1) == [line(2)]
    await stream.aclose()
    stream = await carbon.accept()
    assert await lines_from(stream, 1) == [line(2)], "of the last 10 s"
    assert (running.statistics().resent, running.statistics().in_doubt) == (1, 0)


async def test_a_server_that_closes_is_noticed_before_anything_is_sent_to_it(running, carbon):
    stream = await carbon.accept()
    await stream.aclose()
    stream = await carbon.accept()
    running.offer(small_flush(1))
    assert await lines_from(stream, 1) == [line(1)]
    assert running.statistics().last_error == "connection lost: the server closed it"


async def test_an_outage_beyond_the_buffer_drops_the_oldest_and_counts_them(nursery, autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    probe = Carbon()
    probe.close()
    output = Graphite("127.0.0.1", probe.port, buffer=20)
    nursery.start_soon(output.run)
    for number in range(50):
        output.offer(small_flush(number))
    told = output.statistics()
    assert (told.queued, told.limit, told.dropped) == (20, 20, 30)
    peer = Carbon(probe.port)
    stream = await peer.accept()
    assert await lines_from(stream, 20) == [line(number) for number in range(30, 50)]
    nursery.cancel_scope.cancel()
    peer.close()


async def test_a_server_that_reads_nothing_holds_up_no_flush_and_what_overflows_is_counted(autojump_clock):
    autojump_clock.autojump_threshold = 0.005
    peer = Carbon()
    peer.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    url = f"graphite://127.0.0.1:{peer.port}?buffer=1000"
    logged = []
    async with serving(
        listen=(), flush_s=1.0, outputs=(url,), own_metrics=False, log=logged.append
    ) as server:
        stream = await peer.accept()
        for number in range(2000):
            server.feed(b"flux.module%d.request_rx:1|g" % number)
        await trio.sleep(100.5)
        told = server.statistics()
        assert told.flush.count == 100
        assert told.flush.skipped == 0
        assert told.outputs[0].queued <= 2010, "the limit, or one flush if that is more"
        assert told.outputs[0].dropped > 50_000
    assert "lines were not delivered" in logged[-1]
    await stream.aclose()
    peer.close()


async def test_the_end_delivers_the_last_flush_and_closes_cleanly(nursery, carbon):
    output = Graphite("127.0.0.1", carbon.port)
    nursery.start_soon(output.run)
    stream = await carbon.accept()
    output.offer(small_flush(1))
    output.close()
    output.offer(small_flush(2))
    assert await lines_from(stream, 1) == [line(1)]
    assert await stream.receive_some(10) == b"", "nothing behind the end"
    await until(lambda: output.statistics().state == "closed")
    assert output.statistics().dropped == 0
    assert output.statistics().resent == 0


async def test_every_line_has_three_words_whatever_the_keys(carbon):
    aggregator = Aggregator("brubeck")
    for key in ("plain", "tab\tin", "cr\rin", "wide\u3000blank", "line\u2028end", "nul\0", "é"):
        aggregator.feed(f"{key}:1|g".encode())
    flush = aggregator.flush(5.0)
    block = LineTexts().block(attrs.evolve(flush, values={**flush.values, "a b\nc": 1, "none": math.nan}))
    lines = block.data.decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) == block.lines
    assert all(len(each.split()) == 3 for each in lines)
    assert "é 1 5" in lines
    assert "a_b_c 1 5" in lines
    assert not any(each.startswith("none") for each in lines)


def test_values_with_a_time_are_written_at_it():
    aggregator = Aggregator()
    aggregator.feed(b"n:3|c|T1656581400\ng:1|g")
    block = LineTexts().block(attrs.evolve(aggregator.flush(9.0), self_values={}))
    assert sorted(block.data.decode().splitlines()) == [
        "stats.counters.n.count 0 9", "stats.counters.n.count 3 1656581400", "stats.counters.n.rate 0 9",
        "stats.counters.n.rate 3 1656581400", "stats.gauges.g 1 9",
    ]  # fmt: skip
    assert block.lines == 5


def test_series_that_carbon_cannot_have_created_yet_are_told_once():
    graphite, told = Graphite("127.0.0.1", 9), []
    graphite.warn = told.append
    for second in range(1, 6):
        graphite.offer(flush_of(float(second), packets=[b"g%d:1|g" % number for number in range(64)]))
    # 64 and the dialect's seven: a bucket of 50, and five more in six seconds.
    assert len(told) == 1
    assert "20 of 71 series cannot be stored yet" in told[0]
    assert "MAX_CREATES_PER_MINUTE = 50" in told[0]
    assert graphite.statistics().unstored == 18
    few, quiet = Graphite("127.0.0.1", 9), []
    few.warn = quiet.append
    for second in range(1, 6):
        few.offer(small_flush(second))
    assert (quiet, few.statistics().unstored) == ([], 0)


def test_lines_put_in_one_text_are_what_they_are_one_by_one():
    """The text of the flush before is used again: other names, floats, NaN or a percent sign must not show."""
    texts = LineTexts()
    for number, packets in enumerate(
        [
            [b"a:1|g"],
            [b"a:2|g"],
            [b"a:2.5|g\nb:1e16|g"],
            [b"c%d:1|g"],
            [b"x:-0.0|g\nt:3|ms"],
            [b"i:Infinity|g"],
            [b"a:1|g"],
        ]
    ):
        for dialect in ("strict", "etsy", "brubeck", "collectd"):
            flush = flush_of(float(number), dialect=dialect, packets=packets)
            block = texts.block(flush)
            lines = [f"{name} {format_number(value)} {number}" for name, value in flush.graphite()]
            assert sorted(block.data.decode().splitlines()) == sorted(lines)
            assert block.lines == len(lines)
