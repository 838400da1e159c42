"""Knows the one FIFO of messages and the one heap of timers of a process; no trio, no sockets, no routing.

Time is handed in: integer nanoseconds, so that sums are exact on every platform. The shape and its costs are
measured in docs/reactor.md; the loop semantics of a single module are in `watchers.py`.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import REQUEST, RESPONSE, Message
from brokersim.reactor.actor import FAILURES, Actor, Interruption, Timer, dispatch
from brokersim.reactor.host import Alone, Host

if TYPE_CHECKING:
    from brokersim.reactor.watchers import ModuleLoop

NS = 1_000_000_000
#: Messages handled before the loop yields: costs 2 % against never yielding and holds the loop about 0.15 ms.
BUDGET = 256
#: Queued messages at which the actor that queued most of them is declared a flood and failed. 1 M is 150 MB.
FLOOD = 1_000_000
#: Batches of nothing but turning loops at one instant of a clock that jumps, before the first of them is failed.
SPINS = 400
#: Messages without a pause at one instant of a clock that jumps, after which it is taken to stand still for ever; and
#: the same of turns for timers. The largest simulations have half a million of either at one heartbeat.
LIVELOCK = 10_000_000
TIMER_LIVELOCK = 4_000_000
#: Messages looked at to find out who keeps it from moving: enough for a ring of any sane length.
_LOOK_AT = 256
_SPIN_TEXT = (
    "an idle watcher stays active, so virtual time never passes; let spinning cost time with cost=CostModel()"
)


class Flood(Interruption):
    """An actor sent faster than anybody could receive."""


class Spin(Exception):
    """An actor's idle watchers kept a clock that jumps from ever moving."""


class Livelock(Exception):
    """Actors that keep each other busy at one instant, so that a clock that jumps never does."""


class HandlerHung(Interruption):
    """A handler ran longer than the watchdog allows; raised inside it."""


#: Asked of a message that is to be queued: may it be, now?
Gate = Callable[[Message], bool]


