"""What a metric costs the aggregator: parsing alone, and behind a UDP socket beside node's statsd.

    python benchmarks/statsd_server.py [--json] [--quick] [--node-statsd FOLDER]

60 % gauges, 25 % counters, 15 % timings over 153 keys; 40 lines a packet ("many") or one ("one"). Figures are CPU
nanoseconds per metric of the receiving process, flushes included, at a rate where nothing should be lost; what was lost
is printed. FOLDER is where `stats.js` of the npm package lies; without it there is no peer. What a whole server process
costs is in `statsd_udp.py`, what garbage costs in `statsd_random.py`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokersim.statsd import DIALECTS, Aggregator

KEYS = 153
LINES_A_PACKET = 40
# Budgets in CPU nanoseconds per metric, and how many times cheaper than node's statsd "many" has to be.
TARGETS = {"many": 450, "one": 1600}
CHEAPER_THAN_NODE = 2.5
# Metrics a second, below what either server can take on one core.
RATES = {"many": 240_000, "one": 40_000}
# So many packets are read before others get a turn.
DRAIN = 256
BUFFER_BYTES = 4 << 20
GATHER_S = 0.002
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def packets(lines_a_packet: int, count: int, seed: int = 1, keys: int = KEYS) -> list[bytes]:
    chance = random.Random(seed)

    def line() -> str:
        # A key has one type: brubeck would give the others no chance.
        number = chance.randrange(keys)
        key = f"flux.module{number}.{number % 8}.request_rx"
        if number < keys * 0.6:
            return f"{key}:{chance.randrange(10**6)}|g"
        if number < keys * 0.85:
            return f"{key}:1|c"
        return f"{key}:{chance.random() * 100:.3f}|ms"

    return ["\n".join(line() for _ in range(lines_a_packet)).encode() for _ in range(count)]


def parser_alone(dialect: str, lines_a_packet: int, rounds: int) -> float:
    """CPU nanoseconds per line of feed and one flush, keys known, no socket."""
    stream = packets(lines_a_packet, 20_000 // lines_a_packet)
    aggregator = Aggregator(dialect)
    best = float("inf")
    for number in range(rounds + 1):
        started = time.process_time()
        for packet in stream:
            aggregator.feed(packet)
        aggregator.flush(float(number))
        spent = time.process_time() - started
        best = min(best, spent) if number else best
    return best / (len(stream) * lines_a_packet) * 1e9


def send_at(port: int, lines_a_packet: int, rate: int, seconds: float, keys: int = KEYS) -> None:
    """Sends `rate` metrics a second, evenly in milliseconds."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    stream = packets(lines_a_packet, 500, keys=keys)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port))
    total = int(rate * seconds / lines_a_packet)
    started = time.perf_counter()
    sent = 0
    while sent < total:
        due = min(total, int((time.perf_counter() - started) * rate / lines_a_packet) + 1)
        while sent < due:
            sender.send(stream[sent % 500])
            sent += 1
        time.sleep(0.001)


@contextmanager
def sending(port: int, lines_a_packet: int, rate: int, seconds: float) -> Iterator[multiprocessing.Process]:
    process = multiprocessing.get_context("spawn").Process(
        target=send_at, args=(port, lines_a_packet, rate, seconds), daemon=True
    )
    process.start()
    try:
        yield process
    finally:
        process.join()


def receive(lines_a_packet: int, rate: int, seconds: float) -> dict[str, float]:
    """Our aggregator behind a non-blocking socket that is drained when it is readable."""
    aggregator = Aggregator()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        with sending(receiver.getsockname()[1], lines_a_packet, rate, seconds) as sender:
            started = time.process_time()
            drain_while(sender, receiver, aggregator)
            spent = time.process_time() - started
    health = aggregator.statistics()
    sent = int(rate * seconds / lines_a_packet)
    return {
        "cpu_ns_per_metric": round(spent / max(1, health.metrics) * 1e9, 1),
        "lost_packets": sent - health.packets,
        "bad_lines": health.bad_lines,
    }


