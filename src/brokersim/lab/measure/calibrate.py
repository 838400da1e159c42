"""Knows how the five times of the cost model are measured in a real Flux, each with its spread; writes no file itself.

Two instances whose C modules are hooked by a preloaded library (realflux). One has a prepare hook: what a piped request
costs the broker's process, and what a packet adds to its module's thread. One has an idle hook: what a turn costs, and
how long a request to one module waits while others spin. CPU is the kernel's account, as ``rusage`` of Flux tells it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.measure.listener import Listener
from brokersim.lab.measure.profiles import Profile
from brokersim.net.client import Client
from brokersim.protocol.plurals import counted
from brokersim.realflux.place import Flux
from brokersim.realflux.preload import build, read_reached, settings
from brokersim.realflux.started import started

Say = Callable[[str], object]
#: Spins; is asked while it spins; rests and is asked. C modules that do nothing by themselves at rest.
SPINNERS = ("kvs", "kvs-watch", "job-manager", "job-list", "job-info", "job-ingest", "cron", "heartbeat")
_ASKED, _RESTING = "heartbeat", "content-sqlite"
#: One a round spins alone, for the price of a turn: the library tells a module's turns once, at the end.
_TURNING = ("config", "groups", "resource", "content", _RESTING)
#: Requests a round, those that are under way together, and those to a module beside spinners, which wait milliseconds.
PIPED, _WINDOW, WAITING = 3_200, 64, 40
#: Seconds a module spins for the price of a turn.
SPIN_S = 0.3
ROUNDS = 5
#: Seconds an answer may take beside eight spinners.
_PATIENCE = 60.0
FIELDS = ("iteration_s", "message_s", "packet_s", "slice_s", "wake_s")


@attrs.frozen(kw_only=True)
class Calibration:
    """Seconds by field of the cost model, a value a round."""

    version: str
    cores: int
    rounds: dict[str, tuple[float, ...]]

    def profile(self, name: str = "measured") -> Profile:
        """The medians as a profile."""
        return Profile(name=name, origin=self.origin, times={one: self.value(one) for one in FIELDS})

    def value(self, field: str) -> float:
        """The median; what is lost in the noise is 0."""
        return max(0.0, median(self.rounds[field]))

    @property
    def origin(self) -> str:
        spread = ", ".join(
            f"{name} {min(each) * 1e6:.3g} to {max(each) * 1e6:.3g} µs" for name, each in self.rounds.items()
        )
        return (
            f"brokersim bench calibrate: {self.version}, C modules, {self.cores} cores, "
            f"{counted(len(self.rounds[FIELDS[0]]), 'round')}: {spread}"
        )

    def to_toml(self) -> str:
        """A file for ``--cost``."""
        lines = [f'origin = "{self.origin}"', *(f"{one} = {self.value(one):.4g}" for one in FIELDS)]
        return "\n".join(lines) + "\n"


def calibrate(flux: Flux, rounds: int = ROUNDS, say: Say = lambda _: None) -> Calibration:
    """Measure all five. Raises NoFlux, RequestError or Unreachable; takes some seconds a round."""
    cores = os.cpu_count() or 1
    with TemporaryDirectory(prefix="brokersim-calibrate-") as folder:
        library = build(flux, Path(folder, "hooks.so"))
        say("requests and packets")
        with _hooked(flux, library, "prepare", Path(folder, "prepare")) as client:
            pairs = [_piped(client) for _ in range(rounds)]
        say("turns and waits")
        report = Path(folder, "idle")
        with _hooked(flux, library, "idle", report) as client:
            spun = [
                (name, _spin(client, name)) for name, _ in zip(cycle(_TURNING), range(rounds), strict=False)
            ]
            slices, wakes = _waits(client, rounds, cores)
        ended = read_reached(report).ended
    return Calibration(
        version=flux.version,
        cores=cores,
        rounds={
            "iteration_s": turn_times(spun, {name: one.turns for (_, name), one in ended.items()}),
            "message_s": tuple(message for message, _ in pairs),
            "packet_s": tuple(packet for _, packet in pairs),
            "slice_s": slices,
            "wake_s": wakes,
        },
    )


def turn_times(spun: Iterable[tuple[str, float]], turns: Mapping[str, int]) -> tuple[float, ...]:
    """Seconds a turn, a module each: what it spun in all its rounds by all its turns."""
    seconds: dict[str, float] = {}
    for name, each in spun:
        seconds[name] = seconds.get(name, 0.0) + each
    return tuple(each / turns[name] for name, each in seconds.items() if turns.get(name))


@contextmanager
def _hooked(flux: Flux, library: Path, hook: str, report: Path) -> Iterator[Client]:
    with (
        Listener() as listener,
        started(flux, 1, settings(library, hook, listener.address, report)) as uri,
        Client.connect(uri, timeout=_PATIENCE) as client,
    ):
        yield client


def _mask(client: Client, op: str, *names: str) -> None:
    for name in names:
        client.rpc(f"{name}.debug", {"op": op, "flags": MSGCOUNT})


def _cpu_s(client: Client, service: str, who: str) -> float:
    used = client.rpc(f"{service}.rusage", {"who": who})
    return float(used["utime"]) + float(used["stime"])


def _pipe(client: Client, count: int) -> None:
    """Pings to one module, many under way; half a window is sent while the other is answered."""
    payloads = [{"seq": 1, "pad": ""}] * (_WINDOW // 2)
    tags = client.send_requests(f"{_ASKED}.ping", payloads)
    for _ in range(count // len(payloads) - 1):
        tags += client.send_requests(f"{_ASKED}.ping", payloads)
        for tag in tags[: len(payloads)]:
            client.recv_response(tag)
        del tags[: len(payloads)]
    for tag in tags:
        client.recv_response(tag)


def _piped(client: Client) -> tuple[float, float]:
    """CPU s of the broker's process for a request with its answer, and what a packet adds to the module's thread."""
    threads = {}
    for op in ("clrbit", "setbit"):
        _mask(client, op, _ASKED)
        process, thread = _cpu_s(client, "broker", "self"), _cpu_s(client, _ASKED, "thread")
        _pipe(client, PIPED)
        threads[op] = (_cpu_s(client, _ASKED, "thread") - thread) / PIPED
        if op == "clrbit":
            message = (_cpu_s(client, "broker", "self") - process) / PIPED
    _mask(client, "clrbit", _ASKED)
    return message, threads["setbit"] - threads["clrbit"]


def _spin(client: Client, name: str) -> float:
    """CPU s of a thread that turned all the time."""
    _mask(client, "setbit", name)
    before = _cpu_s(client, name, "thread")
    time.sleep(SPIN_S)
    spun = _cpu_s(client, name, "thread") - before
    _mask(client, "clrbit", name)
    return spun


def _waits(client: Client, rounds: int, cores: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The wait of a module that spins and of one that rests, of a spinner's slice: (S/C - 1) of them."""
    slices, wakes = [], []
    for _ in range(rounds):
        alone = {name: _round_trip(client, name) for name in (_ASKED, _RESTING)}
        _mask(client, "setbit", *SPINNERS)
        beside = {name: _round_trip(client, name) for name in (_ASKED, _RESTING)}
        _mask(client, "clrbit", *SPINNERS)
        slices.append((beside[_ASKED] - alone[_ASKED]) / (len(SPINNERS) / cores - 1))
        wakes.append((beside[_RESTING] - alone[_RESTING]) / ((len(SPINNERS) + 1) / cores - 1))
    return tuple(slices), tuple(wakes)


def _round_trip(client: Client, name: str) -> float:
    """The mean: many a request finds its module on a core and waits for nothing, the next one a whole slice.

    A median says one or the other (0.3 or 40 ms of one machine); the model charges every message the same.
    """
    taken = []
    for seq in range(WAITING):
        start = time.perf_counter()
        client.rpc(f"{name}.ping", {"seq": seq, "pad": ""})
        taken.append(time.perf_counter() - start)
    return fmean(taken)
