"""Knows one module's loop iteration: prepare, poll, check, dispatch, idle, timers, fds, in libev's order.

It doesn't know messages' meaning or where time comes from. Source: flux-core 0.88 and libev as observed
(docs/reactor.md). Invocation order: prepare and check watchers run last started first; the handle's own are the
oldest, so the dispatch comes after every check. Stopping one moves the last started into its slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from brokersim.native.engine import twin
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import Message
from brokersim.protocol.settings import HOOKS
from brokersim.reactor.actor import AT_ONCE, FAILURES, Actor, Loop, Then, Timer
from brokersim.reactor.loop import Reactor
from brokersim.reactor.turn import run_timers, take

#: Message type of a loop turn without a message; never sent, never counted.
_SPIN: Final = 0
#: A continuation that is due, and the response it is called with, if it is called with one.
_Due = tuple[Callable[[], object], Message | None]


@twin
class Watcher:
    """A prepare, check or idle callback of one module's loop; ``None`` as idle callback only keeps it turning."""

    __slots__ = ("active", "fn", "kind", "loop")

    def __init__(self, loop: ModuleLoop, kind: str, fn: Callable[[], object] | None) -> None:
        self.loop = loop
        self.kind = kind
        self.fn = fn
        self.active = False

    def start(self, *, oldest: bool = False) -> None:
        """Begin to be called; ``oldest`` puts it before all others of its kind, so it is called last."""
        if not self.active:
            self.active = True
            self.loop.add(self, oldest)

    def stop(self) -> None:
        """Not called any more, not even later in the iteration that runs now."""
        if self.active:
            self.active = False
            self.loop.drop(self)


