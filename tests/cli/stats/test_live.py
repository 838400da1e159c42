"""send, record, replay --to, tail and serve on loopback: what goes over the wire and what is told of it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli.errors import CommandError
from brokersim.cli.stats.live import Line, events
from brokersim.cli.stats.record import Recorder
from brokersim.cli.stats.recording import Writer, read
from brokersim.cli.stats.replay import Player, parse_speed
from brokersim.cli.stats.serve import parse_creates, parse_expiry
from brokersim.cli.stats.tail import rates, values
from brokersim.cli.stats.wire import Receiver, Sender
from brokersim.statsd.packet import MAX_PACKET
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker
from tests.interop.peers import free_port


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A UDP socket that stands for a statsd."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(60)
        yield sock


def address(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


@contextmanager
def command(*words: str, stdout: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own; gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "brokersim.cli.main", "stats", *words],
        stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


# --- send


def test_send_packs_lines_into_one_packet(run: Run, server: socket.socket):
    result = run("stats", "send", "-t", address(server), "a:1|c", "b:2|g\nc:3|ms")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"3 lines in 1 packet to udp://{address(server)}\n"
    assert server.recv(2000) == b"a:1|c\nb:2|g\nc:3|ms"


def test_send_of_many_lines_on_stdin_keeps_packets_short_and_lines_whole(run: Run, server: socket.socket):
    lines = [b"key%d:%d|c" % (number, number) for number in range(500)]
    result = run("stats", "send", "-t", address(server), "--json", stdin=b"\n".join(lines) + b"\n")
    assert result.json["lines"] == 500
    packets = [server.recv(65536) for _ in range(result.json["packets"])]
    assert [line for packet in packets for line in packet.split(b"\n")] == lines
    assert max(map(len, packets)) <= MAX_PACKET
    assert result.json["bytes"] == sum(map(len, packets))


def test_send_goes_where_the_environment_says(
    run: Run, server: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLUX_FRIPP_STATSD", "127.0.0.1:1")
    monkeypatch.setenv("BROKERSIM_STATS", address(server))
    assert run("stats", "send", "a:1|c").code == 0
    assert server.recv(2000) == b"a:1|c"


def test_send_to_a_port_nobody_has_exits_3(run: Run):
    result = run("stats", "send", "-t", f"127.0.0.1:{free_port()}", "a:1|c")
    assert result.code == 3
    assert (
        "Connection refused (1 time)\n  hint: nobody listens there\n  try:  brokersim stats serve -l"
        in result.err
    )


def test_send_refuses_what_is_no_line_unless_forced(run: Run, server: socket.socket):
    for line, told in (
        ("a:1", "no type"),
        ("a:x|c", "bad number"),
        ("k:" + "1:" * 800 + "1|ms", "longer than a packet"),
    ):
        result = run("stats", "send", "-t", address(server), line)
        assert (result.code, told in result.err) == (2, True), result.err
    assert run("stats", "send").code == 2
    assert run("stats", "send", "-t", address(server), "--force", "a:1").code == 0
    assert server.recv(2000) == b"a:1"


# --- record


def test_a_recorder_keeps_packets_with_their_times_and_sends_them_on(tmp_path: Path, server: socket.socket):
    ticks = itertools.count(100)
    receiver = Receiver("127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        host, port = receiver.address.removeprefix("udp://").split(":")
        for packet in (b"a:1|c", b"\xff\x00", b"", b"late:1|c"):
            client.sendto(packet, (host, int(port)))
    writer = Writer(str(tmp_path / "out.jsonl.gz"))
    recorder = Recorder(receiver, writer, Sender(address(server)), clock=lambda: float(next(ticks)))
    recorder.run(float("inf"), count=3)
    writer.close()
    told = recorder.statistics()
    receiver.close()
    records = read(str(tmp_path / "out.jsonl.gz")).records
    assert [packet for _, packet in records] == [b"a:1|c", b"\xff\x00", b""]
    assert [t for t, _ in records] == sorted({t for t, _ in records})
    assert [server.recv(100) for _ in range(3)] == [b"a:1|c", b"\xff\x00", b""]
    assert (told["packets"], told["bytes"], told["dropped"], told["not_forwarded"]) == (3, 7, 0, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_recording_that_is_ended_by_a_signal_is_whole(tmp_path: Path, number: int, code: int):
    out = tmp_path / "out.jsonl"
    with command("record", "-l", "127.0.0.1:0", "--json", str(out)) as process:
        assert process.stderr is not None and process.stdout is not None
        host, port = process.stderr.readline().split()[1].removeprefix("udp://").split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for each in range(100):
                client.sendto(b"k:%d|c" % each, (host, int(port)))
        # The first packets are in the file before the signal, so that all hundred were in the socket.
        while process.poll() is None and not (out.exists() and out.stat().st_size):
            time.sleep(0.005)
        process.send_signal(number)
        told = json.loads(process.stdout.read())
        assert process.wait() == code
    records = read(str(out)).records
    assert [packet for _, packet in records] == [b"k:%d|c" % each for each in range(told["packets"])]
    assert told["packets"] > 0


def test_record_does_not_overwrite_unless_forced_and_ends_in_time(run: Run, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    out.write_text("precious")
    words = ("stats", "record", "-l", "127.0.0.1:0", "--for", "0.01s", str(out))
    assert run(*words).code == 2
    assert out.read_text() == "precious"
    assert run(*words, "--force").code == 0
    assert out.read_text() == ""


def test_record_to_stdout_is_the_recording_alone(run: Run):
    result = run("stats", "record", "-l", "127.0.0.1:0", "--for", "0", "-")
    assert (result.code, result.out) == (0, "")
    assert run("stats", "record", "--json", "-").code == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("-l", "nowhere", "x"), 2, "is no address"),
        (("-l", "tcp://127.0.0.1:0", "x"), 2, "only datagrams"),
        (("-l", "127.0.0.1:0", "/nowhere/x"), 2, "/nowhere/x: No such file"),
        (("-l", "192.0.2.1:0", "x"), 1, "cannot listen"),
    ],
)
def test_wrong_use_of_record_is_told(run: Run, tmp_path: Path, words: tuple[str, ...], code: int, told: str,
                                     monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    result = run("stats", "record", *words)
    assert (result.code, told in result.err) == (code, True), result.err


def test_a_port_that_is_taken_is_told(server: socket.socket):
    with pytest.raises(CommandError, match="another server has it"):
        Receiver(address(server))


# --- replay to a server


class Time:
    """A clock that only sleep moves, and each packet takes a little."""

    def __init__(self) -> None:
        self.now = 50.0
        self.sent: list[tuple[float, bytes]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, packet: bytes) -> None:
        self.sent.append((self.now, packet))
        self.now += 0.125


@pytest.mark.parametrize(
    ("speed", "times"), [(1.0, [50.0, 51.0, 51.125, 54.0]), (2.0, [50.0, 50.5, 50.625, 52.0]),
                         (float("inf"), [50.0, 50.125, 50.25, 50.375])]
)  # fmt: skip
def test_packets_go_out_at_their_recorded_distances_and_delays_do_not_add_up(
    speed: float, times: list[float]
):
    clock = Time()
    player = Player(clock.send, clock=lambda: clock.now, sleep=clock.sleep)
    player.play([(7.0, b"a"), (8.0, b"b"), (8.0, b"c"), (11.0, b"d")], speed)
    assert clock.sent == list(zip(times, (b"a", b"b", b"c", b"d"), strict=True))
    assert player.latest == (0.0 if speed == float("inf") else 0.125)
    assert player.elapsed == times[-1] + 0.125 - 50


def test_replay_to_a_server_sends_the_very_bytes(run: Run, tmp_path: Path, server: socket.socket):
    path = tmp_path / "r.jsonl"
    path.write_text('{"t":5,"data":"a:1|c"}\n{"t":900,"data":"\\udcff\\udc80"}\n')
    result = run("stats", "replay", "-x", "max", "--to", address(server), "--json", str(path))
    assert [server.recv(100), server.recv(100)] == [b"a:1|c", b"\xff\x80"]
    assert (result.json["packets"], result.json["bytes"], result.json["failed"]) == (2, 7, {})
    assert run("stats", "replay", "-x", "max", "--to", f"127.0.0.1:{free_port()}", str(path)).code == 3


def test_speeds():
    assert [parse_speed(text) for text in ("max", "2", "0.5x")] == [float("inf"), 2.0, 0.5]
    for text in ("0", "-1", "nan", "inf", "fast"):
        with pytest.raises(ValueError, match="not a speed"):
            parse_speed(text)


# --- tail


def test_tail_prints_name_and_value_and_the_sign_of_an_increment():
    lines = [
        b"flux.kvs.0.request_rx:17|g",
        b"run:+5|g",
        b"run:-5|g",
        b"t:1.5:2|ms",
        b"u:jo|s",
        b"k:1|c|@0.5",
        b"oops",
    ]
    live = [None, *(Line(1.0, line, "1.2.3.4:5") for line in lines)]
    rows = list(values(iter(live), "*"))
    assert [text for _, text in rows] == [
        "flux.kvs.0.request_rx 17", "run +5", "run -5", "t 1.5", "t 2", "u jo", "k 1", "oops  (bad line: no_value)",
    ]  # fmt: skip
    assert rows[1][0] == {
        "t": 1.0, "name": "run", "type": "g", "value": 5, "relative": True, "sender": "1.2.3.4:5",
    }  # fmt: skip
    assert [text for _, text in values(iter(live), "flux.kvs.*")] == ["flux.kvs.0.request_rx 17"]


def test_tail_prints_documents_with_json_and_lines_for_people(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("brokersim.cli.stats.tail.listening", lambda *_: iter([Line(1.0, b"k:1|c", None)]))
    words = ("stats", "tail", "-l", "127.0.0.1:1", "-c", "1")
    assert run(*words).out == "k 1\n"
    assert [row["name"] for row in run(*words, "--json").lines] == ["k"]


def test_rates_are_per_second_of_the_time_that_really_passed():
    times = iter([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
    live = [Line(0, b"k:3|c\ng:10|g".split(b"\n")[n], None) for n in (0, 1)]
    rows = rates(iter([*live, None, Line(0, b"g:4|g", None), None]), "*", 1.0, clock=lambda: next(times))
    assert [(row["name"], row["rate"]) for row, _ in rows] == [("k", 3.0), ("g", -6.0)]


def test_events_of_a_stream_are_read_however_it_is_cut():
    rows = [b": idle", b"", b"event: line\r", b'data: {"a":', None, b"data: 1}", b"", b"data: 2", b""]
    assert list(events(iter(rows))) == [("", None), ("line", {"a": 1}), ("message", 2)]


def test_tail_without_a_server_exits_3_and_names_the_other_way(run: Run, monkeypatch: pytest.MonkeyPatch):
    result = run("stats", "tail", "--from", f"127.0.0.1:{free_port()}")
    assert (result.code, "brokersim stats tail -l 127.0.0.1:8125" in result.err) == (3, True)
    assert run("stats", "tail", "--from", "x").code == 2
    assert run("stats", "tail", "--from", "a:1", "-l", "b:2").code == 2
    assert run("stats", "tail", "-i", "0").code == 2


@pytest.mark.parametrize(
    ("answer", "code"), [(b"HTTP/1.1 404 Not Found\r\n\r\n", 1), (b"", 3), (b"HTTP/1.1 200 OK\r\n\r\n", 3),
                         (b"HTTP/1.1 200 OK\r\n\r\nevent: line\ndata: {\n\n", 3),
                         (b"HTTP/1.1 200 OK\r\n\r\nevent: line\ndata: 7\n\n", 3)]
)  # fmt: skip
@pytest.mark.parametrize("where", ["127.0.0.1:{}", ":{}"])
def test_tail_of_something_else_is_told(run: Run, answer: bytes, code: int, where: str):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("stats", "tail", "--from", where.format(listener.getsockname()[1]))
        thread.join()
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ")
    assert "itself is at fault" not in result.err


def test_tail_listens_by_itself():
    port = free_port()
    with command("tail", "-l", f"127.0.0.1:{port}", "-c", "2", "-f", "k*") as process:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            while process.poll() is None:
                try:
                    client.send(b"j:1|c\nk1:5|g\nk2:7|g")
                    process.wait(0.05)
                except (ConnectionRefusedError, subprocess.TimeoutExpired):
                    pass
        assert process.stdout is not None
        assert (process.returncode, process.stdout.read()) == (0, "k1 5\nk2 7\n")


# --- serve


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A statsd server on free ports, and what it says of where it listens."""
    with command("serve", "-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json", *words) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline() or "{}")


