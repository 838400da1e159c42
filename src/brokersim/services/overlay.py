"""Knows the services that look at the links of a live instance and disturb them: health, topology, trace, fault.

It doesn't know how messages are routed. ``overlay.fault`` is ours; the others answer as flux-core 0.88 does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import attrs
import msgspec

from brokersim.host.methods import message_counts
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, ENOENT, EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.protocol.topic import check_glob, topic_matcher
from brokersim.protocol.topology import children
from brokersim.reactor.loop import NS
from brokersim.routing.cut import cut_off, join, link_above, opposite
from brokersim.routing.link import Link, Receive
from brokersim.routing.trace import payload_size
from brokersim.services.broker import Whole
from brokersim.services.endpoint import BrokerEndpoint, Table

#: What a look at a message on a link says: pass it on (None), that much later (ns), or not at all.
_LOST = -1
Look = Callable[[Message], int | None]


class Tapped:
    """What looks at the messages of one direction of a link; whoever tapped it before sees what is left."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before = link.tap
        self.looks: list[Look] = []
        link.tap = self

    @classmethod
    def on(cls, link: Link) -> Tapped:
        """The one of a link, made if there is none."""
        return link.tap if isinstance(link.tap, Tapped) else cls(link)

    def __call__(self, receive: Receive, message: Message) -> None:
        delay = 0
        for look in list(self.looks):
            found = look(message)
            if found == _LOST:
                return
            delay += found or 0
        if self._before is None:
            self._link.carry(receive, message, delay)
        elif delay:
            reactor = self._link.peer.reactor
            reactor.call_at(reactor.now + delay, self._before, receive, message)
        else:
            self._before(receive, message)

    def remove(self, look: Look) -> None:
        """It looks no more; a link nobody looks at is as fast as before."""
        self.looks.remove(look)
        if not self.looks and self._link.tap is self:
            self._link.tap = self._before


def _watch(links: tuple[Link, ...], look: Callable[[Link], Look]) -> Callable[[], None]:
    """Look at these links; returns what ends it."""
    taps = [(Tapped.on(link), look(link)) for link in links]
    for tapped, one in taps:
        tapped.looks.append(one)

    def end() -> None:
        for tapped, one in taps:
            if one in tapped.looks:
                tapped.remove(one)

    return end


# -- fault


class FaultArgs(msgspec.Struct):
    """Payload of overlay.fault: ``seconds`` it lasts, ``delay`` in seconds, ``p`` the chance of each message."""

    kind: str
    rank: int
    seconds: float = 1.0
    p: float = 1.0
    delay: float = 0.1
    topic: str = "*"


@attrs.define(eq=False)
class OverlayFault:
    """One fault on the link between a rank and its parent; ``hits`` counts what it hit, by what that was."""

    instance: Whole
    wish: FaultArgs
    hits: dict[str, int] = attrs.field(factory=dict)
    end: Callable[[], object] = attrs.field(default=lambda: None)

    def hit(self, what: str) -> None:
        self.hits[what] = self.hits.get(what, 0) + 1

    def hit_message(self, message: Message) -> None:
        self.hit(f"{message.type_str} {message.topic}")

    def to_dict(self) -> JsonObject:
        return {
            "kind": self.wish.kind,
            "rank": self.wish.rank,
            "hits": sum(self.hits.values()),
            "what": self.hits,
        }

    def on_messages(self, verdict: int) -> None:
        """Messages of both directions are lost, or come later."""
        chance = random.Random(self.instance.seed)

        def look(message: Message) -> int | None:
            if not fnmatchcase(message.topic, self.wish.topic) or chance.random() >= self.wish.p:
                return None
            self.hit_message(message)
            return verdict

        self.end = _watch(link_above(self.instance, self.wish.rank), lambda _: look)

    def disconnect(self) -> None:
        """The link is down until the end."""
        self.hit("link")
        self.end = partial(join, cut_off(self.instance, self.wish.rank, self.hit_message))

    def kill(self) -> None:
        """The rank is gone for good: its modules end, its links stay down."""
        rank = self.wish.rank
        self.hit("link")
        for below in children(rank, self.instance.fanout, self.instance.size):
            cut_off(self.instance, below, self.hit_message)
        for module in self.instance.modules(rank):
            self.hit(f"module {module.name}")
            module.crashed(RuntimeError("its rank was killed on purpose"), None)
        cut_off(self.instance, rank, self.hit_message)


_KINDS: dict[str, Callable[[OverlayFault], None]] = {
    "drop": lambda fault: fault.on_messages(_LOST),
    "delay": lambda fault: fault.on_messages(round(fault.wish.delay * NS)),
    "disconnect": OverlayFault.disconnect,
    "kill": OverlayFault.kill,
}


