"""Lines over TCP, and clients that leave them unfinished."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd_server.streams import MAX_LINE, LineStreams, _Lines, keep_alive
from tests.statsd_server.harness import serving, settle, tcp_address, tcp_to, until


async def test_lines_that_arrive_in_pieces_are_whole_and_no_packets(mock_clock):
    async with serving() as server, await tcp_to(tcp_address(server)) as client:
        for piece in (b"k:1|c\nk:2", b"0|", b"c\n\nj:5|g\n"):
            await client.send_all(piece)
            await until(lambda: server.statistics().tcp.clients == 1)
        await until(lambda: server.aggregator.table("gauges") == {"j": 5})
        assert server.flush_now().counters == {"k": 21}
        assert server.aggregator.statistics().packets == 0


async def test_the_end_of_a_connection_finishes_its_last_line(mock_clock):
    async with serving() as server:
        async with await tcp_to(tcp_address(server)) as client:
            await client.send_all(b"k:1|c\nj:7|c")
        await until(lambda: server.statistics().tcp.accepted == 1 and not server.statistics().tcp.clients)
        assert server.flush_now().counters == {"k": 1, "j": 7}


async def test_a_client_that_shuts_its_half_down_is_closed(mock_clock):
    async with serving() as server, await tcp_to(tcp_address(server)) as client:
        await client.send_all(b"k:1|c\n")
        await client.send_eof()
        assert await client.receive_some(1) == b""
        await until(lambda: not server.statistics().tcp.clients)


async def test_a_connection_that_is_reset_makes_its_unfinished_line_bad(mock_clock):
    async with serving() as server:
        client = await tcp_to(tcp_address(server))
        await client.send_all(b"k:1|c\nk:100")
        await until(lambda: server.aggregator.table("counters"))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await client.aclose()
        await until(lambda: not server.statistics().tcp.clients)
        assert server.flush_now().counters == {"k": 1}
        assert server.statistics().bad_by_reason == {"cut_line": 1}
        assert [line.line for line in server.bad_lines()] == [b"k:100"]


async def test_a_client_that_never_sends_a_newline_costs_65_535_bytes_and_one_bad_line(mock_clock):
    async with serving() as server, await tcp_to(tcp_address(server)) as client:
        for _ in range(40):
            await client.send_all(b"x" * 10_000)
        await until(lambda: server.statistics().bad_by_reason == {"line_too_long": 1})
        await client.send_all(b"\nk:1|c\n")
        await until(lambda: server.aggregator.table("counters") == {"k": 1})
        assert server.statistics().bad_lines == 1


async def test_a_line_that_is_not_finished_in_time_ends_its_connection_and_an_idle_client_stays(mock_clock):
    async with serving(tcp_stall_s=60) as server:
        idle = await tcp_to(tcp_address(server))
        stalled = await tcp_to(tcp_address(server))
        await stalled.send_all(b"k:1|c\nk:2")
        await until(lambda: server.aggregator.table("counters") == {"k": 1})
        await settle()
        mock_clock.jump(59)
        await stalled.send_all(b"2")
        await settle()
        assert server.statistics().tcp.clients == 2
        mock_clock.jump(1)
        assert await stalled.receive_some(1) == b""
        told = server.statistics()
        assert (told.tcp.clients, told.tcp.stalled, told.bad_by_reason) == (1, 1, {"unfinished_line": 1})
        mock_clock.jump(3000)
        await idle.send_all(b"k:5|c\n")
        await until(lambda: server.aggregator.table("counters") == {"k": 6})
        await idle.aclose()
        await stalled.aclose()


async def test_clients_beyond_the_limit_are_sent_away_and_counted(mock_clock):
    async with serving(tcp_clients=2) as server:
        first = [await tcp_to(tcp_address(server)) for _ in range(2)]
        await until(lambda: server.statistics().tcp.clients == 2)
        async with await tcp_to(tcp_address(server)) as third:
            assert await third.receive_some(1) == b""
        assert server.statistics().tcp.refused == 1
        for client in first:
            await client.aclose()


def test_a_peer_that_vanishes_is_noticed_by_the_kernel():
    with socket.socket() as sock:
        keep_alive(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = [getattr(socket, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")]
        idle, interval, count = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert idle + interval * count <= 120


@given(
    lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8),
    cuts=st.lists(st.integers(0, 120)),
    is_finished=st.booleans(),
)
def test_however_a_stream_is_cut_its_lines_are_the_same(lines, cuts, is_finished):
    text = b"\n".join(lines) + (b"\n" if is_finished and lines else b"")
    fed = []
    streams = LineStreams(
        lambda lines, who, t: fed.extend(lines), lambda: 0.0, limit=1, stall_s=1, kept=1, on_error=print
    )
    reader = _Lines(streams, None, lambda: 0.0)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in pairwise(places):
        reader.add(text[start:end])
    reader.end()
    assert [line for line in fed if line] == [line for line in lines if line]


@given(st.integers(MAX_LINE - 2, MAX_LINE + 2), st.integers(1, 70_000))
def test_a_line_is_too_long_beyond_65_535_bytes_however_it_is_cut(length, cut):
    fed = []
    streams = LineStreams(
        lambda lines, who, t: fed.extend(map(len, lines)),
        lambda: 0.0,
        limit=1,
        stall_s=1,
        kept=1,
        on_error=print,
    )
    reader = _Lines(streams, None, lambda: 0.0)
    text = b"x" * length + b"\nk:1|c\n"
    for start in range(0, len(text), cut):
        reader.add(text[start : start + cut])
    is_long = length > MAX_LINE
    assert fed == ([5] if is_long else [length, 5])
    assert streams.bad_by_reason.total() == is_long
