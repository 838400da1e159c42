"""Knows a process module's place among the endpoints: what is counted of it, how its messages cross its wire.

What is counted here is the broker's view: tx when a message of the module arrives, rx when one is handed to its wire.
Source: flux-core 0.88's module subprocess protocol as observed (docs/modules.md, "Modules as processes").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from brokersim.host.handle import Handle, Living
from brokersim.host.ports import Home
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    REQUEST,
    RESPONSE,
    ROLE_LOCAL,
    ROLE_OWNER,
    USERID_UNKNOWN,
    Message,
    decode_json,
)
from brokersim.routing.endpoint import Handler, Method


class Wire(Protocol):
    """The way to a module's process."""

    @property
    def pid(self) -> int:
        """0 until it is started."""

    @property
    def queued(self) -> int:
        """Messages not yet given to its socket."""

    def send(self, message: Message) -> None:
        """Queue a message; what cannot be sent is logged and dropped."""

    async def room(self) -> None:
        """Wait while much lies before it unread."""

    def unread(self) -> int:
        """Bytes that lie before it and that it has not read."""

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it, and what it started (SIGKILL)."""


class RemoteHandle(Handle):
    """A process module's place among the endpoints: what is sent to it goes to its wire."""

    __slots__ = ("_served", "is_quiet", "on_log", "wire")

    def __init__(
        self, broker: Home, name: str, uuid: str, module: Living, wire: Wire, on_log: Callable[[str], object]
    ) -> None:
        super().__init__(broker, name, uuid, module)
        self.wire = wire
        #: Told of each line the process sends to the log.
        self.on_log = on_log
        #: Requests it has in hand: (route stack, matchtag) to the request.
        self._served: dict[tuple[tuple[str, ...], int], Message] = {}
        #: It has said that it finalizes: nothing reaches it but the answer to that.
        self.is_quiet = False

    # -- to the process

    async def room(self) -> None:
        """A process may be slow."""
        await self.wire.room()

    def method(self, topic: str) -> Method | None:
        """Every request is the process's to answer, roles included."""
        return self.take_request, True

    def event_handler(self, topic: str) -> Handler:
        return self._clear_and_take if topic == f"{self.name}.stats-clear" else self._take_event

    def take_request(self, request: Message) -> None:
        stack = self.broker.path(request)
        if not request.is_noresponse:
            self._served[stack, request.matchtag] = request
        self.wire.send(
            Message(
                REQUEST, request.topic, request.data, request.flags | FLAG_ROUTE, request.matchtag,
                request.userid, request.rolemask, routes=stack, nodeid=request.nodeid,
            )
        )  # fmt: skip

    def _take_event(self, event: Message) -> None:
        if not self.is_quiet:
            event.flags |= FLAG_ROUTE
            self.wire.send(event)

    def _clear_and_take(self, event: Message) -> None:
        self.clear_counts()
        self._take_event(event)

    def _take_response(self, response: Message, _: object) -> None:
        if self.is_quiet and response.topic != "module.status":
            return
        response.routes = ()  # its own entry was the last on the stack
        response.flags |= FLAG_ROUTE
        self.wire.send(response)

    def stray_response(self, response: Message) -> None:
        """To a request of it that has been answered already."""
        self.stray += 1

    # -- from the process

    def receive(self, message: Message) -> None:
        """Take one message of the process; it sends no credentials unless it speaks for somebody else."""
        if message.userid == USERID_UNKNOWN:
            message.userid = self.userid
        if message.rolemask == 0:
            message.rolemask = ROLE_OWNER | ROLE_LOCAL
        message.src = self
        take = _TAKES.get(message.type)
        if take is not None:
            take(self, message)

    def _receive_request(self, message: Message) -> None:
        message.routes = (self.uuid,)
        self.sent(message)
        if not message.flags & FLAG_NORESPONSE and message.matchtag:
            self.pending[message.matchtag] = self._take_response, None, message
        if message.topic == "log.append":
            self.on_log((message.payload_str or "").partition(" - - ")[2].removeprefix("- "))
        self.dispatch_request(message)

    def _receive_event(self, message: Message) -> None:
        message.routes = (self.uuid,)
        self.sent(message)
        if message.topic:
            self.broker.publish(message)

    def _receive_response(self, message: Message) -> None:
        request = self._served.get((message.routes, message.matchtag))
        if request is None:
            self.sent(message)  # late, or made up: it was sent all the same
            return
        if not request.is_streaming or message.errnum:
            del self._served[message.routes, message.matchtag]
        if message.errnum:
            self.respond_error(request, message.errnum, message.payload_str or "")
            return
        own = _ON_ANSWER.get(message.topic.removeprefix(f"{self.name}."))
        if own is not None:
            own(self, message)
        self.respond(request, as_value(message) if isinstance(request.src, Handle) else message.data)

    def _learn_mask(self, message: Message) -> None:
        """The process keeps the debug mask; its answers tell it, and with it whether counters are emitted."""
        try:
            self.set_mask(int(message.payload["flags"]))
        except (RequestError, KeyError, TypeError, ValueError):
            return  # not Flux's answer, so no news of the mask

    def turned(self) -> None:
        """Something came from the process: a turn of its loop, as seen from here, for the hook of its counters."""
        if self.loop is None:
            self.wakeups += 1
        else:
            self.loop.iterate(None)


#: What the broker itself learns from answers to the methods every module has.
_ON_ANSWER: dict[str, Callable[[RemoteHandle, Message], None]] = {
    "debug": RemoteHandle._learn_mask,
    "stats-clear": lambda handle, _: handle.clear_counts(),
}
_TAKES: dict[int, Callable[[RemoteHandle, Message], None]] = {
    REQUEST: RemoteHandle._receive_request,
    RESPONSE: RemoteHandle._receive_response,
    EVENT: RemoteHandle._receive_event,
}


def as_value(message: Message) -> object:
    """A payload from a wire as modules of ours expect it: JSON as a value, anything else as bytes."""
    data = message.data
    if isinstance(data, bytes) and data.endswith(b"}\0"):
        try:
            return decode_json(message.topic, data)
        except RequestError:
            return data
    return data
