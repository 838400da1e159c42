"""Knows what handling, emitting and spinning cost in virtual time, and how modules of a node share its cores.

It doesn't execute the spinning: a spinning module makes no events, its iterations are earned by arithmetic.
Model and calibration: docs/reactor.md. Real time is never charged.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from brokersim.protocol.message import Message
from brokersim.reactor.actor import dispatch
from brokersim.reactor.loop import NS, Timer, blame, run_timers

if TYPE_CHECKING:
    from brokersim.reactor.actor import Actor
    from brokersim.reactor.loop import Reactor


def _ns(seconds: float) -> int:
    return round(seconds * NS)


@attrs.frozen(kw_only=True)
class CostModel:
    """Modelled service times in seconds. Defaults follow a native run of 20 jobs on two cores (docs/reactor.md).

    ``slice_s`` is the wait for a time slice at each message while more modules want to run than there are cores;
    it is a calibrated parameter, not derived.
    """

    iteration_s: float = attrs.field(default=5e-6, validator=attrs.validators.ge(0))
    message_s: float = attrs.field(default=50e-6, validator=attrs.validators.ge(0))
    packet_s: float = attrs.field(default=10e-6, validator=attrs.validators.ge(0))
    slice_s: float = attrs.field(default=1.5e-3, validator=attrs.validators.ge(0))
    cores: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    #: Handling time of single topics, where it differs from ``message_s``.
    topics: Mapping[str, float] = attrs.field(factory=dict)


class Node:
    """The cores of one rank: each of R runnable modules progresses at rate min(1, cores/R).

    ``service`` is the service time (ns) every runnable module has received so far; a module that begins with
    demand d is done when ``service`` has grown by d, so a change of R moves one event instead of all.
    """

    def __init__(self, reactor: Reactor, model: CostModel) -> None:
        self.reactor = reactor
        self.cores = model.cores
        self.iteration = _ns(model.iteration_s)
        self.message = _ns(model.message_s)
        self.packet = _ns(model.packet_s)
        self.slice = _ns(model.slice_s)
        self.topics = {topic: _ns(seconds) for topic, seconds in model.topics.items()}
        self.runnable = 0
        self.service = 0
        self._since = 0
        self._seq = 0
        self._heap: list[tuple[int, int, Station]] = []
        self._event: Timer | None = None

    def advance(self) -> None:
        """Bring ``service`` up to now."""
        elapsed = self.reactor.now - self._since
        if elapsed:
            runnable, cores = self.runnable, self.cores
            self.service += elapsed if runnable <= cores else elapsed * cores // runnable
            self._since = self.reactor.now

    def join(self) -> None:
        self.advance()
        self.runnable += 1
        if self.runnable > self.cores:
            self._schedule()

    def leave(self) -> None:
        self.advance()
        self.runnable -= 1
        if self.runnable >= self.cores:
            self._schedule()

    def begin(self, station: Station, demand: int) -> None:
        """Call ``station.done()`` once it has received ``demand`` ns of service."""
        self.advance()
        self._seq += 1
        heapq.heappush(self._heap, (self.service + demand, self._seq, station))
        self._schedule()

    def wait_demand(self) -> int:
        """Demand that lasts as long as the wait for a time slice, at the rate in force."""
        runnable, cores = self.runnable, self.cores
        return self.slice * (runnable - cores) // runnable if runnable > cores else 0

    def _schedule(self) -> None:
        heap, event = self._heap, self._event
        if not heap:
            return
        left = max(0, heap[0][0] - self.service)
        runnable, cores = self.runnable, self.cores
        when = self.reactor.now + (left if runnable <= cores else -(-left * runnable // cores))
        if event is not None:
            if event.when == when and event.fn is not None:
                return
            event.cancel()
        self._event = self.reactor.call_at(when, self._complete)

    def _complete(self) -> None:
        self.advance()
        finish, _, station = heapq.heappop(self._heap)
        self.service = max(self.service, finish)  # rounding may leave it a nanosecond short
        if not station.gone:
            station.done()
        self._schedule()


_DISPATCH, _SPIN, _TAIL = "dispatch", "spin", "tail"


class Station:
    """One module's place at its node: a queue, the item in service, and whether the module spins."""

    __slots__ = (
        "_backlog",
        "_counted",
        "_item",
        "_phase",
        "_spin_from",
        "actor",
        "gone",
        "inbox",
        "node",
        "spinning",
    )

    def __init__(self, node: Node, actor: Actor) -> None:
        self.node = node
        self.actor = actor
        self.inbox: deque[Message | list[Timer]] = deque()
        self.spinning = False
        self.gone = False
        self._phase: str | None = None
        self._item: Message | list[Timer] | None = None
        self._backlog = False
        self._counted = False
        self._spin_from = 0

    @property
    def is_busy(self) -> bool:
        """Something is in service or waits for it; a loop that only spins is not."""
        return bool(self.inbox) or self._item is not None

    def arrive(self, item: Message | list[Timer]) -> None:
        """Queue a message, or timers that are due together; service begins at once if the module is free."""
        if self.gone or (isinstance(item, Message) and item.type == 0):
            return  # late for a module that ended, or a loop turn queued while time was not charged
        self.inbox.append(item)
        if self._phase is None:
            # A loop that spins is hardly ever in its poll, which takes no time: its next prepare finds the message
            # queued, so it comes without an fd event, like one from a backlog (docs/decisions/0025).
            self._backlog = self.spinning
            self._start()

    def spin(self, on: bool) -> None:
        """The module's idle watchers were started or stopped: it wants a core all the time, or no more."""
        if on == self.spinning:
            return
        if not on:
            self.settle()
        self.spinning = on
        if self._phase is None:
            self._count(on)
            self._spin_from = self.node.service

    def settle(self) -> None:
        """Credit the iterations spun since the last event of this module."""
        node, loop = self.node, self.actor.loop
        node.advance()
        if self.spinning and self._phase is None and loop is not None and node.iteration:
            turns = (node.service - self._spin_from) // node.iteration
            self._spin_from += turns * node.iteration
            self.actor.wakeups += turns
            loop.idle_calls += turns

    def withdraw(self) -> list[Message]:
        """Take back the messages that wait; the one in service goes on."""
        waiting = [item for item in self.inbox if isinstance(item, Message)]
        timers = [item for item in self.inbox if not isinstance(item, Message)]
        self.inbox.clear()
        self.inbox.extend(timers)
        return waiting

    def leave(self) -> None:
        """Off the node for good; what is in service has no effect any more."""
        self.settle()
        self.gone = True
        self._count(False)
        self.inbox.clear()

    def done(self) -> None:
        """The item in service has had its service time: let it take effect."""
        reactor = self.node.reactor
        phase, item, self._item = self._phase, self._item, None
        if phase == _TAIL:
            self._next()
            return
        reactor.current = self.actor
        packets = reactor.packets
        hooked = self.actor.loop is not None
        try:
            if phase == _SPIN:
                self._iterate(None, [], quiet=True)
            elif isinstance(item, Message):
                self._iterate(item, [], quiet=self._backlog)
            else:
                self._iterate(None, item or [], quiet=False)
        except Exception as error:
            if isinstance(item, Message) and not hooked:
                blame(error, item)
            else:
                self.actor.failed(error, item if isinstance(item, Message) else None)
        reactor.current = None
        if self.gone:
            return
        self._backlog = bool(self.inbox)
        sent = reactor.packets - packets
        if sent:
            self._begin(_TAIL, sent * self.node.packet)
        else:
            self._next(changed=phase != _SPIN)

    def _iterate(self, message: Message | None, due: list[Timer], quiet: bool) -> None:
        loop = self.actor.loop
        if loop is not None:
            loop.dispatch(message, due, (), quiet)
            if self.actor.loop is loop:
                loop.prepare()
            return
        if message is not None:
            dispatch(message)
        else:
            self.actor.wakeups += 1
            run_timers(due)
        if self.actor.loop is not None:
            self.actor.loop.prepare()  # made in this very turn

    def _next(self, changed: bool = True) -> None:
        loop = self.actor.loop
        if self.inbox:
            self._start()
        elif loop is not None and (loop.nonblocking > len(loop.idles) or (loop.idles and changed)):
            # The first turn after a change is executed, so that its idle hook sees it; later ones are earned.
            self._checks(_SPIN, self.node.iteration)
        else:
            self._phase = None
            self._spin_from = self.node.service
            if not self.spinning:
                self._count(False)

    def _start(self) -> None:
        node = self.node
        self.settle()
        self._item = item = self.inbox.popleft()
        demand = node.iteration
        if isinstance(item, Message):
            demand += node.topics.get(item.topic, node.message)
        self._count(True)
        self._checks(_DISPATCH, demand + node.wait_demand())

    def _checks(self, phase: str, demand: int) -> None:
        """Check watchers run when service begins, so what they emit delays the dispatch behind them."""
        self._phase = phase
        loop, reactor = self.actor.loop, self.node.reactor
        if loop is not None and loop.checks:
            packets = reactor.packets
            try:
                loop.before_dispatch()
            except Exception as error:
                self.actor.failed(error, None)
            demand += (reactor.packets - packets) * self.node.packet
        if not self.gone:
            self._begin(phase, demand)

    def _begin(self, phase: str, demand: int) -> None:
        self._phase = phase
        self.node.begin(self, demand)

    def _count(self, on: bool) -> None:
        if on != self._counted:
            self._counted = on
            (self.node.join if on else self.node.leave)()
