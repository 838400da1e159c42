"""No request, datagram or line of any port of a statsd server ends more than itself."""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import islice

import pytest
import trio

from brokersim.net import doorway as doorway_module
from brokersim.net.doorway import Doorway, Seats
from brokersim.statsd_server.browsers import is_browsers, is_our_name
from tests.hostile import hostile_inputs
from tests.statsd_server.harness import sender_to, serving, settle, tcp_address, tcp_to, until

REQUESTS = (
    b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //a] HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET //\u2100/x HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    b"HEAD /ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    b"HEAD /ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HEAD /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /\r\n\r\n",
    b"GET /metric/a%2eb?x=1&y HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
    b"GET /stats.json?a=%zz HTTP/1.0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n",
)
COMMANDS = (
    b"help\nstats\ncounters\ngauges\ntimers\nsets\n", b"delcounters a.* nope\n", b"delsets [\ndeltimers [!\n",
    b"health down\nhealth up\n", b"config\nquit\n",
)  # fmt: skip
LINES = (
    b"a.b:1|c\nc:2.5|ms|@0.1\n", b"g:-3|g\ng:+4|g\n", b"s:x|s\nh:1:2:3|h|#tag:a,b\n", b"_sc|x|0\n_e{1,2}:a|bb\n",
    b"a:1|c|@0\na:1|c|@-1\na:1e400|g\n", b"\n\n:|\n:1|c\n", b"t:1e400|ms\nt:-1e400|ms\nu:1e305|ms\n",
)  # fmt: skip


@pytest.fixture
async def server(mock_clock, tmp_path):
    logged: list[str] = []
    async with serving(
        listen=("127.0.0.1:0", f"unix://{tmp_path}/s"),
        http="127.0.0.1:0",
        management="127.0.0.1:0",
        log=logged.append,
    ) as running:
        running.logged = logged
        yield running
        assert logged == [], "no fault of ours may be told"


async def attack(address: str, inputs) -> None:
    """Each input on a connection of its own, in the order given, a hundred at once."""

    async def one(data: bytes) -> None:
        async with await tcp_to(address) as client:
            with suppress(trio.BrokenResourceError):
                await client.send_all(data)
                await client.send_eof()
                while await client.receive_some(65_536):
                    pass

    inputs = iter(inputs)
    while batch := list(islice(inputs, 50)):
        async with trio.open_nursery() as nursery:
            for data in batch:
                nursery.start_soon(one, data)


async def is_served(server) -> bool:
    async with await tcp_to(server.http_address) as client:
        await client.send_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await client.receive_some(100)).startswith(b"HTTP/1.1 200")


async def test_no_http_request_ends_more_than_itself(server):
    server.feed(b"a.b:1|c")
    # Streams go on until the client leaves, and cost no more than a page.
    await attack(server.http_address, (data.replace(b"/tail", b"/ping") for data in hostile_inputs(REQUESTS)))
    assert await is_served(server)


async def test_no_command_ends_more_than_itself(server):
    server.feed(b"a.b:1|c\nt:1|ms")
    await attack(server.management_address, hostile_inputs(COMMANDS))
    assert await is_served(server)


@pytest.mark.parametrize("dialect", ["strict", "etsy", "brubeck", "collectd"])
async def test_no_line_or_datagram_ends_more_than_itself(mock_clock, tmp_path, dialect):
    logged: list[str] = []
    async with serving(
        listen=("127.0.0.1:0", f"unix://{tmp_path}/s"), http="127.0.0.1:0", dialect=dialect, log=logged.append
    ) as server:
        await attack(tcp_address(server), islice(hostile_inputs(LINES), 200))
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix.connect(f"{tmp_path}/s")
        with sender_to(server) as udp, unix:
            for number, data in enumerate(hostile_inputs(LINES)):
                server.feed(data, "10.0.0.1:5")
                if number % 20 == 0:
                    udp.send(data)
                    unix.send(data)
                    await settle()
        server.flush_now()
        assert await is_served(server)
    assert logged == []


@pytest.mark.parametrize("dialect", ["strict", "etsy", "brubeck", "collectd"])
async def test_a_timing_without_end_ends_no_server(mock_clock, dialect):
    """One datagram did, at the next flush, where the dialect takes it."""
    logged: list[str] = []
    async with serving(
        listen=("127.0.0.1:0",), http="127.0.0.1:0", dialect=dialect, log=logged.append
    ) as server:
        server.feed(b"t:1e400|ms\nt:inf|ms\nt:1e305|ms\nt:-1e400|ms\nt:2|ms")
        server.flush_now()
        server.feed(b"t:1e400|ms")
        server.flush_now()
        async with await tcp_to(server.http_address) as client:
            await client.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            page = b""
            while part := await client.receive_some(65_536):
                page += part
        assert page.startswith(b"HTTP/1.1 200")
        counted = [
            line.split() for line in page.decode().splitlines() if 'le="+Inf"' in line or "t_count" in line
        ]
        assert len({count for name, count in counted if name.startswith("t_")}) <= 1
    assert logged == []


