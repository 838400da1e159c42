"""Knows RFC 3 frames: messages to bytes and back, with partial reads; not sockets, not what a message means.

A frame is an 8-byte header (host-order magic, big-endian length) and parts, each behind its length; the last
part is PROTO, 20 bytes. Source: flux-core 0.88 as observed, which differs from RFC 3's text in that topics
and routes carry no NUL; a trailing NUL is accepted here and never sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeVar

from brokersim.native.engine import twin
from brokersim.protocol.errnums import EPROTO, ProtocolError, RequestError
from brokersim.protocol.message import (
    CONTROL,
    EVENT,
    FLAG_NORESPONSE,
    FLAG_PAYLOAD,
    FLAG_ROUTE,
    FLAG_STREAMING,
    FLAG_TOPIC,
    NODEID_ANY,
    REQUEST,
    RESPONSE,
    Message,
    encode_payload,
)

T = TypeVar("T")
V = TypeVar("V")

# Upstream writes the magic in host order; every host brokersim meets is little-endian, so this is fixed.
MAGIC = b"\x12\x00\xee\xff"
HEADER_SIZE = 8
#: Longest frame taken, in bytes: far above any real payload, far below what would exhaust a machine.
MAX_FRAME = 64 * 1024 * 1024
PROTO_SIZE = 20
_PROTO = struct.Struct(">BBBBIIII")
_PROTO_PART = struct.Struct(">BBBBBIIII")  # the same behind its length byte, as it is sent
_PROTO_MAGIC = 0x8E
_PROTO_VERSION = 1
_LONG = 0xFF
_MAX_ROUTES = 1024
_TYPE_FROM_WIRE = {1: REQUEST, 2: RESPONSE, 4: EVENT, 8: CONTROL}
_HEADER = struct.Struct(">4sI")
_SHORT_LENGTHS = tuple(bytes([size]) for size in range(_LONG))
_unpack_header = _HEADER.unpack_from
_pack_proto_part = _PROTO_PART.pack
_unpack_proto = _PROTO.unpack_from
# Topics and routes are few and repeat, and a look-up costs less than a conversion. A peer chooses them, so
# both tables are bounded, in entries and in the length of one.
_PARTS: dict[str, bytes] = {}
_TEXTS: dict[bytes, str] = {}
_INTERN_MAX = 4096
_INTERN_LENGTH_MAX = 128


@twin
def encode(message: Message) -> bytes:
    """One frame.

    Raises RequestError(EPROTO) if it cannot be sent: a payload JSON cannot carry, a topic or route with a NUL
    or no UTF-8, a number beyond 32 bits; ProtocolError if it is longer than MAX_FRAME.
    """
    payload = encode_payload(message.data)
    flags = message.flags & ~(FLAG_TOPIC | FLAG_PAYLOAD)
    topic = message.topic
    parts = bytearray()
    if flags & FLAG_ROUTE:
        for route in reversed(message.routes):
            parts += _PARTS.get(route) or _text_part(route, "route")
        parts += b"\0"
    if topic:
        flags |= FLAG_TOPIC
        parts += _PARTS.get(topic) or _text_part(topic, "topic")
    elif message.type == RESPONSE or message.flags & FLAG_TOPIC:
        flags |= FLAG_TOPIC  # empty, as it came; and the answer to such a request has one that is empty too
        parts += b"\0"
    if payload is not None:
        flags |= FLAG_PAYLOAD
        parts += _length_bytes(len(payload))
        parts += payload
    kind = message.type
    if kind == REQUEST:
        aux1, aux2 = message.nodeid, message.matchtag
    elif kind == EVENT:
        aux1, aux2 = message.seq, 0
    else:
        aux1, aux2 = message.errnum, message.matchtag
    try:
        parts += _pack_proto_part(
            PROTO_SIZE, _PROTO_MAGIC, _PROTO_VERSION, 1 << (kind >> 1), flags,
            message.userid, message.rolemask, aux1, aux2,
        )  # fmt: skip
    except struct.error as error:
        raise RequestError(EPROTO, f"{message.topic}: a field does not fit the message: {error}") from None
    if len(parts) > MAX_FRAME:
        raise ProtocolError(f"{topic}: frame of {len(parts)} bytes, the limit is {MAX_FRAME}")
    return MAGIC + len(parts).to_bytes(4, "big") + parts


def _length_bytes(size: int) -> bytes:
    return _SHORT_LENGTHS[size] if size < _LONG else b"\xff" + size.to_bytes(4, "big")


def _text_part(text: str, what: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise RequestError(EPROTO, f"{what} {text!r} cannot be sent as UTF-8") from None
    if not raw or b"\0" in raw:
        raise RequestError(EPROTO, f"{what} {text!r} cannot be sent: it is empty or has a NUL inside")
    part = _length_bytes(len(raw)) + raw
    _intern(_PARTS, text, part, len(part))
    return part


def _intern(table: dict[T, V], key: T, value: V, length: int) -> None:
    if length > _INTERN_LENGTH_MAX:
        return
    if len(table) >= _INTERN_MAX:
        table.clear()  # routes of clients long gone are most of it
    table[key] = value


@twin
def decode(body: bytes) -> Message:
    """The message in one frame's body (what follows the 8-byte header). Raises ProtocolError."""
    proto_at = len(body) - PROTO_SIZE
    if proto_at < 1 or body[proto_at - 1] != PROTO_SIZE:
        raise ProtocolError(f"message of {len(body)} bytes does not end in a PROTO part of 20 bytes")
    magic, version, wire_type, flags, userid, rolemask, aux1, aux2 = _unpack_proto(body, proto_at)
    kind = _TYPE_FROM_WIRE.get(wire_type)
    if magic != _PROTO_MAGIC or version != _PROTO_VERSION or kind is None:
        raise ProtocolError(f"PROTO part has magic {magic:#x}, version {version}, type {wire_type:#x}")
    if flags & FLAG_NORESPONSE and flags & FLAG_STREAMING:
        raise ProtocolError("flags noresponse and streaming exclude each other")
    end = proto_at - 1
    at = 0
    routes: tuple[str, ...] = ()
    topic, data = "", None
    if flags & FLAG_ROUTE:
        if end and not body[0]:
            at = 1  # an empty stack, as in all that a client sends and is sent
        else:
            routes, at = _routes(body, 0, end)
    # A short part is read in place: a call for each would be a third of the whole.
    if flags & FLAG_TOPIC:
        stop = at + 1 + body[at]
        if body[at] == _LONG or stop > end:
            part, at = _part(body, at, end)
        else:
            part, at = body[at + 1 : stop], stop
        topic = _TEXTS.get(part) or (_text(part, "topic") if part and part != b"\0" else "")
    if flags & FLAG_PAYLOAD:
        stop = at + 1 + body[at]
        if body[at] == _LONG or stop > end:
            data, at = _part(body, at, end)
        else:
            data, at = body[at + 1 : stop], stop
    if at != end:
        raise ProtocolError(f"{end - at} bytes between the last part and PROTO")
    if kind == REQUEST:
        return Message(kind, topic, data, flags, aux2, userid, rolemask, None, None, None, routes, 0, aux1)
    if kind == EVENT:
        return Message(kind, topic, data, flags, 0, userid, rolemask, None, None, None, routes, aux1)
    return Message(
        kind, topic, data, flags, aux2, userid, rolemask, None, None, None, routes, 0, NODEID_ANY, aux1
    )


