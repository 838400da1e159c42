"""Knows the commands that publish and print events."""

from __future__ import annotations

from base64 import b64encode

import click
import msgspec

from brokersim.cli.command import Group, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import parse_object
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.message import EVENT, FLAG_PRIVATE, FLAG_ROUTE, Message, encode_payload


@click.group("event", cls=Group)
def event() -> None:
    """Publish events and print them."""


@event.command(
    "pub",
    **examples(
        ("brokersim event pub hello '{\"a\":1}'", "to whoever subscribed"),
        ("brokersim event pub -s hello", "and print its sequence number"),
    ),
)
@click.option("-r", "--raw", is_flag=True, help="the payload is text, not JSON")
@click.option("-s", "--synchronous", is_flag=True, help="wait for its sequence number")
@click.option("--private", is_flag=True, help="only to the owner and the sender")
@click.argument("topic")
@click.argument("payload", metavar="[JSON]", required=False)
@pass_session
def pub(
    session: Session, raw: bool, synchronous: bool, private: bool, topic: str, payload: str | None
) -> None:
    """Publish an event."""
    data = _payload(payload, raw)
    flags = FLAG_PRIVATE if private else 0
    if not synchronous:
        session.trace(topic, data)
        session.client.send(Message(EVENT, topic=topic, data=data, flags=FLAG_ROUTE | flags))
        if session.json:
            session.emit({"published": topic})
        return
    request: JsonObject = {"topic": topic, "flags": flags}
    encoded = encode_payload(data)
    if encoded is not None:
        request["payload"] = b64encode(encoded).decode()
    answer = session.rpc("event.publish", request, rank=0)
    if session.json:
        session.emit(answer)
    else:
        session.out(str(answer["seq"]))


def _payload(text: str | None, raw: bool) -> Json:
    if text is None or raw:
        return text
    try:
        return parse_object(text)
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim event pub --raw …") from None


@event.command(
    "sub",
    **examples(
        ("brokersim event sub", "every event until ^C"),
        ("brokersim event sub -c 2 heartbeat kvs.", "two events of these prefixes"),
    ),
)
@click.option("-c", "--count", type=click.IntRange(min=1), help="stop after this many")
@click.argument("prefixes", metavar="[PREFIX]...", nargs=-1)
@pass_session
def sub(session: Session, count: int | None, prefixes: tuple[str, ...]) -> None:
    """Print events as they come: topic, tab, payload."""
    wanted = prefixes or ("",)
    for prefix in wanted:
        session.rpc("event.subscribe", {"topic": prefix})
    seen = 0
    while count is None or seen < count:
        _show(session, session.client.recv_event())
        seen += 1
    for prefix in wanted:
        session.rpc("event.unsubscribe", {"topic": prefix})


def _show(session: Session, message: Message) -> None:
    text = message.payload_str
    if session.json:
        session.emit({"topic": message.topic, "seq": message.seq, "payload": _json(text)})
    else:
        session.out(message.topic if text is None else f"{message.topic}\t{text}")


def _json(text: str | None) -> Json:
    """The payload as JSON if it is, else its text."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return text
