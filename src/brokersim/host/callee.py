"""Knows how code that is not ours is called: at once, later, on a stack that may wait, as a coroutine, as a trio task.

It doesn't know what that code is, nor what a module is handed (handle).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from brokersim.host.blocking import Workers
from brokersim.host.patience import Patience
from brokersim.host.ports import Home
from brokersim.host.waits import Occurrence, Sleep
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import NODEID_ANY, REQUEST, Message
from brokersim.reactor.actor import Then, Timer
from brokersim.reactor.loop import NS
from brokersim.reactor.step import ModuleUnloaded, Stepper
from brokersim.routing.endpoint import Endpoint

if TYPE_CHECKING:
    import random

    from brokersim.host.instrument import Instrument
    from brokersim.statsd.client import StatsClient


class Seldom:
    """What few modules of a large instance ever have: one field of a handle, made for the first of them."""

    __slots__ = ("coros", "instrument", "mask", "random", "stats", "tasks")

    def __init__(self) -> None:
        self.mask = 0
        self.instrument: Instrument | None = None
        self.random: random.Random | None = None
        self.stats: StatsClient | None = None
        #: Coroutines that wait.
        self.coros: dict[Stepper, None] = {}
        #: Trio tasks, each with what cancels it.
        self.tasks: dict[_Task, Callable[[], object]] = {}


class Callee(Endpoint):
    """An endpoint whose callbacks are somebody's code: what they raise, once they run by themselves, is `failed`'s."""

    __slots__ = ("_seldom", "workers")

    broker: Home
    continues = True

    def __init__(self, broker: Home, name: str, uuid: str | int) -> None:
        super().__init__(broker, name, uuid)
        #: Stacks to run callbacks on, if they may wait for answers (``Future.get``).
        self.workers: Workers | None = None
        self._seldom: Seldom | None = None

    def _make_seldom(self) -> Seldom:
        if self._seldom is None:
            self._seldom = Seldom()
        return self._seldom

    # -- time

    def now(self) -> float:
        """Reactor time in seconds, monotonic, fixed within one iteration; in a trio task it is the clock's."""
        reactor = self.reactor
        if not reactor.is_inside:
            reactor.refresh()
        return reactor.now / NS

    def time(self) -> float:
        """Wall-clock time in seconds since the epoch; under the virtual clock a fixed start plus ``now()``."""
        return self.broker.instance.epoch + self.now()

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Await a delay of the reactor's clock, in seconds."""
        return Sleep(self, seconds)

    def occurrence(self, start: Callable[[Callable[[Any], None]], object]) -> Awaitable[Any]:
        """Await a callback: ``start(done)`` is called at once, ``done(value_or_exception)`` ends the wait."""
        return Occurrence(self, start)

    # -- streams

    def stream(
        self,
        topic: str,
        payload: object,
        then: Then,
        arg: object = None,
        nodeid: int = NODEID_ANY,
        timeout: float | None = None,
    ) -> Message:
        """Send a request for a stream: ``then`` gets every response, the last one has an errnum (61 = end).

        With ``timeout`` a stream that is silent for so many seconds ends with errnum 110 (ETIMEDOUT), and its request
        is forgotten. `forget` ends it without a word.
        """
        if timeout is None:
            return super().stream(topic, payload, then, arg, nodeid)
        return Patience(self, then, timeout).ask(topic, payload, arg, nodeid)

    # -- ways to be called

    def call_later(self, seconds: float, fn: Callable[..., object], *args: object) -> Timer:
        """Call ``fn(*args)`` in ``seconds``, as an iteration of this module's loop."""
        return self.reactor.call_later(seconds, fn, *args, actor=self)

    def enter(self, fn: Callable[..., object], *args: object) -> None:
        """Call a callback of the module: where it may wait for answers, if it is of a kind that does."""
        if self.workers is None:
            fn(*args)
        else:
            self.workers.call(self, None, fn, *args)

    def fulfilled(self, call: Callable[[], object], response: Message) -> None:
        """A future has got its answer: call its continuation in the next turn.

        While nobody watches the loop that is at once, and counted as a turn.
        """
        if self.own_loop is not None and self.own_loop.started:
            self.own_loop.call_next(call, response)
        else:
            self.wakeups += 1
            call()

    def next_turn(self, call: Callable[[], object]) -> None:
        """Call ``call()`` at the beginning of the next turn, which comes without waiting."""
        if self.reactor.is_inside:
            self.module_loop().call_next(call)
        else:
            self.reactor.defer(partial(self.module_loop().call_next, call))

    def spawn(self, coroutine: Coroutine[Any, Any, Any], request: Message | None = None) -> None:
        """Step a coroutine of this module, without trio; it ends with the module."""
        stepper = Stepper(self.reactor, coroutine, partial(self._stepped, request))
        self._make_seldom().coros[stepper] = None
        stepper.start()

    def _stepped(self, request: Message | None, stepper: Stepper, error: BaseException | None) -> None:
        self._make_seldom().coros.pop(stepper, None)
        if error is not None:
            self._raised(request, error)

    def start_task(self, fn: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Run ``await fn(*args)`` as a trio task that is cancelled when the module goes."""
        self._start_task(None, fn, *args)

    def _start_task(self, request: Message | None, fn: Callable[..., Awaitable[Any]], *args: object) -> None:
        """For a request: raises RequestError, which answers it, where no task can be started."""
        tasks = self._make_seldom().tasks
        task = _Task(tasks, fn, args)
        tasks[task] = self.broker.instance.start_task(task.run, partial(self._raised, request))

    def _raised(self, request: Message | None, error: BaseException) -> None:
        """A coroutine or task ended by an error: the answer to its request if that is a refusal, else a failure."""
        if isinstance(error, ModuleUnloaded):
            return
        if isinstance(error, RequestError) and request is not None and request.type == REQUEST:
            self.refuse(request, error)
        else:
            self.failed(error, request)

    def end_callbacks(self) -> None:
        """Whoever waits inside is thrown out: tasks are cancelled, coroutines get ModuleUnloaded."""
        if self._seldom is not None:
            for cancel in list(self._seldom.tasks.values()):
                cancel()
            for stepper in list(self._seldom.coros):
                stepper.throw()


class _Task:
    """A trio task that takes itself off the list of those that run."""

    __slots__ = ("_args", "_fn", "_running")

    def __init__(
        self, running: dict[_Task, Any], fn: Callable[..., Awaitable[Any]], args: tuple[object, ...]
    ) -> None:
        self._running = running
        self._fn = fn
        self._args = args

    async def run(self) -> None:
        try:
            await self._fn(*self._args)
        finally:
            self._running.pop(self, None)