async def test_a_fault_while_an_interval_is_shown_is_told_and_ends_no_server(mock_clock):
    """In time, and at the end, where the last interval is shown in the same way."""
    logged: list[str] = []
    async with serving(listen=("127.0.0.1:0",), http="127.0.0.1:0", log=logged.append) as server:
        server.openmetrics.offer = lambda _: 1 // 0
        server._flush_whatever_comes()
        assert await is_served(server)
    assert [
        "an interval is shown in part, by a fault of ours: ZeroDivisionError" in line for line in logged
    ] == [True] * 2


async def test_what_the_aggregator_cannot_take_is_told_and_the_server_goes_on(mock_clock):
    """Whichever way it came in."""
    logged: list[str] = []
    async with serving(listen=("127.0.0.1:0",), http="127.0.0.1:0", log=logged.append) as server:

        def fail(*_):
            raise ZeroDivisionError("no")

        for way in ("feed", "feed_all", "feed_lines", "feed_datagrams"):
            setattr(server.aggregator, way, fail)
        with sender_to(server) as udp:
            udp.send(b"a:1|c")
            await until(lambda: len(logged) == 1)
        async with await tcp_to(tcp_address(server)) as client:
            await client.send_all(b"a:1|c\n")
            await until(lambda: len(logged) == 2)
        for _ in range(200):
            server.feed(b"a:1|c", "me")
        assert await is_served(server)
    assert "is lost by a fault of ours: ZeroDivisionError('no')" in logged[0]
    assert logged[2].startswith("statsd: what me sent is lost")
    assert len(logged) == 100, "who finds a fault cannot fill the log"


async def test_a_fault_in_one_clients_task_is_told_and_ends_that_client_only(mock_clock):
    logged: list[str] = []
    async with serving(listen=(), management="127.0.0.1:0", http="127.0.0.1:0", log=logged.append) as server:
        server.statistics, kept = None, server.statistics
        async with await tcp_to(server.management_address) as client:
            await client.send_all(b"stats\n")
            assert await client.receive_some(10) == b""
        server.statistics = kept
        assert await is_served(server)
    assert [line.partition(":")[0] for line in logged] == ["management"]
    assert "a client is disconnected by a fault of ours" in logged[0]


# --- browsers


@pytest.mark.parametrize(
    "first",
    [
        b"POST / HTTP/1.1\r\n",
        b"GET /x HTTP/1.0\n",
        b"PRI * HTTP/2.0\r\n",
        b"OPTIONS http://127.0.0.1:8126/ HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\0\n",
    ],
)
async def test_what_a_browser_posts_to_a_line_port_is_neither_done_nor_counted(server, first):
    for address in (server.management_address, tcp_address(server)):
        async with await tcp_to(address) as client:
            with suppress(trio.BrokenResourceError):
                await client.send_all(first + b"Host: x\r\n\r\nhealth down\ndelcounters *\nevil:1|c\n")
                assert await client.receive_some(100) == b""
    assert server.is_up
    assert server.flush_now().values.get("counters.evil.count") is None
    assert server.statistics().bad_by_reason == {"http_request": 1}


async def test_a_request_line_in_pieces_or_too_long_for_a_line_is_a_browsers_too(server):
    for pieces in (
        [b"POS", b"T / HTT", b"P/1.1\r\nevil:1|c\n"],
        [b"POST /" + b"a" * 70_000, b"\nevil:1|c\n"],
    ):
        async with await tcp_to(tcp_address(server)) as client:
            with suppress(trio.BrokenResourceError):
                for piece in pieces:
                    await client.send_all(piece)
                    await settle()
                assert await client.receive_some(100) == b""
    assert server.statistics().bad_by_reason == {"http_request": 2}
    assert server.aggregator.table("counters") == {}


async def test_what_only_looks_like_a_request_later_on_is_a_bad_line(server):
    async with await tcp_to(tcp_address(server)) as client:
        await client.send_all(b"a:1|c\nGET / HTTP/1.1\nGET.x:1|c\n")
        await until(lambda: server.statistics().health.metrics == 2)
    assert set(server.statistics().bad_by_reason) != {"http_request"}


