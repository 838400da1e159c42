"""Knows which requests are open, answered and delivered, and says what no exchange of messages may do.

It doesn't know modules or instances: it is told of messages, as the recorder sees them sent and handed out.
"""

from __future__ import annotations

from typing import Any

from brokersim.protocol.message import FLAG_NORESPONSE, FLAG_STREAMING, Message

#: Endpoints that are no modules; the streams they have open are theirs to end.
CLIENTS = ("client", "connector")
#: Streams a module keeps open for as long as it lives: that it is open says that it is well.
LIFELONG = frozenset({"resource.acquire", "job-manager.events-journal"})
#: The same of one module: it follows R in the KVS.
LIFELONG_OF = frozenset({("job-manager", "kvs-watch.lookup")})
#: A conversation: the identity of who asked, and the matchtag.
Tag = tuple[str, int]


class Asked:
    """One request that wants an answer. ``when`` in seconds of the instance's clock."""

    __slots__ = ("asker", "is_stream", "parts", "rank", "tag", "topic", "when", "who")

    def __init__(self, asker: Any, message: Message, when: float) -> None:
        self.asker = asker
        self.topic = message.topic
        self.tag = message.matchtag
        self.is_stream = bool(message.flags & FLAG_STREAMING)
        self.when = when
        self.who: str = asker.name
        self.rank: int = asker.broker.rank
        self.parts = 0

    def __str__(self) -> str:
        return f"{self.topic} from {self.who}.{self.rank} (matchtag {self.tag}, sent at {self.when:.6f} s)"


def wants_answer(request: Message) -> bool:
    """A request with a matchtag and without the noresponse flag (log.append has neither)."""
    return bool(request.matchtag) and not request.flags & FLAG_NORESPONSE


def is_final(response: Message) -> bool:
    """The last response to its request: any of one that is no stream, and of a stream the one with an errnum."""
    return bool(response.errnum) or not response.flags & FLAG_STREAMING


def _is_held(asked: Asked) -> bool:
    """Who asked has not given the request up itself: Flux's schedulers and its execution system end no stream."""
    return any(request.matchtag == asked.tag for request in asked.asker.open_requests())


class Conversations:
    """The book of requests and responses. Complaints are sentences, kept by the law they break.

    ``excuse`` names conversations that a fault disturbed: nothing is said of them any more.
    """

    def __init__(self) -> None:
        self.open: dict[Tag, Asked] = {}
        #: Answered for good, but the answer has not been handed out yet.
        self.sent: dict[Tag, Asked] = {}
        #: Complaints about answers (``answered``) and about their number (``responses``).
        self.surplus: list[str] = []
        self.excess: list[str] = []
        self.excused: dict[Tag, None] = {}
        self._requests: dict[str, int] = {}
        self._answers: dict[str, int] = {}

    def excuse(self, tag: Tag) -> None:
        """A fault hit this conversation."""
        self.excused[tag] = None

    def asked(self, asker: Any, request: Message, when: float) -> None:
        """A request was sent."""
        if wants_answer(request):
            self.open[asker.uuid, request.matchtag] = Asked(asker, request, when)

    def received(self, server: Any, request: Message, _when: float) -> None:
        """A request was handed to who serves it."""
        if wants_answer(request):
            uuid = server.uuid
            self._requests[uuid] = self._requests.get(uuid, 0) + 1

    def answered(self, server: Any, response: Message, _when: float) -> None:
        """A response was sent."""
        tag = (response.dst.uuid, response.matchtag)
        asked = self.open.get(tag)
        is_last = is_final(response)
        if asked is None:
            if tag not in self.excused:
                self.surplus.append(
                    f"{server.name}.{server.broker.rank} answered {response.topic} (matchtag {tag[1]}) once more"
                    " than it was asked"
                )
        elif is_last:
            del self.open[tag]
            self.sent[tag] = asked
        else:
            asked.parts += 1
        if is_last:
            self._count_answer(server, response, tag)

    def _count_answer(self, server: Any, response: Message, tag: Tag) -> None:
        uuid = server.uuid
        count = self._answers[uuid] = self._answers.get(uuid, 0) + 1
        wanted = self._requests.get(uuid, 0)
        # The broker also answers for services that are not there, whose requests nobody was handed.
        if count > wanted and server.name != "broker" and tag not in self.excused:
            self.excess.append(
                f"{server.name}.{server.broker.rank} has sent {count} responses to "
                f"{wanted} requests; the last was to {response.topic}"
            )

    def delivered(self, asker: Any, response: Message, _when: float) -> None:
        """A response was handed to who asked."""
        tag = (asker.uuid, response.matchtag)
        if is_final(response) and self.sent.pop(tag, None) is None and tag not in self.excused:
            self.excess.append(
                f"{asker.name}.{asker.broker.rank} was handed a response to {response.topic} (matchtag {tag[1]})"
                " more than it has requests"
            )

    def unanswered(self) -> list[Asked]:
        """Requests whose sender is still there and whose one answer has not been sent."""
        return [asked for asked in self._here(self.open) if not asked.is_stream]

    def pending(self) -> list[tuple[Asked, str]]:
        """Matchtags still held, and why: open streams of modules, answers that were sent and did not arrive."""
        streams = [
            (asked, "the stream is open")
            for asked in self._here(self.open)
            if asked.is_stream
            and asked.who not in CLIENTS
            and asked.topic not in LIFELONG
            and (asked.who, asked.topic) not in LIFELONG_OF
            and _is_held(asked)
        ]
        return streams + [(asked, "its answer was sent and not received") for asked in self._here(self.sent)]

    def _here(self, table: dict[Tag, Asked]) -> list[Asked]:
        return [
            asked
            for tag, asked in table.items()
            if tag not in self.excused and asked.asker in asked.asker.broker.endpoints
        ]
