"""Knows how far a module is (I R F X), who waits for that, and the course of code that runs in this process.

It doesn't know where its file is, nor what else has to be told of its end: that is its module's (life, remote, far).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from brokersim.host.handle import Handle, Living
from brokersim.host.loader import ModuleCode, describe
from brokersim.host.ports import Home
from brokersim.protocol.errnums import ECONNRESET, EINVAL, ERRNUM_MAX, ETIMEDOUT, RequestError
from brokersim.reactor.actor import FAILURES, Timer
from brokersim.reactor.interrupts import pass_on
from brokersim.reactor.loop import Reactor
from brokersim.reactor.step import ModuleUnloaded

INIT, RUNNING, FINALIZING, EXITED = range(4)
#: Seconds a module may take to become ready, and to stop, unless attributes say otherwise.
LOAD_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0

Done = Callable[[RequestError | None], object]


class Life:
    """How far one module is, who waits for it to run or to be gone, and the one timer that gives it up."""

    __slots__ = ("_loaded", "_removed", "_timer", "errnum", "reactor", "since", "status")

    def __init__(self, reactor: Reactor, loaded: Done) -> None:
        self.reactor = reactor
        self.since = reactor.now
        self.status = INIT
        self.errnum = 0
        self._loaded: Done | None = loaded
        self._removed: tuple[Done, ...] = ()
        self._timer: Timer | None = None

    @property
    def is_awaited(self) -> bool:
        """Whoever loads it has not been answered yet."""
        return self._loaded is not None

    def run(self) -> None:
        """INIT is over: whoever loads it is answered."""
        if self.status == INIT:
            self.status = RUNNING
            self.no_limit()
            self._answer(None)

    def ran(self) -> None:
        """It is on its way out in good order: whoever still waits for it to run is answered so."""
        self._answer(None)

    def tell_when_over(self, removed: Done | None) -> None:
        """``removed`` is called when it is gone, at once if it is."""
        if removed is None:
            return
        if self.status == EXITED:
            removed(None)
        else:
            self._removed += (removed,)

    def exit(self, errnum: int) -> bool:
        """It is EXITED from now on; False if it was. Who waits is told by `tell`."""
        if self.status == EXITED:
            return False
        self.status, self.errnum = EXITED, errnum
        self.no_limit()
        return True

    def tell(self, name: str, errnum: int, text: str) -> None:
        """All is taken away: whoever waits for it to run or to be gone is answered."""
        if errnum:
            self._answer(RequestError(errnum, text))
        else:
            self._answer(RequestError(ECONNRESET, f"module {name!r} was removed before it was ready"))
        removed, self._removed = self._removed, ()
        for done in removed:
            done(None)

    def _answer(self, error: RequestError | None) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded(error)

    def limit(self, seconds: float, fn: Callable[..., object], *args: object) -> None:
        """Have ``fn(*args)`` called if it is no further in so many seconds; one limit at a time."""
        self.no_limit()
        self._timer = self.reactor.call_later(seconds, fn, *args)

    def no_limit(self) -> None:
        """It got where it should."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Loaded(Living, Protocol):
    """A module on a rank, as whoever lists modules sees it."""

    __slots__ = ()

    life: Life
    handle: Handle

    @property
    def path(self) -> Path:
        """The file its code is in."""

    @property
    def status(self) -> int:
        """INIT, RUNNING, FINALIZING or EXITED."""
        return self.life.status

    @property
    def errnum(self) -> int:
        """What it ended with, 0 until then and in good order."""
        return self.life.errnum

    @property
    def idle_ns(self) -> int:
        """Time (ns) since it was loaded; the broker keeps no time of the last message (a cost a message)."""
        return self.life.reactor.now - self.life.since

    @property
    def sendqueue(self) -> int:
        """Messages that wait to be taken by it: none, in a process where all share one queue."""
        return 0


class Staged(Living, Protocol):
    """A module whose code runs in this process, as its course sees it."""

    __slots__ = ()

    code: ModuleCode
    args: tuple[str, ...]
    life: Life
    handle: Handle

    def end(self, errnum: int, text: str) -> None:
        """It is over, with that errnum and text if not in good order."""

    def log(self, text: str) -> None:
        """Say what went wrong."""


