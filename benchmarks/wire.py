"""What a frame costs: encode and decode of a request, beside struct and the standard library's json.

    python benchmarks/wire.py [--json] [--gate] [--frames N]

CPU ns per message with JSON payloads of 140 and 900 bytes; encoding starts from the payload as a dict, decoding ends
with one. "frame" rows leave the JSON away. The baseline packs and unpacks the same fields with `struct` and `json`.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import _measure

from brokersim.protocol.message import FLAG_ROUTE, REQUEST, Message, encode_payload
from brokersim.protocol.wire import HEADER_SIZE, FrameDecoder, decode, encode

SIZES = (140, 900)
TOPIC = "kvs.lookup"
ROUTE = "8f1b0d3a-6a1c-4b44-9d1f-1f60cf1b7f27"
_HEADER = struct.Struct("<I")
_LENGTH = struct.Struct(">I")
_PROTO = struct.Struct(">BBBBIIII")


def payload_of(size: int) -> dict[str, Any]:
    """A JSON object of about ``size`` bytes: text, numbers, a list, nesting."""
    payload: dict[str, Any] = {
        "key": "job.0000.0001.eventlog",
        "flags": 0,
        "namespace": "primary",
        "n": [1, 2.5, None],
    }
    number = 0
    while len(json.dumps(payload, separators=(",", ":"))) < size - 12:
        payload[f"k{number}"] = {"v": number} if number % 2 else f"text {number}"
        number += 1
    return payload


def plain_encode(payload: Any) -> bytes:
    """A frame as struct and json make it."""
    body = json.dumps(payload).encode() + b"\0"
    parts = [ROUTE.encode(), b"", TOPIC.encode()]
    out = b"".join(bytes([len(part)]) + part for part in parts)
    out += bytes([len(body)]) + body if len(body) < 255 else b"\xff" + _LENGTH.pack(len(body)) + body
    out += b"\x14" + _PROTO.pack(0x8E, 1, 1, 11, 0, 1, 0xFFFFFFFF, 7)
    return _HEADER.pack(0xFFEE0012) + _LENGTH.pack(len(out)) + out


def plain_decode(frame: bytes) -> tuple[str, Any, tuple[int, ...]]:
    """Its fields as struct and json read them."""
    at, parts = 8, []
    while at < len(frame):
        size = frame[at]
        at += 1
        if size == 255:
            (size,) = _LENGTH.unpack_from(frame, at)
            at += 4
        parts.append(frame[at : at + size])
        at += size
    *_, topic, body, proto = parts
    return topic.decode(), json.loads(body[:-1]), _PROTO.unpack(proto)


def every(work: Callable[[], object], count: int) -> None:
    for _ in range(count):
        work()


def decode_all(decoder: FrameDecoder, frame: bytes) -> Any:
    """By the decoder of a connection, which is made once."""
    (message,) = decoder.feed(frame)
    return message.payload


def parts(size: int) -> dict[str, Callable[[], object]]:
    payload = payload_of(size)
    message = Message(REQUEST, TOPIC, payload, FLAG_ROUTE, 7, routes=(ROUTE,), userid=0, rolemask=1)
    raw = Message(
        REQUEST, TOPIC, encode_payload(payload), FLAG_ROUTE, 7, routes=(ROUTE,), userid=0, rolemask=1
    )
    frame = encode(message)
    if (
        plain_decode(frame)[:2] != (TOPIC, payload)
        or decode_all(FrameDecoder(), plain_encode(payload)) != payload
    ):
        raise SystemExit("the baseline does not speak the same frames")
    return {
        "encode": partial(encode, message),
        "plain encode": partial(plain_encode, payload),
        "decode": partial(decode_all, FrameDecoder(), frame),
        "plain decode": partial(plain_decode, frame),
        "frame encode": partial(encode, raw),
        "frame decode": partial(decode, frame[HEADER_SIZE:]),
    }


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--frames", type=_measure.positive, default=20_000, help="frames a row and round")
    arguments = parser.parse_args()
    report = _measure.begin("wire", arguments, frames=arguments.frames, route="36 B", sizes=SIZES)
    taken = _measure.rounds(
        {
            f"{name}, {size} B": partial(_measure.cpu_ns, partial(every, work), arguments.frames)
            for size in SIZES
            for name, work in parts(size).items()
        },
        arguments.repeats,
    )
    report.figures = [
        _measure.Figure(name=name, unit="ns/message", values=values) for name, values in taken.items()
    ]
    for size in SIZES:
        for way in ("encode", "decode"):
            plain = _measure.ratio(taken[f"plain {way}, {size} B"], taken[f"{way}, {size} B"])
            report.gates.append(
                _measure.Gate(
                    what=f"plain / brokersim, {way}, {size} B", ratio=plain, limit=2.0, at_least=True
                )
            )
    report.keys = {
        f"{way}_{size}_ns": next(f.median for f in report.figures if f.name == f"{way}, {size} B")
        for size in SIZES
        for way in ("encode", "decode")
    }
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
