"""Knows how a callback waits for an answer without stopping the loop: it runs on a stack of its own, and is parked.

While it waits its module is blocked: messages and timers are held, each message counted as received (and again when
it is handed out), hooks do not run; other modules go on. Source: flux-core's future_get, which receives on a cloned
handle and puts back what it did not wait for. Choice and figures: docs/decisions/0005-blocking-get.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from greenlet import getcurrent, greenlet

from brokersim.protocol.errnums import EDEADLK, ETIMEDOUT, RequestError
from brokersim.protocol.message import REQUEST, RESPONSE, Message
from brokersim.reactor.actor import Loop, Then, Timer
from brokersim.reactor.step import ModuleUnloaded
from brokersim.reactor.turn import answered
from brokersim.routing.endpoint import Endpoint

_PARKED: Final = object()
#: More modules than wait for each other in any sane instance.
_CIRCLE_MAX: Final = 64
_NO_STACK = (
    "no answer yet, and waiting here would stop the loop that delivers it; "
    "use then(), or await call() in a coroutine"
)


class Worker(greenlet):
    """One stack that runs one callback after another, and comes back to whoever switched to it last."""

    handle: Endpoint
    message: Message | None
    workers: Workers

    def run(self, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        """Never ends by itself: an idle one is used again."""
        while True:
            error: BaseException | None = None
            try:
                fn(*args)
            except BaseException as raised:
                error = raised
            assert self.parent is not None
            fn, args = self.parent.switch(error)

    def park(self) -> Any:
        """Wait until ``Workers.resume``; returns its value or raises its error."""
        assert self.parent is not None
        value, error = self.parent.switch(_PARKED)
        if error is not None:
            raise error
        return value


class Workers:
    """The stacks of one instance. One that never waits costs a switch there and back, half a microsecond."""

    __slots__ = ("_idle",)

    def __init__(self) -> None:
        self._idle: list[Worker] = []

    def call(
        self, handle: Endpoint, message: Message | None, fn: Callable[..., object], *args: object
    ) -> None:
        """Call ``fn(*args)``; returns when it has ended, or waits. What it raises before it waits is raised here.

        What it raises later is the answer to ``message`` if that is a request and the error a refusal, else it ends
        the module, as if it had been raised at once. Behind a callback of the same turn that waits, it waits as well.
        """
        loop: object = handle.loop
        if isinstance(loop, BlockedLoop):
            loop.hold(partial(self.call, handle, message, fn, *args))
            return
        worker = self._idle.pop() if self._idle else Worker()
        worker.parent = getcurrent()
        worker.handle, worker.message, worker.workers = handle, message, self
        outcome = worker.switch(fn, args)
        if outcome is not _PARKED:
            self._idle.append(worker)
            if outcome is not None:
                raise outcome

    def resume(self, worker: Worker, value: object = None, error: BaseException | None = None) -> None:
        """Let a parked callback go on."""
        handle, message = worker.handle, worker.message
        worker.parent = getcurrent()
        reactor = handle.reactor
        before, reactor.current = reactor.current, handle
        outcome = worker.switch((value, error))
        reactor.current = before
        if outcome is _PARKED:
            return
        self._idle.append(worker)
        if outcome is None or isinstance(outcome, ModuleUnloaded):
            if handle.is_open and handle.loop is not None:
                handle.loop.prepare()  # the turn that its wait cut short
        elif isinstance(outcome, RequestError) and message is not None and message.type == REQUEST:
            handle.refuse(message, outcome)
        else:
            handle.failed(outcome, message)


class BlockedLoop(Loop):
    """Stands in for a module's loop while one of its callbacks waits: what is not waited for is held, in order."""

    __slots__ = (
        "_held",
        "_spin",
        "_timers",
        "_wanted",
        "_workers",
        "before",
        "handle",
        "idle_calls",
        "request",
        "worker",
    )

    # No hook runs while the module is blocked, and it does not turn.
    is_plain = is_settled = False
    is_blocked = True
    check = poll = None
    is_due = turns_on = spins = False

    def __init__(
        self, handle: Endpoint, worker: Worker, workers: Workers, request: Message | None,
        wanted: Callable[[Message], bool],
    ) -> None:  # fmt: skip
        self.handle = handle
        self.worker = worker
        self.before: Loop | None = handle.loop
        self.idle_calls = 0 if self.before is None else self.before.idle_calls
        #: The request whose answer is waited for, if it is one.
        self.request = request
        self._workers = workers
        self._wanted = wanted
        self._held: list[Message] = []
        self._spin: Message | None = None
        if self.before is not None:
            self.before.suspend()  # the turn that is being cut short ends without its prepare hooks
        self._timers: list[Timer] = []
        handle.loop = self

    # -- what a loop can do

    def earn(self, turns: int) -> None:
        """A blocked loop does not turn."""

    def suspend(self) -> None:
        """It calls nothing."""

    def resume(self) -> None:
        """It calls nothing."""

    def iterate(
        self, message: Message | None, due: Iterable[Timer] = (), fds: Sequence[Callable[[], object]] = ()
    ) -> None:
        """Hold it, or, if it is what is waited for, let the callback go on."""
        self.dispatch(message, due, fds, False)

    def dispatch(
        self, message: Message | None, due: Iterable[Timer], fds: Sequence[Callable[[], object]], quiet: bool
    ) -> None:
        self._timers += due
        if message is None or not message.type:
            self._spin = message or self._spin
            return
        if self._wanted(message):
            self.release()
            self.handle.handed(message)
            found = None if self.request is None else answered(message)
            if found is not None:
                found[0](message, found[1])
            self._workers.resume(self.worker, message)
            return
        self.handle.put_back(message)
        if message.type != REQUEST or not broke_circle(message):
            self._held.append(message)

    def hold(self, call: Callable[[], object]) -> None:
        """What the turn that was cut short had still to call, such as another timer that was due."""
        self._timers.append(Timer(self.handle.reactor.now, self.handle, call, ()))

    def before_dispatch(self) -> bool:
        """No hook runs."""
        return True

    def prepare(self) -> None:
        """No hook runs."""

    settle = prepare

    def fulfil(self, then: Then, response: Message, arg: object) -> None:
        """Only what is waited for is handed out."""
        raise AssertionError(f"{self.handle.name} waits, and was handed {response.topic}")

    # -- the end of the wait

    def release(self) -> None:
        """The module is blocked no more; what was held is handed out first, in its order."""
        handle = self.handle
        reactor = handle.reactor
        handle.loop = self.before
        if handle.own_loop is not None:
            handle.own_loop.resume()  # somebody else may have set its hook meanwhile
        held, self._held = self._held, []
        if handle.station is not None and reactor.charged:
            handle.station.inbox.extendleft(reversed(held))
        else:
            reactor.put_back(held)
        for timer in self._timers:
            if timer.fn is not None:
                reactor.call_at(reactor.now, timer_call, timer, actor=handle)
        self._timers = []
        if self._spin is not None:
            reactor.fifo.append(self._spin)

    def give_up(self, error: BaseException) -> None:
        """Raise an error where the callback waits."""
        loop: object = self.handle.loop
        if loop is self:
            self.release()
            self._workers.resume(self.worker, None, error)

    def close(self) -> None:
        """The module goes: the callback is thrown out where it waits."""
        self.give_up(ModuleUnloaded())
        if self.handle.loop is not None:
            self.handle.loop.close()


