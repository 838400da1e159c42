"""The statsd server: when it flushes, what reaches it, what it says of itself, how it starts and ends."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import socket
import time
from types import SimpleNamespace

import attrs
import pytest
import trio
import trio.testing

from brokersim.reactor.clock import VirtualClock
from brokersim.statsd import StatsClient
from brokersim.statsd_server import recvmmsg
from brokersim.statsd_server.health import SocketStatistics
from brokersim.statsd_server.server import StatsdServer, serve
from brokersim.statsd_server.settings import ServeError, ServeSettings
from brokersim.statsd_server.sockets import DatagramSocket, _kernel_table, kernel_state
from tests.statsd_server.harness import Kept, sender_to, serving, until

# --- time


async def test_flushes_come_at_whole_multiples_of_the_interval(autojump_clock):
    kept = Kept()
    await trio.sleep(0.25)
    async with serving(kept, listen=(), flush_s=0.1):
        await trio.sleep(0.5)
    assert kept.times == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "the last, unfinished interval has its own instant"


class Losing(Kept):
    """An output that says at the end that it lost so many."""

    def __init__(self, dropped: int, unit: str) -> None:
        super().__init__()
        self.lost = {"dropped": dropped, "unit": unit}

    def statistics(self):
        return attrs.evolve(super().statistics(), **self.lost)


async def test_what_an_output_lost_is_told_at_the_end_as_many_as_it_is():
    logged: list[str] = []
    losing = Losing(1, "lines"), Losing(1, "flushes"), Losing(2000, "packets"), Losing(0, "lines")
    async with serving(*losing, listen=(), log=logged.append):
        pass
    assert logged == [
        "output kept: 1 line was not delivered",
        "output kept-2: 1 flush was not delivered",
        "output kept-3: 2,000 packets were not delivered",
    ]


async def test_a_hundred_flushes_a_second_do_not_drift(autojump_clock):
    kept = Kept()
    async with serving(kept, listen=(), flush_s=0.01):
        await trio.sleep(3.005)
    assert kept.times[:-1] == [round(n / 100, 6) for n in range(1, 301)]


async def test_what_was_fed_before_an_instant_is_in_its_flush_and_each_metric_in_one(autojump_clock):
    kept = Kept()
    async with serving(kept, listen=(), flush_s=1.0) as server:
        for _ in range(5):
            await trio.sleep(0.5)
            server.feed(b"k:1|c")
    assert sum(flush.counters.get("k", 0) for flush in kept.flushes) == 5
    assert kept.flushes[0].counters["k"] >= 1


class Flooded:
    """A socket that is never empty, and whose turns take their time."""

    has_more = True
    turns = 0

    def __init__(self, clock: trio.testing.MockClock, turn_s: float) -> None:
        self._clock, self._turn_s = clock, turn_s

    def drain(self, take: object, t: float, take_datagrams: object) -> int:
        self.turns += 1
        self._clock.jump(self._turn_s)
        return 1

    def statistics(self) -> SocketStatistics:
        return SocketStatistics(
            address="udp://flooded", packets=0, kernel_drops=0, kernel_queue=0, buffer=0, asked=0
        )


async def test_a_flood_puts_a_flush_off_by_a_quarter_of_an_interval_and_a_turn(mock_clock):
    server = StatsdServer(ServeSettings(listen=(), flush_s=1.0), wall=None)
    flooded = Flooded(mock_clock, 0.1)
    server.incoming.sockets.append(flooded)
    server.flush_now()
    assert (flooded.turns, trio.current_time()) == (3, pytest.approx(0.3))


async def test_the_last_interval_is_flushed_at_the_end_and_when_cancelled(autojump_clock):
    for cancel in (False, True):
        kept = Kept()
        with trio.CancelScope() as scope:
            async with serving(kept, listen=(), flush_s=10) as server:
                server.feed(b"k:3|c")
                if cancel:
                    scope.cancel()
                    await trio.sleep(1)
        assert [flush.counters for flush in kept.flushes] == [{"k": 3}]
        assert kept.is_closed


async def test_the_wall_clock_sets_the_instants_and_a_step_of_it_is_followed(mock_clock):
    wall = [1_790_000_000.4]
    kept = Kept()
    async with serving(kept, listen=(), flush_s=1.0, wall=lambda: wall[0] + trio.current_time()):
        mock_clock.jump(0.6)
        await until(lambda: len(kept.times) == 1)
        wall[0] += 100
        mock_clock.jump(1.0)
        await until(lambda: len(kept.times) == 2)
        mock_clock.jump(1.0)
        await until(lambda: len(kept.times) == 3)
    assert kept.times[:3] == [1_790_000_001.0, 1_790_000_002.0, 1_790_000_103.0]


async def test_a_late_flush_skips_the_instants_it_missed_and_says_so(mock_clock):
    kept = Kept()
    async with serving(kept, listen=(), flush_s=1.0) as server:
        mock_clock.jump(4.5)
        await until(lambda: kept.times)
        told = server.statistics().flush
        assert (kept.times, told.skipped, told.lag_s, told.worst_lag_s) == ([1.0], 3, 3.5, 3.5)
        mock_clock.jump(0.5)
        await until(lambda: len(kept.times) == 2)
    assert kept.times[:2] == [1.0, 5.0]


def test_under_virtual_time_the_same_run_gives_the_same_flushes():
    async def main():
        kept = Kept()
        async with serving(kept, listen=(), flush_s=0.5) as server:
            for number in range(10):
                server.feed(b"k:%d|ms" % number)
                await trio.sleep(0.31)
        return [(flush.t, dict(flush.values), dict(flush.self_values)) for flush in kept.flushes]

    runs = [trio.run(main, clock=VirtualClock()) for _ in range(2)]
    assert runs[0] == runs[1]
    assert [t for t, _, _ in runs[0]] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


# --- in


async def test_a_packet_by_udp_over_ipv4_and_ipv6_and_a_unix_socket_is_counted(tmp_path, mock_clock):
    path = str(tmp_path / "statsd.sock")
    async with serving(listen=("127.0.0.1:0", "udp://[::1]:0", f"unix://{path}")) as server:
        sender_to(server).send(b"k:1|c")
        port = next(each for each in server.addresses if "[::1]" in each).rpartition(":")[2]
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            six.sendto(b"k:10|c", ("::1", int(port)))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(b"k:100|c", path)
        await until(lambda: server.aggregator.statistics().packets == 3)
        assert server.flush_now().counters == {"k": 111}
        assert [each.packets for each in server.statistics().sockets] == [1, 1, 1]
    assert not os.path.exists(path)


async def test_udp_and_tcp_share_the_port_that_was_drawn(mock_clock):
    async with serving() as server:
        udp, tcp = server.addresses
        assert udp.removeprefix("udp") == tcp.removeprefix("tcp")
        assert server.udp_address == ("127.0.0.1", int(udp.rpartition(":")[2]))


async def test_the_largest_datagrams_are_taken_and_a_longer_one_is_cut_and_counted(tmp_path, mock_clock):
    path = str(tmp_path / "s")
    async with serving(listen=("udp://127.0.0.1:0", f"unix://{path}")) as server:
        whole = b"\n".join([b"k:1|c"] * 10_900)
        sender_to(server).send(whole)
        await until(lambda: server.aggregator.statistics().packets == 1)
        assert server.flush_now().counters == {"k": 10_900}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            unix.sendto(b"\n".join([b"k:1|c"] * 20_000), path)
        await until(lambda: server.aggregator.statistics().packets == 2)
        assert server.aggregator.statistics().cut_packets == 1


async def test_packets_that_wait_when_the_instant_comes_belong_to_its_flush(mock_clock):
    async with serving() as server:
        sender = sender_to(server)
        for _ in range(1000):
            sender.send(b"k:1|c")
        assert server.flush_now().counters == {"k": 1000}


async def test_a_batch_handed_over_counts_like_its_lines(mock_clock):
    async with serving(listen=()) as server, trio.open_nursery():
        seen = []
        server.wiretap.open(flushes=False, on_item=lambda item: seen.append(item.line))
        client = StatsClient(None, hand_over=server.take)
        client.inc("k", 3)
        client.flush()
        assert server.flush_now().counters == {"k": 3}
        assert seen == [b"k:3|c"]


async def test_100_000_random_datagrams_leave_a_server_that_counts(mock_clock):
    chance = random.Random(5)
    alphabet = b":|@#;,.+-0123456789eEcgmshdC\0\n\r \xff"
    bodies = [bytes(chance.choices(alphabet, k=chance.randrange(40))) for _ in range(5000)]
    kept = Kept()
    began = time.process_time()
    async with serving(kept, listen=(), outputs=("console:",), http=None) as server:
        for number in range(100_000):
            server.feed(bodies[number % 5000] + b"%d" % (number % 97))
            if number % 20_000 == 0:
                server.flush_now()
                server.openmetrics.render(server.statistics())
        server.feed(b"still.here:1|c")
        assert server.flush_now().counters["still.here"] == 1
        health = server.aggregator.statistics()
        assert (health.packets, health.metrics + health.bad_lines) == (100_001, health.lines)
        assert sum(health.bad_by_reason.values()) == health.bad_lines > 50_000
    assert time.process_time() - began < 20


# --- health


async def test_what_the_kernel_drops_is_counted_in_the_health_and_in_the_flush(mock_clock):
    async with serving(listen=("udp://127.0.0.1:0",), receive_buffer=4096) as server:
        sender = sender_to(server)
        for _ in range(200):
            sender.send(b"k:1|c")
        flush = server.flush_now()
        told = server.statistics()
        assert told.kernel_drops > 0
        assert flush.counters["k"] + told.kernel_drops == 200
        assert flush.self_values["statsd.kernel_drops"] == told.kernel_drops
        assert told.sockets[0].asked == 4096


async def test_the_kernels_table_and_the_sockets_own_answer_agree_on_drops():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            sender.sendto(b"k:1|c", sock.getsockname())
        waiting, drops = kernel_state(sock)
        assert drops > 0
        assert waiting > 0
        assert _kernel_table(sock)[1] == drops


async def test_the_servers_own_metrics_are_flushed_with_names_of_their_own(mock_clock):
    async with serving(Kept(), listen=()) as server:
        server.feed(b"k:1|c\nnonsense")
        own = server.flush_now().self_values
        assert own["statsd.outputs.kept.dropped"] == 0
        assert own["statsd.keys.counters"] == 1
        assert own["counters.statsd.bad_lines_seen.count"] == 1
        assert "statsd.flush.lag" in own
    async with serving(listen=(), own_metrics=False) as server:
        assert "statsd.flush.lag" not in server.flush_now().self_values


async def test_rates_are_of_the_time_that_really_passed(mock_clock):
    async with serving(listen=(), flush_s=1.0) as server:
        for _ in range(30):
            server.feed(b"k:1|c\nbad")
        mock_clock.jump(3)
        await until(lambda: server.last_flush)
        told = server.statistics()
        assert (told.metrics_per_s, told.bad_lines_per_s) == (10.0, 10.0)


async def test_the_ceiling_is_told_once_busy_turns_have_been_seen(mock_clock):
    async with serving(listen=("udp://127.0.0.1:0",)) as server:
        assert server.statistics().ceiling is None
        sender = sender_to(server)
        for _ in range(10):
            for _ in range(200):
                sender.send(b"k:1|c\nj:2|g")
            server.flush_now()
        assert 10_000 < server.statistics().ceiling < 1e8


# --- outputs


class Hanging(Kept):
    name = "hanging"

    async def run(self) -> None:
        await trio.sleep_forever()


class Broken(Kept):
    name = "broken"

    def offer(self, flush):
        raise RuntimeError("no ink")


class Dying(Kept):
    name = "dying"

    async def run(self) -> None:
        raise RuntimeError("out of paper")


async def test_an_output_that_hangs_breaks_or_dies_stops_neither_the_flush_nor_another(autojump_clock):
    kept, logged = Kept(), []
    began = trio.current_time()
    async with serving(
        Hanging(), Broken(), kept, Dying(), listen=(), flush_s=1.0, log=logged.append
    ) as server:
        await trio.sleep(3.5)
        told = {each.name: each for each in server.statistics().outputs}
    assert kept.times[:3] == [1.0, 2.0, 3.0]
    assert told["broken"].state == told["dying"].state == "failed"
    assert told["broken"].dropped == 3
    assert told["dying"].last_error == "RuntimeError: out of paper"
    assert trio.current_time() - began == 3.5 + 1, "the end waits for the grace and no longer"
    assert "output broken broke and gets nothing more: RuntimeError: no ink" in logged


async def test_two_outputs_of_a_kind_have_names_of_their_own(mock_clock):
    async with serving(Kept(), Kept(), listen=()) as server:
        assert [each.name for each in server.statistics().outputs] == ["kept", "kept-2"]


# --- start


async def refusal_of(**settings) -> str:
    with pytest.raises(ServeError) as caught:
        await StatsdServer(ServeSettings(**settings)).run()
    return str(caught.value)


async def test_a_port_that_is_taken_is_refused_with_what_to_do():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        text = await refusal_of(listen=(f"127.0.0.1:{port}",))
    assert text == (
        f"cannot listen on udp/tcp 127.0.0.1:{port}: Address already in use;"
        " another server has it: choose another port, or 0 for any free one"
    )


async def test_a_host_that_is_unknown_or_not_ours_is_refused():
    assert (await refusal_of(listen=("no.such.host.invalid:0",))).startswith(
        "cannot listen on udp/tcp no.such"
    )
    assert "Cannot assign" in await refusal_of(listen=("udp://192.0.2.1:0",))


async def test_a_unix_path_of_a_dead_server_is_taken_over_and_of_a_living_one_is_not(tmp_path):
    path = str(tmp_path / "s")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(path)
    dead.close()
    async with serving(listen=(f"unix://{path}",)):
        assert "already in use" in await refusal_of(listen=(f"unix://{path}",))
    (tmp_path / "file").write_text("precious")
    assert "already in use" in await refusal_of(listen=(f"unix://{tmp_path / 'file'}",))
    assert (tmp_path / "file").read_text() == "precious"


async def test_a_start_that_fails_closes_what_it_had_opened_and_leaves_no_database(tmp_path):
    path = tmp_path / "s"
    database = tmp_path / "run.db"
    text = await refusal_of(listen=(f"unix://{path}",), outputs=(f"db:{database}", "graphite://nonsense"))
    assert "graphite" in text
    assert not path.exists()
    assert not database.exists()


async def test_serve_hands_its_server_over_when_everything_is_bound():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, ServeSettings(listen=("udp://127.0.0.1:0",), http="127.0.0.1:0"))
        assert server.addresses[0].startswith("udp://127.0.0.1:")
        assert server.http_address.startswith("127.0.0.1:")
        nursery.cancel_scope.cancel()


async def test_the_port_is_free_again_when_the_server_has_ended():
    async with serving() as server:
        address = server.addresses[0].removeprefix("udp://")
    async with serving(listen=(address,)):
        pass


# --- sockets


@pytest.fixture(params=["compiled", "compiled, as objects", "many at once", "one by one"])
def pair(request, monkeypatch):
    """A datagram socket of the server, with and without the system's recvmmsg, and one that sends to it."""
    if request.param not in ("compiled", "compiled, as objects"):
        monkeypatch.setattr(recvmmsg, "Datagrams", None)
    elif recvmmsg.Datagrams is None:
        pytest.skip("not compiled here")
    if request.param == "one by one":
        monkeypatch.setattr(recvmmsg, "sys", SimpleNamespace(platform="elsewhere"))
    inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inner.bind(("127.0.0.1", 0))
    sock = DatagramSocket("udp", inner, 1 << 20)
    assert (sock.reads_many) == (request.param != "one by one")
    sock.is_direct = request.param == "compiled"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.connect(inner.getsockname())
        yield sock, sender
    sock.close()


