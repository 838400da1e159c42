"""Listening in on a running server, in process."""

from __future__ import annotations

import trio

from brokersim.statsd_server.wiretap import TapFlush, TapGap, TapLine, Wiretap, flush_table
from tests.statsd_server.harness import flush_of, sender_to, serving, tcp_address, tcp_to, until


async def test_a_tap_sees_lines_with_time_and_sender_and_flushes_in_order(mock_clock):
    async with serving() as server:
        mock_clock.jump(5)
        with server.wiretap.open() as tap:
            sender = sender_to(server)
            sender.send(b"k:1|c\nnonsense")
            name = "127.0.0.1:{}".format(*sender.getsockname()[1:])
            assert await anext(tap) == TapLine(t=5.0, line=b"k:1|c", sender=name)
            assert await anext(tap) == TapLine(t=5.0, line=b"nonsense", sender=name)
            flush = server.flush_now()
            assert await anext(tap) == TapFlush(t=5.0, flush=flush)
        assert not server.wiretap.is_watching_lines


async def test_a_pattern_chooses_keys_of_packets_streams_and_in_process_packets(mock_clock):
    async with serving() as server:
        seen = []
        server.wiretap.open(pattern="flux.*.0.?x", flushes=False, on_item=lambda item: seen.append(item.line))
        server.feed(b"flux.kvs.0.rx:1|c\nflux.kvs.1.rx:1|c\nflux.kvs.0.rxx:1|c")
        async with await tcp_to(tcp_address(server)) as client:
            await client.send_all(b"other:1|c\nflux.cron.0.tx:2|c\n")
        await until(lambda: len(seen) == 2)
        assert seen == [b"flux.kvs.0.rx:1|c", b"flux.cron.0.tx:2|c"]


async def test_a_slow_listener_loses_the_oldest_and_is_told_how_many():
    wiretap = Wiretap()
    tap = wiretap.open(limit=3)
    for number in range(10):
        wiretap.packet(b"k:%d|c" % number, None, 0.0)
    assert await anext(tap) == TapGap(dropped=7)
    assert [(await anext(tap)).line for _ in range(3)] == [b"k:7|c", b"k:8|c", b"k:9|c"]
    assert tap.dropped == wiretap.dropped == 7


async def test_a_tap_ends_with_its_server(autojump_clock):
    async with serving(listen=()) as server, trio.open_nursery() as nursery:
        seen = []

        async def listen():
            async for item in server.wiretap.open():
                seen.append(item)

        nursery.start_soon(listen)
        await trio.sleep(1)
        server.feed(b"k:1|c")
        server.stop()
    assert [type(item) for item in seen] == [TapLine, TapFlush]


async def test_a_callback_that_raises_is_removed_and_the_server_counts_on(mock_clock):
    async with serving(listen=()) as server:
        server.wiretap.open(on_item=lambda item: 1 / 0)
        server.feed(b"k:1|c")
        server.feed(b"k:1|c")
        assert len(server.wiretap) == 0
        assert server.flush_now().counters == {"k": 2}


def test_a_flush_for_json_has_the_wanted_keys_by_type():
    flush = flush_of(2.0, packets=[b"a:3|c\nb:1|c\na:5|g\na:1|ms\na:3|ms\na:x|s\nc:1|g"])
    table = flush_table(flush, lambda key: key == "a")
    assert (table["t"], table["interval"]) == (2.0, 1.0)
    assert table["counters"] == {"a": {"count": 3, "rate": 3.0, "total": 3}}
    assert (table["gauges"], table["sets"]) == ({"a": 5}, {"a": 1})
    timer = table["timers"]["a"]
    assert (timer["count"], timer["lower"], timer["upper_99"], timer["approx"]) == (2, 1.0, 3.0, False)
