"""Knows how reactor time relates to the machine's: real, scaled or virtual; not what is due when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import trio
import trio.abc

from brokersim.protocol.settings import ClockKind
from brokersim.reactor.loop import NS


class RealClock(trio.abc.Clock):
    """A trio clock that runs ``speed`` times as fast as the machine's monotonic clock and starts at 0."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        #: Sleeps in trio's place, for so many real seconds at most, and returns how long trio has to.
        self.sleep: Callable[[float], float] | None = None
        self._epoch = time.perf_counter_ns()

    def start_clock(self) -> None:
        self._epoch = time.perf_counter_ns()

    def now_ns(self) -> int:
        elapsed = time.perf_counter_ns() - self._epoch
        return elapsed if self.speed == 1 else int(elapsed * self.speed)

    def current_time(self) -> float:
        return self.now_ns() / NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        left = (deadline - self.current_time()) / self.speed
        return left if self.sleep is None or left <= 0 else self.sleep(left)


class VirtualClock(trio.abc.Clock):
    """A trio clock that stands still until nothing is runnable, then asks ``quiescent`` what to do.

    trio calls ``deadline_to_sleep_time`` exactly when no task can run. ``quiescent(deadline_ns)`` answers how
    long trio may sleep (s); it may move ``now`` and wake the reactor.
    """

    def __init__(self) -> None:
        self.now = 0
        self.quiescent: Callable[[float], float] = self.jump

    def start_clock(self) -> None:
        """Virtual time starts at 0 whenever it is made."""

    def now_ns(self) -> int:
        return self.now

    def current_time(self) -> float:
        return self.now / NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        if deadline <= self.current_time():
            return 0.0
        return self.quiescent(_reached_at(deadline) if deadline < math.inf else math.inf)

    def jump(self, deadline: float) -> float:
        """Move to a deadline (ns) that may be infinite; returns trio's sleep time (s)."""
        if deadline == math.inf:
            return math.inf
        self.now = math.ceil(deadline)
        return 0.0


def _reached_at(deadline: float) -> int:
    """The first ns at which trio finds that a deadline (s) is reached: ``ns / NS >= deadline``.

    Rounding the product up is not enough: for one deadline in 170 the quotient is a last digit below it. trio would
    ask again without end while time stood still at that ns.
    """
    when = math.ceil(deadline * NS)
    if when / NS >= deadline:
        return when
    numerator, denominator = deadline.as_integer_ratio()
    return -(-numerator * NS // denominator)


def running_clock(kind: ClockKind) -> RealClock | VirtualClock:
    """The clock trio runs on, if it is of the kind wanted. Raises RuntimeError that says how to get one."""
    running = trio.lowlevel.current_clock()
    if kind.is_virtual:
        if isinstance(running, VirtualClock):
            if running.quiescent != running.jump:
                raise RuntimeError(
                    "a virtual instance runs here already, and a clock that jumps has one driver"
                )
            return running
        raise RuntimeError(
            "a virtual instance needs trio to run on a VirtualClock: use brokersim.run(main, clock='virtual')"
        )
    if isinstance(running, VirtualClock):
        raise RuntimeError(f"trio runs on a VirtualClock here; an instance with clock {kind} cannot")
    if isinstance(running, RealClock) and running.speed == kind.speed:
        return running
    return RealClock(kind.speed)
