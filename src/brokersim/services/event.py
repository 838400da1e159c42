"""Knows the service event: subscribing, and publishing for a peer that wants the sequence number. Not who gets it."""

from __future__ import annotations

import msgspec

from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import EVENT, FLAG_PRIVATE, Message
from brokersim.services.endpoint import BrokerEndpoint, Table


class TopicArgs(msgspec.Struct):
    """Payload of event.subscribe and event.unsubscribe; ``""`` is every event."""

    topic: str


class PublishArgs(msgspec.Struct):
    """Payload of event.publish; the event's own payload is base64."""

    topic: str
    flags: int = 0
    payload: str | None = None


def subscribe(server: BrokerEndpoint, request: Message) -> None:
    """From now on the sender gets events whose topic begins with this."""
    server.broker.subscribe(request.unpack(TopicArgs).topic, request.src)
    server.respond(request)


def unsubscribe(server: BrokerEndpoint, request: Message) -> None:
    """Refused with ENOENT if there is no such subscription."""
    server.broker.unsubscribe(request.unpack(TopicArgs).topic, request.src)
    server.respond(request)


def publish(server: BrokerEndpoint, request: Message) -> None:
    """Publish for a peer that wants the sequence number; asked of rank 0."""
    args = request.unpack(PublishArgs)
    if not args.topic:
        raise RequestError(EPROTO, "event.publish: the topic is empty")
    if server.rank != 0:
        raise RequestError(EPROTO, "event.publish: events are sequenced by rank 0; send it there")
    try:
        payload = None if args.payload is None else msgspec.convert(args.payload, bytes)
    except msgspec.ValidationError:
        raise RequestError(EPROTO, "event.publish: payload is not base64") from None
    event = Message(
        EVENT, args.topic, payload, FLAG_PRIVATE if args.flags & FLAG_PRIVATE else 0,
        userid=request.userid, rolemask=request.rolemask, src=request.src,
    )  # fmt: skip
    server.broker.publish(event)
    server.respond(request, {"seq": event.seq})


TABLE: Table = {
    "event.subscribe": (subscribe, True),
    "event.unsubscribe": (unsubscribe, True),
    "event.publish": (publish, True),
}
