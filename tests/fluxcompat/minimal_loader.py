"""A second loader of module processes, written from the protocol's description alone: no code of ours in it.

Installed as ``flux`` on a test's PATH it stands for ``flux module-python-exec FILE``. FILE defines
``mod_main(h, *args)``; ``h`` has ``call``, ``serve``, ``subscribe``, ``log`` and ``run``. What the broker does wrong is
an AssertionError here, which ends the process.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from tests.fluxcompat.minimal_client import (
    ANY,
    EVENT,
    MAGIC,
    NORESPONSE,
    REQUEST,
    RESPONSE,
    Frame,
    build,
    take_apart,
)


class Handle:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.tag = 0
        self.queue: list[Frame] = []
        self.methods: dict[str, Callable[..., Any]] = {}
        assert self.read(1) == b"\0", "the handshake"
        welcome = self.frame()
        assert (welcome.type, welcome.topic) == (REQUEST, "welcome")
        self.welcome = welcome.json
        assert set(self.welcome) == {"args", "attrs", "conf", "name", "uuid"}
        assert all(isinstance(value, str) for value in self.welcome["attrs"].values())
        self.name = self.welcome["name"]
        self.subscribe(f"{self.name}.stats-clear")

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                sys.exit("the broker is gone")
            data += more
        return data

    def frame(self) -> Frame:
        header = self.read(8)
        assert header[:4] == MAGIC
        return take_apart(self.read(struct.unpack(">I", header[4:])[0]))

    # -- what a module does

    def send(self, topic: str, payload: Any = None, flags: int = 0) -> int:
        data = None if payload is None else payload if isinstance(payload, bytes) else encoded(payload)
        tag = 0
        if not flags & NORESPONSE and topic != "log.append":
            self.tag = tag = self.tag + 1
        self.socket.sendall(build(REQUEST, topic, data, flags, ANY, tag))
        return tag

    def call(self, topic: str, payload: Any = None) -> Frame:
        """Blocking; what else comes is put back at the head of the queue, in order."""
        tag = self.send(topic, payload)
        while True:
            frame = self.frame()
            if frame.type == RESPONSE and frame.matchtag == tag:
                assert frame.routes == () and frame.topic == topic
                return frame
            self.queue.append(frame)

    def subscribe(self, topic: str) -> None:
        assert self.call("event.subscribe", {"topic": topic}).errnum == 0

    def publish(self, topic: str, payload: Any = None) -> None:
        self.socket.sendall(build(EVENT, topic, encoded(payload), 0, 0, 0))

    def log(self, text: str) -> None:
        self.send("log.append", f"<48>1 2026-11-22T00:53:27.867800Z 0 {self.name} - - - {text}".encode())

    def respond(self, request: Frame, payload: Any = None, errnum: int = 0) -> None:
        assert request.routes, "a request without a way back"
        data = None if payload is None else encoded(payload)
        answer = build(
            RESPONSE,
            request.topic,
            data,
            request.flags & 0x40,
            errnum,
            request.matchtag,
            routes=request.routes,
        )
        self.socket.sendall(answer)

    def serve(self, topic: str, method: Callable[..., Any]) -> None:
        self.methods[f"{self.name}.{topic}"] = method

    def run(self) -> None:
        """The reactor: RUNNING from its first prepare, until M.shutdown."""
        self.send("module.status", {"status": 1}, NORESPONSE)
        while True:
            frame = self.queue.pop(0) if self.queue else self.frame()
            if frame.type == REQUEST and frame.topic == f"{self.name}.shutdown":
                assert frame.flags & NORESPONSE and frame.payload is None
                return
            method = self.methods.get(frame.topic)
            if method is not None:
                method(self, frame)
            elif frame.type == REQUEST and not frame.flags & NORESPONSE:
                self.respond(frame, f"Unknown service method '{frame.topic}'", 38)


def encoded(payload: Any) -> bytes:
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode() + b"\0"


def main() -> int:
    command, path = sys.argv[1:]
    assert command == "module-python-exec"
    uri = os.environ["FLUX_MODULE_URI"]
    assert uri.startswith("fd://")
    h = Handle(socket.socket(fileno=int(uri.removeprefix("fd://"))))
    errnum = 0
    try:
        runpy.run_path(path)["mod_main"](h, *h.welcome["args"])
    except Exception as error:
        errnum = getattr(error, "errno", None) or (22 if isinstance(error, ValueError) else 104)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    # The answer to this is the last thing that comes; what came before it gets ENOSYS.
    tag = h.send("module.status", {"status": 2})
    while True:
        frame = h.frame()
        if frame.type == RESPONSE and frame.matchtag == tag:
            break
        h.queue.append(frame)
    for frame in h.queue:
        if frame.type == REQUEST and not frame.flags & NORESPONSE:
            h.respond(frame, None, 38)
    h.send("module.status", {"status": 3, "errnum": errnum}, NORESPONSE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
