"""Knows how to talk to a broker over its Unix socket, blocking, one thread; not which instance or service.

Imports no trio: a command line built on it starts in tens of milliseconds. Protocol: flux-core's local
connector (frames of RFC 3 after a one-byte handshake).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from brokersim.net.address import socket_path
from brokersim.net.bounded_socket import BoundedSocket, Limits, Lost, Unreachable
from brokersim.net.matchtags import AWAITED, UNASKED, Matchtags
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import ENODATA, ProtocolError, RequestError, errname, strerror
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    FLAG_STREAMING,
    NODEID_ANY,
    REQUEST,
    RESPONSE,
    Message,
)
from brokersim.protocol.wire import FrameDecoder, encode

#: As upstream: five tries, the first pause 16 ms, doubling, at most 2 s.
CONNECT_TRIES: Final = 5
CONNECT_PAUSE: Final = 0.016
CONNECT_PAUSE_MAX: Final = 2.0
RETRY_VARIABLE: Final = "FLUX_LOCAL_CONNECTOR_RETRY_COUNT"
_READ_SIZE: Final = 256 * 1024
# Not there yet, left behind by a killed instance, or its backlog is full: worth another try.
_WORTH_RETRYING: Final = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)

__all__ = ["BadPeer", "Client", "Lost", "Refused", "Unreachable"]


class Refused(Unreachable):
    """The instance answered the handshake with an errnum: it does not serve this user."""


class BadPeer(Unreachable):
    """What came is not the protocol; the connection is closed."""


class Client:
    """One connection to a broker. ``with Client.connect(uri) as client: client.rpc("kvs.getroot", {...})``.

    Every wait ends within ``limits``, with TimeoutError: after ``timeout`` seconds and no later than ``deadline``
    (seconds of time.monotonic), each None for no limit. A failed RPC raises RequestError; trouble with the
    connection raises Unreachable (Refused, Lost, BadPeer). Not for use from two threads at once.
    """

    def __init__(
        self, connection: socket.socket, uri: str, timeout: float | None = None, deadline: float | None = None
    ) -> None:
        self._begin(connection, uri, timeout, deadline)
        self._handshake()

    def _begin(
        self, connection: socket.socket, uri: str, timeout: float | None, deadline: float | None
    ) -> None:
        self.uri = uri
        self.limits = Limits(timeout, deadline)
        self._socket = BoundedSocket(connection, uri, self.limits)
        self._decoder = FrameDecoder()
        self._inbox: deque[Message] = deque()
        self._tags = Matchtags()
        #: Topics asked on this connection before we had it, and the bytes that came for each.
        self._heard: deque[tuple[str, bytes]] = deque()

    @classmethod
    def connect(cls, uri: str, timeout: float | None = None, deadline: float | None = None) -> Self:
        """A client of the instance at ``local:///path``. Raises ValueError (no address) or Unreachable."""
        path = socket_path(uri)
        pauses = _pauses()
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)  # a full backlog must not block: it is EAGAIN, and tried again
            try:
                connection.connect(path)
                return cls(connection, uri, timeout, deadline)
            except (Unreachable, TimeoutError):
                connection.close()
                raise
            except OSError as error:
                connection.close()
                pause = next(pauses, None)
                if error.errno not in _WORTH_RETRYING or pause is None:
                    raise Unreachable(f"{uri}: {error.strerror or error}", error.errno) from None
                time.sleep(pause)

    @classmethod
    def resume(
        cls,
        connection: socket.socket,
        uri: str,
        heard: Iterable[tuple[str, bytes]],
        deadline: float | None = None,
    ) -> Self:
        """A client that goes on with a connection on which each of these topics was asked, one after the other.

        Asked again they are not sent: the bytes that came for each are its answer, and what lacks is read on.
        """
        client = cls.__new__(cls)
        client._begin(connection, uri, None, deadline)
        client._heard.extend(heard)
        return client

    # --- requests and responses

    def rpc(
        self,
        topic: str,
        payload: object = None,
        nodeid: int = NODEID_ANY,
        flags: int = 0,
        *,
        raw: bool = False,
    ) -> Json:
        """The response's payload: a JSON value, None if it has none; its ``bytes`` as they came if ``raw``.

        A payload of bytes is sent as it is, text and JSON values with a NUL behind. Raises RequestError.
        """
        return _answer(self.recv_response(self.send_request(topic, payload, nodeid, flags)), raw)

    def stream(
        self,
        topic: str,
        payload: object = None,
        nodeid: int = NODEID_ANY,
        *,
        raw: bool = False,
        cancel: str | None = None,
    ) -> Iterator[Any]:
        """The payloads of a streaming RPC until its normal end (ENODATA); any other end raises RequestError.

        The request is sent at once. Closing the iterator early drops what still comes, after a request to
        ``cancel`` if that topic is given (``{"matchtag": t}``, as kvs-watch and job-info take it).
        """
        tag = self.send_request(topic, payload, nodeid, FLAG_STREAMING)
        return self._responses(tag, raw, cancel)

    def _responses(self, tag: int, raw: bool, cancel: str | None) -> Iterator[object]:
        try:
            while True:
                response = self.recv_response(tag)
                if response.errnum == ENODATA:
                    return
                yield _answer(response, raw)
        finally:
            if self._tags.is_stream(tag) and not self.is_closed:
                self.abandon(tag)
                if cancel is not None:
                    self.send_request(cancel, {"matchtag": tag}, flags=FLAG_NORESPONSE)

    def send_request(
        self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, flags: int = 0
    ) -> int:
        """Sends without waiting for the response; its matchtag, 0 with flag noresponse.

        Many may be outstanding: responses that come while the socket is full are taken in meanwhile, so the
        two ends cannot block each other.
        """
        (tag,) = self.send_requests(topic, (payload,), nodeid, flags)
        return tag

    def send_requests(
        self, topic: str, payloads: Iterable[object], nodeid: int = NODEID_ANY, flags: int = 0
    ) -> list[int]:
        """As many requests as there are payloads, in one write: a third of the cost of one at a time."""
        tags: list[int] = []
        frames: list[bytes] = []
        try:
            for payload in payloads:
                tags.append(self._tags.allot(flags))
                if self._heard:
                    self._hear(topic)
                    continue
                frames.append(
                    encode(Message(REQUEST, topic, payload, flags | FLAG_ROUTE, tags[-1], nodeid=nodeid))
                )
        except (RequestError, ProtocolError):
            for tag in tags:
                self._tags.release(tag)  # nothing was sent, so nothing will come
            raise
        self._send(b"".join(frames))
        return tags

    def recv_response(self, matchtag: int) -> Message:
        """The next response with this matchtag; others stay queued. TimeoutError abandons the matchtag."""
        if matchtag not in self._tags:
            raise ValueError(f"matchtag {matchtag} is not in use: its last response has been received")
        try:
            return self._take(lambda message: message.type == RESPONSE and message.matchtag == matchtag)
        except TimeoutError:
            self.abandon(matchtag)
            raise

    def recv_within(self, matchtag: int, seconds: float) -> Message | None:
        """The next response with this matchtag; None if ``seconds`` pass without one. The request stays open."""
        with self.limits.until(time.monotonic() + seconds):
            return self._take(lambda message: message.type == RESPONSE and message.matchtag == matchtag)
        return None

    def abandon(self, matchtag: int) -> None:
        """Forgets a request: what still comes for it is dropped, its matchtag reused after the last of it."""
        waiting = [one for one in self._inbox if one.type == RESPONSE and one.matchtag == matchtag]
        for message in waiting:
            self._inbox.remove(message)
        if any(self._tags.is_last(message) for message in waiting):
            self._tags.release(matchtag)
        else:
            self._tags.give_up(matchtag)

    @property
    def outstanding(self) -> int:
        """Requests whose last response has not been received."""
        return self._tags.outstanding

    # --- events and everything else

    def subscribe(self, prefix: str) -> None:
        """From the return on, events whose topic starts with ``prefix`` come in (``""``: all)."""
        self.rpc("event.subscribe", {"topic": prefix})

    def unsubscribe(self, prefix: str) -> None:
        """Takes one subscription back. Raises RequestError if there is none."""
        self.rpc("event.unsubscribe", {"topic": prefix})

    def publish(self, topic: str, payload: object = None) -> None:
        """Sends an event; nothing answers, and its sequence number is given at rank 0."""
        self.send(Message(EVENT, topic=topic, data=payload, flags=FLAG_ROUTE))

    def recv_event(self) -> Message:
        """The next event; responses stay queued."""
        return self._take(lambda message: message.type == EVENT)

    def send(self, message: Message) -> None:
        """Sends any message, for example the response to a request this client serves after service.add."""
        self._send(encode(message))

    def recv(self) -> Message:
        """The next message of any type, in order of arrival."""
        return self._take(lambda _message: True)

    # --- life

    def close(self) -> None:
        """Ends the connection, which is the disconnect; closing twice is fine."""
        self._socket.close()

    @property
    def is_closed(self) -> bool:
        """Closed from here, or lost."""
        return self._socket.is_closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor, for select; messages already received do not show there."""
        return self._socket.fileno()

    # --- inside

    def _handshake(self) -> None:
        answer = self._socket.read(1)
        if answer != b"\0":
            self._socket.close()
            errnum = answer[0]
            raise Refused(
                f"{self.uri}: the instance refuses this user: {strerror(errnum)} ({errname(errnum)})", errnum
            )

    def _take(self, wanted: Callable[[Message], bool]) -> Message:
        inbox = self._inbox
        seen = 0
        while True:
            for at in range(seen, len(inbox)):
                message = inbox[at]
                if wanted(message):
                    del inbox[at]
                    if message.type == RESPONSE and self._tags.is_last(message):
                        self._tags.release(message.matchtag)
                    return message
            seen = len(inbox)
            self._receive()

    def _receive(self) -> None:
        """Waits for bytes and files the messages they complete."""
        self._take_in(self._socket.read(_READ_SIZE))

    def _hear(self, topic: str) -> None:
        asked, data = self._heard.popleft()
        assert asked == topic, f"{asked} was asked, and now {topic}"
        self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._file(message)
        except ProtocolError as error:
            self._bad(str(error))

    def _file(self, message: Message) -> None:
        if message.type != RESPONSE:
            self._inbox.append(message)
            return
        what = self._tags.arrives(message)
        if what == UNASKED:
            self._bad(f"{message.topic!r} answers matchtag {message.matchtag}, which asks nothing")
        elif what == AWAITED:
            self._inbox.append(message)

    def _bad(self, text: str) -> None:
        self._socket.close()
        raise BadPeer(f"{self.uri}: not a broker's protocol: {text}", errno.EPROTO) from None

    def _send(self, data: bytes) -> None:
        self._socket.send(data, self._receive)


def _answer(response: Message, raw: bool) -> Json:
    if response.errnum:
        raise response.error()
    if raw:
        return response.data or b""
    return None if response.data is None else response.payload


def _pauses() -> Iterator[float]:
    """Seconds to wait before each further try."""
    wanted = os.environ.get(RETRY_VARIABLE, "")
    tries = int(wanted) if wanted.isdecimal() else CONNECT_TRIES
    pause = CONNECT_PAUSE
    for _ in range(tries):
        yield pause
        pause = min(2 * pause, CONNECT_PAUSE_MAX)