def timer_call(timer: Timer) -> None:
    """A timer that fell due while its module was blocked, unless it was stopped since."""
    fn, args = timer.fn, timer.args
    if fn is not None:
        timer.spend()
        fn(*args)


def broke_circle(message: Message) -> bool:
    """Would those that wait for each other wait for ever? Then the last of them is told, and its request is void.

    ``message`` is a request for a module that is blocked. If its sender waits for just that answer, and following
    who waits for whom leads back to the sender, no answer can ever come.
    """
    last = message.src
    waiting = last.loop
    if not isinstance(waiting, BlockedLoop) or waiting.request is not message:
        return False
    names = [last.name]
    asked: Any = message.dst
    while asked is not last:
        if asked is None or not isinstance(asked.loop, BlockedLoop) or asked.loop.request is None:
            return False
        if len(names) > _CIRCLE_MAX:
            return False  # a circle further on, whose own last one has been told
        names.append(asked.name)
        asked = asked.loop.request.dst
    text = f"{message.topic}: {' waits for '.join((*names, last.name))}, so no answer can come"
    # Not now: the one that holds the message is just being handed it.
    last.reactor.call_later(0, waiting.give_up, RequestError(EDEADLK, text))
    last.pending.pop(message.matchtag, None)
    return True


def wait_for_answer(
    handle: Endpoint, request: Message, is_ready: Callable[[], bool], timeout: float = -1.0
) -> None:
    """Block the calling callback until ``is_ready()``, which an answer to ``request`` makes true.

    A timeout is in seconds of the reactor's clock, negative for none. Raises RequestError: EDEADLK where nothing
    can wait (the reactor's own stack, a stepped coroutine), or would for ever; ETIMEDOUT.
    """
    tag = request.matchtag
    while not is_ready():
        _block(handle, request, lambda message: message.type == RESPONSE and message.matchtag == tag, timeout)


def wait_for_message(handle: Endpoint, wanted: Callable[[Message], bool]) -> Message:
    """Block the calling callback until a message comes that is wanted; it is taken, no handler gets it."""
    message: Message = _block(handle, None, wanted, -1.0)
    return message


def _block(
    handle: Endpoint, request: Message | None, wanted: Callable[[Message], bool], timeout: float
) -> Any:
    worker = getcurrent()
    what = request.topic if request is not None else "receive"
    if not isinstance(worker, Worker) or worker.handle is not handle:
        raise RequestError(EDEADLK, f"{what}: {_NO_STACK}")
    if not handle.is_open:
        raise ModuleUnloaded
    blocked = BlockedLoop(handle, worker, worker.workers, request, wanted)
    timer = None
    if timeout >= 0:
        text = f"{what}: no answer within {timeout:g} s"
        timer = handle.reactor.call_later(timeout, blocked.give_up, RequestError(ETIMEDOUT, text))
    try:
        return worker.park()
    finally:
        if timer is not None:
            timer.cancel()
