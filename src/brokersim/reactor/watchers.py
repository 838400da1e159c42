"""Knows one module's loop iteration: prepare, poll, check, dispatch, idle, timers, fds, in libev's order.

It doesn't know messages' meaning or where time comes from. Source: flux-core 0.88 and libev as observed
(docs/reactor.md). Invocation order: prepare and check watchers run last started first; the handle's own are the
oldest, so the dispatch comes after every check. Stopping one moves the last started into its slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import REQUEST, Message
from brokersim.protocol.settings import HOOKS
from brokersim.reactor.actor import Actor, dispatch
from brokersim.reactor.loop import run_timers

if TYPE_CHECKING:
    from brokersim.reactor.actor import Timer
    from brokersim.reactor.loop import Reactor

_SPIN = 0  # message type of a loop turn without a message; never sent, never counted


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


class ModuleLoop:
    """The watchers of one actor. It is the actor's ``loop`` while it has any, and costs nothing when it has none.

    prepare count = check count = ``iterations``; while the module is blocked in poll, its next prepare has
    already run. ``idle_calls`` counts iterations in which idle watchers were invoked. ``is_plain`` says that a turn
    is no more than checks, dispatch and prepares, which the drain then does by itself.
    """

    #: Does a callback of the actor wait for an answer? (Not of this loop: see host/blocking.py.)
    is_blocked = False

    __slots__ = (
        "_fresh", "_order", "_spin", "_started", "actor", "check", "checks", "idle", "idle_calls", "idles",
        "is_plain", "is_settled", "nonblocking", "poll", "prepares", "reactor", "spin_queued",
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
        self.nonblocking = 0  # active idle watchers, no-op ones included
        self.spin_queued = False
        self.is_plain = True
        self.is_settled = True  # at the end of a turn there is nothing more to see to
        self._started = 0
        self._order: dict[str, list[Watcher]] = {kind: [] for kind in HOOKS}
        self._spin = Message(_SPIN, dst=actor)
        self._fresh = False

    @property
    def is_fresh(self) -> bool:
        """Is its next turn no more than its first prepare?"""
        return self._fresh

    @property
    def iterations(self) -> int:
        """Turns of this loop: one a message received, one a wake-up without a message."""
        return self.actor.iterations

    def attach(self) -> None:
        """Become the actor's loop. In the middle of its turn, the first prepare comes right behind that turn.

        Whoever calls it judges the loop anew.
        """
        if self.actor.loop is not None:
            return
        self.actor.loop = self
        is_charged = self.reactor.charged and self.actor.station is not None  # then its station sees to that
        if self.reactor.current is self.actor and not is_charged:
            self._fresh = True
            self.reactor.fifo.appendleft(self._spin)

    def suspend(self) -> None:
        """Call nothing more, not even at the end of the turn that runs now, until ``resume``."""
        # A test at the end of each turn would cost loops that are never suspended.
        self.prepares, self.poll, self.nonblocking = (), None, 0

    def resume(self) -> None:
        """Become the actor's loop again, if there is anything to call."""
        self.nonblocking = len(self._order["idle"])
        if self._started:
            self.attach()
        self._rebuild("prepare")

    def _detach(self) -> None:
        if self.actor.loop is self and self.actor.tracer is None:
            self.actor.loop = None

    def _judge(self) -> None:
        blocks = not self.nonblocking
        self.is_plain = blocks and not (self._fresh or self.spin_queued or self.actor.tracer is not None)
        self.is_settled = blocks and self._started > 0

    def trace(self) -> None:
        """The actor's tracer was set or taken away: the drain's own path knows no tracers."""
        if self.actor.tracer is not None:
            self.attach()
        self._judge()

    def close(self) -> None:
        """Stop every watcher."""
        for kind in HOOKS:
            for watcher in list(self._order[kind]):
                watcher.stop()

    def watcher(self, kind: str, fn: Callable[[], object] | None) -> Watcher:
        """A stopped watcher of ``kind`` prepare, check or idle."""
        return Watcher(self, kind, fn)

    def add(self, watcher: Watcher, oldest: bool) -> None:
        kind = watcher.kind
        order = self._order[kind]
        order.insert(0 if oldest else len(order), watcher)
        self._started += 1
        if self.actor.loop is None:
            self.attach()
        if kind == "idle":
            self.nonblocking += 1
            self._keep_turning()
        self._rebuild(kind)

    def drop(self, watcher: Watcher) -> None:
        kind = watcher.kind
        order = self._order[kind]
        last = order.pop()
        if last is not watcher:
            order[order.index(watcher)] = last
        self._started -= 1
        if kind == "idle":
            self.nonblocking -= 1
        self._rebuild(kind)

    def _rebuild(self, kind: str) -> None:
        # By a list, at half of what a generator costs: each commit of the kvs starts and stops three watchers.
        calls = tuple([watcher for watcher in self._order[kind][::-1] if watcher.fn is not None])
        if kind == "prepare":
            self.prepares, self.poll = calls, _one_call(calls)
        elif kind == "check":
            self.checks, self.check = calls, _one_call(calls)
        else:
            was, self.idles, self.idle = bool(self.idles), calls, _one_call(calls)
            if was != bool(calls) and self.actor.station is not None:
                self.actor.station.spin(bool(calls))
        self._judge()

    # -- the iteration

    def iterate(
        self, message: Message | None, due: Iterable[Timer] = (), fds: Iterable[Callable[[], object]] = ()
    ) -> None:
        """One turn: checks, at most one dispatch, idle, timers, fds, then the prepares of the next turn."""
        if message is not None and message.type == _SPIN:
            if self._fresh:
                self._fresh = False
                self._judge()
                self.prepare()
                return
            self.spin_queued = False
            self._judge()
            if not self.nonblocking:
                self._rest()
                return  # the last idle watcher stopped after this turn was queued: poll blocks again
            message = None
            if self.reactor.jumps:
                self._turn_once()
                return
        self._turn(message, due, fds)

    def _turn(
        self, message: Message | None, due: Iterable[Timer], fds: Iterable[Callable[[], object]]
    ) -> None:
        try:
            self.before_dispatch()
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
        reactor = self.reactor
        before = (reactor.packets, len(reactor.fifo), self.nonblocking)
        self.spin_queued = True
        self._turn(None, (), ())
        self.spin_queued = False
        self._judge()
        if self.nonblocking and before != (reactor.packets, len(reactor.fifo), self.nonblocking):
            self._keep_turning()

    def before_dispatch(self) -> None:
        """The check watchers."""
        if self.check is not None:
            self.check()

    def dispatch(
        self, message: Message | None, due: Iterable[Timer], fds: Iterable[Callable[[], object]], quiet: bool
    ) -> None:
        """The handle's check, which takes one message; then what was pending below the checks."""
        actor = self.actor
        if message is None:
            actor.wakeups += 1
        else:
            try:
                dispatch(message)
            except RequestError as error:
                if message.type != REQUEST:
                    raise
                actor.refuse(message, error)
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
            for fd in reversed(list(fds)):
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
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is left to call: the actor goes back to the shortest path."""
        if not self._started and not self.spin_queued and not self._fresh:
            self._detach()

    def _keep_turning(self) -> None:
        if not self.spin_queued and (self.actor.station is None or not self.reactor.charged):
            self.spin_queued = True
            self._judge()
            self.reactor.fifo.append(self._spin)


def _one_call(watchers: tuple[Watcher, ...]) -> Callable[[], object] | None:
    """What calls them in order, skipping those that an earlier one stopped; a single one needs nobody to."""
    if len(watchers) < 2:
        return watchers[0].fn if watchers else None

    def call_all() -> None:
        for watcher in watchers:
            if watcher.active:
                watcher.fn()  # type: ignore[misc]

    return call_all
