"""Knows one run of a measurement after the other: what is read, what that cost, how long it may take; not its life."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

from brokersim.brokermod import Handle, RequestError, errnums

from .answers import readings
from .backoff import HEALTHY
from .budget import Budget
from .contract import Probe, Reading
from .counts import Counts
from .grid import Grid, Owner
from .here import Here
from .plan import Measurement
from .ports import Measured, Random, Station
from .probes import find
from .sending.source import to_source
from .ticker import Ticker

WAIT, RUN, BACKOFF, FAILED, DONE, OFF = "WAIT", "RUN", "BACKOFF", "FAILED", "DONE", "OFF"


class Runs(Measured, Owner):
    """What reads a probe at ticks and hands on what it read."""

    __slots__ = (
        "_age", "_ask", "_budget", "_fails", "_hung", "_limit", "_probe", "_run", "_station", "grid", "last",
        "measurement", "random", "reason", "source", "state",
    )  # fmt: skip

    def __init__(self, station: Station, measurement: Measurement, random: Random) -> None:
        self._station = station
        self.random = random
        self.measurement = measurement
        self.state = OFF
        #: Why it is in its state, or what went wrong last.
        self.reason = ""
        self.source = to_source(measurement, find(measurement.probe).fields, station.subject)
        #: What was read last, of a probe whose readings are asked for again.
        self.last: list[Reading] | None = [] if measurement.probe == "process" else None
        self.grid = Grid(self, measurement.overlap)
        self._budget = Budget()
        self._probe: Probe | None = None
        self._ask: Here | None = None
        #: Whether a read is given up, when held samples come of age.
        self._limit: Any = None
        self._age: Any = None
        #: The number of the run: what comes of an earlier one is nobody's any more.
        self._run = 0
        self._fails = 0
        #: When a process of its own hung last (s): a second one within a minute will not heal by itself.
        self._hung = -math.inf

    @property
    def handle(self) -> Handle:
        return self._station.handle

    @property
    def ticker(self) -> Ticker:
        return self._station.ticker

    @property
    def counts(self) -> Counts:
        return self.source.counts

    def give_up(self, reason: str) -> None:
        """It will not heal by itself."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """A run came to nothing."""
        raise NotImplementedError

    def ended(self) -> None:
        """A run is over."""
        raise NotImplementedError

    # -- counting

    def count(self, what: str, number: int = 1) -> None:
        self.source.counts[what] += number
        self._station.counted(self.measurement.label, what, number)

    def count_ticks(self) -> None:
        """What became of ticks that came inside a run."""
        for what in ("overrun", "late", "merged"):
            more = getattr(self.grid.turnstile, what) - self.counts[what]
            if more:
                self.count(what, more)

    # -- a run

    def begin(self, now: float) -> None:
        """Read, now (s since the epoch)."""
        probe = self._probe
        assert probe is not None
        self._run += 1
        self.state = RUN
        self.count("runs")
        clock = self._station.clock
        begun = clock()
        try:
            answer = probe.read()
        except Exception as error:
            if self._charge(clock() - begun):
                self.failed(error)
            return
        took = clock() - begun
        if hasattr(answer, "__await__"):
            self._budget.spent += took
            self._limit = self.handle.call_later(self.measurement.timeout + probe.starting, self._expired)
            self.handle.spawn(self._await(answer, self._run, now))
        elif self._charge(took):
            self._done(answer, now)

    async def _await(self, answer: Any, run: int, now: float) -> None:
        error: Exception | None = None
        try:
            with self.handle.hold_clock() if self.measurement.hold_clock else nullcontext():
                answer = await answer
        except Exception as raised:
            error = raised
        if run != self._run:
            return  # stopped meanwhile: nobody waits for it any more
        self._limit.cancel()
        self._station.took(self.measurement.label, self.handle.time() - now)
        if error is None:
            self._done(answer, now)
        else:
            self.failed(error)

    def _expired(self) -> None:
        self.count("timeout")
        text, run = f"no answer within {self.measurement.timeout:g} s", self._run
        self.abandon(RequestError(errnums.ETIMEDOUT, text))
        if self.measurement.is_process:
            now = self.handle.now()
            is_second, self._hung = now - self._hung < HEALTHY, now
            if is_second:
                self.give_up(f"{text}, two processes within {HEALTHY:g} s")
        if run == self._run and self.state == RUN:  # it waits for something that cannot be taken back
            self._run += 1
            self.failed(TimeoutError(text))

    def abandon(self, error: RequestError) -> None:
        """Whatever it waits for is taken back."""
        if self._ask is not None:
            self._ask.abandon(error)

    def _charge(self, took: float) -> bool:
        """A read in the loop has taken so long; False if that was once too often."""
        self._station.took(self.measurement.label, took)
        if self._budget.charge(took):
            self.count("slow")
        if not self._budget.is_spent:
            return True
        self.give_up(f"read took {took * 1000:.0f} ms of the loop; set isolation: process")
        return False

    def _done(self, answer: Any, now: float) -> None:
        station, source = self._station, self.source
        collector, partial = station.collector, source.counts["partial"]
        try:
            found = readings(answer, station.subject)
            for gone in collector.follow(source, found):
                station.gone(self, gone)
            collector.insert(source, found, now)
        except ValueError as error:
            self.failed(error)
            return
        if source.counts["partial"] != partial:
            station.counted(self.measurement.label, "partial", source.counts["partial"] - partial)
        if not found:
            self.count("nomatch")
        elif self.last is not None:
            self.last = found
        self._fails = 0
        if self.grid.follows:
            took = self.handle.time() - now
            self.grid.told({name: value for one in found for name, value in one.metrics.items()}, took)
        if collector.fresh:
            station.reported()
        if (source.held or source.others) and self._age is None:
            self._wait_for_age()
        self.ended()

    def _wait_for_age(self) -> None:
        due = self._station.collector.overdue(self.source)
        if due is not None:
            self._age = self.handle.call_later(max(0.0, due - self.handle.time()), self._aged)

    def _aged(self) -> None:
        self._age = None
        self._station.collector.report_aged(self.source, self.handle.time())
        self._station.reported()
        self._wait_for_age()