def drained(sock):
    """(packet, sender) of all that a turn brought."""
    seen = []

    def take(packets, sender_of, t):
        assert t == 7.0
        seen.extend((bytes(packet), sender_of(index)) for index, packet in enumerate(packets))

    def take_datagrams(datagrams, sender_of, t):
        take([datagrams.packet(index) for index in range(datagrams.count)], sender_of, t)

    assert sock.drain(take, 7.0, take_datagrams if sock.is_direct else None) == len(seen)
    return seen


def test_a_turn_ends_at_1024_packets_and_an_empty_socket_ends_it_before(pair):
    sock, sender = pair
    turns = []
    for number in range(1100):
        sender.send(b"%d" % number)
    for _ in range(3):
        turns.append((len(drained(sock)), sock.has_more))
    assert turns == [(1024, True), (76, False), (0, False)]
    assert sock.packets == 1100


def test_long_packets_make_shorter_turns(pair):
    sock, sender = pair
    for _ in range(200):
        sender.send(bytes(4000))
    assert len(drained(sock)) == 128
    assert sock.has_more


def test_packets_of_a_turn_stay_in_their_order(pair):
    sock, sender = pair
    for number in range(300):
        sender.send(b"%d" % number)
    assert [packet for packet, _ in drained(sock)] == [b"%d" % number for number in range(300)]


