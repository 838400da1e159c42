"""What the preloaded library costs a real Flux while no debug bit is set: pairs of blocks, with it and without.

    python benchmarks/flux_instrument.py [--flux FLUX] [--pairs N] [--json]

Two instances live side by side, one with the library of `brokersim flux instrument`, one as it is. A pair is a block of
pipelined requests to one module in each, in turns that alternate. Of each pair the ratios of the broker's CPU
time and of wall time; shown is the median with its 95 % interval by order statistics.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from math import comb
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from brokersim.net.client import Client
from brokersim.realflux.place import find_flux
from brokersim.realflux.preload import build, settings
from brokersim.realflux.started import started

REQUESTS, WINDOW = 3_200, 64
TOPIC, PAYLOAD = "heartbeat.ping", {"seq": 1, "pad": ""}


def cpu(client: Client) -> float:
    used = client.rpc("broker.rusage", {"who": "self"})
    return float(used["utime"] + used["stime"])


def block(client: Client) -> tuple[float, float]:
    """CPU s of the broker and wall s for the requests of a block."""
    half = [PAYLOAD] * (WINDOW // 2)
    before, start = cpu(client), time.perf_counter()
    tags = client.send_requests(TOPIC, half)
    for _ in range(REQUESTS // len(half) - 1):
        tags += client.send_requests(TOPIC, half)
        for tag in tags[: len(half)]:
            client.recv_response(tag)
        del tags[: len(half)]
    for tag in tags:
        client.recv_response(tag)
    wall = time.perf_counter() - start
    return cpu(client) - before, wall


def interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """The narrowest pair of order statistics around the median that holds it with at least this probability."""
    ordered, n = sorted(values), len(values)
    for low in range(n // 2, -1, -1):
        if sum(comb(n, k) for k in range(low + 1, n - low)) / 2**n >= level:
            return ordered[low], ordered[n - 1 - low]
    return ordered[0], ordered[-1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--flux", default=shutil.which("flux"))
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.flux is None:
        raise SystemExit("SKIPPING: no `flux` on PATH; name one with --flux")
    flux = find_flux(given.flux)
    pairs: list[tuple[float, float]] = []
    with TemporaryDirectory() as folder:
        # Nobody listens there: nothing is sent.
        added = settings(build(flux, Path(folder, "hooks.so")), "prepare", "127.0.0.1:9")
        with (
            started(flux, 1, added) as hooked,
            started(flux) as plain,
            Client.connect(hooked, timeout=60) as one,
            Client.connect(plain, timeout=60) as other,
        ):
            for client in (one, other):
                block(client)
            for number in range(given.pairs):
                first, second = (one, other) if number % 2 else (other, one)
                taken = {first: block(first), second: block(second)}
                pairs.append((taken[one][0] / taken[other][0], taken[one][1] / taken[other][1]))
    found = {}
    for name, values in zip(("CPU", "wall"), zip(*pairs, strict=True), strict=True):
        low, high = interval(list(values))
        found[name] = {"median": round(median(values), 4), "low": round(low, 4), "high": round(high, 4)}
    if given.json:
        print(
            json.dumps({"flux": flux.version, "pairs": given.pairs, "requests": REQUESTS, **found}, indent=1)
        )
        return
    print(f"{flux.version}, {given.pairs} pairs of {REQUESTS:,} requests, library with no bit set / without:")
    for name, one_ in found.items():
        print(f"  {name:4} ×{one_['median']:.3f}  (95 %: {one_['low']:.3f} to {one_['high']:.3f})")


if __name__ == "__main__":
    main()
