"""Many names: what 100,000 idle gauges cost a statsd server, and how late a flood of new names makes its flushes.

    python benchmarks/statsd_names.py [--json] [--gate] [--repeats N] [--names N] [--flood N] [--brubeck PATH]

Each server flushes once a second to a Graphite sink on loopback that reads and forgets. Idle: CPU milliseconds a second
while nothing comes, and bytes of the process a name (resident, above what it was before them). Flood: so many names
never seen before within a second, and by how many intervals the worst flush was late; of ours alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import _measure
import statsd_udp

#: Seconds of flushes until memory and cost are what they stay.
SETTLE_S = 3.0
IDLE_S = 3.0
#: What the names may cost: CPU ms a second, bytes a name, intervals late.
TARGETS = {"idle": 40.0, "bytes": 350.0, "lag": 1.0}


def packets(names: int) -> Iterator[bytes]:
    """Gauges of 31 bytes on average, a name once, 40 a packet."""
    for start in range(0, names, 40):
        lines = (
            b"flux.module%d.%d.request_rx:%d|g" % (n, n % 8, n) for n in range(start, min(names, start + 40))
        )
        yield b"\n".join(lines)


def send(port: int, names: int, seconds: float) -> None:
    """Every name once, evenly."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        started = time.perf_counter()
        for number, packet in enumerate(packets(names)):
            sender.send(packet)
            ahead = number * 40 / names * seconds - (time.perf_counter() - started)
            if ahead > 0.001:
                time.sleep(ahead)


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def idle(peer: statsd_udp.Peer, names: int) -> tuple[float, float]:
    """CPU ms a second, and bytes a name."""
    before = resident(peer.process.pid)
    send(peer.port, names, 2.0)
    time.sleep(SETTLE_S)
    used, began = peer.cpu_ns(), time.monotonic()
    time.sleep(IDLE_S)
    spent = (peer.cpu_ns() - used) / (time.monotonic() - began) / 1e6
    return spent, (resident(peer.process.pid) - before) / names


def flood(graphite: int, names: int) -> tuple[float, float, str]:
    """Intervals that the worst flush was late, bytes a name, and what came of the flood in words."""
    with statsd_udp.ours(graphite, 0, "--max-keys", str(2 * names)) as peer:
        time.sleep(1.5)
        before = resident(peer.process.pid)
        send(peer.port, names, 1.0)
        time.sleep(SETTLE_S)
        assert peer.process.stdin is not None
        assert peer.process.stdout is not None
        print("how is it?", file=peer.process.stdin, flush=True)
        late, skipped, came = json.loads(peer.process.stdout.readline())
        a_name = (resident(peer.process.pid) - before) / names
    return late, a_name, f"{came:,} of {names:,} names came through, {skipped} flushes were skipped"


def measure(arguments: Any) -> _measure.Report:
    report = _measure.begin("statsd_names", arguments, names=arguments.names)
    costs: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    lags: list[float] = []
    for _ in range(arguments.repeats):
        with ExitStack() as stack:
            graphite = stack.enter_context(statsd_udp.sink())
            peers = {"ours": stack.enter_context(statsd_udp.ours(graphite, 0))}
            if arguments.brubeck and shutil.which(arguments.brubeck):
                peers["brubeck"] = stack.enter_context(statsd_udp.brubeck(arguments.brubeck, graphite, 0))
            time.sleep(1.5)
            for who, peer in peers.items():
                cost, size = idle(peer, arguments.names)
                costs.setdefault(who, []).append(cost)
                sizes.setdefault(who, []).append(size)
            if arguments.flood:
                lag, size, told = flood(graphite, arguments.flood)
                lags.append(lag)
                sizes.setdefault("flooded", []).append(size)
                report.notes.append(f"flood: {told}")
    for who, values in costs.items():
        target = TARGETS["idle"] if who == "ours" else None
        report.figures.append(_measure.Figure(name=f"{who} idle", unit="ms/s", values=values, target=target))
    for who, values in sizes.items():
        target = TARGETS["bytes"] if who == "ours" else None
        report.figures.append(
            _measure.Figure(name=f"{who} a name", unit="bytes", values=values, target=target)
        )
    if lags:
        report.figures.append(
            _measure.Figure(
                name="worst flush of a flood", unit="intervals late", values=lags, target=TARGETS["lag"]
            )
        )
    return report


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--names", type=int, default=100_000, help="idle gauges")
    parser.add_argument("--flood", type=int, default=1_000_000, help="new names within a second; 0: no flood")
    parser.add_argument("--brubeck", metavar="PATH", default=os.environ.get("BROKERSIM_BRUBECK") or "brubeck")
    arguments = parser.parse_args()
    return measure(arguments).finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
