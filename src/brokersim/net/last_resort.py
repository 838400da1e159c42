"""Knows what is left when a handler holds the loop against every exception: to say who, and to end the process.

`reactor.watchdog` raises inside a handler that is late; one that catches everything, or ignores the alarm, goes on.
Then signals are noted and never acted on, since the loop that would is held. A thread looks on. A handler in C that
holds Python's lock stops that thread as well: only a module in a process of its own (`--exec`) can be ended then.
"""

from __future__ import annotations

import faulthandler
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from brokersim.host.loader import place_of
from brokersim.reactor.loop import Reactor

#: Exit code of a process that was ended because a module would not let go; `env` and `timeout` use it alike.
HELD: Final = 125
_PERIOD: Final = 0.25
#: Seconds the loop has for a signal before it counts as unheard.
_HEARING: Final = 1.0


class LastResort:
    """Watches a loop from outside. ``limit``: seconds after which a handler should have been broken into."""

    def __init__(self, reactor: Reactor, limit: float, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._limit = limit
        self._say = say
        self._main = threading.main_thread().ident
        self._before_end: list[Callable[[], object]] = []
        self._signals: tuple[int, ...] = ()
        self._reader, self._writer = os.pipe()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="brokersim-last-resort", daemon=True)

    def before_end(self, act: Callable[[], object]) -> None:
        """Have something done before the process is ended by force, in the thread."""
        self._before_end.append(act)

    @contextmanager
    def listening(self, *signals: int) -> Iterator[None]:
        """Inside, these signals are noticed beside whoever handles them by now; they end the process while held."""
        self._signals = signals
        self._hook()
        try:
            yield
        finally:
            self._signals = ()
            for number in signals:
                faulthandler.unregister(number)

    def _hook(self) -> None:
        # Python's own handlers wait for the main thread, and what is in a handler may have replaced them.
        for number in self._signals:
            faulthandler.unregister(number)
            faulthandler.register(number, file=self._writer, all_threads=False, chain=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The thread runs inside."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()
            os.close(self._reader)
            os.close(self._writer)

    # -- in the thread

    def _look_on(self) -> None:
        batch, since = -1, time.monotonic()
        told, asked = False, 0.0
        while not self._is_over.wait(min(_PERIOD, self._limit / 4)):
            now = time.monotonic()
            if self._reactor.current is None or self._reactor.batches != batch:
                batch, since, told = self._reactor.batches, now, False
            if self._was_asked():
                asked = now
            held = now - since
            if held >= 2 * self._limit and not told:
                told = True
                self._hook()
                with suppress(OSError):
                    self._say(f"{self._who(held)} and lets go of nothing; TERM ends this process, all of it")
            if held >= self._limit and asked and now - asked >= _HEARING:
                self._end(held)
            elif held < self._limit and now - asked > 2 * _HEARING:
                asked = 0.0

    def _was_asked(self) -> bool:
        """A signal came since the last look. What is read is the trace that was written of it."""
        if not select.select([self._reader], [], [], 0)[0]:
            return False
        os.read(self._reader, 1 << 16)
        return True

    def _end(self, held: float) -> None:
        acts: list[Callable[[], object]] = [partial(self._say, f"ended by force: {self._who(held)}")]
        for act in acts + self._before_end:
            with suppress(Exception):  # nothing may keep it from ending now, a closed stderr least of all
                act()
        os._exit(HELD)

    def _who(self, held: float) -> str:
        name = getattr(self._reactor.current, "name", "the program")
        frame = sys._current_frames().get(self._main or 0)
        return f"module {name!r} has held the loop for {held:.0f} s ({place_of(frame)})"


def note_slow_end(pid: int, name: str, grace: float, say: Callable[[str], object]) -> threading.Timer:
    """Says that a command is still waited for, unless cancelled first; in real time, whatever the clock."""
    text = (
        f"waiting for {name!r} (process {pid}), which ignores TERM and HUP; it is killed in {grace - 1:.0f} s"
    )
    return threading.Timer(1.0, say, (text,))
