"""CPU nanoseconds per metric of a whole statsd server process behind UDP, beside node's statsd and brubeck in one run.

    python benchmarks/statsd_udp.py [--json] [--gate] [--repeats N] [--seconds S] [--rate SHARE] [--node-statsd FOLDER]
        [--brubeck PATH]

60 % gauges, 25 % counters, 15 % timings over 153 keys; 40 lines a packet ("many"), 8 ("eight") or one ("one"), and 40
over 10,000 keys ("ids"). Server and sender have a CPU each; the kernel's work of receiving is charged to the sender.
Every server flushes once a second to a Graphite sink on loopback, flushes are in the figures. Lost packets are noted: a
figure with losses is too good.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import _measure
import attrs
import statsd_server
import trio

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings

SIZES = {"many": statsd_server.LINES_A_PACKET, "eight": 8, "one": 1, "ids": statsd_server.LINES_A_PACKET}
#: Names, where there are more than the usual.
KEYS = {"ids": 10_000}
#: Metrics a second; what has no target of its own is only told.
RATES = {"eight": 120_000, "ids": statsd_server.RATES["many"], **statsd_server.RATES}
NODE_FOLDER = Path(__file__).resolve().parent.parent / "build" / "npm" / "node_modules" / "statsd"
#: Long enough for a server to read what is left in its socket.
SETTLE_S = 0.2


@attrs.frozen(kw_only=True)
class Peer:
    """A running server: where it listens, and its process."""

    port: int
    process: subprocess.Popen[str]

    def cpu_ns(self) -> int:
        """Of all threads, to the nanosecond."""
        if self.process.poll() is not None:
            raise SystemExit(f"the server on port {self.port} ended with code {self.process.returncode}")
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)

    def drops(self) -> int:
        return statsd_server.kernel_drops(self.port)


@contextmanager
def sink() -> Iterator[int]:
    """The port of a Graphite server that reads and forgets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forget(client: socket.socket) -> None:
        with client:
            while client.recv(1 << 16):
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=forget, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@contextmanager
def started(command: list[str], cpu: int, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child on one CPU; it is ended whatever happens."""
    pinned = [sys.executable, "-c", _PINNED, str(cpu), *command]
    process = subprocess.Popen(pinned, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


_PINNED = (
    "import os, sys\n"
    "if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


@contextmanager
def ours(graphite: int, cpu: int, *options: str) -> Iterator[Peer]:
    command = [sys.executable, __file__, "--server", str(graphite), *options]
    with started(command, cpu, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Peer(port=int(process.stdout.readline()), process=process)


@contextmanager
def node(folder: Path, graphite: int, cpu: int) -> Iterator[Peer]:
    port, admin = statsd_server.free_port(), statsd_server.free_port()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.js"
        options = {
            "port": port, "mgmt_port": admin, "flushInterval": 1000, "backends": ["./backends/graphite"],
            "graphiteHost": "127.0.0.1", "graphitePort": graphite,
        }  # fmt: skip
        config.write_text(json.dumps(options))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        with started(["node", str(folder / "stats.js"), str(config)], cpu, **quiet) as process:
            statsd_server.wait_for_udp(port, process)
            yield Peer(port=port, process=process)


@contextmanager
def brubeck(program: str, graphite: int, cpu: int) -> Iterator[Peer]:
    port = statsd_server.free_port()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.json"
        options = {
            "sharding": False, "server_name": "brubeck", "capacity": 18, "expire": 3600, "dumpfile": f"{scratch}/dump",
            "backends": [{"type": "carbon", "address": "127.0.0.1", "port": graphite, "frequency": 1}],
            "samplers": [{"type": "statsd", "address": "127.0.0.1", "port": port, "workers": 1}],
        }  # fmt: skip
        config.write_text(json.dumps(options))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with started([program, "--config", str(config)], cpu, **quiet) as process:
            statsd_server.wait_for_udp(port, process)
            yield Peer(port=port, process=process)


def serve(graphite: int, max_keys: int) -> None:
    """The server process: prints its port, and when asked for it by a line how it is; runs until it is killed."""
    settings = ServeSettings(
        listen=("udp://127.0.0.1:0",), outputs=(f"graphite://127.0.0.1:{graphite}",),
        aggregator=AggregatorConfig(max_keys=max_keys),
    )  # fmt: skip

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = StatsdServer(settings)
            await nursery.start(lambda task_status: server.run(task_status=task_status))
            assert server.udp_address is not None
            print(server.udp_address[1], flush=True)
            while await trio.to_thread.run_sync(sys.stdin.readline):
                told = server.statistics()
                keys = sum(told.health.keys.values())
                print(
                    json.dumps([told.flush.worst_lag_s / settings.flush_s, told.flush.skipped, keys]),
                    flush=True,
                )

    trio.run(main)


def round_of(peer: Peer, size: str, rate: float, seconds: float, lost: dict[str, int], name: str) -> float:
    """CPU ns per metric that arrived."""
    lines = SIZES[size]
    used, dropped = peer.cpu_ns(), peer.drops()
    statsd_server.send_at(peer.port, lines, int(rate), seconds, KEYS.get(size, statsd_server.KEYS))
    time.sleep(SETTLE_S)
    sent = int(rate * seconds / lines)
    missing = peer.drops() - dropped
    lost[name] = lost.get(name, 0) + missing
    return (peer.cpu_ns() - used) / max(1, (sent - missing) * lines)


def measure(arguments: Any) -> _measure.Report:
    report = _measure.begin("statsd_udp", arguments, seconds=arguments.seconds)
    cpus = sorted(os.sched_getaffinity(os.getppid())) if hasattr(os, "sched_getaffinity") else [0]
    folder = arguments.node_statsd
    lost: dict[str, int] = {}
    with ExitStack() as stack:
        graphite = stack.enter_context(sink())

        def opened() -> dict[str, Peer]:
            peers = {"ours": stack.enter_context(ours(graphite, cpus[0]))}
            if (folder / "stats.js").is_file() and shutil.which("node"):
                peers["node"] = stack.enter_context(node(folder, graphite, cpus[0]))
            if arguments.brubeck and shutil.which(arguments.brubeck):
                peers["brubeck"] = stack.enter_context(brubeck(arguments.brubeck, graphite, cpus[0]))
            return peers

        few = opened()
        # Servers of their own: names that are known cost something at each flush, whatever comes.
        peers_of = {size: opened() if size in KEYS else few for size in SIZES}
        parts: dict[str, Callable[[], float]] = {}
        for size in SIZES:
            rate = RATES[size] * arguments.rate
            for who, peer in peers_of[size].items():
                name = f"{who} {size}"
                parts[name] = lambda peer=peer, size=size, rate=rate, name=name: round_of(
                    peer, size, rate, arguments.seconds, lost, name
                )
        taken = _measure.rounds(parts, arguments.repeats)
    fill(report, taken, lost)
    report.meta["pinned"] = f"server on CPU {cpus[0]}, sender on CPU {cpus[-1]}"
    return report


def fill(report: _measure.Report, taken: dict[str, list[float]], lost: dict[str, int]) -> None:
    for name, values in taken.items():
        who, size = name.split()
        target = statsd_server.TARGETS.get(size) if who == "ours" else None
        report.figures.append(_measure.Figure(name=name, unit="ns/metric", values=values, target=target))
        report.keys[f"{who}_{size}_ns"] = report.figures[-1].median
    if "node many" in taken:
        cheaper = _measure.ratio(taken["node many"], taken["ours many"])
        limit = statsd_server.CHEAPER_THAN_NODE
        report.gates.append(
            _measure.Gate(
                what="many: times cheaper than node's statsd", ratio=cheaper, limit=limit, at_least=True
            )
        )
    else:
        report.notes.append("no peer: node's statsd is not there (make peers installs it)")
    for name, count in lost.items():
        if count:
            report.notes.append(f"{name}: {count} packets were lost, so its figure is too good")


def main() -> int:
    parser = _measure.parser(__doc__, repeats=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per figure and round")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the usual metrics per second")
    parser.add_argument(
        "--node-statsd", type=Path, metavar="FOLDER", default=NODE_FOLDER, help="npm's statsd package"
    )
    parser.add_argument(
        "--brubeck",
        metavar="PATH",
        default=os.environ.get("BROKERSIM_BRUBECK") or "brubeck",
        help="its program",
    )
    parser.add_argument("--server", type=int, metavar="PORT", help="run as the server under test")
    parser.add_argument("--max-keys", type=int, default=200_000, help="of the server under test")
    arguments = parser.parse_args()
    if arguments.server is not None:
        serve(arguments.server, arguments.max_keys)
        return 0
    return measure(arguments).finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
