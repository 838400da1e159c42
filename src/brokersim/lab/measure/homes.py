"""Knows what one and the same module file does under each hook in each home: a real Flux, and ours.

A home loads the file, has its own instrument emit the counters, is asked one request at a time, and tells seconds,
turns and packets an operation. In Flux the instrument is a preloaded library (realflux).
Doesn't judge by itself what seconds mean: they are held against those without a hook of the same home and round.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.load.bulk import bulk_jobs_inside
from brokersim.lab.measure.figures import Figures
from brokersim.lab.measure.listener import Listener, PacketCount
from brokersim.lab.measure.noise import Times, times
from brokersim.net.client import Client
from brokersim.program import open_instance, run
from brokersim.protocol.decoded import JsonObject
from brokersim.reactor.cost import CostModel
from brokersim.reactor.loop import NS
from brokersim.realflux.place import Flux
from brokersim.realflux.preload import build, settings
from brokersim.realflux.started import started

HOOKS = ("none", "timer:1s", "prepare", "check", "idle")
#: What is done, one after the other: requests without and with one rpc, commits of a key, events.
KINDS = ("plain", "rpc", "commit", "event")
COUNT, ROUNDS = 50, 3
Say = Callable[[str], object]
#: A module that spins may keep an answer waiting for many time slices.
_PATIENCE = 60.0
_OP = {"key": "bench.homes", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "MQ=="}}


@attrs.frozen
class Done:
    """What one operation took and showed."""

    seconds: float
    turns: float
    packets: float


@attrs.frozen(kw_only=True)
class Home:
    """Where the file was run: by hook and kind of operation, each round."""

    name: str
    found: Mapping[tuple[str, str], list[Done]]

    def us(self, kind: str) -> float:
        """Without a hook, the quickest round in microseconds: others waited for the machine."""
        return min(one.seconds for one in self.found["none", kind]) * 1e6

    def figures(self, kind: str) -> Figures:
        """What is compared: times in the same round, packets and turns of the quietest one."""
        hooks = [hook for hook, each in self.found if each == kind and hook != "none"]
        slower = {hook: self._times(hook, kind) for hook in hooks}
        return Figures(
            work=kind, home=self.name, seconds=self.us(kind) / 1e6, turns=self.shown("none", kind)[0],
            times={hook: one for hook, one in slower.items() if one is not None},
            packets={hook: self.shown(hook, kind)[1] for hook in hooks if hook in HOOKS[2:]},
        )  # fmt: skip

    def _times(self, hook: str, kind: str) -> Times | None:
        these, base = ([one.seconds for one in self.found[each, kind]] for each in (hook, "none"))
        return times(these, base)

    def shown(self, hook: str, kind: str) -> tuple[float, float]:
        """Turns and packets an operation, of the round with the fewest turns: more were idle ones."""
        best = min(self.found[hook, kind], key=lambda one: one.turns)
        return best.turns, best.packets


@attrs.frozen
class _Place:
    """An instance with one hook, where the file is loaded."""

    client: Client
    packets: Listener
    as_process: bool = False


def homes(
    flux: Flux | None, rounds: int = ROUNDS, count: int = COUNT, say: Say = lambda _: None
) -> list[Home]:
    """Every home there is; without a Flux, ours only. Raises RuntimeError if an instance does not start."""
    found: dict[str, dict[tuple[str, str], list[Done]]] = {}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="brokersim-homes-")))
        file = _hooked(folder)
        library = None if flux is None else build(flux, folder / "hooks.so")
        places: dict[str, dict[str, _Place]] = {}
        for hook in HOOKS:
            say(f"starting, {hook}")
            places[hook] = _places(opened, flux, library, hook)
        for number in range(rounds):
            for hook, each in places.items():
                for name, place in each.items():
                    say(f"{name}, {hook}, round {number + 1} of {rounds}")
                    for kind, one in _visit(place, str(file), hook, count).items():
                        found.setdefault(name, {}).setdefault((hook, kind), []).append(one)
        for hook in HOOKS:
            say(f"virtual, {hook}")
            for kind, one in run(_virtual, str(file), hook, count, clock="virtual").items():
                found.setdefault("virtual", {}).setdefault((hook, kind), []).append(one)
    return [Home(name=name, found=each) for name, each in found.items()]


def _hooked(folder: Path) -> Path:
    """The module's file, where a loader finds it."""
    file = folder / "hooked.py"
    file.write_text(files(__package__).joinpath("hooked.txt").read_text(encoding="utf-8"), encoding="utf-8")
    return file


def _places(opened: ExitStack, flux: Flux | None, library: Path | None, hook: str) -> dict[str, _Place]:
    found = {}
    if flux is not None and library is not None:
        listener = opened.enter_context(Listener())
        uri = opened.enter_context(started(flux, 1, settings(library, hook, listener.address)))
        found[flux.version] = _Place(opened.enter_context(Client.connect(uri, timeout=_PATIENCE)), listener)
    listener = opened.enter_context(Listener())
    uri = opened.enter_context(_instance(hook, listener.address))
    client = opened.enter_context(Client.connect(uri, timeout=_PATIENCE))
    return found | {
        "in process": _Place(client, listener),
        "--exec": _Place(client, listener, as_process=True),
    }


@contextmanager
def _instance(hook: str, stats: str) -> Iterator[str]:
    command = [sys.executable, "-m", "brokersim", "start", "-d"]
    if hook != "none":
        command += ["--hook", hook, "--stats", f"{stats},dialect=strict"]
    environment = {name: text for name, text in os.environ.items() if name != "FLUX_FRIPP_STATSD"}
    begun = subprocess.run(command, env=environment, capture_output=True, text=True)
    uri = begun.stdout.partition(" ")[0]
    if begun.returncode or not uri.startswith("local://"):
        raise RuntimeError(f"the instance did not start: {begun.stderr.strip()}")
    try:
        yield uri
    finally:
        with Client.connect(uri) as client:
            client.rpc("broker.stop")