def fault(server: BrokerEndpoint, request: Message) -> None:
    """Answered when the fault is over, with what it hit; it also ends when whoever asked goes."""
    wish = request.unpack(FaultArgs)
    _check_fault(wish, server.size)
    one = OverlayFault(server.broker.instance, wish)
    _KINDS[wish.kind](one)

    def over() -> None:
        server.drop_stream(request)
        one.end()
        server.respond(request, one.to_dict())

    if wish.kind == "kill":
        server.respond(request, one.to_dict())
    else:
        timer = server.reactor.call_later(wish.seconds, over)
        server.add_stream(request, partial(_broken_off, timer, one))


def _broken_off(timer: Any, fault: OverlayFault) -> None:
    timer.cancel()
    fault.end()


def _check_fault(wish: FaultArgs, size: int) -> None:
    if wish.kind not in _KINDS:
        raise RequestError(EINVAL, f"no fault {wish.kind!r}; there are {', '.join(_KINDS)}")
    if size == 1:
        raise RequestError(EINVAL, "an instance of one rank has no links; start it with -s 2 or more")
    try:
        check_glob(wish.topic)
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    if not 0 < wish.rank < size:
        text = f"no link above rank {wish.rank}: name the lower end of one, rank 1 to {size - 1}"
        raise RequestError(EINVAL, text)
    if not (0 < wish.p <= 1 and wish.seconds >= 0 and wish.delay >= 0):
        raise RequestError(EINVAL, "p is above 0 and at most 1, seconds and delay are 0 or more")
    if wish.p < 1 and wish.kind not in ("drop", "delay"):
        raise RequestError(EINVAL, f"p is for messages (drop, delay); a {wish.kind} happens or not")


# -- trace, health, topology


class OverlayTraceArgs(msgspec.Struct):
    """Payload of overlay.trace."""

    topic_glob: str = "*"


def trace(server: BrokerEndpoint, request: Message) -> None:
    """What this rank sends to and gets from its neighbours, as it happens."""
    if not request.is_streaming:
        raise RequestError(EPROTO, "overlay.trace must be a streaming request")
    try:
        matches = topic_matcher(request.unpack(OverlayTraceArgs).topic_glob)
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    sending = server.broker.links
    receiving = tuple(opposite(server.broker.instance, server.broker, link) for link in sending)

    def look(link: Link, prefix: str, other: int) -> Look:
        def seen(message: Message) -> None:
            # Its own records are no news, and would never end.
            if message.topic != request.topic and matches(message.topic):
                server.respond(request, _record(server, message, prefix, other))

        return seen

    ends = [_watch((link,), partial(look, prefix="tx", other=link.peer.rank)) for link in sending] + [
        _watch((link,), partial(look, prefix="rx", other=out.peer.rank))
        for out, link in zip(sending, receiving, strict=True)
    ]

    def stop() -> None:
        for end in ends:
            end()

    server.add_stream(request, stop)


def _record(server: BrokerEndpoint, message: Message, prefix: str, other: int) -> JsonObject:
    return {
        "timestamp": server.broker.instance.wall_time(),
        "prefix": prefix,
        "rank": other,
        "type": 1 << (message.type >> 1),
        "topic": message.topic,
        "payload_size": 0 if message.errnum else payload_size(message),
        "errnum": message.errnum,
    }


def health(server: BrokerEndpoint, request: Message) -> None:
    """Whether the links to the children are up; each child knows of its own."""
    below = [
        {"rank": link.peer.rank, "status": "full" if link.is_up else "lost", "duration": server.now()}
        for link in server.broker.children
    ]
    status = "full" if all(child["status"] == "full" for child in below) else "degraded"
    server.respond(
        request, {"rank": server.rank, "status": status, "duration": server.now(), "children": below}
    )


def stats(server: BrokerEndpoint, request: Message) -> None:
    """The message counters, and how many neighbours there are (keys of flux-core, those that say something here)."""
    below = server.broker.children
    told = {
        "child-count": len(below),
        "child-connected": sum(link.is_up for link in below),
        "parent-count": int(server.broker.parent is not None),
    }
    server.respond(request, {**message_counts(server.counts), **told})


class RankArgs(msgspec.Struct):
    rank: int


def topology(server: BrokerEndpoint, request: Message) -> None:
    rank = request.unpack(RankArgs).rank
    if not 0 <= rank < server.size:
        raise RequestError(ENOENT, f"no rank {rank}: the instance has ranks 0-{server.size - 1}")
    server.respond(request, _subtree(rank, server.broker.instance.fanout, server.size))


def _subtree(rank: int, fanout: int, size: int) -> JsonObject:
    below = [_subtree(child, fanout, size) for child in children(rank, fanout, size)]
    return {"rank": rank, "size": 1 + sum(child["size"] for child in below), "children": below}


TABLE: Table = {
    "overlay.health": (health, True),
    "overlay.stats-get": (stats, True),
    "overlay.topology": (topology, True),
    "overlay.trace": (trace, False),
    "overlay.fault": (fault, False),
}
