"""Knows every message of an instance from its start: tallies by module, type and topic, and the books of the laws.

It doesn't know what is right: `laws` does. It is a trace on every rank and a tap on every link.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from brokersim.kit.conversations import Conversations
from brokersim.kit.deliveries import Deliveries
from brokersim.protocol.message import COUNTER_NAMES, EVENT, FLAG_PRIVATE, ROLE_OWNER, TYPE_NAMES, Message
from brokersim.protocol.plurals import counted
from brokersim.reactor.loop import NS
from brokersim.routing.link import Link, Receive
from brokersim.routing.sink import MemorySink

if TYPE_CHECKING:
    from brokersim.instance import Instance
    from brokersim.routing.rank import Rank
    from brokersim.routing.subscriptions import Subscribers

#: A party of the instance: rank and name. Clients of one rank share one.
Party = tuple[int, str]
#: What is counted for it: index of the counter (COUNTER_NAMES) and topic.
Entry = tuple[int, str]
Tally = dict[Entry, int]
#: Messages kept for `lines`: those of some thousand jobs, 20 MB at most.
KEPT = 100_000
HEARTBEAT = "heartbeat.pulse"
_ARROWS = {"request": ">", "response": "<", "event": "e", "control": "c"}


class Line(NamedTuple):
    """One message one party sent (``tx``) or was handed (``rx``). ``time`` in seconds of the instance's clock."""

    # One is made for each message of a test: a frozen class costs three times as much.

    time: float
    rank: int
    name: str
    counter: int
    topic: str
    errnum: int
    number: int

    def __str__(self) -> str:
        kind = TYPE_NAMES[self.counter | 1]
        way = "rx" if self.counter & 1 else "tx"
        error = f" errnum {self.errnum}" if self.errnum else ""
        return f"{self.time:12.6f}  {self.name}.{self.rank} {way} {_ARROWS[kind]} {self.topic} [{self.number}]{error}"


