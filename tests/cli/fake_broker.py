"""Knows how to answer a client over a real Unix socket with canned payloads; no services of its own.

``answers`` maps a topic to what is answered: a payload (dict, str, bytes, None), a RequestError, a list (a
stream: each item a payload, ended by ENODATA unless the last item is a RequestError), a ``Sequence`` of those
by turns, or a function of the request that returns any of these.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brokersim.protocol.errnums import ENODATA, ENOSYS, RequestError
from brokersim.protocol.message import EVENT, FLAG_NORESPONSE, FLAG_ROUTE, REQUEST, RESPONSE, Message
from brokersim.protocol.wire import FrameDecoder, encode


class InTurn:
    """One answer after the other; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self._answers = deque(answers)

    def __call__(self, _request: Message) -> Any:
        return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]


class SILENCE:
    """The answer that never comes."""


class OPEN:
    """As the last item of a stream: leave it open."""


class FakeBroker:
    """Serves any number of clients from a thread each until closed; keeps what it was asked."""

    def __init__(self, path: Path, answers: dict[str, Any] | None = None, handshake: bytes = b"\0") -> None:
        self.uri = f"local://{path}"
        self.answers: dict[str, Any] = dict(answers or {})
        self.requests: list[Message] = []
        self.events: list[Message] = []
        self.subscriptions: list[str] = []
        self.on_subscribe: list[Message] = []
        self.garbage_after: bytes = b""
        self._handshake = handshake
        self._clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def asked(self, topic: str) -> list[Any]:
        """The payloads of the requests for a topic, in order of arrival."""
        return [one.payload if one.data is not None else None for one in self.requests if one.topic == topic]

    def nodeids(self, topic: str) -> list[int]:
        return [one.nodeid for one in self.requests if one.topic == topic]

    @property
    def topics(self) -> list[str]:
        return [one.topic for one in self.requests]

    def drop_clients(self) -> None:
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            client.close()

    def close(self) -> None:
        """Refuses from now on; the socket file stays, as after a kill."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone would leave accept() waiting in its thread
        self._listener.close()
        self.drop_clients()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        decoder = FrameDecoder()
        try:
            client.sendall(self._handshake)
            if self._handshake != b"\0":
                client.close()
                return
            while data := client.recv(65536):
                for message in decoder.feed(data):
                    for reply in self._replies(message):
                        client.sendall(encode(reply))
                    if self.garbage_after:
                        client.sendall(self.garbage_after)
        except OSError:
            pass

    def _replies(self, message: Message) -> Iterable[Message]:
        if message.type == EVENT:
            self.events.append(message)
            return self._deliver(message)
        assert message.type == REQUEST
        self.requests.append(message)
        if message.flags & FLAG_NORESPONSE:
            return ()
        if message.topic == "event.subscribe":
            self.subscriptions.append(message.payload["topic"])
            return [*self._respond(message, None), *self.on_subscribe]
        if message.topic == "event.unsubscribe":
            return self._respond(message, None)
        return self._respond(message, self.answers.get(message.topic, _unknown(message.topic)))

    def _deliver(self, event: Message) -> Iterable[Message]:
        if any(event.topic.startswith(prefix) for prefix in self.subscriptions):
            event.seq = len(self.events)
            yield event

    def _respond(self, request: Message, answer: Any) -> Iterable[Message]:
        if callable(answer) and answer not in (SILENCE, OPEN):
            answer = answer(request)
        if answer is SILENCE:
            return
        if not isinstance(answer, list):
            yield _response(request, answer)
            return
        for item in answer:
            if item is OPEN:
                return
            yield _response(request, item)
        if not (answer and isinstance(answer[-1], RequestError)):
            yield _response(request, RequestError(ENODATA))


def _unknown(topic: str) -> RequestError:
    service, dot, _ = topic.partition(".")
    if service in ("kvs", "module") and dot:
        return RequestError(ENOSYS, f"Unknown service method '{topic}'")
    return RequestError(ENOSYS, f"No service matching {topic} is registered")


def _response(request: Message, answer: Any) -> Message:
    response = Message(
        RESPONSE,
        topic=request.topic,
        data=answer,
        flags=request.flags & 0x40 | FLAG_ROUTE,
        matchtag=request.matchtag,
        userid=0,
        rolemask=5,
    )
    if isinstance(answer, RequestError):
        response.errnum, response.data = answer.errno or 0, answer.text or None
    return response
