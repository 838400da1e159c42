"""Knows one hook's runs in real time: an instance in a process of its own, its socket, a real UDP port.

Doesn't compare hooks. Instances of several hooks live side by side and take turns, each in short rounds: what slows the
machine for a while is then in every hook's time, and no round pays for a start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.measure.hook_run import HookRun, HookTask, ModuleFigures
from brokersim.lab.measure.listener import Listener, peak_rate
from brokersim.net.client import Client
from brokersim.protocol.plurals import counted

Say = Callable[[str], object]
#: Client commands a run starts with, as a person would type them.
SCRIPT = (
    ("kvs", "put", "bench.a=1"),
    ("kvs", "get", "bench.a"),
    ("ping", "-c", "2", "-i", "0.01", "kvs"),
    ("event", "pub", "bench.started"),
    ("module", "list"),
)


class LiveRun:
    """One hook's instance and what its rounds took. Close it; its masks are set in its rounds only.

    Raises RuntimeError if the instance does not start.
    """

    def __init__(self, task: HookTask) -> None:
        self._task = task
        self._walls: list[float] = []
        self._cpus: list[float] = []
        self._curve: list[tuple[float, int]] = []
        self._kvs: list[tuple[float, tuple[int, ...]]] = []
        with ExitStack() as opened:
            self._listener = opened.enter_context(Listener())
            self.uri = self._start(opened)
            self._client = opened.enter_context(Client.connect(self.uri))
            self._names = [module["name"] for module in self._client.rpc("module.list")["mods"]]
            self._open = opened.pop_all()

    def _start(self, opened: ExitStack) -> str:
        """Start the instance and see to its end; its address."""
        uri = _start_instance(self._task, self._listener.address)
        opened.callback(_stop_instance, uri)
        return uri

    def round(self, say: Say = lambda _: None) -> None:
        """The load once, with the masks set."""
        offset = sum(self._walls)
        self._mask("setbit")
        cpu, start = _cpu_s(self._client), time.monotonic()
        load = self._task.load
        load.run_through(self.uri, lambda n: say(f"{self._task.hook}: {n} of {counted(load.count, 'job')}"))
        end = time.monotonic()
        self._walls.append(end - start)
        self._cpus.append(_cpu_s(self._client) - cpu)
        self._mask("clrbit")  # a hook that spins would take the other instances' processor
        self._listener.settle()
        packets, kvs = self._listener.packets, self._listener.kvs
        self._curve += [(offset + t - start, lines) for t, lines in packets if start <= t <= end]
        self._kvs += [(offset + t - start, values) for t, values in kvs if start <= t <= end]

    def found(self) -> HookRun:
        """What its rounds were."""
        packets = self._listener.settle()
        return HookRun(
            hook=self._task.hook, jobs=self._task.load.count, walls=tuple(self._walls), cpus=tuple(self._cpus),
            packets=packets, metrics_per_s_peak=peak_rate(self._curve),
            modules=self._figures(), curve=tuple(self._curve), kvs=tuple(self._kvs),
        )  # fmt: skip

    @property
    def _is_masked(self) -> bool:
        return self._task.hook != "none"

    def _mask(self, op: str) -> None:
        if self._is_masked:
            for name in self._names:
                self._client.rpc(f"{name}.debug", {"op": op, "flags": MSGCOUNT})

    def _figures(self) -> tuple[ModuleFigures, ...]:
        return tuple(
            ModuleFigures(
                name=module["name"],
                counts=_counts(self._client.rpc(f"{module['name']}.stats-get")),
                iterations=module["iterations"],
                packets=module["packets"],
            )
            for module in self._client.rpc("module.list")["mods"]
        )

    def close(self) -> None:
        """Ends the instance."""
        self._open.close()


def _start_instance(task: HookTask, stats: str) -> str:
    """A detached instance in a process of its own; its address."""
    command = [
        sys.executable, "-m", "brokersim", "start", "-d", "-s", str(task.size), "--seed", str(task.seed),
    ]  # fmt: skip
    command += ["--fake-resources", task.load.resources]
    if task.hook != "none":
        # Read here, by the strict grammar: timings may come packed.
        command += ["--stats", f"{stats},dialect=strict", "--hook", task.hook]
    environment = {name: value for name, value in os.environ.items() if name != "FLUX_FRIPP_STATSD"}
    started = subprocess.run(command, env=environment, capture_output=True, text=True)
    uri = started.stdout.partition(" ")[0]
    if started.returncode or not uri.startswith("local://"):
        raise RuntimeError(f"the instance did not start: {started.stderr.strip()}")
    return uri


def _stop_instance(uri: str) -> None:
    with Client.connect(uri) as client:
        client.rpc("broker.stop")


def run_script(uri: str) -> None:
    """Real commands, each a process, as a person would type them. Raises RuntimeError."""
    environment = {**os.environ, "BROKERSIM_URI": uri}
    for words in SCRIPT:
        done = subprocess.run(
            [sys.executable, "-m", "brokersim", *words], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"brokersim {' '.join(words)}: {done.stderr.strip()}")


def _cpu_s(client: Client) -> float:
    """CPU seconds the instance has used so far: all its modules share one process."""
    used = client.rpc("broker.rusage", {"who": "self"})
    return float(used["utime"] + used["stime"])


def _counts(stats: dict[str, dict[str, int]]) -> tuple[int, ...]:
    kinds = ("request", "response", "event", "control")
    return tuple(stats[side][kind] for kind in kinds for side in ("tx", "rx"))
