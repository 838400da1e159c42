"""The web addresses of a statsd server, and clients that misbehave."""

from __future__ import annotations

import contextlib
import json

import pytest
import trio

from brokersim.statsd.shown import Shown
from brokersim.statsd_server.chosen import LOOK_KEYS, Choice
from brokersim.statsd_server.http import IDLE_S, MAX_CLIENTS, MAX_HEADER, REQUEST_S, RESPONSE_S, HttpServer
from brokersim.statsd_server.outputs.openmetrics import SLICE_KEYS
from brokersim.statsd_server.pages import STREAM_IDLE_S, chosen_members
from brokersim.version import VERSION
from tests.statsd_server.harness import Kept, serving, settle, tcp_to, until


@pytest.fixture
async def server(mock_clock):
    logged = []
    async with serving(
        Kept(), listen=("tcp://127.0.0.1:0",), http="127.0.0.1:0", log=logged.append
    ) as running:
        running.logged = logged
        running.feed(b"k:2|c\nk:3|c\ng:7|g\nt:5|ms\nbad \xff line", "10.0.0.1:5")
        yield running


async def ask(server, request: bytes) -> tuple[int, dict[str, str], bytes]:
    async with await tcp_to(server.http_address) as client:
        await client.send_all(request)
        return await answer_from(client)


async def answer_from(client) -> tuple[int, dict[str, str], bytes]:
    received = b""
    while data := await client.receive_some(65_536):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def get(server, path: str, method: str = "GET"):
    return await ask(
        server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )


async def test_stats_json_has_the_last_flush_and_the_health(server):
    before = json.loads((await get(server, "/stats.json"))[2])
    assert (before["t"], before["counters"]) == (None, {})
    server.flush_now()
    status, headers, body = await get(server, "/stats.json")
    found = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert found["counters"] == {"k": {"count": 5, "rate": 5 / 3600, "total": 5}}
    assert found["gauges"] == {"g": 7}
    assert found["timers"]["t"]["upper"] == 5
    assert found["health"]["health"]["packets"] == 1
    assert found["health"]["bad_by_reason"] == {"no_value": 1}
    assert found["health"]["outputs"][0]["name"] == "kept"


async def test_numbers_that_json_lacks_are_null_and_big_ones_whole(mock_clock):
    async with serving(listen=(), http="127.0.0.1:0", dialect="etsy") as server:
        server.feed(b"inf:Infinity|g\nk:1|c|@0\n")
        server.flush_now()
        found = json.loads((await get(server, "/stats.json"))[2], parse_constant=pytest.fail)
        assert found["gauges"] == {"inf": None}
    async with serving(listen=(), http="127.0.0.1:0") as server:
        server.feed(b"big:%d|g" % 10**40)
        server.flush_now()
        assert json.loads((await get(server, "/stats.json"))[2])["gauges"] == {"big": 10**40}


async def test_ping_and_stats_answer_as_brubeck_does(server, mock_clock):
    for path in ("/ping", "/_ping"):
        found = json.loads((await get(server, path))[2])
        assert (found["status"], found["version"], found["unique_keys"]) == ("OK", VERSION, 3)
    found = json.loads((await get(server, "/stats"))[2])
    assert (found["metrics"], found["errors"]) == (4, 1)
    assert found["backends"][0]["connected"] is True


async def test_ping_says_when_a_backend_is_away(autojump_clock):
    autojump_clock.autojump_threshold = 0.01
    async with serving(listen=(), http="127.0.0.1:0", outputs=("graphite://127.0.0.1:1",)) as server:
        await until(lambda: server.statistics().outputs[0].state == "retrying")
        assert json.loads((await get(server, "/ping"))[2])["status"] == "ERROR (backend disconnected)"


async def test_one_metric_is_told_with_its_value_and_first_sender_and_an_unknown_one_is_404(server):
    found = json.loads((await get(server, "/metric/k"))[2])
    assert found == {
        "key": "k", "type": "counter", "types": ["counters"], "values": {"counters": 5},
        "first_sender": "10.0.0.1:5", "expire": "active",
    }  # fmt: skip
    assert (await get(server, "/metric/%6b"))[0] == 200
    assert (await get(server, "/metric/nope"))[::2] == (404, b"404 not found")