def test_every_packet_has_its_own_sender(pair):
    sock, sender = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.connect(sock.socket.getsockname())
        senders = [sender if number % 3 else other for number in range(100)]
        for number, each in enumerate(senders):
            each.send(b"%d" % number)
        names = [f"127.0.0.1:{each.getsockname()[1]}" for each in senders]
    assert drained(sock) == [(b"%d" % number, name) for number, name in enumerate(names)]


def test_packets_of_every_length_come_whole_one_after_the_other(pair):
    sock, sender = pair
    packets = [bytes([65 + size % 26]) * size for size in (1, 0, 2047, 2048, 2049, 65_507, 3, 9000, 2048)]
    for packet in packets:
        sender.send(packet)
    assert [packet for packet, _ in drained(sock)] == packets
    sender.send(b"short again")
    assert [packet for packet, _ in drained(sock)] == [b"short again"]


def test_a_sandbox_that_refuses_recvmmsg_gets_the_packets_one_by_one(pair, monkeypatch):
    sock, sender = pair

    def refuse(*_):
        ctypes.set_errno(errno.ENOSYS)
        return -1

    def refused():
        raise PermissionError

    if isinstance(sock._many, recvmmsg.CompiledDatagrams):
        sock._many.datagrams = SimpleNamespace(receive=refused)
    elif sock.reads_many:
        monkeypatch.setattr(sock._many, "_call", refuse)
    sender.send(b"k:1|c")
    assert [packet for packet, _ in drained(sock)] == [b"k:1|c"]
    assert not sock.reads_many


async def test_in_a_flood_each_bad_line_has_its_own_sender(mock_clock):
    async with serving(listen=("udp://127.0.0.1:0", "udp://[::1]:0")) as server:
        made = [sender_to(server) for _ in range(3)]
        six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        port = next(each for each in server.addresses if "[::1]" in each).rpartition(":")[2]
        six.connect(("::1", int(port)))
        names = [f"127.0.0.1:{each.getsockname()[1]}" for each in made] + [f"[::1]:{six.getsockname()[1]}"]
        for number in range(400):
            who = number % 4
            bad = b"\nbad%d" % who if number % 7 == 0 else b""
            [*made, six][who].send(b"good:1|c\nlevel:7|g" + bad)
        await until(lambda: server.aggregator.statistics().packets == 400)
        seen = {(line.line, line.sender) for line in server.bad_lines()}
        assert seen == {(b"bad%d" % who, name) for who, name in enumerate(names)}
        assert server.aggregator.statistics().bad_lines == len(range(0, 400, 7))
        assert server.flush_now().counters == {"good": 400}
        for each in (*made, six):
            each.close()