def _part(body: bytes, at: int, end: int) -> tuple[bytes, int]:
    if at >= end:
        raise ProtocolError("message ends where a part was due")
    size = body[at]
    at += 1
    if size == _LONG:
        if at + 4 > end:
            raise ProtocolError("message ends inside a part's length")
        size = int.from_bytes(body[at : at + 4], "big")
        at += 4
    if at + size > end:
        raise ProtocolError(f"part of {size} bytes, but {end - at} are left")
    return body[at : at + size], at + size


def _routes(body: bytes, at: int, end: int) -> tuple[tuple[str, ...], int]:
    routes: list[str] = []
    while True:
        part, at = _part(body, at, end)
        if not part:
            return tuple(reversed(routes)), at
        routes.append(_TEXTS.get(part) or _text(part, "route"))
        if len(routes) > _MAX_ROUTES:
            raise ProtocolError(f"more than {_MAX_ROUTES} routes")


def _text(part: bytes, what: str) -> str:
    try:
        text = part.removesuffix(b"\0").decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{what} is not UTF-8") from None
    if not text or "\0" in text:
        raise ProtocolError(f"{what} is empty or has a NUL inside")
    _intern(_TEXTS, part, text, len(part))
    return text


@twin
def whole_frames(data: bytes) -> list[Message] | None:
    """The messages, if the bytes are frames that are whole and sound and nothing else, as most reads are."""
    at, size = 0, len(data)
    bodies = []
    while size - at >= HEADER_SIZE:
        magic, length = _unpack_header(data, at)
        end = at + HEADER_SIZE + length
        if magic != MAGIC or length > MAX_FRAME or end > size:
            return None
        bodies.append((at + HEADER_SIZE, end))
        at = end
    if at != size:
        return None
    try:
        return [decode(data[at:end]) for at, end in bodies]
    except ProtocolError:
        return None


class FrameDecoder:
    """Turns a byte stream into messages; feed it reads of any size, and take all that each feed yields.

    After a ProtocolError the stream has lost its place: the connection must be closed.
    """

    __slots__ = ("_buffer", "_need")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = 0  # bytes until the held frame is whole, so a long one is joined once, not at each read

    def feed(self, data: bytes) -> Iterable[Message]:
        """The messages completed by ``data``, in order. Raises ProtocolError at the first bad frame, after the good."""
        # A read usually holds whole frames only; then nothing is copied to the buffer.
        whole = None if self._buffer else whole_frames(data)
        return self._feed(data) if whole is None else whole

    def _feed(self, data: bytes) -> Iterator[Message]:
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        at, size = 0, len(data)
        self._need = 0
        while size - at >= HEADER_SIZE:
            magic, length = _unpack_header(data, at)
            if magic != MAGIC or length > MAX_FRAME:
                raise self._fault(magic, length)
            body_at = at + HEADER_SIZE
            end = body_at + length
            if end > size:
                self._need = end - at
                break
            yield decode(data[body_at:end])
            at = end
        if at < size:
            self._check_start(data, at)
            self._buffer += data[at:]

    @property
    def pending(self) -> int:
        """Bytes of an incomplete frame held back."""
        return len(self._buffer)

    @staticmethod
    def _fault(magic: bytes, length: int) -> ProtocolError:
        if magic != MAGIC:
            return ProtocolError(f"frame starts with {magic.hex()}, not {MAGIC.hex()}")
        return ProtocolError(f"frame announces {length} bytes, the limit is {MAX_FRAME}")

    @staticmethod
    def _check_start(data: bytes, at: int) -> None:
        start = data[at : at + 4]
        if not MAGIC.startswith(start):
            raise ProtocolError(f"frame starts with {start.hex()}, not {MAGIC.hex()}")
