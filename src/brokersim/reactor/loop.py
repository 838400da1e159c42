"""Knows the one FIFO of messages and the one heap of timers of a process; no trio, no sockets, no routing.

Time is handed in: integer nanoseconds, so that sums are exact on every platform. The shape and its costs are
measured in docs/reactor.md; the loop semantics of a single module are in `watchers.py`.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import REQUEST, Message
from brokersim.reactor.actor import Actor, dispatch

NS = 1_000_000_000
#: Messages handled before the loop yields: costs 2 % against never yielding and holds the loop about 0.15 ms.
BUDGET = 256
#: Queued messages at which the actor that queued most of them is declared a flood and failed. 1 M is 150 MB.
FLOOD = 1_000_000


class Flood(Exception):
    """An actor sent faster than anybody could receive."""


class HandlerHung(Exception):
    """A handler ran longer than the watchdog allows; raised inside it."""


class Timer:
    """One call due at ``when`` (ns); ``cancel`` leaves a tombstone in the heap, skipped when reached."""

    __slots__ = ("args", "fn", "owner", "when")

    def __init__(
        self, when: int, owner: Actor | None, fn: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self.when = when
        self.owner = owner
        self.fn: Callable[..., object] | None = fn
        self.args = args

    @property
    def is_active(self) -> bool:
        """Still to be called."""
        return self.fn is not None

    def cancel(self) -> None:
        """Never call it; harmless when it has been called already."""
        self.fn = None
        self.args = ()


class Reactor:
    """The drain: takes messages off the FIFO, one loop iteration of its receiver each.

    An actor without watchers costs one test of its ``loop``; with watchers its loop makes a full iteration.
    """

    def __init__(self) -> None:
        self.fifo: deque[Message] = deque()
        #: Queues a message. Inside the loop it is the FIFO's own append; outside (a trio task sends) what the
        #: runner puts here, which posts, so that the order of tasks never becomes the order of messages.
        self.push: Callable[[Message], object] = self.fifo.append
        self.outside: Callable[[Message], object] = self.fifo.append
        self.now = 0
        #: Packets given to a statsd socket so far; the cost model charges the difference.
        self.packets = 0
        #: What runs right now, for the watchdog: counts handler batches, and names the actor.
        self.current: Actor | None = None
        self.stepping: object | None = None
        self.touched: list[Any] = []  # connections with output to flush
        #: Set by the runner: wakes the parked reactor task when something new is due.
        self.wake: Callable[[], None] = lambda: None
        #: Set by the runner: awaits a `Wait` from a trio task.
        self.wait_in_task: Callable[[Any], Any] = _no_tasks
        self.parked_until = -1
        #: Does virtual time charge service times? Then messages of actors with a station wait their turn.
        self.charged = False
        self._timers: list[tuple[int, int, Timer]] = []
        self._seq = 0

    # -- time

    def call_at(self, when: int, fn: Callable[..., object], *args: Any, owner: Actor | None = None) -> Timer:
        """Call ``fn(*args)`` at ``when`` (ns). With an owner the call is an iteration of that actor's loop."""
        timer = Timer(when, owner, fn, args)
        self._seq += 1
        heapq.heappush(self._timers, (when, self._seq, timer))
        if when < self.parked_until:
            self.wake()
        return timer

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any, owner: Actor | None = None
    ) -> Timer:
        """Like ``call_at``, ``delay`` seconds from now; a negative delay is none."""
        return self.call_at(self.now + max(0, round(delay * NS)), fn, *args, owner=owner)

    def next_due(self) -> int | None:
        """Time (ns) of the earliest timer, ``None`` without timers."""
        timers = self._timers
        while timers and timers[0][2].fn is None:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def fire_due(self) -> None:
        """Run what is due of ONE owner, as one iteration of it; ``now`` is not moved."""
        timers = self._timers
        timer = heapq.heappop(timers)[2]
        fn, owner = timer.fn, timer.owner
        if fn is None:
            return
        self.push = self.fifo.append
        if owner is None:
            timer.fn = None
            fn(*timer.args)
        else:
            due = [timer]
            now = self.now
            while timers and timers[0][0] <= now and timers[0][2].owner is owner:
                due.append(heapq.heappop(timers)[2])
            self._timer_iteration(owner, due)
        self.push = self.outside

    def cancel_owned(self, owner: Actor) -> None:
        """Cancel every timer of an actor: a scan, for the end of a module."""
        for _, _, timer in self._timers:
            if timer.owner is owner:
                timer.cancel()

    def _timer_iteration(self, owner: Actor, due: list[Timer]) -> None:
        if owner.station is not None and self.charged:
            owner.station.arrive(due)
            return
        self.current = owner
        try:
            if owner.loop is not None:
                owner.loop.iterate(None, due)
            else:
                owner.timer_iterations += 1
                run_timers(due)
        except Exception as error:
            owner.failed(error, None)
        self.current = None

    # -- messages

    def drain(self, budget: int = BUDGET) -> None:
        """Handle up to ``budget`` queued messages, in the order they were sent."""
        self.push = self.fifo.append
        if len(self.fifo) > FLOOD:
            self._stop_flood()
        if self.charged:
            self._drain_charged(budget)
        else:
            self._drain_free(budget)
        self.current = None
        self.push = self.outside

    def _drain_free(self, budget: int) -> None:
        # The body of `dispatch` again, inlined: a call a message would cost a sixth of the whole.
        fifo = self.fifo
        popleft = fifo.popleft
        message: Message | None = None
        while fifo and budget > 0:
            try:
                while fifo and budget:
                    budget -= 1
                    message = popleft()
                    self.current = dst = message.dst
                    if dst.loop is not None:
                        dst.loop.iterate(message)
                        continue
                    kind = message.type
                    dst.counts[kind] += 1
                    if kind != 3:
                        message.handler(message)  # type: ignore[misc]
                        continue
                    tag = message.matchtag
                    request = dst.pending.get(tag)
                    if request is None:
                        dst.stray_response(message)
                    elif message.flags & 0x40 and not message.errnum:
                        request.then(message, request.arg)
                    else:
                        del dst.pending[tag]
                        then = request.then
                        arg = request.arg
                        request.then = request.arg = None
                        then(message, arg)
            except Exception as error:
                blame(error, message)

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
            except Exception as error:
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

    def _stop_flood(self) -> None:
        senders = Counter(id(message.src) for message in self.fifo)
        worst, queued = senders.most_common(1)[0]
        culprit = next(message.src for message in self.fifo if id(message.src) == worst)
        kept = [message for message in self.fifo if message.src is not culprit]
        self.fifo.clear()
        self.fifo.extend(kept)
        culprit.failed(Flood(f"{queued} messages queued, the limit is {FLOOD}"), None)


def blame(error: Exception, message: Message | None) -> None:
    """Charge an exception to the actor that was handling ``message``: a refusal is an answer, others end it."""
    if message is None:
        raise error
    dst = message.dst
    if isinstance(error, RequestError) and message.type == REQUEST:
        dst.refuse(message, error)
    else:
        dst.failed(error, message)


def _no_tasks(wait: object) -> Any:
    raise RuntimeError("this reactor is not run by a trio task; await its waits in a stepped coroutine")


def run_timers(due: list[Timer]) -> None:
    """Call timers in deadline order; one cancelled by an earlier one of the same batch is skipped."""
    for timer in due:
        fn, args = timer.fn, timer.args
        if fn is not None:
            timer.fn = None
            fn(*args)
