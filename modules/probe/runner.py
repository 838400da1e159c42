"""Knows the life of one measurement: its ticks, its runs, what they cost, and what happens when they fail.

States and ways out: WAIT -tick-> RUN -ok-> WAIT; RUN -crash-> BACKOFF -delay-> WAIT, on the same grid; FAILED for what
cannot heal by itself; DONE when its schedule has ended; OFF.
"""

from __future__ import annotations

import errno
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Final, Protocol

from brokersim.brokermod import Handle, RequestError, errnums

from .collector import Collector, Source
from .contract import Context, Probe, Reading, readings
from .here import Here
from .overlap import Turnstile
from .plan import Measurement
from .probes import find
from .procfs import ProcFS

WAIT, RUN, BACKOFF, FAILED, DONE, OFF = "WAIT", "RUN", "BACKOFF", "FAILED", "DONE", "OFF"
#: Failed runs in a row that are a crash.
FAIL_LIMIT: Final = 3
#: Seconds of the loop that a read may take, and how many slow ones in a row are too many.
READ_BUDGET: Final = 0.005
SLOW_LIMIT: Final = 3
BACKOFF_MAX: Final = 60.0
#: Seconds after which a measurement that crashed counts as healthy.
HEALTHY: Final = 60.0


class Chance(Protocol):
    """What a measurement asks of chance."""

    def random(self) -> float: ...

    def uniform(self, low: float, high: float) -> float: ...


class Station(Protocol):
    """What a measurement asks of its module."""

    handle: Handle
    collector: Collector

    def clock(self) -> float:
        """Seconds of this process's own clock, by which reads are charged; stands still in virtual time."""

    def reported(self) -> None:
        """Queues have something new."""

    def told(self, runner: Runner) -> None:
        """Its state is another now."""

    def gone(self, runner: Runner, reading: Reading) -> None:
        """A process it read is no more."""

    def counted(self, name: str, what: str, number: int) -> None:
        """For the module's own statistics: so many more of these."""

    def took(self, name: str, seconds: float) -> None:
        """The same: a run has taken so long."""


