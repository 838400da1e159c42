"""Knows how one at the other end of a wire takes part: whom its messages speak for, and the ways back of answers.

A client of the local connector and a module in a process of its own are such peers. It doesn't know bytes, sockets or
processes, nor what either may ask. Source: flux-core 0.88's broker and its local connector, as observed.
"""

from __future__ import annotations

from typing import Protocol

from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    NODEID_ANY,
    REQUEST,
    RESPONSE,
    ROLE_OWNER,
    USERID_UNKNOWN,
    Message,
)
from brokersim.routing.endpoint import Endpoint

#: The last one a frame has room for; requests of one peer are far fewer.
_LAST_MATCHTAG = (1 << 32) - 1


class Wired(Protocol):
    """The endpoint here of one that is at the other end of a wire."""

    def send(self, message: Message) -> None:
        """Queue a message for it."""

    def intercept(self, request: Message) -> bool:
        """It asks this: True if that has been seen to, so that it enters no broker and is not counted."""

    def answered(self, request: Message, response: Message) -> None:
        """It answers a request it was handed: pass that on."""

    def unclaimed(self, response: Message) -> None:
        """It answers what it was not asked, or answered before."""


class WirePeer:
    """The traffic of one endpoint with whoever is at the other end of its wire.

    Its ``pending`` maps the peer's own matchtags. ``served`` holds what the peer was handed as a service and has not
    answered: (route stack, matchtag) to the request.
    """

    __slots__ = ("_answered", "_endpoint", "_wire", "served")

    def __init__(self, endpoint: Endpoint, wire: Wired) -> None:
        """Both are one object, under its two aspects."""
        self._endpoint = endpoint
        self._wire = wire
        self.served: dict[tuple[tuple[str, ...], int], Message] = {}
        #: The request it answered last, under its key: more may come, whether that was meant as a stream or not.
        self._answered: tuple[tuple[tuple[str, ...], int], Message] | None = None

    # -- from the peer

    def receive(self, message: Message) -> None:
        """Take one message of the peer: stamp its credentials, push its route, pass it on."""
        endpoint = self._endpoint
        if endpoint.rolemask & ROLE_OWNER:
            # The owner may pose as somebody else, for tests of roles.
            if message.userid == USERID_UNKNOWN:
                message.userid = endpoint.userid
            if message.rolemask == 0:
                message.rolemask = endpoint.rolemask
        else:
            message.userid, message.rolemask = endpoint.userid, endpoint.rolemask
        message.src = endpoint
        kind = message.type
        if kind == REQUEST:
            message.routes = (endpoint.uuid,)
            self._receive_request(message)
        elif kind == EVENT:
            message.routes = (endpoint.uuid,)
            endpoint.sent(message)
            if message.topic:
                endpoint.broker.publish(message)
        elif kind == RESPONSE:
            self._receive_response(message)

    def _receive_request(self, message: Message) -> None:
        if self._wire.intercept(message):
            return
        endpoint = self._endpoint
        endpoint.sent(message)
        if not message.flags & FLAG_NORESPONSE and message.matchtag:
            if message.matchtag in endpoint.pending:
                self._await_another(message)
            else:
                endpoint.open(message.matchtag, self._send_response, None, message)
        route = endpoint.routes.get(message.topic)
        if route is not None and message.nodeid == NODEID_ANY and message.rolemask & ROLE_OWNER:
            message.dst, message.handler = route
            endpoint.reactor.push(message)
        else:
            endpoint.dispatch_request(message)

    def _await_another(self, message: Message) -> None:
        """A second request with a matchtag that is in use: each is answered, so here it bears one that is free."""
        theirs, ours = message.matchtag, _LAST_MATCHTAG
        while ours in self._endpoint.pending:
            ours -= 1
        message.matchtag = ours
        self._endpoint.open(ours, self._send_renamed, theirs, message)

    def _receive_response(self, message: Message) -> None:
        key = message.routes, message.matchtag
        request = self.served.get(key)
        if request is None:
            if self._answered is None or self._answered[0] != key:
                self._wire.unclaimed(message)
                return
            request = self._answered[1]
        elif not request.is_streaming or message.errnum:
            del self.served[key]
            self._answered = key, request
        if message.errnum:
            self._endpoint.respond_error(request, message.errnum, message.payload_str or "")
        else:
            self._wire.answered(request, message)

    # -- to the peer

    def forward(self, request: Message) -> None:
        """Hand it a request: it is the peer's to answer, roles included."""
        stack = (*(request.routes or (request.src.uuid,)), self._endpoint.broker.uuid)
        if not request.is_noresponse:
            self.served[stack, request.matchtag] = request
        self._wire.send(
            Message(
                REQUEST, request.topic, request.data, request.flags | FLAG_ROUTE, request.matchtag,
                request.userid, request.rolemask, routes=stack, nodeid=request.nodeid,
            )
        )  # fmt: skip

    def _send_response(self, response: Message, _: object) -> None:
        response.routes = ()  # the peer's own entry was the last on the stack
        response.flags |= FLAG_ROUTE
        self._wire.send(response)

    def _send_renamed(self, response: Message, matchtag: int) -> None:
        response.matchtag = matchtag
        self._send_response(response, None)

    def send_stray(self, response: Message) -> None:
        """Hand it an answer it has no request open for: a second one, or one to a request without a matchtag.

        What that means is the peer's to say, as in Flux.
        """
        self._send_response(response, None)

    def send_event(self, event: Message) -> None:
        """Hand it an event it subscribed to."""
        event.flags |= FLAG_ROUTE
        self._wire.send(event)
