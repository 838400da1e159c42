"""Knows which descriptors have something to read, by one registration each, and calls who waits. Not what is read.

A trio task for each client costs more than what a client says: two switches of tasks and a new registration for every
frame. Here one epoll has them all, and it is asked

* by the clock, when trio has nothing to run and would sleep: the sleep is ours then, trio's own descriptors are in the
  same epoll, and trio does not notice a request at all;
* before trio looks at its descriptors while tasks run, so that a task that never rests keeps no client waiting;
* else, under a clock that is no `RealClock` or a trio of unknown inside, by a task that waits for the epoll itself.

So a call comes between two steps of tasks, or in one: it must neither wait nor raise, and finds no current task.
Why: docs/decisions/0220-clients-are-no-tasks.md.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from brokersim.reactor.clock import RealClock

#: Descriptors told of at a time; the others are told of at the next look.
_MANY = 64
#: Seconds slept at most without trio: as long as it sleeps at most itself.
_LONGEST = 86_400.0


class Readers(trio.abc.Instrument):
    """Descriptors, and whom to call as often as one is readable. ``run`` has to run for that."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], object]] = {}
        self._trio: _Trio | None = None
        self._has_looked = False

    def add(self, fd: int, call: Callable[[], object]) -> None:
        """Call ``call`` while ``fd`` is readable, until ``drop``."""
        self._epoll.register(fd, select.EPOLLIN)
        self._calls[fd] = call

    def drop(self, fd: int) -> None:
        """Call nobody for it any more: before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._calls.clear()
        self._epoll.close()

    async def run(self) -> None:
        """Until cancelled."""
        clock = trio.lowlevel.current_clock()
        inside = _trio()
        if inside is not None and isinstance(clock, RealClock) and clock.sleep is None:
            with self._asleep_for(clock, inside):
                await trio.sleep_forever()
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._look()

    @contextmanager
    def _asleep_for(self, clock: RealClock, inside: _Trio) -> Iterator[None]:
        self._trio = inside
        self._epoll.register(inside.fd, select.EPOLLIN)
        clock.sleep = self._sleep
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)
            clock.sleep = None
            self._epoll.unregister(inside.fd)

    def before_io_wait(self, timeout: float) -> None:
        """trio's: it is about to look at its own descriptors."""
        if self._has_looked:
            self._has_looked = False
        else:
            self._look()

    def _look(self) -> None:
        calls = self._calls
        for fd, _ in self._epoll.poll(0, _MANY):
            call = calls.get(fd)
            if call is not None:
                call()

    def _sleep(self, seconds: float) -> float:
        """Sleep as long as trio would, but for what is to be read here; returns how long trio has to."""
        inside = self._trio
        assert inside is not None
        if inside.counts_idle_tasks:
            return seconds
        self._has_looked = True
        poll, calls = self._epoll.poll, self._calls
        deadline = inside.next_deadline()
        seconds = min(seconds, _LONGEST)
        until = time.monotonic() + seconds
        while True:
            events = poll(seconds, _MANY)
            if not events:
                return 0.0
            is_ours = True
            for fd, _ in events:
                call = calls.get(fd)
                if call is None:
                    is_ours = False  # trio's own, or gone since
                else:
                    call()
            if not is_ours or inside.runnable or inside.next_deadline() != deadline:
                return 0.0
            seconds = until - time.monotonic()
            if seconds <= 0:
                return 0.0  # there may be more to read, without end: what trio is due for comes first


class _Trio:
    """What of trio's inside `Readers` has to see before it sleeps in trio's place."""

    def __init__(self, runner: Any) -> None:
        #: trio's own epoll.
        self.fd: int = runner.io_manager._epoll.fileno()
        #: Tasks that are about to run.
        self.runnable = runner.runq
        #: When the next cancel scope is due.
        self.next_deadline: Callable[[], float] = runner.deadlines.next_deadline
        self._waiting_for_idle = runner.waiting_for_idle
        self.next_deadline()

    @property
    def counts_idle_tasks(self) -> bool:
        """Does a task wait for all others to rest? It is woken by trio's own sleep."""
        return bool(self._waiting_for_idle)


def _trio() -> _Trio | None:
    """The inside of the trio that runs here; None of one that has other names for it, or another poll than epoll."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        return _Trio(GLOBAL_RUN_CONTEXT.runner)
    except (ImportError, AttributeError):
        return None