def make_handle(broker: Home, name: str, code: ModuleCode, module: Living) -> Handle:
    """The handle a module's code is given; it is on its rank already, under its name."""
    make = Handle if code.program is None else code.program.make_handle
    handle = make(broker, name, broker.instance.identities.serial(broker.rank, name), module)
    if code.may_block:
        handle.workers = broker.instance.workers
    broker.add_service(name, handle)
    broker.add_endpoint(handle)
    return handle


class Course:
    """The course of a module's code, from the construction of its class to the end of its teardown.

    It remembers nothing: the module keeps none, so that one of thousands costs no more memory than it needs.
    """

    __slots__ = ("_module",)

    def __init__(self, module: Staged) -> None:
        self._module = module

    def begin(self, _: object = None) -> None:
        """The welcome is there: construct the class, or enter ``mod_main``."""
        module, code, handle = self._module, self._module.code, self._module.handle
        handle.event_subscribe(sys.intern(f"{handle.name}.stats-clear"))  # one string for a thousand ranks
        if code.program is not None:
            code.program.start(handle, module.args)
            return
        handle.table = code.table
        try:
            handle.body = code.cls(handle, *module.args)
        except RequestError as error:
            module.end(error.errno or EINVAL, error.text)
            return
        except FAILURES as error:
            module.end(exit_errnum(error), f"{code.path} raises at start: {describe(error)}")
            return
        for entry in code.table.events:
            handle.event_subscribe(sys.intern(_subscription(entry.full_topic(handle.name))))
        ready = getattr(handle.body, "ready", None)
        if ready is None:
            module.set_running()
        else:
            module.life.limit(self._seconds("broker.module-load-timeout", LOAD_TIMEOUT), self._not_ready)
            handle.spawn(self._when_ready(ready()))

    async def _when_ready(self, ready: Any) -> None:
        try:
            await ready
        except ModuleUnloaded:
            return  # it is over already
        except FAILURES as error:
            text = error.text if isinstance(error, RequestError) else describe(error)
            self._module.end(exit_errnum(error), text)
            return
        self._module.set_running()

    def _not_ready(self) -> None:
        self._module.end(ETIMEDOUT, not_ready(self._module.name))

    def tear_down(self) -> None:
        """``teardown`` runs, then the module's ``end`` is called."""
        self._module.handle.spawn(self._tear_down())

    def limit_tear_down(self) -> None:
        """It has so much time for that."""
        seconds = self._seconds("broker.module-stop-timeout", STOP_TIMEOUT)
        self._module.life.limit(seconds, self._refuses_to_stop)

    async def _tear_down(self) -> None:
        module = self._module
        teardown = getattr(module.handle.body, "teardown", None)
        try:
            if teardown is not None:
                ending = teardown()
                if ending is not None:
                    await ending
        except ModuleUnloaded:
            return
        except FAILURES as error:
            module.log(f"teardown raises {describe(error)}")
        # Later, not now: this coroutine is one of those that the end throws out.
        module.life.reactor.call_later(0, module.end, 0, "")

    def _refuses_to_stop(self) -> None:
        self._module.log("refuses to stop and is ended")
        self._module.end(ETIMEDOUT, "")

    def _seconds(self, attribute: str, default: float) -> float:
        return self._module.handle.broker.instance.seconds(attribute, default)


def not_ready(name: str) -> str:
    """What is said of a module that takes too long to start."""
    return f"module {name!r} did not become ready in time; does its start wait for something?"


def exit_errnum(error: BaseException) -> int:
    """The errnum a module ends with: ValueError 22, OSError its own, anything else 104 (flux-core 0.88).

    Raises the terminal's ^C, with which no module ends.
    """
    pass_on(error)
    if isinstance(error, ValueError):
        return EINVAL
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(number, int) and 0 < number <= ERRNUM_MAX:
        return number
    return ECONNRESET


def _subscription(topic: str) -> str:
    """The plain prefix that covers a topic glob."""
    for at, char in enumerate(topic):
        if char in "*?[":
            return topic[:at]
    return topic
