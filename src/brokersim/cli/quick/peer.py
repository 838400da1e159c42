"""Knows how to ask an instance one thing after the other, and what to leave to whoever goes on; not what is asked.

The full client is `net/client.py`: tries again, time limits, streams, events. This one hands its connection over to it.
"""

from __future__ import annotations

import os
import time

try:
    # socket around it brings selectors, enum and collections: half an interpreter's start.
    from _socket import AF_UNIX, SOCK_STREAM
    from _socket import socket as Socket
except ImportError:
    from socket import AF_UNIX, SOCK_STREAM
    from socket import socket as Socket  # type: ignore[assignment]  # a subclass, as good here

from brokersim.net.address import ENVIRONMENT, SCHEME, socket_path
from brokersim.protocol.lean import NODEID_ANY, Unsure, from_json, request, response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from brokersim.protocol.decoded import Json, JsonObject

_READ_SIZE = 1 << 18


class Aside(Exception):
    """The short way does not know this; ``peer`` is the connection to go on with, if there is one."""

    def __init__(self, peer: Peer | None = None) -> None:
        super().__init__()
        self.peer = peer


class Peer:
    """One connection, on which one request at a time is open.

    ``heard`` is what was asked so far, by topic, and the bytes that came for it: nothing is asked twice.
    """

    def __init__(self, uri: str, patience: float | None = None) -> None:
        """Connects. Raises Aside where the full client would try again, or tell why not."""
        self.uri = uri
        self.heard: list[tuple[str, bytes]] = []
        self.socket = Socket(AF_UNIX, SOCK_STREAM)
        try:
            self.socket.setblocking(False)  # a full backlog must not block here
            self.socket.connect(socket_path(uri))
            self.socket.settimeout(patience)
            welcome = self.socket.recv(1)
        except (OSError, ValueError):
            welcome = b""
        if welcome != b"\0":
            self.socket.close()
            raise Aside

    def ask(self, topic: str, payload: JsonObject | None = None, nodeid: int = NODEID_ANY) -> Json:
        """The answer's JSON object, None if it has none. Raises Unsure, also for an answer that is an error."""
        frame = request(topic, payload, nodeid)
        self.heard.append((topic, b""))
        errnum, data = self._answer(topic, frame)
        if errnum:
            raise Unsure
        return from_json(data)

    def ask_until(self, until: float, topic: str, payload: JsonObject | None = None) -> Json:
        """The same, by then (`time.monotonic`) or Unsure."""
        self.socket.settimeout(max(until - time.monotonic(), 0.001))
        return self.ask(topic, payload)

    def _answer(self, topic: str, frame: bytes) -> tuple[int, bytes | None]:
        heard = b""
        try:
            self.socket.sendall(frame)
            while True:
                data = self.socket.recv(_READ_SIZE)
                heard += data
                found = response(heard)
                if found is not None:
                    return found
                if not data:
                    raise Unsure
        except OSError:
            raise Unsure from None
        finally:
            self.heard[-1] = (topic, heard)

    def detach(self) -> int:
        """The connection's descriptor, whose owner is now whoever asked for it."""
        self.socket.settimeout(None)
        return self.socket.detach()

    def close(self) -> None:
        self.socket.close()


def connect(given: str | None, patience: float | None = None) -> Peer:
    """To the instance that was named, or else that the environment names, or the only one. Raises Aside."""
    uri = given or next(filter(None, map(os.environ.get, ENVIRONMENT)), "")
    if not uri.startswith(SCHEME):
        from brokersim.net.discovery import NoInstance, find_uri

        try:
            uri = find_uri(given)
        except (NoInstance, ValueError):
            raise Aside from None
    return Peer(uri, patience)