def test_a_server_flushes_what_is_sent_serves_pages_and_flushes_last_on_SIGTERM(run: Run):
    with serving("--dialect", "brubeck", "--flush", "1h") as (process, listening):
        udp = listening["addresses"][0].removeprefix("udp://")
        assert run("stats", "send", "-t", udp, "k:2|c", "g:5|g", "oops", "--force").code == 0
        for _ in range(500):
            with urllib.request.urlopen(f"http://{listening['http']}/stats.json", timeout=5) as page:
                health = json.load(page)["health"]["health"]
            if health["packets"]:
                break
        assert health["bad_lines"] == 1
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        flush, end = map(json.loads, out.splitlines())
    assert process.returncode == 0
    assert {key: flush[key] for key in ("event", "values", "bad_lines", "packets")} == {
        "event": "flush", "values": {"k": 2, "g": 5}, "bad_lines": 1, "packets": 1,
    }  # fmt: skip
    assert (end["event"], end["kernel_drops"], end["health"]["metrics"]) == ("end", 0, 2)
    assert "warning: 1 bad line: " in err


def test_tail_shows_what_a_running_server_receives():
    with (
        serving() as (_, listening),
        command("tail", "--from", listening["http"], "-f", "flux.*", "-c", "1", "--json") as tail,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        host, port = listening["addresses"][0].removeprefix("udp://").split(":")
        for _ in range(1000):
            client.sendto(b"other:1|c\nflux.kvs.0.request_rx:17|g", (host, int(port)))
            try:
                tail.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                pass
        assert tail.stdout is not None
        row = json.loads(tail.stdout.read())
    assert (row["name"], row["value"], row["type"], row["relative"]) == (
        "flux.kvs.0.request_rx",
        17,
        "g",
        False,
    )
    assert row["sender"].startswith("127.0.0.1:")


def test_two_signals_end_a_server_whose_output_hangs_and_C_is_130():
    with socket.create_server(("127.0.0.1", 0)) as graphite:
        with serving("--forward", f"graphite://{address(graphite)}") as (process, _):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            process.communicate()
        assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("-l", "nowhere"), 2, "is no address"),
        (("--http", "nowhere"), 2, "is no address"),
        (("--flush", "1ms"), 2, "it must be at least 0.01 s"),
        (("--forward", "127.0.0.1:2003"), 2, "try:  --forward graphite://127.0.0.1:2003"),
        (("--forward", "graphite://nowhere"), 1, "graphite"),
        (("--retention", "0.1s:1d"), 2, "whisper stores whole seconds"),
        (("--retention", "0.1s:1d"), 2, "--db RUN.db"),
        (("--retention", "soon", "--db", "run.db"), 2, "is no retention"),
        (("--percentile", "0"), 2, "percentiles has 0"),
        (("--max-creates", "0"), 2, "carbon's 50/min"),
        (("--expire", "dogs=5"), 2, "gauges=5"),
        (("--console", "--json"), 2, "give one"),
        (("--db", "/nowhere/run.db"), 2, "/nowhere/run.db"),
    ],
)
def test_wrong_use_of_serve_is_told(run: Run, words: tuple[str, ...], code: int, told: str):
    result = run("stats", "serve", *([] if words[0] == "-l" else ["-l", "127.0.0.1:0"]), *words)
    assert (result.code, result.out) == (code, "")
    assert told in result.err, result.err
    assert "itself is at fault" not in result.err


