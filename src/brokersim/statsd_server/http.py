"""Knows HTTP/1.1 as far as our servers need it: bounded requests, slow clients, streams; not what is served.

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
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@attrs.frozen(kw_only=True)
class Request:
    """What a handler sees: the decoded path, its query and what the client takes; of equal names in a query the last
    one counts."""

    path: str
    query: Mapping[str, str]
    accept: str = ""
    method: str = "GET"
    #: By lower-case names; of equal ones the last counts.
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""


@attrs.frozen(kw_only=True)
class Response:
    """``body`` is the whole of it; or its pieces, which are made one by one so that others get their turns, and sent
    as a whole; or a stream that goes on until it ends or the client leaves."""

    body: bytes | Iterator[bytes] | AsyncGenerator[bytes]
    status: int = 200
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Response | Awaitable[Response]]


def text_response(text: str, status: int = 200, content_type: str = TEXT) -> Response:
    return Response(body=text.encode(), status=status, content_type=content_type)


def json_response(value: object, status: int = 200) -> Response:
    return Response(body=json.dumps(value).encode(), status=status, content_type=JSON)


class _HangUpError(Exception):
    """The client left, or took too long."""


class HttpServer:
    """Serves ``routes``: a path, or a path ending in ``/`` for all below it, and who answers.

    GET and HEAD only, and no bodies, unless ``methods`` has more and ``body_max`` is the bytes a body may have.
    An exception in a handler is answered with 500 and told to ``on_error``; the server goes on. Who asks by a name
    that is neither this machine's nor one of ``allow_hosts`` is refused (`browsers.is_our_name`).
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        on_error: Callable[[str], None],
        allow_hosts: Sequence[str] = (),
        methods: Sequence[str] = _METHODS,
        body_max: int = 0,
    ) -> None:
        self._routes = dict(routes)
        self._on_error = on_error
        #: Faults of ours, and newcomers for whom there was no room to be told of.
        self.errors = 0
        self._allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self._methods = frozenset(methods)
        self._body_max = body_max
        self._doorway = Doorway("http", self._note_error, _FULL)
        self._seats = Seats(MAX_CLIENTS)

    async def serve(self, sock: socket.socket) -> None:
        """Accepts clients on a listening socket until cancelled."""
        await self._doorway.serve(sock, self._client)

    async def _client(self, stream: trio.SocketStream) -> None:
        local = str(stream.socket.getsockname()[0])
        with self._seats.seat() as seat:
            try:
                answer = partial(self._answer, local)
                await _Conversation(stream, answer, seat, self._methods, self._body_max).run()
            except _HangUpError:
                pass  # nobody is left to tell

    async def _answer(self, local: str, asked: h11.Request, body: bytes) -> Response:
        headers = _values(asked)
        method, target = asked.method.decode("ascii", "replace"), asked.target.decode("latin-1")
        host = headers.get("host")  # none: HTTP/1.0, which no browser speaks
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
        if method not in self._methods:
            return text_response(f"405 {method} is not possible; use {self._possible()}", 405)
        request = Request(
            path=path, query=dict(parse_qsl(parts.query)), accept=headers.get("accept", ""), method=method,
            headers=headers, body=body,
        )  # fmt: skip
        try:
            answer = handler(request)
            return await _whole(answer if isinstance(answer, Response) else await answer)
        except Exception as error:
            self._note_error(f"http: {path}: {error!r}")
            return text_response("500 internal error; the server's log has it", 500)

    def _note_error(self, line: str) -> None:
        self.errors += 1
        self._on_error(line)

    def _possible(self) -> str:
        known = sorted(self._methods)
        return f"{', '.join(known[:-1])} or {known[-1]}"

    def _below(self, path: str) -> Handler | None:
        folders = [prefix for prefix in self._routes if prefix.endswith("/") and len(prefix) > 1]
        return next((self._routes[prefix] for prefix in folders if path.startswith(prefix)), None)


def _values(asked: h11.Request) -> dict[str, str]:
    """Headers by lower-case name; of Host the first counts, of Accept all, of others the last."""
    found: dict[str, str] = {}
    for raw_name, raw_value in asked.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "accept" and name in found:
            found[name] += f",{value}"
        elif name != "host" or name not in found:
            found[name] = value
    return found


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
        answer: Callable[[h11.Request, bytes], Awaitable[Response]],
        seat: Seat | None,
        methods: frozenset[str],
        body_max: int,
    ) -> None:
        self._methods = frozenset(method.encode() for method in methods)
        self._body_max = body_max
        self._body = bytearray()
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
        """The next request, its body in ``_body``; None when the client has no more."""
        found: h11.Request | None = None
        self._is_head = False
        self._body.clear()
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
                if event.method not in self._methods:
                    return found  # refused whatever its body says
            elif isinstance(event, h11.Data):
                self._take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return found
            else:
                return None

    def _take(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._body_max:
            text = (
                f"a body of at most {self._body_max} bytes" if self._body_max else "a request without a body"
            )
            raise h11.RemoteProtocolError(f"{text} is expected", error_status_hint=413)

    async def _receive(self, deadline: float) -> None:
        with trio.CancelScope(deadline=deadline) as scope:
            self._connection.receive_data(bytes(await self._stream.receive_some(_READ)))
        if scope.cancelled_caught:
            raise _HangUpError

    async def _respond(self, request: h11.Request) -> None:
        if self._seat is None:
            response = text_response("503 too many clients", 503)
        else:
            response = await self._answer(request, bytes(self._body))
        if isinstance(response.body, bytes):
            await self._send_whole(response, with_body=not self._is_head)
        else:
            assert isinstance(response.body, AsyncGenerator)
            await self._send_stream(response, response.body, with_body=not self._is_head)

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
        *response.headers,
    ]
