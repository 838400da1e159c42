"""Knows what clients asked in one example and what they were told; whom invariants ask. Not what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

from brokersim.host.handle import Handle
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING, NODEID_ANY, Message
from brokersim.reactor.loop import NS
from brokersim.routing.endpoint import Handler

if TYPE_CHECKING:
    from brokersim.explore.plan import Step
    from brokersim.instance import Instance
    from brokersim.kit.witness import Witness


@attrs.define(eq=False)
class Asked:
    """One request of a step. ``sent`` and ``answered`` are places in the order of all that clients saw."""

    step: Step
    topic: str
    payload: Any
    client: Client
    sent: int
    when: float
    #: How often the instance had been started anew when it was sent.
    life: int = 0
    is_stream: bool = False
    #: It waits for what may never happen: it is no fault in itself that it has no answer.
    may_wait: bool = False
    matchtag: int = 0
    answered: int | None = None
    errnum: int = 0
    text: str = ""
    value: Any = None
    #: When it was answered, by the reactor's clock like ``when``; when it was asked and answered, by the wall's (s
    #: since the epoch).
    said: float = 0.0
    asked_at: float = 0.0
    told: float = 0.0
    #: Of a stream: what came before its end.
    values: list[Any] = attrs.field(factory=list)

    @property
    def is_acked(self) -> bool:
        """It was answered, and well."""
        return self.answered is not None and not self.errnum

    def __str__(self) -> str:
        return f"{self.topic} {self.payload} of step {self.step.id} on rank {self.step.rank}"


#: Faults that hit what is written, for whomever it is.
_OF_DISKS: Final = ("fill-disk", "fail-disk")


class Client(Handle):
    """A client of one step: the order of what it is handed does not depend on other steps."""

    __slots__ = ("events", "heard", "lane")

    def __init__(self, instance: Instance, rank: int, lane: int) -> None:
        broker = instance.broker(rank)
        super().__init__(broker, "client", instance.identities.uuid(rank, f"client/{lane}"))
        self.lane = lane
        self.events: list[Message] = []
        self.heard: Callable[[Message], object] = self.events.append
        broker.add_endpoint(self)

    def event_handler(self, topic: str) -> Handler:
        return lambda event: self.heard(event)


class Moment(NamedTuple):
    """What happened beside messages: ``place`` of them were before it; ``when`` in seconds of the instance's clock."""

    place: int
    when: float
    #: ``boot`` (it is over), ``step``, ``fault``, ``end`` (of one), ``rest`` or ``broken``.
    kind: str
    rank: int
    text: str


def _nothing() -> None:
    """Nobody has to know."""