def operation(kind: str) -> tuple[str, JsonObject]:
    """Topic and payload of a request; events are published by one."""
    if kind == "event":
        return "event.publish", {"topic": "hooked.note", "flags": 0}
    return f"hooked.{kind}", {"op": _OP} if kind == "commit" else {}


def _visit(place: _Place, file: str, hook: str, count: int) -> dict[str, Done]:
    client = place.client
    client.rpc("module.load", {"path": file, "args": [], "exec": place.as_process})
    if hook != "none":
        client.rpc("hooked.debug", {"op": "setbit", "flags": MSGCOUNT})
    found = {}
    for kind in KINDS:
        topic, payload = operation(kind)
        client.rpc(topic, payload)
        turns, packets = client.rpc("hooked.turns")["turns"], place.packets.settle()
        start = time.perf_counter()
        for _ in range(count):
            client.rpc(topic, payload)
        # Events are asked for by nobody: only the answer to a request behind them says that all were handled.
        turns = client.rpc("hooked.turns")["turns"] - turns
        seconds = time.perf_counter() - start
        packets = place.packets.settle() - packets
        found[kind] = Done(seconds / count, (turns - 1) / count, packets / count)
    client.rpc("module.remove", {"name": "hooked"})
    return found


async def _virtual(file: str, hook: str, count: int) -> dict[str, Done]:
    found, kept, is_bare = {}, PacketCount(), hook == "none"
    async with open_instance(
        clock="virtual",
        cost=CostModel(),
        hook="prepare" if is_bare else hook,
        stats=None if is_bare else kept,
    ) as instance:
        kept.reactor = instance.reactor
        await instance.load(file)
        client = instance.client()
        if not is_bare:
            await client.call("hooked.debug", {"op": "setbit", "flags": MSGCOUNT})
        for kind in KINDS:
            topic, payload = operation(kind)
            await client.call(topic, payload)
            turns, packets = (await client.call("hooked.turns"))["turns"], kept.packets
            start = instance.reactor.now
            for _ in range(count):
                await client.call(topic, payload)
            turns = (await client.call("hooked.turns"))["turns"] - turns
            seconds = (instance.reactor.now - start) / NS
            packets = kept.packets - packets
            found[kind] = Done(seconds / count, (turns - 1) / count, packets / count)
    return found


# -- what a spinning module does to others, and others to it

#: Jobs at once beside so many copies of a module under an idle hook, and messages to one that spins.
JOBS, COPIES, MESSAGES = 100, 8, 1000
#: Looks at a ping, each of so few that one may pass between two slices of whatever else runs; the quickest count.
LOOKS, PINGS = 200, 10


def ping_beside_idle() -> float:
    """How many times longer a ping takes in process, in real time, while another module spins. Raises RuntimeError."""
    with ExitStack() as opened:
        file = _hooked(Path(opened.enter_context(TemporaryDirectory(prefix="brokersim-idle-"))))
        listener = opened.enter_context(Listener())
        uri = opened.enter_context(_instance("idle", listener.address))
        client = opened.enter_context(Client.connect(uri, timeout=_PATIENCE))
        client.rpc("module.load", {"path": str(file), "args": []})
        taken: dict[str, list[float]] = {"clrbit": [], "setbit": []}
        for op in tuple(taken) * LOOKS:
            client.rpc("hooked.debug", {"op": op, "flags": MSGCOUNT})
            start = time.perf_counter()
            for seq in range(PINGS):
                client.rpc("kvs.ping", {"seq": seq, "pad": ""})
            taken[op].append(time.perf_counter() - start)
        client.rpc("hooked.debug", {"op": "clrbit", "flags": MSGCOUNT})
    return min(taken["setbit"]) / min(taken["clrbit"])


def jobs_beside_spinners() -> float:
    """How many times as long `JOBS` jobs take in virtual time beside `COPIES` modules that spin."""
    with TemporaryDirectory(prefix="brokersim-spinners-") as folder:
        file = str(_hooked(Path(folder)))
        alone, beside = (run(_jobs, file, copies, clock="virtual") for copies in (0, COPIES))
    return beside / alone


async def _jobs(file: str, copies: int) -> float:
    async with open_instance(clock="virtual", cost=CostModel(), hook="idle") as instance:
        client = instance.client()
        for number in range(copies):
            await instance.load(file, name=f"spinner{number}")
            await client.call(f"spinner{number}.debug", {"op": "setbit", "flags": MSGCOUNT})
        begin = instance.reactor.now
        await bulk_jobs_inside(instance, JOBS, 0.001)
        return (instance.reactor.now - begin) / NS


def idle_calls() -> int:
    """Calls of a module's own idle watcher for `MESSAGES` messages, under the prepare hook, in virtual time."""
    with TemporaryDirectory(prefix="brokersim-calls-") as folder:
        return run(_idle_calls, str(_hooked(Path(folder))), clock="virtual")


async def _idle_calls(file: str) -> int:
    kept = PacketCount()
    async with open_instance(clock="virtual", cost=CostModel(), hook="prepare", stats=kept) as instance:
        kept.reactor = instance.reactor
        await instance.load(file)
        client = instance.client()
        await client.call("hooked.debug", {"op": "setbit", "flags": MSGCOUNT})
        await client.call("hooked.spin")
        before = (await client.call("hooked.turns"))["idles"]
        for _ in range(MESSAGES):
            await client.call("hooked.plain")
        after: int = (await client.call("hooked.turns"))["idles"]
        return after - int(before)
