"""Knows what a rank measures: makes what runs what is wanted, and tells what became of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from brokersim.brokermod import BrokerLogger, Handle, RequestError, check_nesting, errnums, schedules

from .arbiter import reconcile
from .chance import Chance
from .config import Config, check_labels, check_sinks
from .contract import Reading
from .plan import OFF, ON, Measurement, merged, to_measurement
from .ports import Measured, Station
from .probes import find
from .runner import Runner
from .runs import BACKOFF, FAILED, WAIT
from .sending.collector import Collector
from .sending.delivery import Delivery
from .sending.outlets import Outlets
from .sending.source import Source
from .ticker import Ticker

#: Seconds between the module's own statistics.
OWN_PERIOD: Final = 10.0


class Works(Station):
    """All measurements of a rank, their collector and its sinks."""

    def __init__(self, handle: Handle, log: BrokerLogger) -> None:
        self.handle = handle
        self.collector = Collector(undeclared=self._undeclared)
        self.ticker = Ticker(handle)
        self.subject = f"node/{handle.rank}"
        self.is_virtual = (handle.attr_get("clock") or "").startswith("virtual")
        # In virtual time nothing takes time, and what a real clock said would differ from run to run.
        self.clock: Callable[[], float] = handle.now if self.is_virtual else time.perf_counter
        self.runners: dict[str, Runner] = {}
        self.config = Config()
        self._log = log
        # One number of the module's generator is the seed of all: another measurement moves none of the others.
        self._seed = handle.random.getrandbits(64)
        self._delivery = Delivery(handle, self.collector, random.Random(self._seed))
        self._outlets = Outlets(handle, self.collector, self._delivery)
        #: Its own statistics go out seldom: they are about runs, and must cost less than those.
        self._own = handle.stats_client(period=OWN_PERIOD) if handle.stats.enabled else None
        self._was_bad: set[str] = set()

    # -- what is wanted

    def take(self, config: Config) -> None:
        """Make a whole configuration what is wanted. Raises ValueError, OSError before anything has changed."""
        made = self._outlets.prepare(config)
        self.config = config
        self._outlets.take(made)
        self._reconcile()
        self._delivery.kick()
        self._outlets.settle(config)

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """One more measurement. Raises ValueError, RequestError(EEXIST)."""
        if name in self.config.measurements:
            raise RequestError(errnums.EEXIST, f"measurement {name!r} is there already; change or remove it")
        self.set(name, record)

    def set(self, name: str, record: Mapping[str, Any]) -> None:
        """A measurement as the record says, changed as little as that needs. Raises ValueError."""
        if not name or "/" in name:
            raise ValueError(f"a measurement's name has a letter or more, and no /, not {name!r:.40}")
        check_nesting(record, "a measurement")
        measurement = to_measurement(name, merged(self.config.defaults, record), self.is_virtual)
        check_sinks(measurement, self.config.sinks)
        check_labels({**self.config.measurements, name: measurement})
        self._outlets.plain(measurement)
        self.config.measurements[name] = measurement
        self._reconcile()

    def change(self, name: str, patch: Mapping[str, Any]) -> None:
        """A merge patch on a measurement's record. Raises RequestError(ENOENT), ValueError."""
        check_nesting(patch, "a patch")
        self.set(name, merged(self.measurement(name).record, patch))

    def remove(self, name: str) -> None:
        """Raises RequestError(ENOENT)."""
        del self.config.measurements[self.measurement(name).name]
        self._reconcile()

    def measurement(self, name: str) -> Measurement:
        """Raises RequestError(ENOENT) that says what there is."""
        found = self.config.measurements.get(name)
        if found is None:
            known = ", ".join(self.config.measurements) or "none"
            raise RequestError(errnums.ENOENT, f"no measurement {name!r:.60}; there are: {known}")
        return found

    def _reconcile(self) -> None:
        running = {name: runner.measurement for name, runner in self.runners.items()}
        for act, name in reconcile(running, self.config.measurements, self.config.is_off):
            getattr(self, f"_{act}")(name)

    def _start(self, name: str) -> None:
        chance = Chance(self._seed, name)
        runner = self.runners[name] = Runner(self, self.config.measurements[name], chance)
        runner.start()

    def _stop(self, name: str) -> None:
        self.runners.pop(name).stop()
        self._was_bad.discard(name)
        self._delivery.kick()

    _off = _stop

    def _replace(self, name: str) -> None:
        self._stop(name)
        self._start(name)

    def _swap(self, name: str) -> None:
        self.runners[name].change(self.config.measurements[name])

    def restart(self, name: str) -> None:
        """Begin a measurement anew, out of whatever state. Raises RequestError(ENOENT)."""
        if self.measurement(name).status == ON and not self.config.is_off:
            if name in self.runners:
                self._stop(name)
            self._start(name)

    # -- what runs tell

    def reported(self) -> None:
        self._delivery.kick()

    def counted(self, label: str, what: str, number: int) -> None:
        if self._own is not None:
            self._own.inc(f"{label}.{what}", number)

    def took(self, label: str, seconds: float) -> None:
        if self._own is not None:
            self._own.timing(f"{label}.duration", seconds * 1000)

    def told(self, runner: Measured) -> None:
        name, state = runner.measurement.name, runner.state
        if state == WAIT and name not in self._was_bad:
            return  # it begins, as everybody expects
        if state in (BACKOFF, FAILED):
            self._was_bad.add(name)
            self._log.error(f"measurement {name!r} is {state}: {runner.reason}")
        else:
            self._was_bad.discard(name)
        event = {"name": name, "rank": self.handle.rank, "state": state, "reason": runner.reason}
        self.handle.publish(f"{self.handle.name}.state", event)

    def gone(self, runner: Measured, reading: Reading) -> None:
        event = {"name": runner.measurement.name, "rank": self.handle.rank, "subject": reading.subject}
        self.handle.publish(f"{self.handle.name}.process-exit", event)

    def _undeclared(self, source: Source, metric: str) -> None:
        """Of programs that could say what their metrics are."""
        if find(source.measurement.probe).declares:
            name = source.measurement.name
            self._log.warning(
                f"measurement {name!r}: nothing says what {metric!r:.60} is: it is a gauge; its answer may have fields"
            )

    # -- what there is

    def status(self, name: str) -> dict[str, Any]:
        """What is wanted of a measurement and what is seen of it: two things, by two writers."""
        measurement = self.measurement(name)
        runner = self.runners.get(name)
        wanted = {"name": name, "probe": measurement.probe, "status": measurement.status}
        hashes = {"identity": measurement.identity, "plan": measurement.plan}
        if runner is None:
            return {**wanted, "state": OFF, "reason": "", "counts": {}, "cost": 0.0, "series": 0, **hashes}
        counts = runner.counts.to_dict()
        return {
            **wanted, "state": runner.state, "reason": runner.reason if runner.state != WAIT else "",
            "last_failure": runner.reason, "counts": counts, "cost": runner.cost,
            "series": len(runner.source.series), "schedule": schedules.to_spec(measurement.schedule), **hashes,
        }  # fmt: skip

    def own_cost(self) -> dict[str, float]:
        """What this rank's broker costs, as `process` read it last, and what reading costs; empty without it."""
        found: dict[str, float] = {}
        for runner in self.runners.values():
            if runner.measurement.probe == "process":
                own = [one.metrics for one in runner.last or () if one.subject == self.subject]
                for name in ("cpu", "resident"):
                    value = own[0].get(name) if own else None
                    if isinstance(value, int | float):
                        found[name] = value
        if found:
            found["looking"] = sum(runner.cost for runner in self.runners.values())
        return found

    async def end(self) -> None:
        """All of it stops at once; what is left is flushed, within its time."""
        for runner in self.runners.values():
            runner.stop()
        self.runners.clear()
        await self._delivery.end()
        if self._own is not None:
            self._own.close()
