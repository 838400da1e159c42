"""Knows the life of one measurement: its runs, what they cost, and what happens when they fail.

States and ways out: WAIT -tick-> RUN -ok-> WAIT; RUN -crash-> BACKOFF -delay-> WAIT, on the same grid; FAILED for what
cannot heal by itself; DONE when its schedule has ended; OFF.
"""

from __future__ import annotations

import errno
import math
from contextlib import nullcontext
from typing import Any, Final

from brokersim.brokermod import RequestError, errnums, schedules

from .answers import readings
from .backoff import HEALTHY, Backoff
from .budget import Budget
from .calendars import Reservation
from .contract import Context, Probe, Reading
from .grid import Grid
from .here import Here
from .plan import Measurement
from .ports import Measured, Random, Station
from .probes import find, made
from .procfs import ProcFS
from .sending.collector import Source

WAIT, RUN, BACKOFF, FAILED, DONE, OFF = "WAIT", "RUN", "BACKOFF", "FAILED", "DONE", "OFF"
#: Failed runs in a row that are a crash.
FAIL_LIMIT: Final = 3


class Runner(Measured):
    """A measurement that runs: a grid of ticks, and a state."""

    __slots__ = (
        "_again",
        "_age",
        "_ask",
        "_backoff",
        "_began",
        "_budget",
        "_fails",
        "_files",
        "_grid",
        "_handle",
        "_hung",
        "_limit",
        "_probe",
        "_random",
        "_reservation",
        "_run",
        "_station",
        "counts",
        "last",
        "measurement",
        "reason",
        "source",
        "state",
    )  # fmt: skip

    def __init__(self, station: Station, measurement: Measurement, random: Random) -> None:
        self._station = station
        self._handle = station.handle
        self._random = random
        self.measurement = measurement
        self.state = OFF
        #: Why it is in its state, or what went wrong last.
        self.reason = ""
        self.source = Source(measurement, find(measurement.probe).fields, self._handle.rank)
        self.counts = self.source.counts
        #: What was read last.
        self.last: list[Reading] = []
        self._began = self._handle.now()
        self._grid = Grid(self._handle, measurement.overlap, random, self._begin, self._count_ticks)
        self._backoff = Backoff()
        self._budget = Budget()
        self._probe: Probe | None = None
        self._ask = Here(self._handle)
        self._files: ProcFS | None = None
        #: Whether a read is given up, when held samples come of age, when a crashed probe is opened again.
        self._limit: Any = None
        self._age: Any = None
        self._again: Any = None
        #: The number of the run: what comes of an earlier one is nobody's any more.
        self._run = 0
        self._fails = 0
        #: When a process of its own hung last (s): a second one within a minute will not heal by itself.
        self._hung = -math.inf
        self._reservation: Reservation | None = None

    # -- from outside

    def start(self) -> None:
        """Begin."""
        self._reserve()
        self._grid.plan(self.measurement.schedule, self.measurement.jitter)
        self._open()

    def stop(self, state: str = OFF) -> None:
        """At once: nothing of it waits any more. What it held is reported."""
        self._halt()
        self._ask.abandon(RequestError(errno.ECANCELED, "stopped"))
        self._station.collector.stop(self.source)
        if self._reservation is not None:
            self._reservation.release()
        self._become(state)

    def change(self, measurement: Measurement) -> None:
        """Another schedule or reporting in place: baselines, counts and series numbers live on."""
        is_shifted = measurement.jitter != self.measurement.jitter
        self.measurement = measurement
        self._station.collector.change(self.source, measurement)
        self._grid.turnstile.policy = measurement.overlap
        if is_shifted:
            self._grid.plan(measurement.schedule, measurement.jitter)
        else:
            self._grid.plan_anew(measurement.schedule)
        if self.state == FAILED:
            self._open()
        elif self.state in (WAIT, RUN, DONE):
            self._become(RUN if self._grid.turnstile.is_busy else WAIT)
            self._grid.arm()
            self._reserve()

    def _reserve(self) -> None:
        """What was reserved for an earlier schedule is given back."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        if isinstance(self.measurement.schedule, schedules.Avoid):
            self._reservation = Reservation(self._handle, self.measurement.name)
            if self.state == WAIT:
                self._see_whether_over()

    def run_now(self) -> None:
        """One run beside the schedule. Raises RequestError if it cannot now."""
        if self.state != WAIT or not self._grid.turnstile.due(self._handle.time(), math.inf):
            raise RequestError(errno.EBUSY, f"measurement {self.measurement.name!r} is {self.state}")
        self._begin()

    @property
    def cost(self) -> float:
        """The share of one core that reading has taken since the start."""
        elapsed = self._handle.now() - self._began
        return self._budget.spent / elapsed if elapsed > 0 else 0.0

    # -- counting

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self._station.counted(self.measurement.name, what, number)

    def _count_ticks(self) -> None:
        """What became of ticks that came inside a run."""
        for what in ("overrun", "late", "merged"):
            more = getattr(self._grid.turnstile, what) - self.counts[what]
            if more:
                self._count(what, more)

    # -- a run

    def _begin(self) -> None:
        probe = self._probe
        assert probe is not None
        self._run += 1
        self.state = RUN
        self._count("runs")
        now, clock = self._handle.time(), self._station.clock
        begun = clock()
        try:
            answer = probe.read()
        except Exception as error:
            if self._charge(clock() - begun):
                self._failed(error)
            return
        took = clock() - begun
        if hasattr(answer, "__await__"):
            self._budget.spent += took
            self._limit = self._handle.call_later(self.measurement.timeout + probe.starting, self._expired)
            self._handle.spawn(self._await(answer, self._run, now))
        elif self._charge(took):
            self._done(answer, now)

    async def _await(self, answer: Any, run: int, now: float) -> None:
        error: Exception | None = None
        try:
            with self._handle.hold_clock() if self.measurement.hold_clock else nullcontext():
                answer = await answer
        except Exception as raised:
            error = raised
        if run != self._run:
            return  # stopped meanwhile: nobody waits for it any more
        self._limit.cancel()
        self._station.took(self.measurement.name, self._handle.time() - now)
        if error is None:
            self._done(answer, now)
        else:
            self._failed(error)

    def _expired(self) -> None:
        self._count("timeout")
        text, run = f"no answer within {self.measurement.timeout:g} s", self._run
        self._ask.abandon(RequestError(errnums.ETIMEDOUT, text))
        if self.measurement.is_process:
            now = self._handle.now()
            is_second, self._hung = now - self._hung < HEALTHY, now
            if is_second:
                self._give_up(f"{text}, two processes within {HEALTHY:g} s")
        if run == self._run and self.state == RUN:  # it waits for something that cannot be taken back
            self._run += 1
            self._failed(TimeoutError(text))

    def _charge(self, took: float) -> bool:
        """A read in the loop has taken so long; False if that was once too often."""
        self._station.took(self.measurement.name, took)
        if self._budget.charge(took):
            self._count("slow")
        if not self._budget.is_spent:
            return True
        self._give_up(f"read took {took * 1000:.0f} ms of the loop; set isolation: process")
        return False

    def _done(self, answer: Any, now: float) -> None:
        collector = self._station.collector
        try:
            found = readings(answer, f"node/{self._handle.rank}")
            for gone in collector.follow(self.source, found):
                self._station.gone(self, gone)
            collector.insert(self.source, found, now)
        except ValueError as error:
            self._failed(error)
            return
        if found:
            self.last = found
        else:
            self._count("nomatch")
        self._fails = 0
        if self._grid.follows:
            self._grid.told({name: value for one in found for name, value in one.metrics.items()})
        self._station.reported()
        due = collector.overdue(self.source)
        if due is not None and self._age is None:
            self._age = self._handle.call_later(max(0.0, due - self._handle.time()), self._aged)
        self._ended()

    def _aged(self) -> None:
        self._age = None
        self._station.collector.report(self.source)
        self._station.reported()

    def _ended(self) -> None:
        self.state = WAIT
        if self._grid.ended():
            self._handle.call_later(0, self._begin_late, self._run)
        else:
            self._see_whether_over()

    def _see_whether_over(self) -> None:
        """No tick will come any more; or a schedule that avoids others reserves its next ones."""
        if not self._grid.is_over:
            return
        if self._reservation is None:
            self._become(DONE)
        else:
            self._reservation.ask(self.measurement.schedule, self._reserved)

    def _reserved(self, found: list[tuple[float, float]] | RequestError) -> None:
        if self.state != WAIT:
            return
        if isinstance(found, RequestError):
            self.reason = f"no slots: {found}"
            self._crash()
        else:
            self._grid.take(found)

    def _begin_late(self, run: int) -> None:
        if run == self._run and self.state == WAIT:
            self._begin()

    # -- failure

    def _failed(self, error: Exception) -> None:
        self._count("fail")
        self._fails += 1
        self.reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if self._fails < FAIL_LIMIT:
            self._ended()
        else:
            self._crash()

    def _crash(self) -> None:
        """A probe that only fails is closed and opened again later; its ticks meanwhile are lost, its grid is not."""
        self._halt()
        self._fails = 0
        if self.measurement.restart == "never":
            self._give_up(self.reason)
            return
        self._become(BACKOFF)
        self._again = self._handle.call_later(
            self._backoff.crash(self._handle.now(), self._random), self._open
        )

    def _open(self) -> None:
        probe = made(self.measurement.probe, self.measurement.is_isolated)
        try:
            self._files = ProcFS()
            probe.open(Context(ask=self._ask, procfs=self._files, config=self.measurement.config))
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}"
            # Configuration, or a file named in it, does not mend by itself; a broker that is not there yet does.
            if isinstance(error, ValueError | FileNotFoundError):
                self._give_up(str(error))
            else:
                self._crash()
            return
        self._probe = probe
        self._become(WAIT)
        self._grid.arm()
        self._see_whether_over()

    def _give_up(self, reason: str) -> None:
        self._halt()
        self.reason = reason
        self._become(FAILED)

    def _halt(self) -> None:
        """No timer, no probe, nothing on its way."""
        self._run += 1
        self._grid.disarm()
        for timer in (self._limit, self._age, self._again):
            if timer is not None:
                timer.cancel()
        self._age = None
        probe, self._probe = self._probe, None
        try:
            if probe is not None:
                probe.close()
        except Exception as error:
            self.reason = f"close raises {type(error).__name__}: {error}"
        if self._files is not None:
            self._files.close()

    def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._station.told(self)