def drain_while(sender: multiprocessing.Process, receiver: socket.socket, aggregator: Aggregator) -> None:
    feed, recv = aggregator.feed, receiver.recv
    next_flush = time.monotonic() + 1
    quiet = False
    while not quiet:
        readable, _, _ = select.select([receiver], [], [], 0.2)
        quiet = not readable and not sender.is_alive()
        try:
            for _ in range(DRAIN if readable else 0):
                feed(recv(65_535))
        except BlockingIOError:
            # A wake-up and a failed read per packet would cost more than the packet: let some gather.
            time.sleep(GATHER_S)
        if time.monotonic() >= next_flush:
            aggregator.flush(next_flush)
            next_flush += 1


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def node(folder: Path, lines_a_packet: int, rate: int, seconds: float) -> dict[str, float]:
    """node's statsd, flushing each second to no backend, which is kinder to it than to us."""
    port, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.js"
        options = {"port": port, "mgmt_port": admin, "flushInterval": 1000, "backends": []}
        config.write_text(json.dumps(options))
        server = subprocess.Popen(
            ["node", str(folder / "stats.js"), str(config)],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for_udp(port, server)
            if (os.cpu_count() or 1) > 1:
                os.sched_setaffinity(server.pid, {0})
            before = cpu_seconds(server.pid)
            with sending(port, lines_a_packet, rate, seconds):
                pass
            time.sleep(0.5)
            spent = cpu_seconds(server.pid) - before
            lost = kernel_drops(port)
        finally:
            server.terminate()
            server.wait()
    sent = int(rate * seconds / lines_a_packet)
    taken = max(1, sent - lost) * lines_a_packet
    return {"cpu_ns_per_metric": round(spent / taken * 1e9, 1), "lost_packets": lost}


def wait_for_udp(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if server.poll() is not None:
            raise SystemExit(f"node's statsd ended at once with code {server.returncode}")
        if kernel_row(port):
            return
        time.sleep(0.05)
    raise SystemExit("node's statsd did not open its port within 5 s")


def kernel_row(port: int) -> list[str]:
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            return fields
    return []


def kernel_drops(port: int) -> int:
    row = kernel_row(port)
    return int(row[-1]) if row else 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def measure(quick: bool, folder: Path | None) -> dict[str, object]:
    seconds = 1.0 if quick else 4.0
    if (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    sizes = {"many": LINES_A_PACKET, "one": 1}
    alone = {
        dialect: {name: round(parser_alone(dialect, lines, 3), 1) for name, lines in sizes.items()}
        for dialect in DIALECTS
    }
    ours = {name: receive(lines, RATES[name], seconds) for name, lines in sizes.items()}
    has_peer = folder is not None and shutil.which("node") is not None
    peer = (
        {name: node(folder, lines, RATES[name], seconds) for name, lines in sizes.items()} if has_peer else {}
    )
    ratios = {
        name: round(each["cpu_ns_per_metric"] / ours[name]["cpu_ns_per_metric"], 2)
        for name, each in peer.items()
    }
    missed = [name for name, target in TARGETS.items() if ours[name]["cpu_ns_per_metric"] > target]
    missed += [f"{name} lost packets" for name in sizes if ours[name]["lost_packets"]]
    if ratios.get("many", CHEAPER_THAN_NODE) < CHEAPER_THAN_NODE:
        missed.append("many against node")
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "unit": "CPU ns per metric of the receiving process",
        "metrics_per_s": RATES,
        "parser_alone": alone,
        "behind_udp": ours,
        "node_statsd": peer,
        "times_cheaper_than_node": ratios,
        "targets": TARGETS,
        "missed": missed,
        "baseline": "node's statsd in this run" if peer else "no peer given; the targets alone",
    }


def show(result: dict[str, object]) -> None:
    for name, value in result.items():
        if isinstance(value, dict):
            print(name)
            for key, each in value.items():
                print(f"  {key:12} {each}")
        else:
            print(f"{name}: {value}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="a second per figure instead of four")
    parser.add_argument(
        "--node-statsd", type=Path, metavar="FOLDER", help="npm's statsd package, to measure beside ours"
    )
    arguments = parser.parse_args()
    if arguments.node_statsd is not None and not (arguments.node_statsd / "stats.js").is_file():
        parser.error(f"{arguments.node_statsd} holds no stats.js; give the folder of npm's statsd package")
    result = measure(arguments.quick, arguments.node_statsd)
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        show(result)
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
