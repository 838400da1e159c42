"""Knows the one queue of messages and the one heap of timers of a process; no trio, no sockets, no routing.

**A turn.** Each actor (a module, a client, the broker itself) has a loop, as each module of Flux has one of libev.
One iteration of it is a turn: prepare watchers, poll, check watchers, at most *one* message, idle watchers, timers,
descriptors. All loops of a process share this reactor, and one queue: taking a message off it is "poll returned" for
its receiver, whose checks run, whose handler is called, and whose next prepares run right behind, before its next
poll. All timers of an actor that are due together are one turn of it. The continuation of an answered request is
called in the actor's next turn, before the checks, as libev calls the check watcher that a fulfilled future starts.
What a loop has beyond messages is in `watchers.py`; the turn itself is in `turn.py`, once, and written out below in
`_drain_free`.

**Time** is handed in, in integer nanoseconds, so that sums are exact on every platform. It is fixed within a turn.
Under a clock that jumps it stands still while anything is queued, and moves to the earliest timer when nothing is.

**What is charged.** Nothing, unless time is modelled: then an actor with a station (`cost.py`) has each item served
for a time on its node's cores, and what callbacks do beyond (``extra``: packets) delays what comes behind them.

**Invariants.**
1. Messages are handed out in the order they were sent; to one receiver always, between receivers unless charged.
2. Nobody outside the loop (a trio task) touches the queue or the heap: ``enter`` and ``leave`` say who is inside, what
   is sent outside is posted to the host, which lets posts in between two batches. So tasks make no order of messages.
3. Equal instants keep the order in which timers were set; equal seeds give equal runs.
4. A callback that raises ends its actor and nothing else.

**Example.** A client asks kvs, which asks content and answers. The queue, and what each turn does:

    kvs.lookup -> kvs        kvs counts a request, sends content.load           turn 1 of kvs
    content.load -> content  content counts it, answers                         turn 1 of content
    content.load -> kvs      kvs counts a response; its future has its answer   turn 2 of kvs
    (a turn of kvs)          the continuation answers the client                turn 3 of kvs
    kvs.lookup -> client     the client counts a response

A prepare hook of kvs that sends when a counter moved sends after turns 1, 2 and 3: three packets. A check hook runs
before the dispatch of a turn, and sees turn 1 in turn 2, what turn 2 and the continuation did in turn 3: two. While
nothing watches kvs the continuation is called at once and only counted as a turn, which saves its way through the
queue.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from brokersim.native.engine import twin
from brokersim.protocol.message import FLAG_STREAMING, RESPONSE, Message
from brokersim.reactor import standstill
from brokersim.reactor.actor import FAILURES, Actor, Loop, Timer
from brokersim.reactor.host import Alone, Host
from brokersim.reactor.schedule import Gate, Schedule
from brokersim.reactor.standstill import LOOK_AT, Instant
from brokersim.reactor.turn import blame, blame_turn, dispatch, group, run_timers

NS = 1_000_000_000
FOREVER = 4e9  # s, 126 years: as good as never, and still a number in ns
CROWD = 64  # timers in the heap below which nobody looks for those that were cancelled
#: Messages handled before the loop yields: costs 2 % against never yielding and holds the loop about 0.15 ms.
BUDGET = 256
#: In real time, turns of loops that spin beyond what is queued at the start: who asks, and unwritten answers, wait.
TURNS = 4  # with 256 a ping beside one idle hook took 7 to 15 times as long


@twin
class Reactor:
    """The drain: takes messages off the queue, one turn of its receiver each.

    An actor without watchers costs one test of its ``loop``; with watchers its loop makes a full turn.
    """

    __slots__ = (
        "__weakref__", "_arrivals", "_crowd", "_full", "_gate", "_push_inside", "_queue", "_ready", "_seq", "_spins",
        "_timers", "after_batch", "batches", "charged", "current", "extra", "fifo", "free_until", "host", "is_inside",
        "jumps", "now", "parked_until", "push", "schedule", "stepping",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fifo: deque[Message] = deque()
        #: Who runs this reactor: knows the time, and what goes on outside the loop.
        self.host: Host = Alone()
        #: Is the caller part of the loop? ``enter`` and ``leave`` say so.
        self.is_inside = True
        #: Queues a message. Inside the loop it is the queue's own append, or asks the gate; outside it posts.
        self.push: Callable[[Message], object] = self.fifo.append
        self._push_inside: Callable[[Message], object] = self.fifo.append
        #: Queues what may be: the queue's own append, or a schedule that sees to the order.
        self._queue: Callable[[Message], object] = self.fifo.append
        self._gate: Gate | None = None
        self.schedule: Schedule | None = None
        self.now = 0
        #: Pieces of work beyond turns and messages that callbacks have done so far: packets. The cost model charges it.
        self.extra = 0
        #: What runs right now, for the watchdog: counts handler batches, and names the actor.
        self.current: Actor | None = None
        self.batches = 0
        self.stepping: object | None = None
        #: Called, and taken off, when the batch that runs is over: output that has come together is written.
        self.after_batch: list[Callable[[], object]] = []
        self.parked_until = -1  # what the host waits for (ns); -1: it doesn't wait
        #: Does virtual time charge service times? Then messages of actors with a station wait their turn.
        self.charged = False
        #: Virtual time (ns) before which only what is in this reactor can happen; the host takes it back (-1) as
        #: soon as anybody else may have something to say.
        self.free_until: float = -1
        #: Does time jump? Then a module that only turns its own loop keeps time from ever passing.
        self.jumps = False
        self._timers: list[tuple[int, int, Timer]] = []
        self._crowd = CROWD  # how many of them make it worth while to look for those that were cancelled
        #: Due timers taken off the heap: each entry will be one turn.
        self._ready: deque[tuple[Actor | None, list[Timer]]] = deque()
        #: What arrives over links at one instant (ns), in the order it was sent: one timer for all of it.
        self._arrivals: dict[int, list[tuple[Callable[[Message], object], Message]]] = {}
        self._seq = 0
        #: Batches of nothing but turning loops at one instant, and full batches one behind the other.
        self._spins = Instant()
        self._full = Instant()

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
        self.host.post(lambda: self._push_inside(message))  # bound late: a gate may be put up until then

    def defer(self, fn: Callable[[], object]) -> None:
        """Call a function inside the loop: soon, for a caller outside."""
        self.host.post(fn)

    def refresh(self) -> None:
        """For callers outside the loop: bring ``now`` up to the clock."""
        self.now = self.host.now_ns()

    def put_gate(self, gate: Gate | None) -> None:
        """Have ``gate`` asked of every message that is to be queued; what it refuses it may ``admit`` later."""
        self._gate = gate
        self._choose_push()

    def put_schedule(self, schedule: Schedule | None) -> None:
        """Have ``schedule`` queue what may be; without one it is queued at once."""
        self.schedule = schedule
        self._queue = self.fifo.append if schedule is None else schedule.take
        self._choose_push()

    def _choose_push(self) -> None:
        self._push_inside = self._queue if self._gate is None else self._ask_gate
        if self.is_inside:
            self.push = self._push_inside

    def _ask_gate(self, message: Message) -> None:
        assert self._gate is not None
        if self._gate(message):
            self._queue(message)

    def admit(self, message: Message) -> None:
        """Queue what the gate kept back."""
        self._queue(message)

    def put_back(self, messages: list[Message]) -> None:
        """Queue before all others what was taken off the queue and not handed out after all."""
        self.fifo.extendleft(reversed(messages))

    # -- time

    def call_at(
        self, when: int, fn: Callable[..., object], *args: object, actor: Actor | None = None
    ) -> Timer:
        """Call ``fn(*args)`` at ``when`` (ns). With an actor the call is an iteration of its loop."""
        timer = Timer(when, actor, fn, args)
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
        if len(self._timers) >= self._crowd:
            self._sweep()
        heapq.heappush(self._timers, (timer.when, self._seq, timer))
        actor = timer.actor
        if actor is not None:
            if actor.timers is None:
                actor.timers = set()
            actor.timers.add(timer)

    def _sweep(self) -> None:
        """Take cancelled timers off the heap: one that is due in a day would hold a module that went long ago."""
        timers = self._timers
        timers[:] = [entry for entry in timers if entry[2].fn is not None]
        heapq.heapify(timers)
        self._crowd = max(CROWD, 2 * len(timers))

    def arrive_at(self, when: int, receive: Callable[[Message], object], message: Message) -> None:
        """Call ``receive(message)`` at ``when`` (ns), by a timer that all arrivals of that instant share."""
        if not (self.jumps and self.is_inside):
            self.call_at(when, receive, message)
            return
        if when not in self._arrivals:
            self._arrivals[when] = []
            self.call_at(when, self._arrive, when)
        self._arrivals[when].append((receive, message))

    def _arrive(self, when: int) -> None:
        """An instant (ns) has come. What is not in yet stays in the table, under -1 and back to front: no shift."""
        arrivals = self._arrivals[-1] = self._arrivals.pop(when)[::-1]
        while arrivals:
            receive, message = arrivals.pop()
            receive(message)
            self.drain_all()  # what one arrival causes comes before the next, as with a timer each

    def under_way(self) -> Iterator[Message]:
        """Messages that wait for their time to arrive: a scan, for whoever breaks links."""
        arrivals = [some if when >= 0 else some[::-1] for when, some in self._arrivals.items()]
        yield from (message for some in arrivals for _, message in some)
        timers = (*(timer for *_, timer in self._timers), *(one for _, due in self._ready for one in due))
        yield from (arg for timer in timers for arg in timer.args if isinstance(arg, Message))

    def discard(self) -> None:
        """The end: what waits reaches nobody. The collector sees no messages, so what they hold would stay."""
        for waiting in (self.fifo, self._ready, self._timers, self._arrivals):
            waiting.clear()

    def _set_posted(self, timer: Timer) -> None:
        if timer.fn is not None:
            self._push_timer(timer)

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: object, actor: Actor | None = None
    ) -> Timer:
        """Like ``call_at``, ``delay`` seconds from now; a negative delay is none."""
        if not self.is_inside:
            self.refresh()
        return self.call_at(self.now + max(0, round(min(delay, FOREVER) * NS)), fn, *args, actor=actor)

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
        if when >= self.free_until or self._ready or self.after_batch:
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
        """Run ALL that is due of ONE actor, as one iteration of it; ``now`` is not moved."""
        self.enter()
        try:
            self._fire_due()
        finally:
            self.leave()

    def _fire_due(self) -> None:
        self.batches += 1
        timers = self._timers
        if self._ready:
            actor, due = self._ready.popleft()
        else:
            timer = heapq.heappop(timers)[2]
            actor = timer.actor
            is_alone = not timers or timers[0][0] > self.now
            if is_alone and actor is None:
                fn = timer.fn
                if fn is not None:
                    timer.fn = None
                    fn(*timer.args)
                return
            due = [timer]
            if not is_alone:
                group(timers, self._ready, self.now, actor, due)
        for timer in due:
            if timer.fn is not None:
                break
        else:
            return  # all cancelled since
        if actor is None:
            run_timers(due)
        else:
            self._timer_iteration(actor, due)

    def take_due(self) -> list[Timer]:
        """All that is due off the heap, earliest first, for a loop that turns by itself."""
        due: list[Timer] = []
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            timer = heapq.heappop(timers)[2]
            if timer.fn is not None:
                due.append(timer)
        return due

    def _timer_iteration(self, actor: Actor, due: list[Timer]) -> None:
        if actor.station is not None and self.charged:
            actor.station.arrive(due)
            return
        self.current = actor
        try:
            if actor.loop is not None:
                actor.loop.iterate(None, due)
            else:
                actor.wakeups += 1
                run_timers(due)
        except FAILURES as error:
            actor.failed(error, None)
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
        if len(self.fifo) > standstill.FLOOD:
            self._stop_flood()
        fifo = self.fifo
        if fifo and not (fifo[0].type and fifo[-1].type):  # a loop that spins has its next turn in the queue
            if not self.jumps:
                budget = min(budget, len(fifo) - (not fifo[0].type) + TURNS)
            elif not fifo[0].type:
                self._watch_spins()
        if self.charged:
            self._drain_charged(budget)
        else:
            self._drain_free(budget)
        if self.jumps and (self.fifo or not self._full.is_empty):
            self._watch_instant()
        self.current = None

    def _drain_free(self, budget: int) -> None:
        """Hand out up to ``budget`` messages, while no time is charged.

        `turn.plain_turn` with the checks before it, written out: see there.
        """
        fifo = self.fifo
        popleft, response = fifo.popleft, RESPONSE
        message: Message | None = None
        loop: Loop | None = None
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
                    in_hand, kind = message, message.type
                    if loop is None:
                        dst.counts[kind] += 1
                    else:
                        dst.handed(message)
                    if kind != response:
                        message.handler(message)  # type: ignore[misc]
                    else:
                        stays = message.flags and message.flags & FLAG_STREAMING and not message.errnum
                        found = (dst.pending.get if stays else dst.pending.pop)(message.matchtag, None)
                        if found is None:
                            dst.stray_response(message)
                        else:
                            then, arg, _request = found
                            if loop is None:
                                then(message, arg)
                            else:
                                loop.fulfil(then, message, arg)
                    if loop is not None and dst.loop is loop:  # neither ended nor blocked in its handler
                        in_hand = None
                        if loop.poll is not None:
                            loop.poll()
                        if not loop.is_settled:
                            loop.settle()
            except FAILURES as error:
                self._blame(error, message, in_hand, loop)

    _blame = staticmethod(blame_turn)

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
        kept = 0 if self.schedule is None else self.schedule.kept_for(actor)
        return kept + sum(message.dst is actor for message in self.fifo)

    def purge(self, actor: Actor) -> list[Message]:
        """Take every queued message to ``actor`` off the FIFO and return them."""
        gone = [message for message in self.fifo if message.dst is actor]
        if gone:
            kept = [message for message in self.fifo if message.dst is not actor]
            self.fifo.clear()
            self.fifo.extend(kept)
        if actor.station is not None:
            gone += actor.station.withdraw()
        if self.schedule is not None:
            gone += self.schedule.withdraw(actor)
        return gone

    def _watch_spins(self) -> None:
        """Under a clock that jumps, nothing but turning loops for long at one instant is for ever."""
        if self._spins.count(self.now) >= standstill.SPINS and not any(one.type for one in self.fifo):
            self._spins.reset(self.now)
            self.fifo.popleft().dst.failed(standstill.Spin(), None)

    def _watch_instant(self) -> None:
        """Under a clock that jumps, full batch after full batch at one instant is for ever."""
        if not self.fifo:
            self._full.reset(self.now)
        elif self._full.count(self.now) >= standstill.LIVELOCK // BUDGET:
            self._full.reset(self.now)
            self._end_livelock()

    def _end_livelock(self) -> None:
        sends = []
        for _ in range(LOOK_AT):
            if not self.fifo:
                break
            if standstill.asks_for_more(self.fifo[0]):
                sends.append(self.fifo[0])
            self._drain_free(1)
        senders, error = standstill.livelock(sends)
        for sender in senders:
            sender.failed(error, None)

    def end_timer_livelock(self) -> None:
        """Fail the actors of the timers that fall due again and again at this instant."""
        due = [timer for _, group in self._ready for timer in group]
        due += [timer for when, _, timer in heapq.nsmallest(LOOK_AT, self._timers) if when <= self.now]
        actors, error = standstill.timer_livelock(due)
        for actor in actors:
            if actor is None:
                raise error
            actor.failed(error, None)

    def _stop_flood(self) -> None:
        culprit, flood = standstill.flooder(self.fifo)
        kept = [message for message in self.fifo if message.src is not culprit]
        self.fifo.clear()
        self.fifo.extend(kept)
        culprit.failed(flood, None)