class World:
    """What clients of one example know."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.instance: Instance = witness.instance
        self.asked: list[Asked] = []
        #: Ranks that have crashed or are cut off now, and those that ever were.
        self.down: dict[int, None] = {}
        self.were_down: dict[int, None] = {}
        #: Modules that a fault ended or loaded anew: (rank, name).
        self.disturbed: dict[tuple[int, str], None] = {}
        #: Those of them that were refused what they had to hand on, or looked for as they were back, or may have been.
        self.hindered: dict[tuple[int, str], None] = {}
        self.moments: list[Moment] = []
        #: What families keep.
        self.kept: JsonObject = {}
        #: Seconds that a few messages between modules take at most.
        self.slack = 1.0
        self._order = 0
        #: Messages of lives before this one.
        self._earlier = 0
        #: How often the instance crashed as a whole and was started anew, and whether its disk lied before.
        self.life = 0
        self.was_lied_to = False
        #: What was written and not synced may be gone.
        self.was_cut = False
        #: Called when the whole instance has ended.
        self.end_life: Callable[[], object] = _nothing

    def reborn(self, witness: Witness) -> None:
        """The instance was started anew: clients and all that was kept in memory are gone."""
        self._earlier += self.witness.ledger.moves
        self.witness = witness
        self.instance = witness.instance
        self.life += 1
        for asked in self.asked:
            asked.client.close()
        self.down.clear()
        self.were_down.clear()

    def tick(self) -> int:
        """A place in the order of all that clients saw."""
        self._order += 1
        return self._order

    def note(self, kind: str, text: str, rank: int = 0) -> None:
        """For who looks at this example: something happened, now."""
        self.moments.append(Moment(self._earlier + self.witness.ledger.moves, self.now, kind, rank, text))

    @property
    def now(self) -> float:
        """Seconds of the instance's clock."""
        return self.instance.reactor.now / NS

    def client(self, step: Step, rank: int | None = None) -> Client:
        """One for a step."""
        return Client(self.instance, step.rank if rank is None else rank, step.id)

    def ask(
        self,
        step: Step,
        topic: str,
        payload: object = None,
        then: Callable[[Asked], object] | None = None,
        *,
        flags: int = 0,
        nodeid: int = NODEID_ANY,
        client: Client | None = None,
        may_wait: bool = False,
    ) -> Asked:
        """Send a request of a step; ``then(asked)`` is called with its answer, with each of a stream.

        With ``may_wait`` it is the family's to say whether it should have been answered.
        """
        client = client or self.client(step)
        asked = Asked(
            step,
            topic,
            payload,
            client,
            self.tick(),
            self.now,
            self.life,
            is_stream=bool(flags & FLAG_STREAMING),
            may_wait=may_wait,
            asked_at=client.time(),
        )
        self.asked.append(asked)

        def answered(response: Message, _: object) -> None:
            if not response.errnum and asked.is_stream:
                asked.values.append(response.data)
            else:
                asked.answered, asked.said, asked.told = self.tick(), self.now, client.time()
                asked.errnum = response.errnum
                asked.value = None if response.errnum else response.data
                asked.text = (response.payload_str or "") if response.errnum else ""
            if then is not None:
                then(asked)

        try:
            request = client.request(topic, payload, answered, flags=flags, nodeid=nodeid)
            asked.matchtag = request.matchtag
        except RequestError as error:
            asked.answered, asked.errnum, asked.text = self.tick(), error.errno or 0, error.text
        return asked

    @property
    def failing(self) -> bool:
        """Some requests were made to fail, or a disk was, whoever waited for what it refused."""
        return any(fault.hits or fault.kind in _OF_DISKS for fault in self.witness.faults.all)

    def acked(self, op: str) -> list[Asked]:
        """The requests of an operation that were answered well, in the order they were sent."""
        return [asked for asked in self.asked if asked.step.op == op and asked.is_acked]

    def of(self, op: str) -> list[Asked]:
        """All requests of an operation."""
        return [asked for asked in self.asked if asked.step.op == op]

    def unanswered(self) -> list[Asked]:
        """Requests that are no streams, of clients that are still there, and have no answer."""
        return [
            asked
            for asked in self.asked
            if asked.answered is None
            and not asked.is_stream
            and not asked.may_wait
            and asked.client.is_open
            and (asked.client.uuid, asked.matchtag) not in self.witness.ledger.conversations.excused
        ]

    def leave(self, step: Step, topic: str) -> None:
        """The client of one request of a topic that waits on the step's rank goes; ``which`` of them is in its args."""
        waiting = [
            asked
            for asked in self.asked
            if asked.topic == topic
            and asked.answered is None
            and asked.step.rank == step.rank
            and asked.client.is_open
        ]
        if waiting:
            waiting[step.args["which"] % len(waiting)].client.close()

    def dismiss(self) -> None:
        """Clients that still wait for what has not happened go."""
        for asked in self.asked:
            if asked.may_wait and asked.answered is None and asked.client.is_open:
                asked.client.close()

    async def call(self, topic: str, payload: object = None, rank: int = 0) -> Any:
        """At rest: the payload of an answer. Raises RequestError."""
        client = Client(self.instance, rank, -1)
        try:
            return await client.call(topic, payload)
        finally:
            client.close()

    def up(self) -> list[int]:
        """Ranks that are there."""
        return [rank for rank in range(self.instance.size) if rank not in self.down]