def test_a_server_whose_port_is_taken_says_so(run: Run, server: socket.socket):
    result = run("stats", "serve", "--http", "none", "-l", f"udp://{address(server)}")
    assert (result.code, "another server has it" in result.err) == (1, True)


def test_limits_and_expiries():
    assert (parse_creates("50/min"), parse_creates("7")) == (50.0, 7.0)
    assert parse_expiry("gauges=5") == {"gauge_ttl": 5}
    assert parse_expiry("3") == {f"{kind}_ttl": 3 for kind in ("counter", "timer", "gauge", "set")}


def test_tail_asks_the_instance_where_its_server_is(fake: FakeBroker):
    with serving() as (_, listening):
        fake.answers["attr.get"] = lambda request: {"value": listening["http"]}
        with (
            command("tail", "-c", "1") as tail,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            host, port = listening["addresses"][0].removeprefix("udp://").split(":")
            for _ in range(1000):
                client.sendto(b"k:1|c", (host, int(port)))
                try:
                    tail.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    pass
            assert tail.stdout is not None
            assert tail.stdout.read() == "k 1\n"
    assert [each.payload for each in fake.requests if each.topic == "attr.get"] == [{"name": "stats.http"}]


def test_what_serve_is_told_reaches_its_settings(monkeypatch, run: Run):
    """Every option; one that goes nowhere is worse than none."""
    seen: list[Any] = []

    async def kept(session: Any, settings: Any) -> None:
        seen.append(settings)

    monkeypatch.setattr("brokersim.cli.stats.serve._serve", kept)
    run("stats", "serve", "--http", "none", "--no-health", "--max-creates", "50/min", "--expire", "3",
        "--percentile", "99", "--management", "127.0.0.1:0", "--dialect", "etsy", "--flush", "2s",
        "--weighted", "-l", "udp://127.0.0.1:0")  # fmt: skip
    (settings,) = seen
    assert settings.config.weighted_timers
    assert (settings.own_metrics, settings.goes_on, settings.http) == (False, True, None)
    assert (settings.config.max_creates_per_minute, settings.config.percentiles) == (50, (99,))
    assert (settings.config.gauge_ttl, settings.management, settings.dialect) == (3, "127.0.0.1:0", "etsy")
    assert (settings.flush_s, settings.listen) == (2.0, ("udp://127.0.0.1:0",))
