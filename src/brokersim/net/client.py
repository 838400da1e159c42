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
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from brokersim.net.address import socket_path
from brokersim.net.bounded_socket import BoundedSocket, Limits, Lost, Unreachable
from brokersim.net.inbox import BadPeer, Inbox
from brokersim.net.matchtags import Matchtags
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
from brokersim.protocol.wire import encode

#: As upstream: five tries, the first pause 16 ms, doubling, at most 2 s.
CONNECT_TRIES: Final = 5
CONNECT_PAUSE: Final = 0.016
CONNECT_PAUSE_MAX: Final = 2.0
RETRY_VARIABLE: Final = "FLUX_LOCAL_CONNECTOR_RETRY_COUNT"
# Not there yet, left behind by a killed instance, or its backlog is full: worth another try.
_WORTH_RETRYING: Final = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN)

__all__ = ["BadPeer", "Client", "Lost", "Refused", "Unreachable"]


class Refused(Unreachable):
    """The instance answered the handshake with an errnum: it does not serve this user."""


class Client:
    """One connection to a broker. ``with Client.connect(uri) as client: client.rpc("kvs.getroot", {...})``.

    Every wait ends within ``limits``, with TimeoutError: after ``timeout`` seconds and no later than ``deadline``
    (seconds of time.monotonic), each None for no limit. A failed RPC raises RequestError; trouble with the
    connection raises Unreachable (Refused, Lost, BadPeer). Not for use from two threads at once.
    """

    def __init__(
        self,
        connection: socket.socket,
        uri: str,
        timeout: float | None = None,
        deadline: float | None = None,
        *,
        heard: Iterable[tuple[str, bytes]] | None = None,
    ) -> None:
        """``heard`` is of a connection that somebody began, see `resume`; of a new one the handshake is read here."""
        self.uri = uri
        self.limits = Limits(timeout, deadline)
        self._socket = BoundedSocket(connection, uri, self.limits)
        self._tags = Matchtags()
        self._inbox = Inbox(self._socket, uri, self._tags)
        #: Topics asked on this connection before we had it, and the bytes that came for each.
        self._heard = deque(heard or ())
        if heard is None:
            _read_handshake(self._socket, uri)

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
        return cls(connection, uri, deadline=deadline, heard=heard)

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
        self._socket.send(b"".join(frames), self._inbox.receive)
        return tags

    def recv_response(self, matchtag: int) -> Message:
        """The next response with this matchtag; others stay queued. TimeoutError abandons the matchtag."""
        if matchtag not in self._tags:
            raise ValueError(f"matchtag {matchtag} is not in use: its last response has been received")
        try:
            return self._inbox.take(lambda message: message.type == RESPONSE and message.matchtag == matchtag)
        except TimeoutError:
            self.abandon(matchtag)
            raise

    def recv_within(self, matchtag: int, seconds: float) -> Message | None:
        """The next response with this matchtag; None if ``seconds`` pass without one. The request stays open."""
        with self.limits.until(time.monotonic() + seconds):
            return self._inbox.take(lambda message: message.type == RESPONSE and message.matchtag == matchtag)
        return None

    def abandon(self, matchtag: int) -> None:
        """Forgets a request: what still comes for it is dropped, its matchtag reused after the last of it."""
        self._inbox.abandon(matchtag)

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
        return self._inbox.take(lambda message: message.type == EVENT)

    def send(self, message: Message) -> None:
        """Sends any message, for example the response to a request this client serves after service.add."""
        self._socket.send(encode(message), self._inbox.receive)

    def recv(self) -> Message:
        """The next message of any type, in order of arrival."""
        return self._inbox.take(lambda _message: True)

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

    def _hear(self, topic: str) -> None:
        asked, data = self._heard.popleft()
        assert asked == topic, f"{asked} was asked, and now {topic}"
        self._inbox.take_in(data)


def _read_handshake(connection: BoundedSocket, uri: str) -> None:
    answer = connection.read(1)
    if answer != b"\0":
        connection.close()
        errnum = answer[0]
        raise Refused(
            f"{uri}: the instance refuses this user: {strerror(errnum)} ({errname(errnum)})", errnum
        )


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
