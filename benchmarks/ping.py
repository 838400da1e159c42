"""What a request over the Unix socket costs: kvs.ping and kvs.lookup, client and instance pinned to one CPU.

    python benchmarks/ping.py [--json] [--gate] [--requests N]

The client is a raw socket loop with frames encoded beforehand, as a C client would be; brokersim.net.client is shown
beside it. Round trips are medians in µs, one at a time; pipelined rates have 64 requests outstanding. The baseline b4
is a blocking echo of as many bytes between two Python processes on the same CPU. flux-core 0.88 on the reference
machine: ping 50.5 µs and 57,100 a second, lookup 52.7 µs and 43,700 a second, pinned.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import _baselines
import _measure
import _server

from brokersim.net.client import Client

WINDOW = 64
REQUESTS: dict[str, Any] = {
    "kvs.ping": {"seq": 1, "pad": ""},
    "kvs.lookup": {"key": "a.b", "flags": 0, "namespace": "primary"},
}
#: µs a round trip and requests per second, as promised.
RTT_TARGET, RATE_TARGET = 40, 120_000
#: Debug bit of the hook that emits counters.
MSGCOUNT = 0x1000
FREE, BESIDE_IDLE = "kvs.ping on all CPUs rtt", "kvs.ping beside an idle hook rtt"


def median_us(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


def client_round_trips(client: Client, topic: str, count: int) -> float:
    payload, taken = REQUESTS[topic], []
    for _ in range(count):
        started = time.perf_counter()
        client.rpc(topic, payload)
        taken.append(time.perf_counter() - started)
    return median_us(taken)


def client_pipelined(client: Client, topic: str, count: int) -> float:
    """Requests per second; half a window is sent at a time, as the answers to the other half are taken."""
    payloads = [REQUESTS[topic]] * (WINDOW // 2)
    started = time.perf_counter()
    tags = client.send_requests(topic, payloads)
    done = 0
    while done < count:
        tags += client.send_requests(topic, payloads)
        for tag in tags[: len(payloads)]:
            client.recv_response(tag)
        del tags[: len(payloads)]
        done += len(payloads)
    for tag in tags:
        client.recv_response(tag)
    return (done + len(tags)) / (time.perf_counter() - started)


def parts(uri: str, echo: Callable[[int], list[float]], count: int) -> dict[str, Callable[[], float]]:
    """What is measured by turns; the connections live as long as the instance."""
    lean, client = _server.Lean(uri), Client.connect(uri, timeout=60)
    made: dict[str, Callable[[], float]] = {"b4": lambda: median_us(echo(count))}
    for topic, payload in REQUESTS.items():
        frame, frames = _server.request_frame(topic, payload), _server.request_frames(topic, payload, WINDOW)

        def rtt(frame: bytes = frame) -> float:
            return median_us(lean.round_trips(frame, count))

        made[f"{topic} rtt"] = rtt
        made[f"{topic} rate"] = partial(lean.pipelined, frames, 4 * count)
        made[f"{topic} client rtt"] = partial(client_round_trips, client, topic, count)
        made[f"{topic} client rate"] = partial(client_pipelined, client, topic, count)
    return made


def beside_idle(count: int, repeats: int) -> dict[str, list[float]]:
    """A ping to kvs without, and while another module's idle hook turns without end, on all CPUs."""
    # With no bit set nothing of a hook is in any loop.
    with _measure.unpinned(), _server.instance() as uri:
        lean, client = _server.Lean(uri), Client.connect(uri, timeout=60)
        frame = _server.request_frame("kvs.ping", REQUESTS["kvs.ping"])
        client.rpc("module.hook", {"name": "cron", "hook": "idle"})

        def without() -> float:
            return median_us(lean.round_trips(frame, count))

        def beside() -> float:
            client.rpc("cron.debug", {"op": "setbit", "flags": MSGCOUNT})
            taken = without()
            client.rpc("cron.debug", {"op": "clr", "flags": 0})
            return taken

        return _measure.rounds({FREE: without, BESIDE_IDLE: beside}, repeats)


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument(
        "--requests", type=_measure.positive, default=5_000, help="round trips a row and round"
    )
    arguments = parser.parse_args()
    frame_bytes = len(_server.request_frame("kvs.ping", REQUESTS["kvs.ping"]))
    report = _measure.begin(
        "ping", arguments, requests=arguments.requests, outstanding=WINDOW, frame_bytes=frame_bytes
    )
    with _server.instance() as uri, _baselines.echo(frame_bytes) as echo:
        _server.put(uri, "a.b", "42")
        taken = _measure.rounds(parts(uri, echo, arguments.requests), arguments.repeats)
    taken |= beside_idle(arguments.requests, arguments.repeats)
    targets = {"rtt": RTT_TARGET, "rate": RATE_TARGET}
    for name, values in taken.items():
        kind = name.rpartition(" ")[2]
        is_ping = name in ("kvs.ping rtt", "kvs.ping rate")
        report.figures.append(
            _measure.Figure(
                name=name.replace("client", "net.client"),
                unit="1/s" if kind == "rate" else "µs",
                values=values,
                target=targets[kind] if is_ping else None,
                is_rate=kind == "rate",
            )
        )
    report.keys = {
        "ping_rtt_us": statistics.median(taken["kvs.ping rtt"]),
        "ping_per_s": statistics.median(taken["kvs.ping rate"]),
        "lookup_rtt_us": statistics.median(taken["kvs.lookup rtt"]),
        "lookup_per_s": statistics.median(taken["kvs.lookup rate"]),
        "b4_us": statistics.median(taken["b4"]),
    }
    us_each = [1e6 / rate for rate in taken["kvs.ping rate"]]
    report.gates = [
        # b4 is 4.8 µs on the reference machine, where 120,000 requests a second are 1.75 of it each.
        _measure.Gate(
            what="ping RTT / b4", ratio=_measure.ratio(taken["kvs.ping rtt"], taken["b4"]), limit=7.5
        ),
        _measure.Gate(
            what="ping RTT beside one idle hook / without",
            ratio=_measure.ratio(taken[BESIDE_IDLE], taken[FREE]),
            limit=1.3,
        ),
        _measure.Gate(what="pipelined ping / b4", ratio=_measure.ratio(us_each, taken["b4"]), limit=1.75),
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
