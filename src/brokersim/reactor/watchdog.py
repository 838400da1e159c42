"""Knows when one handler holds the loop too long, and breaks into it; not what becomes of its module."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from brokersim.reactor import standstill
from brokersim.reactor.loop import Reactor
from brokersim.reactor.standstill import Flood, HandlerHung

#: Seconds between two looks: in that time a handler that only sends can queue some 100 MB.
_PERIOD = 0.25
#: Seconds one batch of the loop may take before the handler it is in is declared hung.
HANDLER_TIMEOUT = 10.0
#: Seconds after which it is told that one holds the loop: by then a person who waits for an answer wonders.
SLOW = 0.5
Tell = Callable[[str, float, FrameType | None], object]


def _nobody(_name: str, _held: float, _frame: FrameType | None) -> None:
    """Told when nobody listens."""


@contextmanager
def watchdog(reactor: Reactor, limit: float, tell: Tell = _nobody) -> Iterator[None]:
    """Raise HandlerHung inside a handler that holds the loop for ``limit`` seconds; its module ends, others go on.

    ``tell(name, seconds, frame)`` hears once, while it still lasts, of a module that has held it for half a second: all
    others of the broker wait for it meanwhile.

    An interval timer looks four times per limit, and at least four times a second; it also breaks into one that
    floods the queue from inside a single call. A signal reaches even a handler that sleeps or waits for a lock,
    which an exception set from another thread would not; so it works in the main thread only, and elsewhere
    nothing is watched.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = (-1, 0.0)
    told = -1

    def look(_signal: int, frame: FrameType | None) -> None:
        nonlocal seen, told
        batch, since = seen
        now = time.monotonic()
        if reactor.current is None or reactor.batches != batch:
            seen = (reactor.batches, now)
        elif len(reactor.fifo) > standstill.FLOOD:
            raise Flood(f"{len(reactor.fifo)} messages queued from one call, the limit is {standstill.FLOOD}")
        elif now - since >= limit:
            seen = (batch, now)
            told = batch
            raise HandlerHung(f"a handler held the loop for more than {limit:g} s")
        elif now - since >= SLOW and told != batch:
            told = batch
            tell(getattr(reactor.current, "name", "the program"), now - since, frame)

    before = signal.signal(signal.SIGALRM, look)
    period = min(_PERIOD, limit / 4)
    signal.setitimer(signal.ITIMER_REAL, period, period)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
