"""A second client of the local connector, written from the protocol's description alone: no code of ours in it.

It does what a client needs and checks what the protocol promises; a byte out of place is an AssertionError.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

MAGIC = struct.pack("=I", 0xFFEE0012)
PROTO = struct.Struct(">BBBBIIII")
REQUEST, RESPONSE, EVENT, CONTROL = 1, 2, 4, 8
TOPIC, PAYLOAD, NORESPONSE, ROUTE, UPSTREAM, PRIVATE, STREAMING = 1, 2, 4, 8, 16, 32, 64
ANY = 0xFFFFFFFF
UNKNOWN = 0xFFFFFFFF


class Frame(NamedTuple):
    """One message, taken apart; ``routes`` most recent hop first, as on the wire."""

    type: int
    flags: int
    userid: int
    rolemask: int
    aux1: int
    aux2: int
    topic: str
    payload: bytes | None
    routes: tuple[bytes, ...] | None

    @property
    def json(self) -> Any:
        assert self.payload is not None and self.payload.endswith(b"\0"), self
        return json.loads(self.payload[:-1])

    @property
    def text(self) -> str:
        """The human text of an error response."""
        if self.payload is None:
            return ""
        assert self.payload.endswith(b"\0"), self
        return self.payload[:-1].decode()

    errnum = property(lambda self: self.aux1)
    matchtag = property(lambda self: self.aux2)


def part(data: bytes) -> bytes:
    return (bytes([len(data)]) if len(data) < 255 else b"\xff" + struct.pack(">I", len(data))) + data


def build(
    kind: int, topic: str, payload: bytes | None = None, flags: int = 0, aux1: int = ANY, aux2: int = 0,
    userid: int = UNKNOWN, rolemask: int = 0, routes: tuple[bytes, ...] = (),
) -> bytes:  # fmt: skip
    flags |= ROUTE | TOPIC | (0 if payload is None else PAYLOAD)
    body = b"".join(part(route) for route in routes) + b"\0" + part(topic.encode())
    if payload is not None:
        body += part(payload)
    body += part(PROTO.pack(0x8E, 1, kind, flags, userid, rolemask, aux1, aux2))
    return MAGIC + struct.pack(">I", len(body)) + body


def take_apart(body: bytes) -> Frame:
    parts, at = [], 0
    while at < len(body):
        size = body[at]
        at += 1
        if size == 255:
            (size,) = struct.unpack_from(">I", body, at)
            at += 4
            assert size >= 255, "a short part written long"
        parts.append(body[at : at + size])
        assert len(parts[-1]) == size
        at += size
    assert len(parts[-1]) == 20
    magic, version, kind, flags, userid, rolemask, aux1, aux2 = PROTO.unpack(parts.pop())
    assert (magic, version) == (0x8E, 1) and kind in (REQUEST, RESPONSE, EVENT, CONTROL)
    payload = parts.pop() if flags & PAYLOAD else None
    topic = parts.pop().decode() if flags & TOPIC else ""
    routes = None
    if flags & ROUTE:
        assert parts.pop() == b"", "no delimiter behind the routes"
        routes, parts = tuple(parts), []
    assert not parts, "parts that no flag announces"
    return Frame(kind, flags, userid, rolemask, aux1, aux2, topic, payload, routes)


class RpcError(Exception):
    def __init__(self, errnum: int, text: str) -> None:
        super().__init__(errnum, text)
        self.errnum, self.text = errnum, text


class MinimalClient:
    """One connection. ``poses_as`` = (userid, rolemask) goes into every request: an owner may pose as a guest."""

    def __init__(self, uri: str, poses_as: tuple[int, int] = (UNKNOWN, 0)) -> None:
        assert uri.startswith("local://")
        self.poses_as = poses_as
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(uri.removeprefix("local://"))
        assert self.socket.recv(1) == b"\0"
        self.inbox: list[Frame] = []
        self.tag = 0

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "connection closed"
            data += more
        return data

    def frame(self) -> Frame:
        header = self.read(8)
        assert header[:4] == MAGIC
        return take_apart(self.read(struct.unpack(">I", header[4:])[0]))

    def wait(self, wanted: Any) -> Frame:
        for at, frame in enumerate(self.inbox):
            if wanted(frame):
                return self.inbox.pop(at)
        while True:
            frame = self.frame()
            if wanted(frame):
                return frame
            self.inbox.append(frame)

    # -- requests

    def send(self, topic: str, payload: Any = None, nodeid: int = ANY, flags: int = 0) -> int:
        data = (
            payload if payload is None or isinstance(payload, bytes) else json.dumps(payload).encode() + b"\0"
        )
        if flags & NORESPONSE:
            tag = 0
        else:
            self.tag = tag = self.tag + 1
        self.socket.sendall(build(REQUEST, topic, data, flags, nodeid, tag, *self.poses_as))
        return tag

    def answer(self, tag: int) -> Frame:
        frame = self.wait(lambda frame: frame.type == RESPONSE and frame.matchtag == tag)
        assert frame.routes == (), "the connector pops the client's own route"
        return frame

    def raw(self, topic: str, payload: Any = None, nodeid: int = ANY, flags: int = 0) -> Frame:
        """The response, whatever its errnum."""
        frame = self.answer(self.send(topic, payload, nodeid, flags))
        assert frame.topic == topic
        return frame

    def rpc(self, topic: str, payload: Any = None, nodeid: int = ANY) -> Any:
        frame = self.raw(topic, payload, nodeid)
        if frame.errnum:
            raise RpcError(frame.errnum, frame.text)
        return None if frame.payload is None else frame.json

    def errnum(self, topic: str, payload: Any = None, nodeid: int = ANY) -> int:
        return self.raw(topic, payload, nodeid).errnum

    def stream(self, topic: str, payload: Any = None, nodeid: int = ANY) -> Iterator[Frame]:
        """Responses up to the one with an errnum, that one included; sent at once."""
        return self.responses(self.send(topic, payload, nodeid, STREAMING))

    def responses(self, tag: int) -> Iterator[Frame]:
        while True:
            frame = self.answer(tag)
            assert frame.flags & STREAMING
            yield frame
            if frame.errnum:
                return

    # -- events

    def subscribe(self, topic: str) -> None:
        frame = self.raw("event.subscribe", {"topic": topic})
        assert (frame.errnum, frame.userid, frame.rolemask, frame.flags, frame.payload) == (
            0,
            UNKNOWN,
            1,
            9,
            None,
        )

    def publish(self, topic: str, payload: bytes | None = None, flags: int = 0) -> None:
        self.socket.sendall(build(EVENT, topic, payload, flags, 0, 0, *self.poses_as))

    def event(self) -> Frame:
        return self.wait(lambda frame: frame.type == EVENT)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> MinimalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
