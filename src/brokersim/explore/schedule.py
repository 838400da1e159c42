"""Knows when a message that was sent is queued: a delay drawn from the seed for each hand-over. Not what it says.

In a process all modules share one queue, so that without delays a race on one rank has no width: what is sent first is
always handed out first. In Flux each module is a thread, which gets its messages sooner or later. What holds there
holds here: one receiver gets its messages in the order they were sent, and the broker, through whose one thread all of
them pass, is never overtaken.

A delay depends on the seed, the receiver and the number of the message at that receiver, and on nothing else: a plan
from which steps are taken away keeps its meaning for all that they did not touch.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from brokersim.protocol.message import CONTROL, Message
from brokersim.reactor.actor import Actor
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.schedule import Schedule
from brokersim.services.endpoint import BrokerEndpoint

_MASK = (1 << 64) - 1
#: One hand-over in two is at once; one in eight takes up to ten times as long as the others, as a busy module does.
LONGEST: Final = 10


class _Lane:
    """What is on its way to one receiver."""

    __slots__ = ("held", "key", "last", "number")

    def __init__(self, key: int) -> None:
        self.key = key
        self.number = 0
        self.last = 0
        self.held: deque[Message] = deque()


class _Anchored(Actor):
    """Receives what is queued before an anchored message, so that it happens between two handlers."""

    __slots__ = ("name",)

    def __init__(self) -> None:
        super().__init__()
        self.name = "explore"

    def failed(self, error: BaseException, message: Message | None) -> None:
        raise error


class SeededSchedule(Schedule):
    """A schedule for one instance. ``spread`` in seconds: most delays are below it; with 0 there are none."""

    def __init__(self, reactor: Reactor, seed: int, spread: float) -> None:
        self._reactor = reactor
        self._fifo = reactor.fifo
        self._seed = seed
        self._spread = round(spread * NS)
        self._lanes: dict[Any, _Lane | None] = {}
        self._lane_of: dict[Any, _Lane | None] = {}
        self._anchored = _Anchored()
        #: What waits for a topic on a rank: the number of hand-overs so far, and calls by number.
        self._anchors: dict[tuple[str, int], tuple[list[int], dict[int, list[Callable[[], object]]]]] = {}
        #: Called after each hand-over; for what must always hold.
        self.watch: Callable[[], object] | None = None
        self.holding = 0

    def anchor(self, topic: str, rank: int, number: int, call: Callable[[], object]) -> None:
        """Call back right before the ``number``-th message of a topic (from 1) is handed over on a rank."""
        _, calls = self._anchors.setdefault((topic, rank), ([0], {}))
        calls.setdefault(number, []).append(call)

    def end(self) -> None:
        """Nothing is anchored any more, and from now on nothing is late: what judges the example is no part of it."""
        self._anchors.clear()
        self._spread = 0
        self.watch = None

    # -- Schedule

    def take(self, message: Message) -> None:
        dst = message.dst
        try:
            lane = self._lane_of[dst]
        except KeyError:
            lane = self._lane_of[dst] = self._lane(dst)
        if lane is None:
            self._hand_over(message)
            return
        lane.number += 1
        if not lane.held and not self._spread:
            self._hand_over(message)
            return
        reactor = self._reactor
        when = max(reactor.now + self.delay(lane.key, lane.number), lane.last)
        if when <= reactor.now and not lane.held:
            self._hand_over(message)
            return
        lane.last = when
        lane.held.append(message)
        self.holding += 1
        reactor.call_at(when, self._release, lane)

    def withdraw(self, actor: Actor) -> list[Message]:
        lane = self._lane_of.pop(actor, None)
        if lane is None:
            return []
        found = [message for message in lane.held if message.dst is actor]
        lane.held = deque(message for message in lane.held if message.dst is not actor)
        self.holding -= len(found)
        return found

    def kept_for(self, actor: Actor) -> int:
        lane = self._lane_of.get(actor)
        return 0 if lane is None else sum(message.dst is actor for message in lane.held)

    # -- delays

    def delay(self, key: int, number: int) -> int:
        """The delay (ns) of the ``number``-th message of a receiver."""
        if not self._spread:
            return 0
        drawn = _mix(key + number * 0x9E3779B97F4A7C15)
        kind, drawn = drawn & 7, drawn >> 3
        if kind < 4:
            return 0
        return drawn % (self._spread * (LONGEST if kind == 7 else 1))

    def _lane(self, dst: Any) -> _Lane | None:
        """One for all endpoints of a name on a rank: a module loaded anew goes on where the last one was."""
        if isinstance(dst, BrokerEndpoint) or dst is self._anchored:
            return None
        key = getattr(dst, "lane", dst.name), dst.broker.rank
        if key not in self._lanes:
            digest = hashlib.sha256(f"{self._seed}/{key}".encode()).digest()
            self._lanes[key] = _Lane(int.from_bytes(digest[:8], "big"))
        return self._lanes[key]

    def _release(self, lane: _Lane) -> None:
        if lane.held:  # else it was withdrawn
            self.holding -= 1
            self._hand_over(lane.held.popleft())

    def _hand_over(self, message: Message) -> None:
        if self._anchors:
            anchors = self._anchors.get((message.topic, message.dst.broker.rank))
            if anchors is not None:
                anchors[0][0] += 1
                for call in anchors[1].pop(anchors[0][0], ()):
                    self._fifo.append(self._call(call))
        self._fifo.append(message)
        if self.watch is not None:
            self._fifo.append(self._call(self.watch))

    def _call(self, call: Callable[[], object]) -> Message:
        return Message(CONTROL, "explore", dst=self._anchored, handler=lambda _: call())


def _mix(value: int) -> int:
    """Spread 64 bits evenly (SplitMix64's finalizer): a generator an endpoint would cost a fifth of an example."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
