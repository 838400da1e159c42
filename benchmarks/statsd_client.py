"""What a call of the stats client costs, beside other clients in the same run.

    python benchmarks/statsd_client.py [--json] [--quick]

Figures are CPU nanoseconds per call on one thread, the loop that calls included, the best of several rounds. Peers are
measured if they are installed: datadog (its aggregated client), statsd (a packet per call). Gates are ratios: to b1,
two actors on a deque, to b3, a raw connected send of eight gauges, and to datadog, all of the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator

import _baselines

from brokersim.statsd import GaugeBlock, StatsClient

# How many times a baseline each may cost. Seen where b1 takes 97 ns and b3 826: 98, 77, 77, 40 and 1,516 ns.
LIMITS = {
    "counter": ("b1", 1.4), "gauge": ("b1", 1.1), "timing": ("b1", 1.1), "off": ("b1", 0.7),
    "eight gauges": ("b3", 1.9),
}  # fmt: skip
# How many times cheaper than datadog's aggregated client a call has to be.
CHEAPER_THAN_DATADOG = 5
CALLS = ("counter", "gauge", "timing")
MODULE_COUNTERS = [
    f"flux.kvs.0.{kind}_{way}"
    for kind in ("request", "response", "event", "keepalive")
    for way in ("tx", "rx")
]


def ns_per_call(call: Callable[[], object], calls: int, rounds: int, between: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(rounds):
        between()
        started = time.thread_time()
        for _ in range(calls):
            call()
        best = min(best, time.thread_time() - started)
    between()
    return best / calls * 1e9


def sink() -> tuple[socket.socket, socket.socket]:
    """A receiver nobody reads and a socket connected to it: packets are taken by the kernel and dropped."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return receiver, sender


def ours(calls: int, rounds: int) -> Iterator[tuple[str, float]]:
    client = StatsClient(lambda packet: True)
    for name, call in (
        ("counter", lambda: client.inc("requests")),
        ("gauge", lambda: client.gauge_set("depth", 5)),
        ("timing", lambda: client.timing("load", 1.5)),
        ("running total", lambda: client.count("rx", 7)),
        ("gauge increment", lambda: client.gauge_inc("running", 1)),
    ):
        yield name, ns_per_call(call, calls, rounds, client.flush)
    client.enabled = False
    yield "off", ns_per_call(lambda: client.inc("requests"), calls, rounds, client.flush)
    yield "empty call", ns_per_call(lambda: None, calls, rounds, client.flush)


def eight_gauges(calls: int, rounds: int) -> Iterator[tuple[str, float]]:
    receiver, sender = sink()
    block = GaugeBlock(MODULE_COUNTERS)
    values = [905_000, 525_000, 515_000, 905_000, 208_000, 210_000, 1, 0]
    with receiver, sender:
        packet = block.format(values)
        yield "b3", ns_per_call(lambda: sender.send(packet), calls // 4, rounds, nothing)
        yield "eight gauges formatted", ns_per_call(lambda: block.format(values), calls, rounds, nothing)
        yield (
            "eight gauges",
            ns_per_call(lambda: sender.send(block.format(values)), calls // 4, rounds, nothing),
        )


def deque_actors(messages: int, rounds: int) -> float:
    """b1: nanoseconds of thread time a message of the plainest two actors, the best of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.thread_time()
        _baselines.deque_loop(messages)
        best = min(best, time.thread_time() - started)
    return best / messages * 1e9


def nothing() -> None:
    """Nothing to do between two rounds."""


def flush_of(names: int, rounds: int) -> float:
    """Nanoseconds per counter of a flush, packing included, sending not."""
    client = StatsClient(lambda packet: True)
    best = float("inf")
    for _ in range(rounds):
        for number in range(names):
            client.inc(f"component.{number}.requests")
        started = time.thread_time()
        client.flush()
        best = min(best, time.thread_time() - started)
    return best / names * 1e9


def datadog(calls: int, rounds: int) -> Iterator[tuple[str, float]]:
    from datadog.dogstatsd import DogStatsd

    receiver, sender = sink()
    client = DogStatsd(
        host="127.0.0.1", port=receiver.getsockname()[1], disable_telemetry=True, disable_background_sender=True,
        flush_interval=0, disable_aggregation=False, disable_buffering=False,
    )  # fmt: skip
    with receiver, sender:
        for name, call in (
            ("counter", lambda: client.increment("requests")),
            ("gauge", lambda: client.gauge("depth", 5)),
            ("timing", lambda: client.timing("load", 1.5)),
        ):
            yield name, ns_per_call(call, calls // 4, rounds, client.flush_aggregated_metrics)


def pypi_statsd(calls: int, rounds: int) -> Iterator[tuple[str, float]]:
    import statsd

    receiver, sender = sink()
    client = statsd.StatsClient("127.0.0.1", receiver.getsockname()[1])
    with receiver, sender:
        for name, call in (
            ("counter", lambda: client.incr("requests")),
            ("gauge", lambda: client.gauge("depth", 5)),
            ("timing", lambda: client.timing("load", 1.5)),
        ):
            yield name, ns_per_call(call, calls // 8, rounds, nothing)


PEERS: dict[str, Callable[[int, int], Iterator[tuple[str, float]]]] = {
    "datadog": datadog,
    "statsd": pypi_statsd,
}


def measure(quick: bool) -> dict[str, object]:
    calls, rounds = (20_000, 3) if quick else (200_000, 5)
    figures = dict(ours(calls, rounds)) | dict(eight_gauges(calls, rounds))
    figures["b1"] = deque_actors(calls, rounds)
    targets = {name: round(times * figures[baseline], 1) for name, (baseline, times) in LIMITS.items()}
    figures["flush, per counter of 1000"] = flush_of(1000, rounds)
    peers = {
        name: dict(run(calls, rounds))
        for name, run in PEERS.items()
        if importlib.util.find_spec(name) is not None
    }
    ratios = {
        peer: {call: round(theirs[call] / figures[call], 1) for call in CALLS}
        for peer, theirs in peers.items()
    }
    missed = [name for name, target in targets.items() if figures[name] > target]
    missed += [f"{call} against datadog" for call, ratio in ratios.get("datadog", {}).items()
               if ratio < CHEAPER_THAN_DATADOG]  # fmt: skip
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "unit": "CPU ns per call, loop included",
        "brokersim": {name: round(value, 1) for name, value in figures.items()},
        "peers": {
            peer: {name: round(value, 1) for name, value in theirs.items()} for peer, theirs in peers.items()
        },
        "times_cheaper_than": ratios,
        "targets": targets,
        "missed": missed,
        "baseline": "b1, b3 and peers in this run"
        if peers
        else "b1 and b3 in this run; no peer is installed",
    }


def show(result: dict[str, object]) -> None:
    print(f"brokersim on CPython {result['python']}, {result['cores']} cores: {result['unit']}")
    brokersim, peers, targets = result["brokersim"], result["peers"], result["targets"]
    assert isinstance(brokersim, dict) and isinstance(peers, dict) and isinstance(targets, dict)
    print(f"{'':28}{'brokersim':>10}{'target':>8}" + "".join(f"{peer:>10}" for peer in peers))
    for name, value in brokersim.items():
        cells = "".join(f"{theirs.get(name, ''):>10}" for theirs in peers.values())
        print(f"{name:28}{value:>10}{targets.get(name, ''):>8}{cells}")
    missed = result["missed"]
    print(f"missed: {missed}" if missed else "every target reached")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="a second instead of ten, with more scatter")
    arguments = parser.parse_args()
    result = measure(arguments.quick)
    if arguments.json:
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        show(result)
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