@twin
class ModuleLoop(Loop):
    """The watchers of one actor, and the continuations it has to call.

    It is the actor's ``loop`` while it has any, and costs nothing when it has none.

    prepare count = check count = ``iterations``; while the module is blocked in poll, its next prepare has
    already run. ``idle_calls`` counts iterations in which idle watchers were invoked. ``is_plain`` says that a turn
    is no more than checks, dispatch and prepares, which the drain then does by itself.
    """

    __slots__ = (
        "_continuations", "_order", "_spin", "actor", "check", "checks", "idle", "idle_calls", "idles", "is_blocked",
        "is_fresh", "is_plain", "is_settled", "nonblocking", "poll", "prepares", "reactor", "spin_queued", "started",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, actor: Actor) -> None:
        self.reactor = reactor
        self.actor = actor
        self.idle_calls = 0
        # Tuples in call order, rebuilt at start and stop: an iteration in progress keeps walking its own.
        self.prepares: tuple[Watcher, ...] = ()
        self.checks: tuple[Watcher, ...] = ()
        self.idles: tuple[Watcher, ...] = ()
        #: One call for all checks, all idles, all prepares (which is what comes before poll); None without any.
        self.check: Callable[[], object] | None = None
        self.idle: Callable[[], object] | None = None
        self.poll: Callable[[], object] | None = None
        self.nonblocking = 0  # active idle watchers, no-op ones and that of what is to be continued included
        self.spin_queued = False
        self.is_plain = True
        self.is_settled = True
        self.is_blocked = False  # this loop never is: see host/blocking.py
        self.started = 0  # watchers
        self._order: dict[str, list[Watcher]] = {kind: [] for kind in HOOKS}
        self._spin = Message(_SPIN, dst=actor)
        self.is_fresh = False  # then its next turn is no more than its first prepare
        #: Called at the beginning of the next turn.
        self._continuations: list[_Due] = []

    @property
    def is_due(self) -> bool:
        return bool(self.checks or self._continuations)

    @property
    def turns_on(self) -> bool:
        return self.nonblocking > len(self.idles)

    @property
    def spins(self) -> bool:
        return bool(self.idles)

    def attach(self) -> None:
        """Become the actor's loop. In the middle of its turn, the first prepare comes right behind that turn.

        Whoever calls it judges the loop anew.
        """
        if self.actor.loop is not None:
            return
        self.actor.loop = self
        is_charged = self.reactor.charged and self.actor.station is not None  # then its station sees to that
        if self.reactor.current is self.actor and not is_charged:
            self.is_fresh = True
            self.reactor.fifo.appendleft(self._spin)

    def earn(self, turns: int) -> None:
        self.actor.wakeups += turns
        self.idle_calls += turns

    def suspend(self) -> None:
        """Call nothing more, not even at the end of the turn that runs now, until ``resume``."""
        # A test at the end of each turn would cost loops that are never suspended.
        self.prepares, self.poll, self.nonblocking = (), None, 0

    def resume(self) -> None:
        """Become the actor's loop again, if there is anything to call."""
        self.nonblocking = len(self._order["idle"]) + bool(self._continuations)
        if self.started:
            self.attach()
        self._rebuild("prepare")
        self._judge()
        if self._continuations:
            self.actor.loop = self
            self._keep_turning()

    def _judge(self) -> None:
        blocks = not self.nonblocking
        self.is_plain = blocks and not (self.is_fresh or self.spin_queued)
        self.is_settled = blocks and (self.started > 0 or self.actor.tracer is not None)

    def trace(self) -> None:
        """The actor's tracer was set or taken away: of an actor without a loop the drain tells nobody."""
        if self.actor.tracer is not None:
            self.attach()
        self._judge()

    def close(self) -> None:
        """Stop every watcher; nothing is continued."""
        self.nonblocking -= bool(self._continuations)
        self._continuations = []
        for kind in HOOKS:
            for watcher in list(self._order[kind]):
                watcher.stop()

    def add(self, watcher: Watcher, oldest: bool) -> None:
        """A watcher is started: from now on it is called, after all others of its kind if it is to be the oldest."""
        kind = watcher.kind
        order = self._order[kind]
        if oldest:
            order.insert(0, watcher)
        else:
            order.append(watcher)
        self.started += 1
        if self.actor.loop is None:
            self.attach()
        if kind == "idle":
            self.nonblocking += 1
            self._keep_turning()
        if watcher.fn is not None:
            self._rebuild(kind)
        self._judge()  # what only keeps the loop turning is called by nobody

    def drop(self, watcher: Watcher) -> None:
        """A watcher is stopped; the one started last is called in its place."""
        kind = watcher.kind
        order = self._order[kind]
        last = order.pop()
        if last is not watcher:
            order[order.index(watcher)] = last
        self.started -= 1
        if kind == "idle":
            self.nonblocking -= 1
        if watcher.fn is not None:
            self._rebuild(kind)
        self._judge()

    def _rebuild(self, kind: str) -> None:
        """Say anew what is called for that kind; whoever calls it judges the loop anew."""
        order = self._order[kind]
        calls = tuple([watcher for watcher in order[::-1] if watcher.fn is not None]) if order else ()
        call = _one_call(calls) if calls else None
        if kind == "prepare":
            self.prepares, self.poll = calls, call
        elif kind == "check":
            self.checks, self.check = calls, call
        else:
            was, self.idles, self.idle = bool(self.idles), calls, call
            if was != bool(calls) and self.actor.station is not None:
                self.actor.station.spin(bool(calls))

    # -- the iteration

    def iterate(
        self, message: Message | None, due: Iterable[Timer] = (), fds: Sequence[Callable[[], object]] = ()
    ) -> None:
        """One turn: continuations, checks, at most one dispatch, idle, timers, fds; the prepares of the next."""
        if message is not None and message.type == _SPIN:
            if self.is_fresh:
                self.is_fresh = False
                self._judge()
                self.prepare()
                return
            self.spin_queued = False
            self._judge()
            if not self.nonblocking:
                self.settle()
                return  # the last idle watcher stopped after this turn was queued: poll blocks again
            message = None
            if self.reactor.jumps:
                self._turn_once()
                return
        self._turn(message, due, fds)

    def _turn(
        self, message: Message | None, due: Iterable[Timer], fds: Sequence[Callable[[], object]]
    ) -> None:
        try:
            if not self.before_dispatch():
                return
            # A message that met a loop at rest woke its poll as an fd event, which keeps idle watchers out. A loop that
            # turns finds it queued at its next prepare, as it does one from a backlog (docs/decisions/0025).
            quiet = not due and not fds and (message is None or self.spin_queued)
            self.dispatch(message, due, fds, quiet)
            self.prepare()
        except RequestError as error:
            # A watcher's: the message of this turn, whose handler's refusal is caught in `dispatch`, is not to blame.
            self.actor.failed(error, None)

    def _turn_once(self) -> None:
        """An idle turn under a clock that jumps: if it did nothing, it is the last until something happens.

        Spinning on would keep time from ever passing. (With costs charged, `cost` earns such turns instead.)
        """
        before, prepares, checks = self.nonblocking, self.prepares, self.checks
        traces = _traces(self.reactor, self.actor)
        self.spin_queued = True
        self._turn(None, (), ())
        self.spin_queued = False
        self._judge()
        # Who starts its watchers anew has something left to do: each start makes a new tuple.
        has_done = self.prepares is not prepares or self.checks is not checks or self.nonblocking != before
        has_done = has_done or traces != _traces(self.reactor, self.actor)
        if self.nonblocking and (has_done or self._continuations):
            self._keep_turning()

    def before_dispatch(self) -> bool:
        """What is to be continued, then the check watchers. False if a continuation has ended the actor."""
        if self._continuations:
            return self._continue()
        if self.check is not None:
            self.check()
        return True

    def _continue(self) -> bool:
        # In Flux a fulfilled future starts a check watcher, and an idle watcher so that poll does not block. The newest
        # check is called first; one that is started by it is called from the next turn on.
        checks, due = self.checks, self._continuations
        self._continuations = []
        self.nonblocking -= 1
        self._judge()
        for call, response in due:
            try:
                call()
            except FAILURES as error:
                self.actor.failed(error, response)
                return False
        for watcher in checks:
            if watcher.active:
                watcher.fn()  # type: ignore[misc]  # those without are not in the tuple
        return True

    def fulfil(self, then: Then, response: Message, arg: object) -> None:
        """A future has its answer: its continuation is called in the next turn.

        At once where no watcher could see the difference, or where it is nobody's code.
        """
        if arg is AT_ONCE or not self.started or not self.actor.continues:
            then(response, arg)
        else:
            self.actor.wakeups -= 1  # counted as a turn already; it is one if no message shares it
            self.call_next(partial(then, response, arg), response)

    def call_next(self, call: Callable[[], object], response: Message | None = None) -> None:
        """Call back at the beginning of the next turn, which comes without waiting."""
        self._continuations.append((call, response))
        if len(self._continuations) > 1:
            return
        self.nonblocking += 1
        if self.actor.loop is None:
            self.actor.loop = self
        self._judge()
        self._keep_turning()

    def dispatch(
        self,
        message: Message | None,
        due: Iterable[Timer],
        fds: Sequence[Callable[[], object]],
        quiet: bool,
    ) -> None:
        """The handle's check, which takes one message; then what was pending below the checks."""
        actor = self.actor
        if message is None:
            actor.wakeups += 1
        else:
            take(message)
            if actor.loop is not self:
                # Its handler ended the actor, or waits, and the rest of the turn with it.
                if actor.loop is not None:
                    actor.loop.iterate(None, due)
                return
        if quiet and self.idle is not None:
            self.idle_calls += 1
            self.idle()
        if due:
            run_timers(list(due))
        if fds:
            for fd in reversed(fds):
                if actor.loop is self:
                    fd()

    def prepare(self) -> None:
        """The prepare watchers of the next turn; then poll, which blocks unless an idle watcher is active."""
        if self.poll is not None:
            self.poll()
        self.settle()

    def settle(self) -> None:
        """The end of a turn: turn on if an idle watcher wants to, let go of the actor if nobody wants anything."""
        if self.nonblocking:
            self._keep_turning()
        elif not (self.started or self.spin_queued or self.is_fresh or self._continuations):
            actor = self.actor
            if actor.loop is self and actor.tracer is None:
                actor.loop = None  # it goes back to the shortest path

    def _keep_turning(self) -> None:
        if self.spin_queued:
            return
        if self.reactor.charged and self.actor.station is not None:
            self.actor.station.turn()
            return
        self.spin_queued = True
        self._judge()
        self.reactor.fifo.append(self._spin)
        if not self.reactor.is_inside:
            self.reactor.host.wake()  # a program's task has started a watcher


def _traces(reactor: Reactor, actor: Actor) -> tuple[int, int, int]:
    """What a turn that does anything leaves; what it sends may lie on a link or behind a gate, in no queue yet."""
    return reactor.extra, len(reactor.fifo), sum(actor.counts)


def _one_call(watchers: tuple[Watcher, ...]) -> Callable[[], object] | None:
    """What calls them (there is one) in order, skipping those that an earlier one stopped; one needs nobody to."""
    if len(watchers) == 1:
        return watchers[0].fn

    def call_all() -> None:
        for watcher in watchers:
            if watcher.active:
                watcher.fn()  # type: ignore[misc]

    return call_all
