"""What the real kvs does through the socket: commits one at a time and pipelined, look-ups pipelined; pinned.

    python benchmarks/kvs.py [--json] [--gate] [--commits N] [--lookups N]

Each commit is of one key of its own and is answered once it is in the content cache, with SQLite behind. The client is
brokersim.net.client for the commits, and a raw socket loop (see ping.py) for the look-ups.
The baseline b4 is a blocking echo of as many bytes between two Python processes on the same CPU.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import _baselines
import _measure
import _server

from brokersim.net.client import Client

WINDOW = 64
LOOKUP = {"key": "bench.read", "flags": 0, "namespace": "primary"}
#: Per second, as promised for one key a commit, SQLite behind, pinned.
TARGETS = {"commit, one at a time": 2_500, "commit, 64 outstanding": 6_000, "lookup, 64 outstanding": 60_000}


def keys() -> Iterator[str]:
    """Keys in folders of 256, as job directories are."""
    for number in itertools.count():
        yield f"bench.{number >> 8:04x}.{number & 255:02x}"


def commits(client: Client, fresh: Iterator[str], window: int, count: int) -> float:
    """Commits per second with ``window`` outstanding."""
    started = time.perf_counter()
    tags: list[int] = []
    for _ in range(count):
        if len(tags) == window:
            take(client, tags.pop(0))
        tags.append(client.send_request("kvs.commit", _server.commit_of(next(fresh), "42")))
    for tag in tags:
        take(client, tag)
    return count / (time.perf_counter() - started)


def take(client: Client, tag: int) -> None:
    response = client.recv_response(tag)
    if response.errnum:
        raise SystemExit(f"kvs.commit failed: {response.payload_str}")


def echo_rate(echo: Callable[[int], list[float]], count: int) -> float:
    return 1 / statistics.median(echo(count))


def main() -> int:
    parser = _measure.parser(__doc__, repeats=3)
    parser.add_argument("--commits", type=_measure.positive, default=2_000, help="commits a row and round")
    parser.add_argument("--lookups", type=_measure.positive, default=20_000, help="look-ups a round")
    arguments = parser.parse_args()
    report = _measure.begin(
        "kvs",
        arguments,
        commits=arguments.commits,
        lookups=arguments.lookups,
        outstanding=WINDOW,
        sqlite="on",
    )
    frames = _server.request_frames("kvs.lookup", LOOKUP, WINDOW)
    with _server.instance() as uri, _baselines.echo(len(frames[0])) as echo:
        _server.put(uri, str(LOOKUP["key"]), "42")
        lean, fresh = _server.Lean(uri), keys()
        with Client.connect(uri, timeout=60) as client:
            taken = _measure.rounds(
                {
                    "commit, one at a time": lambda: commits(client, fresh, 1, arguments.commits),
                    "commit, 64 outstanding": lambda: commits(client, fresh, WINDOW, arguments.commits),
                    "lookup, 64 outstanding": lambda: lean.pipelined(frames, arguments.lookups),
                    "b4": lambda: echo_rate(echo, 2_000),
                },
                arguments.repeats,
            )
        lean.close()
    report.figures = [
        _measure.Figure(name=name, unit="1/s", values=values, target=TARGETS.get(name), is_rate=True)
        for name, values in taken.items()
    ]
    medians = [figure.median for figure in report.figures]
    report.keys = dict(
        zip(("commits_per_s", "commits_pipelined_per_s", "lookups_per_s", "b4_per_s"), medians, strict=True)
    )
    # b4 makes 208,000 round trips a second on the reference machine (4.8 µs).
    report.gates = [
        _measure.Gate(
            what=f"{name} / b4",
            ratio=_measure.ratio(taken[name], taken["b4"]),
            limit=round(target / 208_000, 3),
            at_least=True,
        )
        for name, target in TARGETS.items()
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
