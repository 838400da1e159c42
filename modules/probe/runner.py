"""Knows the life of one measurement: when it runs, and what happens when its runs fail.

States and ways out: WAIT -tick-> RUN -ok-> WAIT; RUN -crash-> BACKOFF -delay-> WAIT, on the same grid; FAILED for what
cannot heal by itself; DONE when its schedule has ended; OFF.
"""

from __future__ import annotations

import errno
import math
from typing import Any, Final

from brokersim.brokermod import RequestError, schedules

from .backoff import Backoff
from .calendars import Reservation
from .contract import Context
from .here import Here
from .plan import Measurement
from .ports import Random, Station
from .probes import made
from .runs import BACKOFF, DONE, FAILED, OFF, RUN, WAIT, Runs

#: Failed runs in a row that are a crash.
FAIL_LIMIT: Final = 3


class Runner(Runs):
    """A measurement that runs: a grid of ticks, and a state."""

    __slots__ = ("_again", "_backoff", "_began", "_context", "_reservation")

    def __init__(self, station: Station, measurement: Measurement, random: Random) -> None:
        super().__init__(station, measurement, random)
        self._began = self.handle.now()
        #: Made with the first crash; when a crashed probe is opened again.
        self._backoff: Backoff | None = None
        self._again: Any = None
        self._context: Context | None = None
        self._reservation: Reservation | None = None

    # -- from outside

    def start(self) -> None:
        """Begin."""
        self._reserve()
        self.grid.plan(self.measurement.schedule, self.measurement.jitter)
        self._open()

    def stop(self, state: str = OFF) -> None:
        """At once: nothing of it waits any more. What it held is reported."""
        self._halt()
        self.abandon(RequestError(errno.ECANCELED, "stopped"))
        self._station.collector.stop(self.source)
        if self._reservation is not None:
            self._reservation.release()
        self._become(state)

    def change(self, measurement: Measurement) -> None:
        """Another schedule or reporting in place: baselines, counts and series numbers live on; so does the grid of
        a schedule that is the same."""
        old = self.measurement
        is_shifted = measurement.jitter != old.jitter
        self.measurement = measurement
        self._station.collector.change(self.source, measurement)
        self.grid.turnstile.policy = measurement.overlap
        if is_shifted:
            self.grid.plan(measurement.schedule, measurement.jitter)
        elif measurement.schedule != old.schedule or self.state in (DONE, FAILED):
            self.grid.plan_anew(measurement.schedule)
        if self.state == FAILED:
            self._open()
        elif self.state in (WAIT, RUN, DONE):
            self._become(RUN if self.grid.turnstile.is_busy else WAIT)
            self.grid.arm()
            if measurement.schedule != old.schedule or self._reservation is None:
                self._reserve()

    def _reserve(self) -> None:
        """What was reserved for an earlier schedule is given back."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        if isinstance(self.measurement.schedule, schedules.Avoid):
            self._reservation = Reservation(self.handle, self.measurement.name)
            if self.state == WAIT:
                self._see_whether_over()

    def run_now(self) -> None:
        """One run beside the schedule. Raises RequestError if it cannot now."""
        if self.state != WAIT or not self.grid.turnstile.due(self.handle.time(), math.inf):
            raise RequestError(errno.EBUSY, f"measurement {self.measurement.name!r} is {self.state}")
        self.begin(self.handle.time())

    @property
    def cost(self) -> float:
        """The share of one core that reading has taken since the start."""
        elapsed = self.handle.now() - self._began
        return self._budget.spent / elapsed if elapsed > 0 else 0.0

    def ended(self) -> None:
        """A run is over: the next waits for its tick, or begins at once if that has passed."""
        self.state = WAIT
        if self.grid.ended():
            self.handle.call_later(0, self._begin_late, self._run)
        else:
            self._see_whether_over()

    def _see_whether_over(self) -> None:
        """No tick will come any more; or a schedule that avoids others reserves its next ones."""
        if not self.grid.is_over:
            return
        if self.grid.trouble:
            self.give_up(self.grid.trouble)
        elif self._reservation is None:
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
            self.grid.take(found)

    def _begin_late(self, run: int) -> None:
        if run == self._run and self.state == WAIT:
            self.begin(self.handle.time())

    # -- failure

    def failed(self, error: Exception) -> None:
        """A run came to nothing: the third in a row is a crash."""
        self.count("fail")
        self._fails += 1
        self.reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if self.grid.follows:
            self.grid.told({}, 0.0, ok=False)
        if self._fails < FAIL_LIMIT:
            self.ended()
        else:
            self._crash()

    def _crash(self) -> None:
        """A probe that only fails is closed and opened again later; its ticks meanwhile are lost, its grid is not."""
        self._halt()
        self._fails = 0
        if self.measurement.restart == "never":
            self.give_up(self.reason)
            return
        self._become(BACKOFF)
        backoff = self._backoff = self._backoff or Backoff()
        self._again = self.handle.call_later(backoff.crash(self.handle.now(), self.random), self._open)

    def _open(self) -> None:
        probe = made(self.measurement.probe, self.measurement.is_isolated)
        try:
            ask = self._ask = self._ask or Here(self.handle)
            self._context = Context(ask=ask, config=self.measurement.config)
            probe.open(self._context)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}"
            # Configuration, or a file named in it, does not mend by itself; a broker that is not there yet does.
            if isinstance(error, ValueError | FileNotFoundError):
                self.give_up(str(error))
            else:
                self._crash()
            return
        self._probe = probe
        self._become(WAIT)
        self.grid.arm()
        self._see_whether_over()

    def give_up(self, reason: str) -> None:
        """It will not heal by itself."""
        self._halt()
        self.reason = reason
        self._become(FAILED)

    def _halt(self) -> None:
        """No timer, no probe, nothing on its way."""
        self._run += 1
        self.grid.disarm()
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
        if self._context is not None:
            self._context.close()

    def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._station.told(self)
