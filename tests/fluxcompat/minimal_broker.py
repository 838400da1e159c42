"""A second broker for one module process, written from the protocol's description alone: no code of ours in it.

It starts a loader's command on a socket pair and plays the broker's part by hand: every frame is the test's to send
and to expect; a byte out of place is an AssertionError.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from tests.fluxcompat.minimal_client import (
    ANY,
    EVENT,
    MAGIC,
    NORESPONSE,
    REQUEST,
    RESPONSE,
    UNKNOWN,
    Frame,
    build,
    take_apart,
)
from tests.fluxcompat.minimal_loader import encoded

UUID = "22222222-2222-2222-2222-222222222222"
CLIENT, BROKER = b"aaaaaaaa-client", b"bbbbbbbb-broker"


class MinimalBroker:
    """One module process. Requests to the broker are answered by ``services``; the rest waits in ``inbox``."""

    def __init__(
        self, command: Sequence[str], *args: str, name: str = "m", attrs: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.inbox: list[Frame] = []
        self.seen: list[tuple[int, str]] = []
        self.subscriptions: list[str] = []
        self.tag = 0
        self.services: dict[str, Callable[[Any], Any]] = {
            "event.subscribe": lambda payload: self.subscriptions.append(payload["topic"]),
            "module.status": lambda payload: None,
        }
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        environment = {**os.environ, "FLUX_MODULE_URI": f"fd://{theirs.fileno()}"}
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.PIPE
        )
        theirs.close()
        self.socket.sendall(b"\0")
        known = {"rank": "0", "size": "1", "hostlist": "vm", **(attrs or {})}
        self.send(
            "welcome",
            {"args": list(args), "attrs": known, "conf": {}, "name": name, "uuid": UUID},
            NORESPONSE,
        )

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def frame(self) -> Frame:
        """The next frame of the module; its requests to the broker are answered by the way."""
        header = self.read(8)
        assert header[:4] == MAGIC
        frame = take_apart(self.read(struct.unpack(">I", header[4:])[0]))
        assert (frame.userid, frame.rolemask) == (UNKNOWN, 0), "the broker fills them in"
        self.seen.append((frame.type, frame.topic))
        if frame.type == REQUEST:
            assert frame.routes == (), "the broker pushes the uuid"
            self.answer_service(frame)
        return frame

    def answer_service(self, frame: Frame) -> None:
        service = self.services.get(frame.topic)
        if service is None:
            return
        answer = service(None if frame.payload is None else frame.json)
        if not frame.flags & NORESPONSE:
            # A number is an errnum.
            errnum, data = (answer, None) if isinstance(answer, int) else (0, answer and encoded(answer))
            self.socket.sendall(build(RESPONSE, frame.topic, data, 0, errnum, frame.matchtag, 0, 5))

    def wait(self, wanted: Callable[[Frame], bool]) -> Frame:
        for at, frame in enumerate(self.inbox):
            if wanted(frame):
                return self.inbox.pop(at)
        while True:
            frame = self.frame()
            if wanted(frame):
                return frame
            self.inbox.append(frame)

    def request_of(self, topic: str) -> Frame:
        """The next request of the module with this topic."""
        return self.wait(lambda frame: frame.type == REQUEST and frame.topic == topic)

    def send(self, topic: str, payload: Any = None, flags: int = 0, **fields: Any) -> int:
        """A request of a client to the module."""
        tag = 0
        if not flags & NORESPONSE:
            self.tag = tag = self.tag + 1
        data = None if payload is None else encoded(payload)
        stamp = {"userid": 0, "rolemask": 5, "routes": (BROKER, CLIENT), **fields}
        self.socket.sendall(build(REQUEST, topic, data, flags, ANY, tag, **stamp))
        return tag

    def publish(self, topic: str, payload: Any) -> None:
        self.socket.sendall(build(EVENT, topic, encoded(payload), 0, 1, 0, 0, 5, (BROKER,)))

    def answer(self, tag: int) -> Frame:
        frame = self.wait(lambda frame: frame.type == RESPONSE and frame.matchtag == tag)
        assert frame.routes == (BROKER, CLIENT), "responses carry the stack exactly as received"
        return frame

    def call(self, topic: str, payload: Any = None, **fields: Any) -> Frame:
        return self.answer(self.send(topic, payload, **fields))

    def until_running(self) -> None:
        status = self.request_of("module.status")
        assert (status.json, bool(status.flags & NORESPONSE)) == ({"status": 1}, True)

    def end(self) -> tuple[int, int]:
        """Shut it down by the book: (errnum it says, exit code)."""
        self.send(f"{self.name}.shutdown", None, NORESPONSE)
        return self.expect_end()

    def expect_end(self) -> tuple[int, int]:
        status = self.request_of("module.status")
        assert (status.json, bool(status.flags & NORESPONSE)) == ({"status": 2}, False)
        last = self.request_of("module.status")
        assert last.json["status"] == 3 and last.flags & NORESPONSE
        return last.json["errnum"], self.process.wait(20)

    def __enter__(self) -> MinimalBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
