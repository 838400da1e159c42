"""Knows the one request and the one response of a client that asks once and ends; nothing else of RFC 3.

`wire.py` knows all frames, and brings msgspec: 22 ms of a command that takes 40. What is not surely written or read as
`wire.py` and msgspec would is Unsure here, and theirs to do; tests hold both to the same bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes 2 ms; checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable

    from brokersim.protocol.decoded import Json, JsonObject

make_scanner: Callable[[Json], Callable[[str, int], tuple[Json, int]]] | None
try:
    # What json itself reads with: json around it brings re, a third of an interpreter's start.
    from _json import make_scanner  # type: ignore[import-not-found,no-redef,unused-ignore]
except ImportError:
    make_scanner = None

#: The only matchtag: one request at a time is open.
MATCHTAG = 1
NODEID_ANY = 0xFFFFFFFF

_MAGIC = b"\x12\x00\xee\xff"
_HEADER_SIZE = 8
_PROTO_SIZE = 20
#: Magic and version of RFC 3, then the type on the wire.
_REQUEST_START, _RESPONSE_START = b"\x8e\x01\x01", b"\x8e\x01\x02"
_TOPIC, _PAYLOAD, _ROUTE = 0x01, 0x02, 0x08
_REQUEST_FLAGS = bytes([_TOPIC | _PAYLOAD | _ROUTE])
_REQUEST_FLAGS_BARE = bytes([_TOPIC | _ROUTE])
#: Userid unknown and no roles: the broker knows better.
_NOBODY = b"\xff\xff\xff\xff\0\0\0\0"
_LONG = 0xFF
#: Bytes of the longest request; wire.py goes further.
_LONGEST = 1 << 24
_NAMES = {True: "true", False: "false", None: "null"}
#: Integers that msgspec writes and reads as such.
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class Unsure(Exception):
    """Nothing is wrong, but this file does not know it: the whole codec is asked."""


def request(topic: str, payload: JsonObject | None, nodeid: int = NODEID_ANY) -> bytes:
    """The frame of a request with matchtag 1. Raises Unsure."""
    name = topic.encode("ascii", "replace")
    if not 0 < len(name) < _LONG or name != topic.encode(errors="replace") or b"\0" in name:
        raise Unsure
    parts = b"\0" + bytes([len(name)]) + name
    if payload is not None:
        data = to_json(payload) + b"\0"
        size = len(data)
        if size > _LONGEST:
            raise Unsure
        parts += (bytes([size]) if size < _LONG else b"\xff" + size.to_bytes(4, "big")) + data
    parts += (
        bytes([_PROTO_SIZE]) + _REQUEST_START + (_REQUEST_FLAGS_BARE if payload is None else _REQUEST_FLAGS)
    )
    parts += _NOBODY + nodeid.to_bytes(4, "big") + MATCHTAG.to_bytes(4, "big")
    return _MAGIC + len(parts).to_bytes(4, "big") + parts


def response(data: bytes) -> tuple[int, bytes | None] | None:
    """The errnum and payload of the one frame in ``data``; None until it is whole.

    Raises Unsure for anything but the answer to matchtag 1.
    """
    if len(data) < _HEADER_SIZE:
        return None
    size = int.from_bytes(data[4:_HEADER_SIZE], "big")
    end = _HEADER_SIZE + size
    if not data.startswith(_MAGIC) or len(data) > end or size <= _PROTO_SIZE:
        raise Unsure
    return _body(data, end - _PROTO_SIZE) if len(data) == end else None


def _body(data: bytes, proto: int) -> tuple[int, bytes | None]:
    """Of a frame whose last 20 bytes begin at ``proto``."""
    flags = data[proto + 3]
    at = _HEADER_SIZE
    # Of the flags only these three: a stream, and whatever else there may be, is not for here.
    if data[proto - 1] != _PROTO_SIZE or data[proto : proto + 3] != _RESPONSE_START or flags & ~0x0B:
        raise Unsure
    if int.from_bytes(data[proto + 16 :], "big") != MATCHTAG or flags & (_TOPIC | _ROUTE) != _TOPIC | _ROUTE:
        raise Unsure
    if data[at]:
        raise Unsure  # a route, which no client is sent
    topic, at = _part(data, at + 1, proto - 1)
    if not topic or not topic.isascii() or b"\0" in topic:
        raise Unsure
    payload = None
    if flags & _PAYLOAD:
        payload, at = _part(data, at, proto - 1)
    if at != proto - 1:
        raise Unsure
    return int.from_bytes(data[proto + 12 : proto + 16], "big"), payload


def _part(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    size = data[at]
    at += 1
    if size == _LONG:
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
    if at + size > end:
        raise Unsure
    return data[at : at + size], at + size


def to_json(value: object) -> bytes:
    """As msgspec writes it. Raises Unsure for numbers it writes in another way, and for what is no JSON."""
    try:
        return _written(value).encode()
    except (ValueError, RecursionError):
        raise Unsure from None


def _written(value: Json) -> str:
    kind = type(value)
    if kind is str:
        return _quoted(value)
    if kind is dict:
        return "{" + ",".join([f"{_key(key)}:{_written(one)}" for key, one in value.items()]) + "}"
    if kind is list:
        return "[" + ",".join(map(_written, value)) + "]"
    if kind is bool or value is None:
        return _NAMES[value]
    _check_number(value)
    return repr(value)


def indented(value: Json, depth: int = 0) -> str:
    """For people: a line a member, as msgspec lays it out with an indent of one. Raises Unsure."""
    if type(value) not in (dict, list) or not value:
        return to_json(value).decode()
    before = "\n" + " " * (depth + 1)
    if type(value) is dict:
        members = [f"{_key(key)}: {indented(one, depth + 1)}" for key, one in value.items()]
    else:
        members = [indented(one, depth + 1) for one in value]
    opening, closing = "{}" if type(value) is dict else "[]"
    return f"{opening}{before}{f',{before}'.join(members)}\n{' ' * depth}{closing}"


def _key(key: object) -> str:
    if type(key) is not str:
        raise Unsure
    return _quoted(key)


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    import json  # rare in what is asked, and 5 ms

    return json.dumps(text, ensure_ascii=False)


def from_json(data: bytes | None) -> Json:
    """The object in a payload, None if there is none. Raises Unsure for whatever is no such object to msgspec, too."""
    if data is None:
        return None
    try:
        text = data.rstrip(b"\0").decode()
        value = _scan(text)
        _check(value)
    except (ValueError, RecursionError):
        raise Unsure from None
    if type(value) is not dict:
        raise Unsure
    return value


def _scan(text: str) -> Json:
    if make_scanner is None:
        import json

        return json.loads(text, parse_constant=_no_constant)
    try:
        value, end = make_scanner(_Reading)(text, 0)
    except StopIteration:
        raise Unsure from None
    if end != len(text):
        raise Unsure  # blanks, most likely
    return value


def _no_constant(name: str) -> None:
    raise Unsure


class _Reading:
    """What json.JSONDecoder sets for its scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, _no_constant


def _check(value: Json) -> None:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            value.encode()  # a ValueError for half a surrogate pair, which json would read
    elif kind is dict:
        for key, one in value.items():
            _check(key)
            _check(one)
    elif kind is list:
        for one in value:
            _check(one)
    elif kind is not bool and value is not None:
        _check_number(value)


def _check_number(value: object) -> None:
    if type(value) is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise Unsure
    # Both write the shortest digits; of exponents they have different opinions.
    elif type(value) is not float or "e" in repr(value) or value - value != 0:
        raise Unsure
