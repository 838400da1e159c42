"""The law of intervals on real chains: a ramp into node statsd or our server, stored by carbon, read with whisper.

Half a minute of real time: the chains run side by side. An installation has one phase, so what is held against the law
is that the age lies between the ends of its phases, and that its spread is that of one phase and not of all.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, pstdev

import pytest

from brokersim.statsd.law import Chain
from tests.interop.peers import free_port, node_statsd, process, until
from tests.interop.test_into_carbon import carbon_cache, read_back

pytestmark = pytest.mark.xdist_group("peers")
EMISSION = 0.2
#: Seconds of ramp: five slots of the slowest store.
LASTS = 26.0
#: What a busy machine may add to any age (s).
LATE = 0.25
CHAINS = {
    "fast": Chain(emission=EMISSION, flush=1, retention=1),
    "slow flush": Chain(emission=EMISSION, flush=3, retention=1),
    "slow store": Chain(emission=EMISSION, flush=1, retention=5),
}


@contextmanager
def node(folder: Path, carbon_port: int, flush: float) -> Iterator[int]:
    port, management = free_port(), free_port()
    config = folder / "config.js"
    config.write_text(
        json.dumps({
            "address": "127.0.0.1", "port": port, "mgmt_address": "127.0.0.1", "mgmt_port": management,
            "flushInterval": flush * 1000, "backends": ["./backends/graphite"], "graphiteHost": "127.0.0.1",
            "graphitePort": carbon_port, "graphite": {"legacyNamespace": False},
        })
    )  # fmt: skip
    with process([*node_statsd(), str(config)], folder / "node"):
        until(lambda: _answers(management), "node statsd")
        yield port


@contextmanager
def ours(folder: Path, carbon_port: int, flush: float) -> Iterator[int]:
    port, page = free_port(), free_port()
    command = [
        sys.executable, "-m", "brokersim", "stats", "serve", "--align", "--flush", f"{flush:g}s", "-l",
        f"127.0.0.1:{port}", "--http", f"127.0.0.1:{page}", "--forward", f"graphite://127.0.0.1:{carbon_port}",
    ]  # fmt: skip
    with process(command, folder / "serve"):
        until(lambda: _answers(page), "stats serve")
        yield port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ramp(ports: list[int]) -> float:
    """Seconds since the start, sent every 0.2 s to all; when that was."""
    start = time.time()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for number in range(round(LASTS / EMISSION)):
            time.sleep(max(0.0, start + number * EMISSION - time.time()))
            for port in ports:
                out.sendto(b"ramp:%f|g" % (time.time() - start), ("127.0.0.1", port))
    return start


def ages(points: dict[int, float], retention: float, start: float) -> list[float]:
    """How old (s) what is drawn at the middle of each slot is; where a slot is empty, the last value is held."""
    found = []
    last = None
    for slot in range(min(points), max(points) + 1, round(retention)):
        last = points.get(slot, last)
        # Slots that hold the ramp's beginning or end are not whole.
        if last is not None and start + 2 < slot and slot + retention < start + LASTS:
            found.append(slot + retention / 2 - (start + last))
    return found


def drift(found: list[float], flush: float) -> float:
    """How far (s) the flushes of a chain wandered: the spread of ages around the middle one, modulo the flush.

    A flush due right before a slot's end that a busy machine sends right behind it is in the next slot: what the slot
    keeps is one flush older, and the phase is the same.
    """
    middle = median(found)
    return pstdev([(age - middle + flush / 2) % flush for age in found])


def test_a_flush_on_the_other_side_of_a_slots_end_is_no_drift() -> None:
    assert drift([-1.3375, -1.3378, -0.3375], 1) < 0.001
    assert drift([-1.3, -1.05, -0.8], 1) > 0.2


def test_real_chains_are_as_old_as_one_phase_of_the_law(tmp_path: Path) -> None:
    names = [*CHAINS, "aligned"]
    chains = CHAINS | {"aligned": CHAINS["slow store"]}
    ports = []
    with ExitStack() as stack:
        for name in names:
            folder = tmp_path / name.replace(" ", "-")
            folder.mkdir()
            chain = chains[name]
            _, carbon_port = stack.enter_context(carbon_cache(folder, f"{chain.retention:g}s:1h"))
            server = ours if name == "aligned" else node
            ports.append(stack.enter_context(server(folder, carbon_port, chain.flush)))
        start = ramp(ports)
        stored = {
            name: read_back(tmp_path / name.replace(" ", "-") / "whisper/stats/gauges/ramp.wsp", start)
            for name in names
        }
    found = {name: ages(stored[name], chains[name].retention, start) for name in names}
    for name, chain in chains.items():
        corners = [age.mean for age in chain.corners]
        assert len(found[name]) >= 3, name
        assert min(corners) - 0.05 <= median(found[name]) <= max(corners) + LATE, (name, found[name])
    # Locked: at the middle of a slot the age is the same in each; over all phases it would differ by the flush's.
    for name in ("fast", "slow store", "aligned"):
        assert drift(found[name], chains[name].flush) < chains[name].flush / 24**0.5, (name, found[name])
    # With flushes right before the slots' ends what they keep is newest: no luck is left.
    aligned = chains["aligned"].aligned.mean
    assert median(found["aligned"]) == pytest.approx(aligned + 0.05, abs=0.1 + LATE), found["aligned"]
