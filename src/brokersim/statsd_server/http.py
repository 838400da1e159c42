"""Knows HTTP/1.1 as far as a read-only server needs it: bounded requests, slow clients, streams; not what is served.

The protocol itself is h11's, which does no input or output.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import h11
import trio

from brokersim.net.doorway import Doorway, Seat, Seats
from brokersim.statsd_server.browsers import is_our_name

#: Request line and headers together; browsers send about 1 kB.
MAX_HEADER = 16_384
#: Seconds for a request to arrive once it has begun, for a client to take a response, and between two requests.
REQUEST_S, RESPONSE_S, IDLE_S = 10.0, 30.0, 60.0
MAX_CLIENTS = 100
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_READ = 16_384
_METHODS = ("GET", "HEAD")
_READS = tuple(method.encode() for method in _METHODS)
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@attrs.frozen(kw_only=True)
class Request:
    """What a handler sees: the decoded path, its query and what the client takes; of equal names in a query the last
    one counts."""

    path: str
    query: Mapping[str, str]
    accept: str = ""


@attrs.frozen(kw_only=True)
class Response:
    """``body`` is the whole of it; or its pieces, which are made one by one so that others get their turns, and sent
    as a whole; or a stream that goes on until it ends or the client leaves."""

    body: bytes | Iterator[bytes] | AsyncGenerator[bytes]
    status: int = 200
    content_type: str = TEXT


def text_response(text: str, status: int = 200, content_type: str = TEXT) -> Response:
    return Response(body=text.encode(), status=status, content_type=content_type)


def json_response(value: object, status: int = 200) -> Response:
    return Response(body=json.dumps(value).encode(), status=status, content_type=JSON)


class _HangUpError(Exception):
    """The client left, or took too long."""


class HttpServer:
    """Serves ``routes``: a path, or a path ending in ``/`` for all below it, and who answers. GET and HEAD only.

    An exception in a handler is answered with 500 and told to ``on_error``; the server goes on. Who asks by a name
    that is neither this machine's nor one of ``allow_hosts`` is refused (`browsers.is_our_name`).
    """

    def __init__(
        self,
        routes: Mapping[str, Callable[[Request], Response]],
        on_error: Callable[[str], None],
        allow_hosts: Sequence[str] = (),
    ) -> None:
        self._routes = dict(routes)
        self._on_error = on_error
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self._doorway = Doorway("http", on_error, _FULL)
        self._seats = Seats(MAX_CLIENTS)

    async def serve(self, sock: socket.socket) -> None:
        """Accepts clients on a listening socket until cancelled."""
        await self._doorway.serve(sock, self._client)

    async def _client(self, stream: trio.SocketStream) -> None:
        local = str(stream.socket.getsockname()[0])
        with self._seats.seat() as seat:
            try:
                await _Conversation(stream, partial(self._answer, local), seat).run()
            except _HangUpError:
                pass  # nobody is left to tell

    async def _answer(self, local: str, method: str, target: str, host: str | None, accept: str) -> Response:
        if host is not None and not is_our_name(host, local, self._allow_hosts):
            text = f"421 this server is not known as {host!r}; its operator lets a name in with --allow-host"
            return text_response(text, 421)
        try:
            parts = urlsplit(target)
        except ValueError as error:
            return text_response(f"400 {target!r} is no address: {error}", 400)
        path = unquote(parts.path)
        handler = self._routes.get(path) or self._below(path)
        if handler is None:
            return text_response("404 not found", 404)
        if method not in _METHODS:
            return text_response(f"405 {method} is not possible; use GET or HEAD", 405)
        try:
            return await _whole(
                handler(Request(path=path, query=dict(parse_qsl(parts.query)), accept=accept))
            )
        except Exception as error:
            self._on_error(f"http: {path}: {error!r}")
            return text_response("500 internal error; the server's log has it", 500)

    def _below(self, path: str) -> Callable[[Request], Response] | None:
        folders = [prefix for prefix in self._routes if prefix.endswith("/") and len(prefix) > 1]
        return next((self._routes[prefix] for prefix in folders if path.startswith(prefix)), None)


async def _whole(response: Response) -> Response:
    """The response with its pieces put together."""
    if not isinstance(response.body, Iterator):
        return response
    pieces: list[bytes] = []
    for piece in response.body:
        pieces.append(piece)
        await trio.lowlevel.checkpoint()
    return attrs.evolve(response, body=b"".join(pieces))


class _Conversation:
    """One connection: requests one after the other, each with a deadline."""

    def __init__(
        self,
        stream: trio.SocketStream,
        answer: Callable[[str, str, str | None, str], Awaitable[Response]],
        seat: Seat | None,
    ) -> None:
        self._stream = stream
        self._answer = answer
        self._seat = seat
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
        self._is_head = False

    async def run(self) -> None:
        connection = self._connection
        while True:
            try:
                with nullcontext() if self._seat is None else self._seat.idle():
                    request = await self._request()
                if request is None:
                    return
                await self._respond(request)
            except h11.RemoteProtocolError as error:
                if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    status = error.error_status_hint
                    response = text_response(f"{status} {error}", status)
                    await self._send_whole(response, with_body=not self._is_head)
                return
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _request(self) -> h11.Request | None:
        """The next request, which has no body; None when the client has no more."""
        found: h11.Request | None = None
        self._is_head = False
        deadline = trio.current_time() + IDLE_S
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                if self._connection.trailing_data[0] or found is not None:
                    deadline = min(deadline, trio.current_time() + REQUEST_S)
                await self._receive(deadline)
            elif isinstance(event, h11.Request):
                found = event
                self._is_head = event.method == b"HEAD"
                if event.method not in _READS:
                    return found  # refused whatever its body says
            elif isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("a request without a body is expected", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                return found
            else:
                return None

    async def _receive(self, deadline: float) -> None:
        with trio.CancelScope(deadline=deadline) as scope:
            self._connection.receive_data(bytes(await self._stream.receive_some(_READ)))
        if scope.cancelled_caught:
            raise _HangUpError

    async def _respond(self, request: h11.Request) -> None:
        method = request.method.decode("ascii", "replace")
        if self._seat is None:
            response = text_response("503 too many clients", 503)
        else:
            hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
            host = hosts[0] if hosts else None  # none: HTTP/1.0, which no browser speaks
            accept = b",".join(value for name, value in request.headers if name == b"accept").decode(
                "latin-1"
            )
            response = await self._answer(method, request.target.decode("latin-1"), host, accept)
        if isinstance(response.body, bytes):
            await self._send_whole(response, with_body=method != "HEAD")
        else:
            assert isinstance(response.body, AsyncGenerator)
            await self._send_stream(response, response.body, with_body=method != "HEAD")

    async def _send_whole(self, response: Response, *, with_body: bool) -> None:
        assert isinstance(response.body, bytes)
        headers = [*_headers(response), ("Content-Length", str(len(response.body)))]
        if response.status >= 400:
            headers.append(("Connection", "close"))
        pieces = [self._connection.send(_head(response, headers))]
        if with_body:
            pieces.append(self._connection.send(h11.Data(data=response.body)))
        pieces.append(self._connection.send(h11.EndOfMessage()))
        await self._send(b"".join(piece or b"" for piece in pieces))

    async def _send_stream(self, response: Response, body: AsyncGenerator[bytes], *, with_body: bool) -> None:
        """Until the stream ends or the client leaves: a client that sends anything more is done, too."""
        headers = [*_headers(response), ("Connection", "close")]
        await self._send(self._connection.send(_head(response, headers)))
        if not with_body:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notice_end, nursery.cancel_scope)
            try:
                async with aclosing(body) as pieces:
                    async for piece in pieces:
                        await self._send(self._connection.send(h11.Data(data=piece)))
                await self._send(self._connection.send(h11.EndOfMessage()))
            except (_HangUpError, trio.BrokenResourceError):
                pass
            nursery.cancel_scope.cancel()

    async def _notice_end(self, scope: trio.CancelScope) -> None:
        try:
            await self._stream.receive_some(1)
        except trio.BrokenResourceError:
            pass
        scope.cancel()

    async def _send(self, data: bytes | None) -> None:
        with trio.move_on_after(RESPONSE_S) as scope:
            await self._stream.send_all(data or b"")
        if scope.cancelled_caught:
            raise _HangUpError


def _head(response: Response, headers: list[tuple[str, str]]) -> h11.Response:
    reason = HTTPStatus(response.status).phrase
    return h11.Response(status_code=response.status, headers=headers, reason=reason.encode("ascii"))


def _headers(response: Response) -> list[tuple[str, str]]:
    return [
        ("Content-Type", response.content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
