"""Knows the four message types of RFC 3 and their fields; not their bytes, not who handles them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from brokersim.native.engine import twin
from brokersim.protocol.blobref import Blob
from brokersim.protocol.brackets import DEEPEST, is_too_deep
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import EPROTO, RequestError

# A type is the index of its receive counter in the eight counters; the send counter is one below. So counting
# is `counts[message.type] += 1`, and `1 << (type >> 1)` is the type on the wire.
REQUEST: Final = 1
RESPONSE: Final = 3
EVENT: Final = 5
CONTROL: Final = 7
TYPE_NAMES: Final = {REQUEST: "request", RESPONSE: "response", EVENT: "event", CONTROL: "control"}
#: Names of the eight counters by index, in the journal's order (2021's word for control is keepalive).
COUNTER_NAMES: Final = (
    "request_tx", "request_rx", "response_tx", "response_rx",
    "event_tx", "event_rx", "keepalive_tx", "keepalive_rx",
)  # fmt: skip

FLAG_TOPIC: Final = 0x01
FLAG_PAYLOAD: Final = 0x02
FLAG_NORESPONSE: Final = 0x04
FLAG_ROUTE: Final = 0x08
FLAG_UPSTREAM: Final = 0x10
FLAG_PRIVATE: Final = 0x20
FLAG_STREAMING: Final = 0x40
FLAG_USER1: Final = 0x80

NODEID_ANY: Final = 0xFFFFFFFF
NODEID_UPSTREAM: Final = 0xFFFFFFFE
USERID_UNKNOWN: Final = 0xFFFFFFFF
ROLE_OWNER: Final = 1
ROLE_USER: Final = 2
ROLE_LOCAL: Final = 4
MATCHTAG_NONE: Final = 0

_decode_json = msgspec.json.Decoder().decode


def _to_json(value: Any) -> Any:
    """What stands for JSON in process, such as rows that C keeps, says itself what it is on a wire."""
    told = getattr(value, "__json__", None)
    if told is None:
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return told()


_encode_json = msgspec.json.Encoder(enc_hook=_to_json).encode
_convert = msgspec.convert
T = TypeVar("T")


def _blame(kind: int) -> str:
    """The errnum's own words in front, for who asked: flux-core says no more, and scripts look for them."""
    return "Protocol error: " if kind == REQUEST else ""


class UnreadablePayload(RequestError):
    """What a peer sent is not what its handler reads: that is the peer's mistake, and ends no module.

    ``kind`` is the type of the message: a request is answered, an event is passed over.
    """

    def __init__(self, topic: str, text: str, kind: int) -> None:
        super().__init__(EPROTO, f"{_blame(kind)}{topic}: {text}")
        self.kind = kind


class NoPayload(TypeError):
    """The same where there is nothing to read. Flux's Python message raises a TypeError, too."""

    def __init__(self, topic: str, kind: int) -> None:
        super().__init__(f"{_blame(kind)}{TYPE_NAMES[kind]} {topic!r} has no payload")
        self.kind = kind