async def test_bad_lines_are_told_newest_first_with_reason_sender_and_bytes(server, mock_clock):
    mock_clock.jump(3)
    server.feed(b"k:x|c", "10.0.0.2:6")
    found = json.loads((await get(server, "/bad"))[2])
    assert found["by_reason"] == {"no_value": 1, "bad_number": 1}
    assert found["last"] == [
        {"reason": "bad_number", "line": "k:x|c", "sender": "10.0.0.2:6", "t": 3.0},
        {"reason": "no_value", "line": "bad \\xff line", "sender": "10.0.0.1:5", "t": 0.0},
    ]


async def test_metrics_are_openmetrics_text(server):
    server.flush_now()
    _, headers, body = await get(server, "/metrics")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert b"\nk_total 5\n" in body
    assert body.endswith(b"# EOF\n")


async def test_ready_follows_the_management_health(server):
    assert (await get(server, "/-/healthy"))[0] == 200
    assert (await get(server, "/-/ready"))[0] == 200
    server.is_up = False
    assert (await get(server, "/-/ready"))[0] == 503


async def test_the_live_page_needs_nothing_from_elsewhere(server):
    _, headers, body = await get(server, "/")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    page = body.decode()
    assert 'fetch("stats.json?"' in page
    assert not any(
        f'{attribute}="{scheme}' in page for attribute in ("src", "href") for scheme in ("http", "//")
    )


async def test_head_has_the_headers_of_get_and_no_body(server):
    _, headers, body = await get(server, "/-/healthy", "HEAD")
    assert (headers["Content-Length"], body) == ("8", b"")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 413),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /metricx HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),
        (b"k:1|c\nk:2|c\n\n", 400),
        (b"\x16\x03\x01\x02\0\x01\0\r\n\r\n", 400),
        (b"GET /" + b"x" * 2 * MAX_HEADER + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEADER, 431),
    ],
)
async def test_a_wrong_request_is_refused_in_words_and_the_connection_closed(server, request_bytes, status):
    async with await tcp_to(server.http_address) as client:
        with pytest.MonkeyPatch.context():
            try:
                await client.send_all(request_bytes)
            except trio.BrokenResourceError:
                pass
        received = b""
        try:
            while data := await client.receive_some(65_536):
                received += data
        except trio.BrokenResourceError:
            pass  # reset behind the answer, since the rest of the request was not read
    assert received.startswith(b"HTTP/1.1 %d " % status)