class Runner:
    """A measurement that runs: a timer and a state."""

    def __init__(self, station: Station, measurement: Measurement, random: Chance) -> None:
        self._station = station
        self._handle = station.handle
        self._random = random
        self.measurement = measurement
        self.state = OFF
        self.reason = ""
        self.turnstile = Turnstile(measurement.overlap)
        self.source = Source(measurement, find(measurement.probe).fields, self._handle.rank)
        self.counts: Counter[str] = Counter()
        #: Seconds spent reading, and when (s of the reactor's clock) it began.
        self.spent = 0.0
        self.began = self._handle.now()
        self.last: list[Reading] = []
        self._probe: Probe | None = None
        self._ask = Here(self._handle)
        self._files = ProcFS()
        self._spans: Iterator[tuple[float, float]] = iter(())
        self._next: tuple[float, float] | None = None
        self._jitter = 0.0
        self._timer: Any = None
        self._limit: Any = None
        self._age: Any = None
        self._run = 0
        self._fails = self._slow = self._crashes = 0
        self._crashed_at = -math.inf
        self._subjects: set[str] = set()

    # -- from outside

    def start(self) -> None:
        """Begin, or begin anew."""
        self._jitter = self.measurement.jitter * self._random.random()
        self._begin_grid(self._handle.time())
        self._open()

    def stop(self, state: str = OFF) -> None:
        """At once: nothing of it waits any more. What it held is reported."""
        self._run += 1
        self._cancel()
        self._ask.abandon(RequestError(errno.ECANCELED, "stopped"))
        self._close()
        self.turnstile.clear()
        self._station.collector.stop(self.source)
        self._become(state)

    def change(self, measurement: Measurement) -> None:
        """Another schedule or reporting in place: baselines, counts and series numbers live on."""
        self.measurement = self.source.measurement = measurement
        self.turnstile.policy = measurement.overlap
        self._begin_grid(self._handle.time())
        if self.state in (WAIT, DONE):
            self._become(WAIT)
            self._arm()

    def run_now(self) -> None:
        """One run beside the schedule. Raises RequestError if it cannot now."""
        if self.state != WAIT or not self.turnstile.due(self._handle.time(), math.inf):
            raise RequestError(errno.EBUSY, f"measurement {self.measurement.name!r} is {self.state}")
        self._begin()

    @property
    def cost(self) -> float:
        """The share of one core that reading has taken since the start."""
        elapsed = self._handle.now() - self.began
        return self.spent / elapsed if elapsed > 0 else 0.0

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self._station.counted(self.measurement.name, what, number)

    def _count_ticks(self) -> None:
        """What became of ticks that came inside a run."""
        for what in ("overrun", "late", "merged"):
            more = getattr(self.turnstile, what) - self.counts[what]
            if more:
                self._count(what, more)

    # -- the grid

    def _begin_grid(self, now: float) -> None:
        # The schedule knows no jitter: it is shifted as a whole, so that its spacing stays.
        self._spans = self.measurement.schedule.spans(now, self._random)
        self._advance()

    def _advance(self) -> None:
        span = next(self._spans, None)
        self._next = None if span is None else (span[0] + self._jitter, span[1] + self._jitter)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._next is not None:
            delay = self._next[0] - self._handle.time()
            self._timer = self._handle.call_later(delay if delay > 0 else 0.0, self._tick)
        elif not self.turnstile.is_busy:
            self._become(DONE)

    def _tick(self) -> None:
        self._timer = None
        assert self._next is not None
        if self.turnstile.is_busy:
            # A run may end in this very instant; what was due before this timer comes first.
            self._timer = self._handle.call_later(0, self._due)
        else:
            self._due()

    def _due(self) -> None:
        turnstile, now = self.turnstile, self._handle.time()
        assert self._next is not None
        is_free = turnstile.due(*self._next)
        self._advance()
        # A loop that was held has let ticks pass: they count as those inside a run do.
        while self._next is not None and self._next[0] <= now:
            turnstile.due(*self._next)
            self._advance()
        if not is_free or turnstile.is_behind:
            self._count_ticks()
        self._arm()
        if is_free:
            self._begin()

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
            self._charge(clock() - begun)
            self._failed(error)
            return
        took = clock() - begun
        if hasattr(answer, "__await__"):
            self.spent += took
            self._limit = self._handle.call_later(self.measurement.timeout, self._expired)
            self._handle.spawn(self._await(answer, self._run, now))
            return
        if self._charge(took):
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
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        self._station.took(self.measurement.name, self._handle.time() - now)
        if error is None:
            self._done(answer, now)
        else:
            self._failed(error)

    def _expired(self) -> None:
        self._limit = None
        self._count("timeout")
        text = f"no answer within {self.measurement.timeout:g} s"
        run = self._run
        self._ask.abandon(RequestError(errnums.ETIMEDOUT, text))
        if run == self._run and self.state == RUN:  # it waits for something that cannot be taken back
            self._run += 1
            self._failed(TimeoutError(text))

    def _charge(self, took: float) -> bool:
        """A read in the loop has taken so long; False if that was once too often."""
        self.spent += took
        self._station.took(self.measurement.name, took)
        if took <= READ_BUDGET:
            self._slow = 0
            return True
        self._count("slow")
        self._slow += 1
        if self._slow < SLOW_LIMIT:
            return True
        self._give_up(f"read took {took * 1000:.0f} ms of the loop; set isolation: process")
        return False

    def _done(self, answer: Any, now: float) -> None:
        try:
            found = readings(answer, f"node/{self._handle.rank}")
            self._forget_gone(found)
            self._station.collector.insert(self.source, found, now)
        except ValueError as error:
            self._failed(error)
            return
        if found:
            self.last = found
        else:
            self._count("nomatch")
        self._fails = 0
        self._station.reported()
        self._watch_age()
        self._ended()

    def _forget_gone(self, found: list[Reading]) -> None:
        """Subjects that are not there any more end their series; a process that ended is told."""
        subjects = {reading.subject for reading in found}
        if found and self._subjects != subjects:
            for subject in self._subjects - subjects:
                self._station.collector.close_subject(self.source, subject)
        for reading in found:
            if reading.metrics.get("state") == "gone":
                self._station.gone(self, reading)
                subjects.discard(reading.subject)
        if found:
            self._subjects = subjects

    def _watch_age(self) -> None:
        due = self._station.collector.overdue(self.source)
        if due is not None and self._age is None:
            delay = max(0.0, due - self._handle.time())
            self._age = self._handle.call_later(delay, self._aged)

    def _aged(self) -> None:
        self._age = None
        self._station.collector.report(self.source)
        self._station.reported()

    def _ended(self) -> None:
        if self.state in (RUN, WAIT):
            self.state = WAIT
        was_behind = self.turnstile.is_behind
        following = self.turnstile.ended(self._handle.time())
        if was_behind:
            self._count_ticks()
        if following is not None:
            self._handle.call_later(0, self._begin_late, self._run)
        elif self._next is None and self._timer is None and self.state == WAIT:
            self._become(DONE)

    def _begin_late(self, run: int) -> None:
        if run == self._run and self.state == WAIT:
            self._begin()

    # -- failure

    def _failed(self, error: Exception) -> None:
        if self.state in (FAILED, OFF):
            return
        self._count("fail")
        self._fails += 1
        self.reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if self._fails >= FAIL_LIMIT:
            self._crash()
        else:
            self._ended()

    def _crash(self) -> None:
        """A probe that only fails is closed and opened again later; its ticks meanwhile are lost, its grid is not."""
        self._cancel()
        self._close()
        self.turnstile.clear()
        self._fails = 0
        now = self._handle.now()
        if self.measurement.restart == "never":
            self._give_up(self.reason)
            return
        self._crashes = self._crashes + 1 if now - self._crashed_at < HEALTHY + self._delay_before else 0
        self._crashed_at = now
        self._delay_before = min(BACKOFF_MAX, 2.0**self._crashes) * self._random.uniform(0.5, 1.0)
        self._become(BACKOFF)
        self._timer = self._handle.call_later(self._delay_before, self._reopen)

    _delay_before = 0.0

    def _reopen(self) -> None:
        self._timer = None
        now = self._handle.time()
        while self._next is not None and self._next[0] < now:
            self._advance()
        self._open()

    def _open(self) -> None:
        probe = find(self.measurement.probe)()
        try:
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
        self._arm()

    def _give_up(self, reason: str) -> None:
        self._run += 1
        self._cancel()
        self._close()
        self.turnstile.clear()
        self.reason = reason
        self._become(FAILED)

    def _close(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            try:
                probe.close()
            except Exception as error:
                self.reason = f"close raises {type(error).__name__}: {error}"
        self._files.close()

    def _cancel(self) -> None:
        for timer in (self._timer, self._limit, self._age):
            if timer is not None:
                timer.cancel()
        self._timer = self._limit = self._age = None

    def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._station.told(self)