@twin
class Message(msgspec.Struct, gc=False, eq=False):
    """One request, response, event or control message.

    Mutable and untracked by the garbage collector, because it is measured three times cheaper than a frozen
    value; so a message must never point at something that points back at it. ``data`` is the payload as it
    came: ``None``, raw ``bytes`` or a ``Blob`` that stands for them, ``str`` (NUL-terminated on the wire), or a JSON
    value passed by reference and immutable by contract. A control message keeps its type in ``errnum`` and its status
    in ``matchtag`` (the places RFC 3 gives them).
    """

    type: int
    topic: str = ""
    data: Any = None
    flags: int = 0
    matchtag: int = 0
    # Every field that is given to the constructor costs a message some 10 ns: what only some messages have comes last.
    userid: int = USERID_UNKNOWN
    rolemask: int = 0
    #: In process only: the endpoint that sent it, the one it goes to, and what that one calls.
    src: Any = None
    dst: Any = None
    handler: Callable[..., object] | None = None
    #: Route stack, originator first (the wire has it the other way round).
    routes: tuple[str, ...] = ()
    seq: int = 0
    nodeid: int = NODEID_ANY
    errnum: int = 0

    @property
    def payload(self) -> Json:
        """The payload as a JSON value.

        Raises NoPayload if there is none and UnreadablePayload if a peer's bytes are no JSON object.
        """
        data = self.data
        # The two that nearly all are, in process and from a socket, without the union below: 0.3 µs less of 0.5.
        if type(data) is dict:
            return data
        if type(data) is bytes:
            return decode_json(self.topic, data, self.type)
        if data is None:
            raise NoPayload(self.topic, self.type)
        # The decoded value is not kept in ``data``: a blob that looks like JSON must stay the blob it was.
        if isinstance(data, Blob):
            return decode_json(self.topic, bytes(data), self.type)
        return decode_json(self.topic, data.encode(), self.type) if isinstance(data, str) else data

    def error(self) -> RequestError:
        """What a response that failed tells whoever asked: its errnum, and the text that came with it."""
        return RequestError(self.errnum, self.payload_str or "")

    @property
    def payload_str(self) -> str | None:
        """The payload as text without its NUL, ``None`` if there is none; undecodable bytes are replaced."""
        data = self.data
        if data is None or isinstance(data, str):
            return data
        if isinstance(data, bytes | Blob):
            return bytes(data).rstrip(b"\0").decode(errors="replace")
        return _encode_json(data).decode()

    @property
    def raw(self) -> bytes:
        """The payload as bytes, exactly as it goes on the wire; ``b""`` if there is none."""
        data = self.data
        return data if type(data) is bytes else encode_payload(data) or b""

    def unpack(self, schema: builtins.type[T]) -> T:
        """The payload checked against a typed struct (unknown keys are ignored, as Flux's unpacking does).

        Raises UnreadablePayload that names the topic and the offending key.
        """
        data = self.data
        if type(data) is not dict:
            data = {} if data is None else self.payload
        try:
            return _convert(data, schema)
        except msgspec.ValidationError as error:
            raise UnreadablePayload(self.topic, str(error), self.type) from None

    @property
    def is_streaming(self) -> bool:
        """The request asked for a stream of responses, or the response is part of one."""
        return bool(self.flags & FLAG_STREAMING)

    @property
    def is_noresponse(self) -> bool:
        """The request must not be answered, not even with an error."""
        return bool(self.flags & FLAG_NORESPONSE)

    @property
    def type_str(self) -> str:
        """``request``, ``response``, ``event`` or ``control``."""
        return TYPE_NAMES[self.type]

    @property
    def sender(self) -> str:
        """Who sent it first: equal for all messages of one client or module, its disconnect included."""
        return self.routes[0] if self.routes else self.src.uuid


def decode_json(topic: str, data: bytes, kind: int = REQUEST) -> Json:
    """A JSON object from payload bytes (a final NUL is dropped). Raises UnreadablePayload."""
    try:
        value = _decode_json(data.rstrip(b"\0"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadablePayload(topic, "payload is not JSON", kind) from None
    if not isinstance(value, dict):
        raise UnreadablePayload(topic, f"payload must be a JSON object, not {type(value).__name__}", kind)
    if len(data) > DEEPEST and is_too_deep(data):
        raise UnreadablePayload(topic, f"payload is nested more than {DEEPEST} levels deep", kind)
    return value


def encode_payload(data: object) -> bytes | None:
    """Payload bytes: raw ``bytes`` as they are, text and JSON with one NUL behind (RFC 3), ``None`` for none.

    Raises RequestError(EPROTO) for a value that JSON, or text that UTF-8, cannot carry.
    """
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, Blob):
        return bytes(data)
    try:
        return (data.encode() if isinstance(data, str) else _encode_json(data)) + b"\0"
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.EncodeError) as error:
        raise RequestError(EPROTO, f"payload cannot be sent: {error}") from None
