"""Knows what handling, emitting and spinning cost in virtual time, and how modules of a node share its cores.

It doesn't execute the spinning: a spinning module makes no events, its iterations are earned by arithmetic.
Model and calibration: docs/reactor.md. Real time is never charged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

import attrs

from brokersim.native.engine import twin
from brokersim.protocol.message import RESPONSE, Message
from brokersim.reactor import actor as actors
from brokersim.reactor.actor import FAILURES, Actor, Timer
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.turn import dispatch, plain_turn, run_timers

#: Services completed in one go, without a look at timers' heap or trio in between; a timer each would cost 2 µs.
_AT_ONCE = 64


def _ns(seconds: float) -> int:
    return round(seconds * NS)


@attrs.frozen(kw_only=True)
class CostModel:
    """Modelled service times in seconds. Defaults follow a native run of 20 jobs on two cores (docs/reactor.md).

    While more modules spin than there are cores to spare, each message waits for a core: in a module that spins itself
    ``slice_s``, a whole time slice of the others; in one that rests ``wake_s``, because a thread that wakes from its
    poll preempts those that spin. Both times (S/C - 1), S counting those that spin and the one that waits. They are
    calibrated, not derived: ``wake_s`` by 100 jobs beside eight idle hooks on flux-core 0.88, two cores (4.4 to 7.0
    times as long; a waking thread waited 60 to 95 us, 3.5 times ``wake_s``).
    """

    iteration_s: float = attrs.field(default=5e-6, validator=attrs.validators.ge(0))
    message_s: float = attrs.field(default=50e-6, validator=attrs.validators.ge(0))
    packet_s: float = attrs.field(default=10e-6, validator=attrs.validators.ge(0))
    slice_s: float = attrs.field(default=1.5e-3, validator=attrs.validators.ge(0))
    wake_s: float = attrs.field(default=30e-6, validator=attrs.validators.ge(0))
    #: A broker takes in what comes over the tree one frame after the other: a price a frame and one a byte of payload.
    #: 10 us and 1 ns (8 Gbit/s) are a fast local network's orders, not a measurement (docs/reactor.md).
    frame_s: float = attrs.field(default=10e-6, validator=attrs.validators.ge(0))
    byte_s: float = attrs.field(default=1e-9, validator=attrs.validators.ge(0))
    cores: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    #: Handling time of single topics, where it differs from ``message_s``.
    topics: Mapping[str, float] = attrs.field(factory=dict)


@twin
class Node:
    """The cores of one rank: each of R runnable modules progresses at rate min(1, cores/R).

    ``service`` is the service time (ns) every runnable module has received so far; a module that begins with
    demand d is done when ``service`` has grown by d, so a change of R moves one event instead of all.
    """

    __slots__ = (
        "_completing", "_event", "_heap", "_seq", "_since", "cores", "iteration", "message", "packet", "reactor",
        "runnable", "service", "slice", "spinners", "topics", "wake",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, model: CostModel) -> None:
        self.reactor = reactor
        self.cores = model.cores
        self.iteration = _ns(model.iteration_s)
        self.message = _ns(model.message_s)
        self.packet = _ns(model.packet_s)
        self.slice = _ns(model.slice_s)
        self.wake = _ns(model.wake_s)
        self.topics = {topic: _ns(seconds) for topic, seconds in model.topics.items()}
        self.runnable = 0
        #: Those of them that have an active idle watcher.
        self.spinners = 0
        self.service = 0
        self._since = 0
        self._seq = 0
        self._heap: list[tuple[int, int, Station]] = []
        #: When the next service is complete. One timer for all: it is entered anew once it has been called.
        self._event = Timer(0, None, None, ())
        #: A service is being completed, at the end of which the next completion is scheduled.
        self._completing = False

    def advance(self) -> None:
        """Bring ``service`` up to now."""
        elapsed = self.reactor.now - self._since
        if elapsed:
            runnable, cores = self.runnable, self.cores
            self.service += elapsed if runnable <= cores else elapsed * cores // runnable
            self._since = self.reactor.now

    def join(self) -> None:
        """One more module is runnable."""
        if self._completing:  # then ``service`` is up to date and the next event is scheduled at the end
            self.runnable += 1
            return
        self.advance()
        self.runnable += 1
        if self.runnable > self.cores:
            self._schedule()

    def leave(self) -> None:
        """One module is runnable no more."""
        if self._completing:
            self.runnable -= 1
            return
        self.advance()
        self.runnable -= 1
        if self.runnable >= self.cores:
            self._schedule()

    def begin(self, station: Station, demand: int, joins: bool = False) -> None:
        """Call ``station.done()`` after ``demand`` ns of service; ``joins``: it is runnable only from now on."""
        heap = self._heap
        self._seq += 1
        if self._completing:
            if joins:
                self.runnable += 1
            heappush(heap, (self.service + demand, self._seq, station))
            return
        self.advance()
        if joins:
            self.runnable += 1
        heappush(heap, (self.service + demand, self._seq, station))
        # With cores to spare nobody is slowed down: then only a new first one changes what comes next.
        if heap[0][2] is station or self.runnable > self.cores:
            self._schedule()

    def wait_demand(self, spins: bool) -> int:
        """Demand that lasts as long as a module's wait for a core, at the rate in force.

        It waits for those that spin, which hold a core for a whole slice unless a waking module preempts them. Those in
        service give theirs up long before one is over, and that they share the cores is in the rate.
        """
        waiting = self.spinners + (not spins)
        wait = self.slice if spins else self.wake
        return wait * (waiting - self.cores) // self.runnable if waiting > self.cores else 0

    def _next(self) -> int:
        """When the first of those in service will be done, if nothing changes."""
        left = self._heap[0][0] - self.service
        if left < 0:
            left = 0
        runnable, cores = self.runnable, self.cores
        return self.reactor.now + (left if runnable <= cores else -(-left * runnable // cores))

    def _schedule(self) -> None:
        if not self._heap:
            return
        event = self._event
        when = self._next()
        if event.fn is not None:
            if event.when == when:
                return
            event.cancel()
            self._event = event = Timer(when, None, None, ())
        event.when, event.fn = when, self._complete
        self.reactor.set_timer(event)

    def _complete(self) -> None:
        """The first in service is done; so are those after it, as long as nobody else has anything to do."""
        reactor, heap, cores = self.reactor, self._heap, self.cores
        fifo = reactor.fifo
        self._completing = True
        self.advance()
        for _ in range(_AT_ONCE):
            finish, _number, station = heappop(heap)
            if finish > self.service:
                self.service = finish  # rounding may leave it a nanosecond short
            if not station.gone:
                station.done()
            if reactor.free_until < 0:
                break
            if fifo:
                reactor.hand_out()
            if not heap:
                break
            # `_next` and `advance`, written out: two calls fewer at each message.
            left = heap[0][0] - self.service
            if left > 0:
                runnable = self.runnable
                when = reactor.now + (left if runnable <= cores else -(-left * runnable // cores))
                if not reactor.pass_to(when):
                    break
                self._since = when
                self.service += left
        self._completing = False
        self.advance()
        self._schedule()


#: What a station is in service for: an item; a turn of its loop without one; packets of either, behind it.
_DISPATCH, _SPIN, _TAIL = "dispatch", "spin", "tail"


@twin
class Station(actors.Station):
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
        if self.gone or (type(item) is Message and not item.type):
            return  # late for a module that ended, or a loop turn queued while time was not charged
        if self._phase is not None:
            self.inbox.append(item)
            return
        # A loop that spins is hardly ever in its poll, which takes no time: its next prepare finds the message
        # queued, so it comes without an fd event, like one from a backlog (docs/decisions/0025).
        self._backlog = self.spinning
        self._serve(item)

    def spin(self, on: bool) -> None:
        """The module's idle watchers were started or stopped: it wants a core all the time, or no more."""
        if on == self.spinning:
            return
        if not on:
            self.settle()
        self.spinning = on
        self.node.spinners += 1 if on else -1
        if self._phase is None:
            self._count(on)
            self._spin_from = self.node.service

    def turn(self) -> None:
        """The loop has something to call in its next turn; the end of the one in service sees to that by itself."""
        if self._phase is None and self.actor.loop is not None and self.actor.loop.turns_on:
            self.settle()
            self._count(True)
            self._next()

    def settle(self) -> None:
        """Credit the iterations spun since the last event of this module."""
        if not self.spinning or self._phase is not None:
            return
        node, loop = self.node, self.actor.loop
        node.advance()
        if loop is not None and node.iteration:
            turns = (node.service - self._spin_from) // node.iteration
            self._spin_from += turns * node.iteration
            loop.earn(turns)

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
        self.node.spinners -= self.spinning
        self.spinning = False
        self._count(False)
        self.inbox.clear()
        # The collector does not see messages: one that is kept here would keep its module, and with it the instance.
        self._item = None

    def done(self) -> None:
        """The item in service has had its service time: let it take effect."""
        node, actor = self.node, self.actor
        reactor = node.reactor
        phase, item, self._item = self._phase, self._item, None
        if phase is _TAIL:
            self._next()
            return
        reactor.current = actor
        extra, wakeups = reactor.extra, actor.wakeups
        loop = actor.loop
        try:
            if type(item) is Message and (loop is None or loop.is_plain):
                plain_turn(item)
            elif phase is _SPIN:
                self._iterate(None, [], quiet=True)
            elif isinstance(item, Message):
                self._iterate(item, [], quiet=self._backlog)
            else:
                self._iterate(None, item or [], quiet=False)
        except FAILURES as error:
            self._raised(error, item)
        reactor.current = None
        if self.gone:
            return
        owed = (reactor.extra - extra) * node.packet
        if loop is None and type(item) is Message and item.type == RESPONSE:
            owed += self._continued(wakeups)
        if owed:
            self._phase = _TAIL
            node.begin(self, owed)
        else:
            self._next(changed=phase is not _SPIN)

    def _raised(self, error: BaseException, item: Message | list[Timer] | None) -> None:
        """What was in service, or a watcher beside it, raised: no refusal, which `turn.take` has answered."""
        self.actor.failed(error, item if isinstance(item, Message) else None)

    def _continued(self, wakeups: int) -> int:
        """A response was handed out, and its continuation called at once; the service time (ns) of a turn for that.

        None if there was no continuation, or if a message waits: then the two share its turn.
        """
        actor = self.actor
        if not actor.continues or actor.wakeups != wakeups:
            return 0
        if self.inbox:
            actor.wakeups -= 1
            return 0
        return self.node.iteration

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
        """Serve what waits, or turn on, or rest; ``changed``: the last turn was no spin."""
        loop = self.actor.loop
        if self.inbox:
            self._backlog = True  # whatever the loop did when it came, a prepare of it lies in between
            self._serve(self.inbox.popleft())
        elif loop is not None and (loop.turns_on or (loop.spins and changed)):
            # The first turn after a change is executed, so that its idle hook sees it; later ones are earned.
            self._checks(_SPIN, self.node.iteration)
        else:
            self._phase = None
            if self.spinning:
                self._spin_from = self.node.service
            else:
                self._count(False)

    def _serve(self, item: Message | list[Timer]) -> None:
        """Begin the service of an item, for its price."""
        node = self.node
        if self.spinning:
            self.settle()
        self._item = item
        demand = node.iteration
        if type(item) is Message:
            demand += node.topics.get(item.topic, node.message) if node.topics else node.message
        loop = self.actor.loop
        if not node.spinners and (loop is None or not loop.is_due):
            self._phase = _DISPATCH
            if self._counted:
                node.begin(self, demand)
            else:
                self._counted = True
                node.begin(self, demand, True)
            return
        self._count(True)
        self._checks(_DISPATCH, demand + node.wait_demand(self.spinning))

    def _checks(self, phase: str, demand: int) -> None:
        """Check watchers run when service begins, so what they emit delays the dispatch behind them."""
        self._phase = phase
        loop, reactor = self.actor.loop, self.node.reactor
        if loop is not None and loop.is_due:
            extra = reactor.extra
            reactor.current = self.actor
            try:
                loop.before_dispatch()
            except FAILURES as error:
                self.actor.failed(error, None)
            reactor.current = None
            demand += (reactor.extra - extra) * self.node.packet
        if not self.gone:
            self.node.begin(self, demand)

    def _count(self, on: bool) -> None:
        if on != self._counted:
            self._counted = on
            (self.node.join if on else self.node.leave)()
