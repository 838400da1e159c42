"""Knows the command that sends any request and prints what is answered."""

from __future__ import annotations

import sys

import click
import msgspec

from brokersim import files
from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, answered, usage_error
from brokersim.cli.session import Explain, Session, nodeid_of
from brokersim.cli.types import RANK, parse_object
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import ENOSYS, RequestError
from brokersim.protocol.message import FLAG_NORESPONSE
from brokersim.protocol.topic import service_of


def _explain(session: Session, topic: str) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        if error.errno != ENOSYS:
            return None
        from brokersim.cli.module import service_hint

        hint = service_hint(session, service_of(topic))
        what = str(error) if topic in str(error) else f"{topic}: {error}"
        return answered(error, what, hint=hint, attempt="brokersim module list")

    return told


def _payload(text: str | None, raw: bool) -> Json:
    if text == "-":
        data = files.read_all(sys.stdin.buffer, "stdin")
        return data if raw else _object(data.decode(errors="replace"))
    if text is None:
        return None
    return text.encode() if raw else _object(text)


def _object(text: str) -> JsonObject:
    try:
        return parse_object(text)
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim rpc --help") from None


@click.command(
    "rpc",
    cls=Command,
    **examples(
        ('brokersim rpc kvs.getroot \'{"namespace":"primary"}\'', "one answer"),
        ("brokersim rpc -r 3 hello.info", "of rank 3"),
        ("brokersim rpc --stream log.dmesg '{\"follow\":false}'", "an answer a line"),
    ),
)
@click.option("-r", "--rank", type=RANK, help="ask this rank  [any]")
@click.option("--stream", is_flag=True, help="a streaming RPC")
@click.option("--no-response", is_flag=True, help="send and go")
@click.option("--raw", is_flag=True, help="payload and answer are bytes, not JSON")
@click.argument("topic")
@click.argument("payload", metavar="[JSON|-]", required=False)
@pass_session
def rpc(
    session: Session,
    rank: int | None,
    stream: bool,
    no_response: bool,
    raw: bool,
    topic: str,
    payload: str | None,
) -> None:
    """Send a request to a service and print the answer; - reads the payload from stdin."""
    data = _payload(payload, raw)
    if no_response:
        session.client.send_request(topic, data, nodeid_of(rank), FLAG_NORESPONSE)
        return
    explain = _explain(session, topic)
    if not stream:
        _show(session, session.rpc(topic, data, rank=rank, raw=True, explain=explain), raw)
        return
    for answer in session.stream(topic, data, rank=rank, raw=True, explain=explain):
        _show(session, answer, raw)


def _show(session: Session, answer: bytes, raw: bool) -> None:
    """An answer as it came if it is JSON or raw was asked; text or bytes otherwise; nothing if it is empty."""
    if raw:
        session.write(answer)
        return
    body = answer.rstrip(b"\0")
    if not body:
        if session.json:
            session.emit(None)
    elif session.json:
        session.emit(_as_json(body))
    else:
        session.write(body + b"\n")


def _as_json(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
