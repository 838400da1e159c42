"""Knows how a command is run inside a fresh instance that is watched, and what is kept of it. Judges nothing."""

from __future__ import annotations

import math
import platform
import threading
import time
from collections.abc import Mapping, Sequence

import attrs
import trio

from brokersim.instance import Instance
from brokersim.kit.baseline import Baseline
from brokersim.kit.cost import Used
from brokersim.kit.laws import Relaxation, Violation
from brokersim.kit.ledger import HEARTBEAT, Ledger
from brokersim.kit.witness import Witness
from brokersim.net.options import StartOptions
from brokersim.net.serve import run_instance
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.protocol.settings import ClockKind, jobs_of
from brokersim.routing.trace import NO_MODULES
from brokersim.version import VERSION

#: What the clock makes messages of: in real time they are no work of the command, and never twice the same.
_CLOCKWORK = frozenset({HEARTBEAT, "event.publish"})


@attrs.frozen(kw_only=True)
class CheckedRun:
    """One run: the command's exit code, what was counted, the laws broken, what the broker's process used."""

    code: int
    counted: Baseline
    violations: tuple[Violation, ...]
    used: Used


class Overtime(Exception):
    """The command did not end in time and was ended; ``waiting`` are the requests that were open then."""

    def __init__(self, seconds: float, waiting: tuple[str, ...]) -> None:
        super().__init__(f"the command did not end within {seconds:g} s")
        self.waiting = waiting


class _Watch:
    def __init__(
        self, laws: Sequence[str] | None, relaxed: Mapping[str, Relaxation], timeout: float | None
    ) -> None:
        self._laws = laws
        self._relaxed = relaxed
        self._timeout = None if timeout == math.inf else timeout
        self._alarm: threading.Timer | None = None
        self.witness: Witness | None = None
        self.violations: tuple[Violation, ...] = ()
        self.overtime: Overtime | None = None
        self.used = Used(cpu=0.0, wall=0.0)
        self._begun = (0.0, 0.0)

    def begin(self, instance: Instance) -> None:
        self.witness = Witness(instance)
        if self._timeout is not None:
            # A thread: virtual time may stand still just because something hangs.
            token = trio.lowlevel.current_trio_token()
            self._alarm = threading.Timer(self._timeout, self._ring, (token,))
            self._alarm.daemon = True
            self._alarm.start()

    def ready(self) -> None:
        self._begun = _times()

    def _ring(self, token: trio.lowlevel.TrioToken) -> None:
        try:
            token.run_sync_soon(self._end_it)
        except trio.RunFinishedError:
            pass  # just in time

    def _end_it(self) -> None:
        assert self.witness is not None and self._timeout is not None
        waiting = [str(asked) for asked in self.witness.ledger.conversations.open.values()]
        self.overtime = Overtime(self._timeout, tuple(waiting))
        self.witness.instance.stop()

    def cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    async def end(self) -> None:
        assert self.witness is not None
        self.cancel()
        cpu, wall = (now - then for now, then in zip(_times(), self._begun, strict=True))
        self.used = Used(cpu=cpu, wall=wall)
        if self.overtime is not None:
            return
        await self.witness.settle()
        self.violations = tuple(self.witness.violations(self._laws, self._relaxed))


def _times() -> tuple[float, float]:
    """Processor time, as the probe `process` reads it of a broker but in ns and with no message, and the wall's; s."""
    return time.process_time(), time.perf_counter()


def run_checked(
    options: StartOptions,
    laws: Sequence[str] | None = None,
    relaxed: Mapping[str, Relaxation] | None = None,
    timeout: float | None = None,
) -> CheckedRun:
    """Run ``options.command`` in an instance of its own. Raises StartError, and Overtime after ``timeout`` real s."""
    watch = _Watch(laws, relaxed or {}, timeout)
    try:
        code = run_instance(attrs.evolve(options, stats="mem:"), watch)
    finally:
        watch.cancel()
    if watch.overtime is not None:
        raise watch.overtime
    assert watch.witness is not None
    return CheckedRun(
        code=code,
        counted=_counted(watch.witness.ledger, options),
        violations=watch.violations,
        used=watch.used,
    )


def _counted(ledger: Ledger, options: StartOptions) -> Baseline:
    real = options.clock != "virtual"
    counters: dict[str, int] = {}
    topics: dict[str, dict[str, int]] = {}
    for (rank, name), tally in sorted(ledger.tallies.items()):
        if name in NO_MODULES:
            continue
        party = f"{name}.{rank}"
        for (index, topic), count in sorted(tally.items()):
            if real and topic in _CLOCKWORK:
                continue
            counter = COUNTER_NAMES[index]
            counters[f"{party}.{counter}"] = counters.get(f"{party}.{counter}", 0) + count
            topics.setdefault(party, {})[f"{counter} {topic}"] = count
    return Baseline(
        command=options.command or (),
        settings=_settings(options),
        versions={"brokersim": VERSION, "python": platform.python_version()},
        operations=_operations(ledger),
        counters=counters,
        topics=topics,
    )


def _settings(options: StartOptions) -> dict[str, object]:
    return {
        "size": options.size,
        "clock": options.clock,
        "seed": options.seed,
        "hook": options.hook,
        "resources": options.resources,
        "jobs": jobs_of(options.jobs, ClockKind.parse(options.clock)),
        "modules": list(options.modules),
    }


def _operations(ledger: Ledger) -> dict[str, int]:
    """What the command had done: jobs, commits, and requests of clients."""
    requests = [
        count
        for (_, name), tally in ledger.tallies.items()
        if name == "connector"
        for (index, _), count in tally.items()
        if index == 0
    ]
    found = {
        "job": _received(ledger, "job-ingest", "job-ingest.submit"),
        "commit": _received(ledger, "kvs", "kvs.commit"),
        "rpc": sum(requests),
    }
    return {name: count for name, count in found.items() if count}


def _received(ledger: Ledger, name: str, topic: str) -> int:
    return ledger.tallies.get((0, name), {}).get((1, topic), 0)
