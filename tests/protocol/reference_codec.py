"""Knows RFC 3 frames a second time, as plainly as the specification states them; imports nothing of ours.

Fields are a dict: type (its number on the wire), flags, userid, rolemask, aux1, aux2, and where their flag is
set routes (most recent hop first), topic, payload (bytes).
"""

from __future__ import annotations

import io
from typing import Any

TOPIC, PAYLOAD, NORESPONSE, ROUTE, STREAMING = 0x01, 0x02, 0x04, 0x08, 0x40
MAX_BODY = 64 * 2**20


class Refused(Exception):
    """The bytes are no frame."""


def part(data: bytes) -> bytes:
    length = bytes([len(data)]) if len(data) < 255 else b"\xff" + number(len(data))
    return length + data


def number(value: int) -> bytes:
    return bytes(value >> shift & 255 for shift in (24, 16, 8, 0))


def encode(fields: dict[str, Any], *, nul: bool = False) -> bytes:
    """The frame; with ``nul`` topics and routes end in one, as RFC 3 words it."""
    end = "\0" if nul else ""
    body = b""
    if fields["flags"] & ROUTE:
        body += b"".join(part((route + end).encode()) for route in fields["routes"]) + part(b"")
    if fields["flags"] & TOPIC:
        body += part((fields["topic"] + end).encode())
    if fields["flags"] & PAYLOAD:
        body += part(fields["payload"])
    proto = bytes([0x8E, 0x01, fields["type"], fields["flags"]])
    proto += b"".join(number(fields[name]) for name in ("userid", "rolemask", "aux1", "aux2"))
    body += part(proto)
    return bytes.fromhex("1200eeff") + number(len(body)) + body


def decode(frame: bytes) -> dict[str, Any]:
    """The fields of exactly one frame. Raises Refused."""
    magic, length, body = frame[:4], frame[4:8], frame[8:]
    if magic.hex() != "1200eeff" or int(length.hex() or "0", 16) != len(body) or len(body) > MAX_BODY:
        raise Refused("header")
    proto = body[-20:]
    if len(body) < 21 or body[-21] != 20 or proto[0] != 0x8E or proto[1] != 1 or proto[2] not in (1, 2, 4, 8):
        raise Refused("proto")
    fields: dict[str, Any] = {"type": proto[2], "flags": proto[3]}
    for index, name in enumerate(("userid", "rolemask", "aux1", "aux2"), start=1):
        fields[name] = int(proto[4 * index : 4 * index + 4].hex(), 16)
    if fields["flags"] & NORESPONSE and fields["flags"] & STREAMING:
        raise Refused("noresponse and streaming")
    stream = io.BytesIO(body[:-21])
    if fields["flags"] & ROUTE:
        fields["routes"] = list(map(text, iter(lambda: read_part(stream), b"")))
        if len(fields["routes"]) > 1024:
            raise Refused("routes")
    if fields["flags"] & TOPIC:
        fields["topic"] = text(read_part(stream), may_be_empty=True)
    if fields["flags"] & PAYLOAD:
        fields["payload"] = read_part(stream)
    if stream.read(1):
        raise Refused("bytes left over")
    return fields


def read_part(stream: io.BytesIO) -> bytes:
    size = exactly(stream, 1)[0]
    if size == 255:
        size = int(exactly(stream, 4).hex(), 16)
    return exactly(stream, size)


def exactly(stream: io.BytesIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise Refused("short")
    return data


def text(data: bytes, *, may_be_empty: bool = False) -> str:
    if data[-1:] == b"\0":
        data = data[:-1]
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    if (decoded == "" and not may_be_empty) or "\0" in decoded:
        raise Refused("empty, or a NUL inside")
    return decoded