async def test_several_requests_go_over_one_connection(server):
    async with await tcp_to(server.http_address) as client:
        await client.send_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        await client.send_all(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while data := await client.receive_some(65_536):
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == 3


async def test_a_client_that_sends_its_request_too_slowly_or_none_is_let_go(server, mock_clock):
    async with await tcp_to(server.http_address) as slow, await tcp_to(server.http_address) as idle:
        await slow.send_all(b"GET / HTTP/1.1\r\n")
        await settle()
        mock_clock.jump(REQUEST_S - 1)
        await slow.send_all(b"X: y\r\n")
        await settle()
        mock_clock.jump(1)
        assert await slow.receive_some(1) == b""
        mock_clock.jump(IDLE_S)
        assert await idle.receive_some(1) == b""


async def test_a_client_that_does_not_take_its_answer_is_let_go_and_others_are_served(mock_clock):
    async with serving(listen=(), http="127.0.0.1:0") as server:
        for number in range(30_000):
            server.feed(b"flux.some.module.with.a.long.name.%d.request_rx:%d|c" % (number, number))
        server.flush_now()
        async with await tcp_to(server.http_address) as greedy:
            await greedy.send_all(b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
            await settle()
            assert (await get(server, "/-/healthy"))[0] == 200
            mock_clock.jump(RESPONSE_S + 1)
            await settle()
            taken = 0
            with contextlib.suppress(trio.BrokenResourceError):
                while data := await greedy.receive_some(1 << 20):
                    taken += len(data)
        assert taken < 8 * len((await get(server, "/stats.json"))[2])


async def test_more_busy_clients_than_the_limit_are_told_so_and_idle_ones_make_room(server):
    idle = [await tcp_to(server.http_address) for _ in range(MAX_CLIENTS)]
    await settle()
    assert (await get(server, "/-/healthy"))[0] == 200
    assert await idle[0].receive_some(1) == b"", "who has been idle longest gave its seat"
    for client in idle:
        await client.aclose()
    await settle()
    busy = [await tcp_to(server.http_address) for _ in range(MAX_CLIENTS)]
    for client in busy:
        await client.send_all(b"GET /tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: len(server.wiretap) == MAX_CLIENTS)
    assert (await get(server, "/-/healthy"))[0] == 503
    for client in busy:
        await client.aclose()
    await until(lambda: not len(server.wiretap))
    assert (await get(server, "/-/healthy"))[0] == 200


async def test_a_handler_that_fails_is_told_to_the_log_and_the_server_goes_on(server):
    server.openmetrics.slices = lambda statistics, classic: (1 / 0 for _ in "x")
    assert (await get(server, "/metrics"))[0] == 500
    assert server.logged == ["http: /metrics: ZeroDivisionError('division by zero')"]
    assert server.statistics().http_errors == 1
    assert (await get(server, "/ping"))[0] == 200


@pytest.mark.parametrize("address", ["/metrics", "/stats.json"])
async def test_a_large_page_is_made_in_pieces_and_others_get_their_turns_meanwhile(server, address):
    server.feed(
        b"\n".join(b"k%d:1|c\ng%d:2|g\nt%d:3|ms" % (number, number, number) for number in range(1500))
    )
    server.flush_now()
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        status, _, body = await get(server, address)
        nursery.cancel_scope.cancel()
    assert (status, body.count(b"k1499"), body.count(b"t1499") > 0) == (200, body.count(b"k1498"), True)
    assert turns >= 4500 // SLICE_KEYS, "a turn for others at least after so many keys"


@pytest.fixture
async def crowded(mock_clock):
    async with serving(listen=(), http="127.0.0.1:0") as server:
        for line in (b"g%d:%d|g", b"k%d:%d|c", b"t%d:%d|ms", b"s%d:%d|s"):
            server.feed(b"\n".join(line % (number, number) for number in range(3000)))
        server.flush_now()
        server.feed(b"k2999:1|c")
        server.flush_now()
        yield server


async def chosen(server, query):
    status, _, body = await get(server, f"/stats.json?{query}")
    assert status == 200
    return json.loads(body)


async def test_of_many_keys_the_first_are_told_and_how_many_there_are(crowded):
    found = await chosen(crowded, "limit=2")
    assert found["gauges"] == {"g0": 0, "g1": 1}
    assert found["counters"]["k0"] == {"count": 0, "rate": 0, "total": 0}
    assert [*found["timers"], *found["sets"]] == ["t0", "t1", "s0", "s1"]
    assert found["matching"] == {"counters": 3000, "gauges": 3000, "timers": 3000, "sets": 3000}
    assert found["health"]["health"]["keys"]["gauges"] == 3000
    whole = await chosen(crowded, "")
    assert (len(whole["gauges"]), "matching" in whole) == (3000, False)
    every = await chosen(crowded, "limit=5000")
    assert {kind: every[kind] for kind in ("counters", "gauges", "timers", "sets")} == {
        kind: whole[kind] for kind in ("counters", "gauges", "timers", "sets")
    }


async def test_what_matches_and_what_is_picked_is_told_wherever_it_stands(crowded):
    found = await chosen(crowded, "limit=2&match=K299&pick=k2999%0Ag2998")
    assert found["counters"] == {
        "k299": {"count": 0, "rate": 0, "total": 299},
        "k2990": {"count": 0, "rate": 0, "total": 2990},
        "k2999": {"count": 1, "rate": 1 / 3600, "total": 3000},
    }
    assert (found["gauges"], found["timers"]) == ({"g2998": 2998}, {})
    assert found["matching"] == {"counters": 11, "gauges": 0, "timers": 0, "sets": 0}


async def test_a_few_of_many_keys_are_found_in_pieces_and_without_a_table_of_all(crowded, monkeypatch):
    monkeypatch.setattr(Shown, "_made", lambda self: pytest.fail("a table of all keys is made"))
    pieces = list(chosen_members(crowded.last_flush, Choice(limit=1, match="299")))
    assert pieces.count(b"") == 4 * 3000 // LOOK_KEYS, "others have their turn after so many keys"


@pytest.mark.parametrize("limit", ["-1", "x", "1e3", "999999999"])
async def test_a_limit_that_is_none_is_said_to_be(crowded, limit):
    status, _, body = await get(crowded, f"/stats.json?limit={limit}&match=a")
    assert (status, body) == (
        400,
        f"400 limit={limit!r} is no number of keys; give limit=200, or leave it away for all".encode(),
    )


async def test_a_page_is_of_one_flush_whatever_is_flushed_while_it_is_made(server):
    server.feed(b"\n".join(b"k%d:1|c\nt%d:3|ms" % (number, number) for number in range(500)))
    server.flush_now()
    before = server.openmetrics.render()
    slices = server.openmetrics.slices()
    first = next(slices)
    server.feed(b"\n".join(b"k%d:1|c\nt%d:3|ms" % (number, number) for number in range(0, 500, 2)))
    server.flush_now()
    assert first + "".join(slices) == before
    assert server.openmetrics.render() != before


# --- the stream


async def events_of(client, count: int) -> list[tuple[str, dict]]:
    received = b""
    while received.count(b"event: ") < count or not received.endswith(b"\r\n"):
        received += await client.receive_some(65_536)
    found = []
    for part in received.decode().split("event: ")[1:]:
        kind, _, rest = part.partition("\n")
        found.append((kind, json.loads(rest.removeprefix("data: ").partition("\n")[0])))
    return found


async def tail(server, query: str):
    client = await tcp_to(server.http_address)
    await client.send_all(f"GET /tail?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await until(lambda: len(server.wiretap))
    return client


async def test_tail_streams_the_lines_and_flushes_that_match(server, mock_clock):
    async with await tail(server, "glob=flux.*") as client:
        server.feed(b"flux.a:1|c\nother:1|c\nflux.b\xff:1|c", "10.0.0.3:7")
        server.flush_now()
        (first, line), (_, odd), (kind, flush) = await events_of(client, 3)
        assert (first, line) == ("line", {"t": 0.0, "line": "flux.a:1|c", "sender": "10.0.0.3:7"})
        assert odd["line"] == "flux.b\\xff:1|c"
        assert kind == "flush"
        assert set(flush["counters"]) == {"flux.a"}  # no name holds bytes that are no text
    await until(lambda: not len(server.wiretap))


async def test_a_glob_that_would_hold_the_server_is_refused(server):
    status, _, body = await get(server, f"/tail?glob={'[a' * 300}")
    assert status == 400 and b"a glob has at most 500 characters" in body


async def test_tail_without_lines_costs_the_receiver_nothing(server, mock_clock):
    async with await tail(server, "lines=0") as client:
        assert not server.wiretap.is_watching_lines
        server.feed(b"k:1|c")
        server.flush_now()
        assert [kind for kind, _ in await events_of(client, 1)] == ["flush"]


async def test_a_silent_tail_says_now_and_then_that_it_is_there(server, mock_clock):
    async with await tail(server, "lines=0") as client:
        received = b""
        while b": brokersim" not in received:
            received += await client.receive_some(1000)
        await settle()
        mock_clock.jump(STREAM_IDLE_S)
        while b": idle" not in received:
            received += await client.receive_some(1000)


async def test_a_tail_ends_with_the_server(mock_clock):
    async with serving(listen=(), http="127.0.0.1:0") as server:
        client = await tail(server, "")
        server.stop()
        with trio.fail_after(60):
            while await client.receive_some(1000):
                pass
        await client.aclose()


def test_a_route_that_ends_in_a_slash_takes_all_below_it_but_the_root_does_not():
    routes = {"/": str, "/a/": str, "/b": str}
    server = HttpServer(routes, print)
    assert [server._below(path) is not None for path in ("/a/x", "/b/x", "/x", "/a")] == [
        True,
        False,
        False,
        False,
    ]


async def test_the_page_and_its_figures_say_who_makes_the_series(server, mock_clock):
    server.feed(b"shop.orders.a:1|c\nshop.orders.b:1|c", "10.0.0.3:7")
    server.flush_now()
    _, _, body = await get(server, "/stats.json")
    told = json.loads(body)["cardinality"]
    assert told == {
        "prefixes": [["shop", 2], ["shop.orders", 2]],
        "senders": [["10.0.0.1", 3], ["10.0.0.3", 2]],
    }
    # Counted anew only some seconds later: a page looks each second.
    server.feed(b"shop.orders.c:1|c", "10.0.0.3:7")
    assert server.cardinality().senders == (("10.0.0.1", 3), ("10.0.0.3", 2))
    mock_clock.jump(5)
    assert server.cardinality().senders == (("10.0.0.1", 3), ("10.0.0.3", 3))