class Reactor:
    """The drain: takes messages off the FIFO, one loop iteration of its receiver each.

    An actor without watchers costs one test of its ``loop``; with watchers its loop makes a full iteration.
    """

    def __init__(self) -> None:
        self.fifo: deque[Message] = deque()
        #: Who runs this reactor: knows the time, and what goes on outside the loop.
        self.host: Host = Alone()
        #: Is the caller part of the loop? ``enter`` and ``leave`` say so. A trio task is not: its turn must not become
        #: an order of messages.
        self.is_inside = True
        #: Queues a message. Inside the loop it is the FIFO's own append, or asks the gate; outside it posts.
        self.push: Callable[[Message], object] = self.fifo.append
        self._push_inside: Callable[[Message], object] = self.fifo.append
        self._gate: Gate | None = None
        self.now = 0
        #: Packets given to a statsd socket so far; the cost model charges the difference.
        self.packets = 0
        #: What runs right now, for the watchdog: counts handler batches, and names the actor.
        self.current: Actor | None = None
        self.batches = 0
        self.stepping: object | None = None
        self.touched: list[Any] = []  # connections with output to flush
        self.parked_until = -1
        #: Does virtual time charge service times? Then messages of actors with a station wait their turn.
        self.charged = False
        #: Virtual time (ns) before which only what is in this reactor can happen; the runner takes it back (-1) as
        #: soon as anybody else may have something to say.
        self.free_until: float = -1
        #: Does time jump? Then a module that only turns its own loop keeps time from ever passing.
        self.jumps = False
        self._timers: list[tuple[int, int, Timer]] = []
        #: Due timers taken off the heap: each entry will be one iteration.
        self._ready: deque[tuple[Actor | None, list[Timer]]] = deque()
        #: What arrives over links at one instant (ns), in the order it was sent: one timer for all of it.
        self._arrivals: dict[int, list[tuple[Callable[[Message], object], Message]]] = {}
        self._seq = 0
        self._spins = 0
        self._spins_at = 0
        #: Full batches, one behind the other, at one instant of a clock that jumps.
        self._full = 0
        self._full_at = 0

    # -- inside and outside

    def hosted_by(self, host: Host, *, jumps: bool) -> None:
        """Be run by ``host``, which from now on enters and leaves; ``jumps``: its clock does."""
        self.host = host
        self.jumps = jumps
        self.leave()

    def enter(self) -> None:
        """What is sent from here on goes straight to the queue, until ``leave``."""
        self.is_inside = True
        self.push = self._push_inside

    def leave(self) -> None:
        """What is sent from here on is posted to the host; alone, there is no outside."""
        if self.host.is_alone:
            self.enter()
        else:
            self.is_inside = False
            self.push = self._post

    def _post(self, message: Message) -> None:
        self.host.post(partial(self._push_posted, message))

    def _push_posted(self, message: Message) -> None:
        self._push_inside(message)  # not bound when it was posted: a gate may have been put up since

    def defer(self, fn: Callable[[], object]) -> None:
        """Call a function inside the loop: soon, for a caller outside."""
        self.host.post(fn)

    def refresh(self) -> None:
        """For callers outside the loop: bring ``now`` up to the clock."""
        self.now = self.host.now_ns()

    def put_gate(self, gate: Gate | None) -> None:
        """Have ``gate`` asked of every message that is to be queued; what it refuses it may ``admit`` later."""
        self._gate = gate
        self._push_inside = self.fifo.append if gate is None else self._ask_gate
        if self.is_inside:
            self.push = self._push_inside

    def _ask_gate(self, message: Message) -> None:
        assert self._gate is not None
        if self._gate(message):
            self.fifo.append(message)

    def admit(self, message: Message) -> None:
        """Queue what the gate kept back."""
        self.fifo.append(message)

    def put_back(self, messages: list[Message]) -> None:
        """Queue before all others what was taken off the queue and not handed out after all."""
        self.fifo.extendleft(reversed(messages))

    # -- time

    def call_at(self, when: int, fn: Callable[..., object], *args: Any, owner: Actor | None = None) -> Timer:
        """Call ``fn(*args)`` at ``when`` (ns). With an owner the call is an iteration of that actor's loop."""
        timer = Timer(when, owner, fn, args)
        self.set_timer(timer)
        return timer

    def set_timer(self, timer: Timer) -> None:
        """Have a timer called at its time that was called before, or never set."""
        if not self.is_inside:
            self.host.post(partial(self._set_posted, timer))
            return
        self._push_timer(timer)
        if timer.when < self.parked_until:
            self.host.wake()

    def _push_timer(self, timer: Timer) -> None:
        self._seq += 1
        heapq.heappush(self._timers, (timer.when, self._seq, timer))
        owner = timer.owner
        if owner is not None:
            if owner.timers is None:
                owner.timers = set()
            owner.timers.add(timer)

    def arrive_at(self, when: int, receive: Callable[[Message], object], message: Message) -> None:
        """Call ``receive(message)`` at ``when`` (ns), by a timer that all arrivals of that instant share."""
        if not (self.jumps and self.is_inside):
            self.call_at(when, receive, message)
            return
        arrivals = self._arrivals.get(when)
        if arrivals is None:
            arrivals = self._arrivals[when] = []
            self.call_at(when, self._arrive, when)
        arrivals.append((receive, message))

    def _arrive(self, when: int) -> None:
        for receive, message in self._arrivals.pop(when):
            receive(message)
            self.drain_all()  # what one arrival causes comes before the next, as with a timer each

    def _set_posted(self, timer: Timer) -> None:
        if timer.fn is not None:
            self._push_timer(timer)

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any, owner: Actor | None = None
    ) -> Timer:
        """Like ``call_at``, ``delay`` seconds from now; a negative delay is none."""
        if not self.is_inside:
            self.refresh()
        return self.call_at(self.now + max(0, round(delay * NS)), fn, *args, owner=owner)

    def next_due(self) -> int | None:
        """Time (ns) of the earliest timer, ``None`` without timers."""
        if self._ready:
            return self.now
        timers = self._timers
        while timers and timers[0][2].fn is None:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def drain_all(self) -> None:
        """For a timer: handle all that is queued, and what that queues, before the timer is done."""
        fifo = self.fifo
        while fifo:
            self._drain(BUDGET)

    def hand_out(self) -> None:
        """Like ``drain_all`` while time is charged: most of what is queued only joins its receiver's queue."""
        fifo = self.fifo
        popleft = fifo.popleft
        for _ in range(BUDGET):
            if not fifo:
                return
            message = fifo[0]
            station = message.dst.station
            if station is None:
                break
            popleft()
            station.arrive(message)
        if fifo:
            self.drain_all()

    def pass_to(self, when: int) -> bool:
        """For a timer: move ``now`` to ``when``; False if something else has to come before."""
        if when >= self.free_until or self._ready or self.touched:
            return False
        timers = self._timers
        while timers and timers[0][2].fn is None:
            heapq.heappop(timers)
        if timers and timers[0][0] <= when:
            return False
        self.now = when
        self.host.passed(when)
        return True

    def fire_due(self) -> None:
        """Run ALL that is due of ONE owner, as one iteration of it; ``now`` is not moved."""
        self.enter()
        try:
            self._fire_due()
        finally:
            self.leave()

    def _fire_due(self) -> None:
        self.batches += 1
        timers = self._timers
        if self._ready:
            owner, due = self._ready.popleft()
        else:
            timer = heapq.heappop(timers)[2]
            owner = timer.owner
            is_alone = not timers or timers[0][0] > self.now
            if is_alone and owner is None:
                fn = timer.fn
                if fn is not None:
                    timer.fn = None
                    fn(*timer.args)
                return
            due = [timer]
            if not is_alone:
                self._group(owner, due)
        for timer in due:
            if timer.fn is not None:
                break
        else:
            return  # all cancelled since
        if owner is None:
            run_timers(due)
        else:
            self._timer_iteration(owner, due)

    def take_due(self) -> list[Timer]:
        """All that is due off the heap, earliest first, for a loop that turns by itself."""
        due: list[Timer] = []
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            timer = heapq.heappop(timers)[2]
            if timer.fn is not None:
                due.append(timer)
        return due

    def _group(self, owner: Actor | None, due: list[Timer]) -> None:
        """Several timers are due: one list an owner, in the order of their first; ``due`` gets the first owner's."""
        timers, ready = self._timers, self._ready
        now = self.now
        groups = {} if owner is None else {owner: due}
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if timer.owner is None:
                ready.append((None, [timer]))
            elif timer.owner in groups:
                groups[timer.owner].append(timer)
            else:
                groups[timer.owner] = group = [timer]
                ready.append((timer.owner, group))

    def _timer_iteration(self, owner: Actor, due: list[Timer]) -> None:
        if owner.station is not None and self.charged:
            owner.station.arrive(due)
            return
        self.current = owner
        try:
            if owner.loop is not None:
                owner.loop.iterate(None, due)
            else:
                owner.wakeups += 1
                run_timers(due)
        except FAILURES as error:
            owner.failed(error, None)
        self.current = None

    # -- messages

    def drain(self, budget: int = BUDGET) -> None:
        """Handle up to ``budget`` queued messages, in the order they were sent."""
        self.enter()
        try:
            self._drain(budget)
        finally:
            self.leave()

    def _drain(self, budget: int) -> None:
        self.batches += 1
        if len(self.fifo) > FLOOD:
            self._stop_flood()
        if self.jumps and self.fifo and not self.fifo[0].type:
            self._watch_spins()
        if self.charged:
            self._drain_charged(budget)
        else:
            self._drain_free(budget)
        if self.jumps and (self.fifo or self._full):
            self._watch_instant()
        self.current = None

    def _drain_free(self, budget: int) -> None:
        # The body of `dispatch`, and of a turn with prepare and check watchers only, again: two calls a message would
        # cost a third of the whole.
        fifo = self.fifo
        popleft = fifo.popleft
        message: Message | None = None
        loop: ModuleLoop | None = None
        in_hand: Message | None = None  # None while watchers run: what they raise is not the message's fault
        while fifo and budget > 0:
            try:
                # What is left is known after an exception, too.
                for budget in range(budget - 1, -1, -1):  # noqa: B007, B020
                    if not fifo:
                        return
                    message = popleft()
                    self.current = dst = message.dst
                    loop = dst.loop
                    if loop is not None:
                        if not loop.is_plain:
                            in_hand = message
                            loop.iterate(message)
                            continue
                        if loop.check is not None:
                            in_hand = None
                            loop.check()
                    in_hand = message
                    kind = message.type
                    dst.counts[kind] += 1
                    if kind != 3:
                        message.handler(message)  # type: ignore[misc]
                    else:
                        tag = message.matchtag
                        found = dst.pending.pop(tag, None)
                        if found is None:
                            dst.stray_response(message)
                        else:
                            then, arg, _request = found
                            if message.flags and message.flags & 0x40 and not message.errnum:
                                dst.pending[tag] = found
                            then(message, arg)
                    if loop is not None and dst.loop is loop:  # neither ended nor blocked in its handler
                        in_hand = None
                        if loop.poll is not None:
                            loop.poll()
                        if not loop.is_settled:
                            loop.settle()
            except FAILURES as error:
                if in_hand is None and message is not None:
                    message.dst.failed(error, None)
                else:
                    blame(error, in_hand)
                    if loop is not None and loop.is_plain and loop.actor.loop is loop:
                        self._prepare(loop)  # a handler that refused ends no more than itself

    def _prepare(self, loop: ModuleLoop) -> None:
        try:
            loop.prepare()
        except FAILURES as error:
            loop.actor.failed(error, None)

    def _drain_charged(self, budget: int) -> None:
        fifo = self.fifo
        while fifo and budget:
            budget -= 1
            message = fifo.popleft()
            self.current = dst = message.dst
            try:
                if dst.station is None:
                    dispatch(message)
                else:
                    dst.station.arrive(message)
            except FAILURES as error:
                blame(error, message)

    def queued_for(self, actor: Actor) -> int:
        """Messages in the FIFO that go to ``actor``: a scan, for listings only."""
        return sum(message.dst is actor for message in self.fifo)

    def purge(self, actor: Actor) -> list[Message]:
        """Take every queued message to ``actor`` off the FIFO and return them."""
        gone = [message for message in self.fifo if message.dst is actor]
        if gone:
            kept = [message for message in self.fifo if message.dst is not actor]
            self.fifo.clear()
            self.fifo.extend(kept)
        if actor.station is not None:
            gone += actor.station.withdraw()
        return gone

    def _watch_spins(self) -> None:
        """Under a clock that jumps, nothing but turning loops for long at one instant is for ever."""
        if self._spins_at != self.now:
            self._spins_at, self._spins = self.now, 0
        self._spins += 1
        if self._spins >= SPINS and not any(message.type for message in self.fifo):
            self._spins = 0
            self.fifo.popleft().dst.failed(Spin(_SPIN_TEXT), None)

    def _watch_instant(self) -> None:
        """Under a clock that jumps, full batch after full batch at one instant is for ever."""
        if not self.fifo or self._full_at != self.now:
            self._full_at, self._full = self.now, 0
            return
        self._full += 1
        if self._full >= LIVELOCK // BUDGET:
            self._full = 0
            self._end_livelock()

    def _end_livelock(self) -> None:
        """Fail those who send requests and events; who only answers is not to blame."""
        senders: dict[Actor, str] = {}
        for _ in range(_LOOK_AT):
            if not self.fifo:
                break
            message = self.fifo[0]
            if message.type and message.type != RESPONSE and message.src is not None:
                senders[message.src] = f"{_name(message.src)} sends {message.topic}"
            self._drain_free(1)
        text = f"virtual time stands still after {LIVELOCK} messages at one instant: {', '.join(senders.values())}"
        for sender in senders:
            sender.failed(Livelock(text), None)

    def end_timer_livelock(self) -> None:
        """Fail the owners of the timers that fall due again and again at this instant."""
        due = [timer for _, group in self._ready for timer in group]
        due += [timer for when, _, timer in heapq.nsmallest(_LOOK_AT, self._timers) if when <= self.now]
        owners = dict.fromkeys(timer.owner for timer in due if timer.fn is not None)
        names = ", ".join(_name(owner) for owner in owners)
        error = Livelock(
            f"virtual time stands still after {TIMER_LIVELOCK} timers at one instant, set by {names}"
        )
        for owner in owners:
            if owner is None:
                raise error
            owner.failed(error, None)

    def _stop_flood(self) -> None:
        senders = Counter(id(message.src) for message in self.fifo if message.src is not None)
        worst, queued = senders.most_common(1)[0]
        culprit = next(message.src for message in self.fifo if id(message.src) == worst)
        kept = [message for message in self.fifo if message.src is not culprit]
        self.fifo.clear()
        self.fifo.extend(kept)
        culprit.failed(Flood(f"{queued} messages queued, the limit is {FLOOD}"), None)


def _name(actor: Actor | None) -> str:
    return str(getattr(actor, "name", "the program"))


def blame(error: BaseException, message: Message | None) -> None:
    """Charge an exception to the actor that was handling ``message``: a refusal is an answer, others end it."""
    if message is None:
        raise error
    dst = message.dst
    if isinstance(error, RequestError) and message.type == REQUEST:
        dst.refuse(message, error)
    else:
        dst.failed(error, message)


def run_timers(due: list[Timer]) -> None:
    """Call timers of one owner in deadline order; one cancelled by an earlier one of the same batch is skipped.

    If one blocks its owner, to wait for an answer, the others wait with it.
    """
    owner = due[0].owner if len(due) > 1 else None
    for at, timer in enumerate(due):
        if owner is not None and owner.loop is not None and owner.loop.is_blocked:
            owner.loop.iterate(None, due[at:])
            return
        fn, args = timer.fn, timer.args
        if fn is not None:
            timer.spend()
            fn(*args)