def test_words_of_people_and_statsd_lines_are_no_browsers():
    assert not any(is_browsers(line) for line in (b"GET:1|c", b"health down", b"GET / x", b"", b"\x16a"))
    assert is_browsers(b"POST /aaaa", is_cut=True)
    assert not is_browsers(b"POST /aaaa")
    assert not is_browsers(b"GET:" + b"a" * 100, is_cut=True)


@pytest.mark.parametrize(
    ("host", "local", "is_ours"),
    [
        ("localhost:80", "127.0.0.1", True),
        ("LOCALHOST.", "127.0.0.1", True),
        ("x.localhost", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9:1", "127.0.0.1", True),
        ("[::1]:80", "::1", True),
        ("evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        (socket.gethostname() + "x", "10.0.0.1", False),
        (socket.gethostname(), "10.0.0.1", True),
        (socket.gethostname().upper() + ":80", "10.0.0.1", True),
        ("10.0.0.1:80", "10.0.0.1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.2", "10.0.0.1", False),
        ("10.0.0.1", "127.0.0.1", False),
        ("[fe80::1]", "fe80::1%eth0", True),
        ("stats.lab", "127.0.0.1", True),
    ],
)
def test_pages_are_given_under_this_machines_names_only(host, local, is_ours):
    assert is_our_name(host, local, {"stats.lab"}) is is_ours


async def test_a_page_asked_for_by_anothers_name_is_refused_in_words_unless_the_name_was_let_in(mock_clock):
    request = b"GET /stats.json HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    for names, status in (((), 421), (("Evil.example",), 200)):
        async with serving(listen=(), http="127.0.0.1:0", allow_hosts=names) as server:
            client = await tcp_to(server.http_address)
            await client.send_all(request)
            received = b""
            while data := await client.receive_some(65_536):
                received += data
            await client.aclose()
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert (b"--allow-host" in received) is (status == 421)


# --- seats and descriptors


async def test_idle_clients_of_the_management_port_lock_nobody_out(server):
    clients = [await tcp_to(server.management_address) for _ in range(32)]
    await settle()
    await clients[0].send_all(b"health\n")
    await clients[0].receive_some(100)
    async with await tcp_to(server.management_address) as newcomer:
        await newcomer.send_all(b"health\n")
        assert await newcomer.receive_some(100) == b"health: up\n"
    assert await clients[1].receive_some(10) == b"", "who has been idle longest gave its seat"
    await clients[0].send_all(b"health\n")
    assert await clients[0].receive_some(100) == b"health: up\n"
    for client in clients:
        await client.aclose()


async def test_a_seat_is_refused_only_while_all_are_busy():
    seats = Seats(1)
    with seats.seat() as first, seats.seat() as second:
        assert second is None
        with first.idle(), seats.seat() as third:
            assert third is not None


async def test_out_of_descriptors_a_newcomer_is_refused_with_words_said_once_then_counted(
    monkeypatch, tmp_path
):
    said: list[str] = []
    doorway = Doorway("port", said.append, b"no room\n")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{tmp_path}/s")
    listener.listen(200)
    listener.setblocking(False)

    class Short:
        """A listener in a process that has no descriptor left but the one kept back."""

        def fileno(self):
            return listener.fileno()

        def accept(self):
            if doorway._reserve is not None and self.is_short:
                raise OSError(24, "Too many open files")
            return listener.accept()

    short = Short()
    short.is_short = True
    answers = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(doorway.serve, short, lambda stream: stream.send_all(b"welcome"))
        for _ in range(100):
            async with await trio.open_unix_socket(f"{tmp_path}/s") as client:
                answers.append(await client.receive_some(100))
        short.is_short = False
        async with await trio.open_unix_socket(f"{tmp_path}/s") as client:
            answers.append(await client.receive_some(100))
        nursery.cancel_scope.cancel()
    listener.close()
    doorway.close()
    assert answers == [b"no room\n"] * 100 + [b"welcome"]
    assert len(said) == 3 and "ulimit -n" in said[0]
    assert [line.split(" refused so far")[0] for line in said[1:]] == [
        "port: 10 newcomers",
        "port: 100 newcomers",
    ]


def test_a_refusal_after_a_minute_without_one_is_news_again(monkeypatch):
    said: list[str] = []
    now = [0.0]
    doorway = Doorway("port", said.append)
    monkeypatch.setattr(doorway_module.time, "monotonic", lambda: now[0])
    for at in (0.0, 60.0, 120.0, 180.1):
        now[0] = at
        doorway._count(OSError(24, "Too many open files"))
    assert [line.split(":")[1] for line in said] == [" newcomers are refused"] * 2
    assert doorway._refused == 1