class Sums:
    """A value watched at every message of a module: jobs in all states, which must sum to those submitted."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def look(self, actor: Any, when: float) -> None:
        stats = actor.body.stats()
        states: dict[str, int] = stats["states"]
        total, submitted = sum(states.values()), stats["submitted"]
        if total != submitted or min(states.values()) < 0:
            shown = " ".join(f"{name} {count}" for name, count in states.items() if count)
            self.complaints.append(
                f"{actor.name}.{actor.broker.rank} at {when:.6f} s: "
                f"{counted(submitted, 'job')} submitted, but {total} in the"
                f" states: {shown}"
            )


class Ledger:
    """The books of one instance. Attach it before the instance boots."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._reactor = instance.reactor
        self._tallies: dict[Party, Tally] = {}
        #: Messages that stand in them, and at how many the next ones must, before the first is kept no more.
        self._counted = 0
        self._count_at = KEPT // 2
        self.conversations = Conversations()
        self.deliveries = Deliveries(instance.broker(0).sequence)
        self.sums = Sums()
        #: Messages sent and received by direction of each link: (from rank, to rank) to [sent, received].
        self.links: dict[tuple[int, int], list[int]] = {}
        #: What is on a link now, or was lost there: (from rank, to rank, topic) to number.
        self.on_links: dict[tuple[int, int, str], int] = {}
        #: Heartbeats handed out on a rank while a module of it was running, by module.
        self.pulses: dict[Party, int] = {}
        #: Modules whose statsd packets a fault took away.
        self.unseen: dict[str, None] = {}
        #: Messages sent and handed out, all told.
        self.moves = 0
        #: What else is told of a message, by its counter, and when (s).
        self._books: tuple[Callable[[Any, Message, float], object] | None, ...] = (
            self.conversations.asked, self.conversations.received, self.conversations.answered,
            self.conversations.delivered, None, self.deliveries.delivered, None, None,
        )  # fmt: skip
        self.kept: deque[Line] = deque(maxlen=KEPT)
        self._keep = self.kept.append
        #: Asked before a message goes over a link; True keeps the message (a fault).
        self.fault: Callable[[Link, int, Receive, Message], bool] | None = None
        #: Told of error responses sent, by errnum (a fault counts what it caused).
        self.on_error: dict[int, Callable[[Line], object]] = {}
        #: Who keeps accounts of what it counts, those that have ended too: what one told in its life stays told.
        self.accountants: dict[int, Any] = {}
        self._watched: dict[str, Callable[[Any, float], object] | None] = {}
        self._waiting: list[tuple[Callable[[], bool], Callable[[None], object]]] = []
        #: Packets the sink had before this instance.
        sink = instance.sink
        self.first_packet = len(sink.packets) if isinstance(sink, MemorySink) else 0
        for rank in range(instance.size):
            broker = instance.broker(rank)
            self.attach(broker)
            for link in broker.links:
                link.tap = partial(self._tapped, link, rank)

    def attach(self, broker: Rank) -> None:
        """Be told of all that happens on a rank; a new broker in an old one's place has the links of that."""
        broker.add_trace(self)
        broker.on_distribute = self._distributed

    # -- what it is told

    def wants(self, name: str) -> bool:
        """Everybody's messages."""
        return True

    def record(self, direction: str, actor: Any, message: Message) -> None:
        """A message was sent by an endpoint (``tx``), or is handed to it (``rx``)."""
        # Called twice a message of a test: half of what an example costs beyond what its modules do.
        kind, topic, errnum = message.type, message.topic, message.errnum
        counter = kind if direction == "rx" else kind - 1
        name = actor.name
        when = self._reactor.now / NS
        number = message.seq if kind == EVENT else message.matchtag
        line = _line((when, actor.broker.rank, name, counter, topic, errnum, number))
        self._keep(line)
        self.moves = moves = self.moves + 1
        if moves >= self._count_at:
            self._count()
        if errnum and errnum in self.on_error and direction == "tx":
            self.on_error[errnum](line)
        book = self._books[counter]
        if book is not None:
            book(actor, message, when)
        watch = self._watched.get(name, _UNKNOWN)
        if watch is not None and getattr(actor, "body", None) is not None:
            if watch is _UNKNOWN:
                watch = self._watched[name] = self._watch_of(actor.body)
            if watch is not None:
                watch(actor, when)
        if self._waiting:
            self.moved()

    @property
    def tallies(self) -> dict[Party, Tally]:
        """What each party has sent and been handed so far, by counter and topic."""
        self._count()
        return self._tallies

    def _count(self) -> None:
        """Add up what was kept since the last time, all at once: that costs a third of doing it one by one."""
        fresh = islice(self.kept, len(self.kept) - (self.moves - self._counted), None)
        for (rank, name, counter, topic), more in Counter(map(_COUNTED, fresh)).items():
            tally = self._tallies.get((rank, name))
            if tally is None:
                tally = self._tallies[rank, name] = {}
            tally[counter, topic] = tally.get((counter, topic), 0) + more
        self._counted = self.moves
        self._count_at = self.moves + KEPT // 2

    def _watch_of(self, body: object) -> Callable[[Any, float], object] | None:
        if hasattr(body, "accounts"):
            return self._book
        return self.sums.look if _has_states(body) else None

    def _book(self, actor: Any, when: float) -> None:
        self.accountants[id(actor.body)] = actor.body

    def _distributed(self, broker: Rank, event: Message, subscribers: Subscribers) -> None:
        hidden = event.flags & FLAG_PRIVATE
        self.deliveries.distributed(
            broker.rank,
            event,
            [
                endpoint
                for endpoint in subscribers[0]
                if not hidden or endpoint.rolemask & ROLE_OWNER or endpoint.userid == event.userid
            ],
        )
        if event.topic == HEARTBEAT:
            for module in self.instance.modules(broker.rank):
                if module.status == 1:
                    party = (broker.rank, module.name)
                    self.pulses[party] = self.pulses.get(party, 0) + 1

    def _tapped(self, link: Link, rank: int, receive: Receive, message: Message) -> None:
        way = (rank, link.peer.rank)
        self.links.setdefault(way, [0, 0])[0] += 1
        item = (*way, message.topic)
        self.on_links[item] = self.on_links.get(item, 0) + 1
        arrive = partial(self._arrived, item, receive)
        if self.fault is None or not self.fault(link, rank, arrive, message):
            link.carry(arrive, message)

    def _arrived(self, item: tuple[int, int, str], receive: Receive, message: Message) -> None:
        self.links[item[0], item[1]][1] += 1
        self.on_links[item] -= 1
        receive(message)

    # -- who waits for a message

    def when(self, condition: Callable[[], bool], done: Callable[[None], object]) -> None:
        """Call ``done(None)`` at the first message after which ``condition()`` holds."""
        self._waiting.append((condition, done))
        self.moved()

    def moved(self) -> None:
        """Something may have come true."""
        for item in [item for item in self._waiting if item[0]()]:
            self._waiting.remove(item)
            item[1](None)

    # -- what it is asked

    @property
    def in_flight(self) -> int:
        """Messages on links now."""
        return sum(self.on_links.values())

    def counters(self, rank: int, name: str) -> list[int]:
        """The eight counters of a party, counted here, so that neither a reload nor stats-clear resets them."""
        totals = [0] * len(COUNTER_NAMES)
        for (counter, _), count in self.tallies.get((rank, name), {}).items():
            totals[counter] += count
        return totals

    def snapshot(self) -> dict[Party, Tally]:
        """A copy of all tallies."""
        return {party: dict(tally) for party, tally in self.tallies.items()}

    def lines(self, *names: str, count: int | None = None) -> list[Line]:
        """The kept messages of some parties (``kvs`` or ``kvs.0``), of all if none are named; the last ``count``."""
        found = [
            line
            for line in self.kept
            if not names or line.name in names or f"{line.name}.{line.rank}" in names
        ]
        return found if count is None else found[-count:]

    def parties(self) -> Iterator[Party]:
        """Everybody who has sent or been handed a message."""
        yield from self.tallies


def _has_states(body: object) -> bool:
    stats = getattr(body, "stats", None)
    if stats is None:
        return False
    found = stats()
    return isinstance(found.get("states"), dict) and "submitted" in found


def _not_known(_actor: object, _when: float) -> None:
    """In the place of what watches a module that has not been looked at."""


_UNKNOWN: Final = _not_known
#: What of a line is counted: rank, name, counter and topic.
_COUNTED: Final = itemgetter(1, 2, 3, 4)
#: Makes a line of a tuple: the generated constructor costs as much as all else that is done with it.
_line: Callable[[tuple[Any, ...]], Line] = partial(tuple.__new__, Line)
