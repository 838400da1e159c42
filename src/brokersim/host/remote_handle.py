"""Knows a process module's place among the endpoints: what is counted of it, how its messages cross its wire.

What is counted here is the broker's view: tx when a message of the module arrives, rx when one is handed to its wire.
Source: flux-core 0.88's module subprocess protocol as observed (docs/modules.md, "Modules as processes").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from brokersim.host.handle import Handle, Living
from brokersim.host.instrument import Instrument
from brokersim.host.ports import Home
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import (
    REQUEST,
    Message,
    decode_json,
)
from brokersim.routing.endpoint import Handler, Method
from brokersim.routing.wire_peer import WirePeer


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


class RemoteInstrument(Instrument):
    """The hook of a process's counters, in the broker's view of its turns: one that goes on has no prepare yet."""

    __slots__ = ()

    def emit(self) -> None:
        """As for any module, but not amid a turn; a timer knows no turns."""
        if self._is_timer or not self._handle.is_turning:  # type: ignore[attr-defined]  # a RemoteHandle made it
            super().emit()


class RemoteHandle(Handle):
    """A process module's place among the endpoints: what is sent to it goes to its wire."""

    __slots__ = ("is_quiet", "is_turning", "on_log", "peer", "wire")

    instrumented = RemoteInstrument
    continues = False  # what is sent to it is handed on; the process has the turns

    def __init__(
        self, broker: Home, name: str, uuid: str, module: Living, wire: Wire, on_log: Callable[[str], object]
    ) -> None:
        super().__init__(broker, name, uuid, module)
        self.wire = wire
        #: Told of each line the process sends to the log.
        self.on_log = on_log
        self.peer = WirePeer(self, self)
        #: It was handed a request and has sent nothing since: what it sends next belongs to the same turn.
        self.is_turning = False
        #: It has said that it finalizes: nothing reaches it but the answer to that.
        self.is_quiet = False

    # -- to the process

    async def room(self) -> None:
        """A process may be slow."""
        await self.wire.room()

    def method(self, topic: str) -> Method | None:
        """Every request is the process's to answer, roles included."""
        return self._forward, True

    def _forward(self, request: Message) -> None:
        self.is_turning = True
        self.peer.forward(request)

    def event_handler(self, topic: str) -> Handler:
        return self._clear_and_take if topic == f"{self.name}.stats-clear" else self.peer.send_event

    def _clear_and_take(self, event: Message) -> None:
        self.clear_counts()
        self.peer.send_event(event)

    def send(self, message: Message) -> None:
        """One that finalizes gets no events any more, and no answers but to what it says of that."""
        if not self.is_quiet or message.type == REQUEST or message.topic == "module.status":
            self.wire.send(message)

    # -- from the process

    def intercept(self, request: Message) -> bool:
        """Nothing is answered here, but what it logs last may say why it ends."""
        if request.topic == "log.append":
            self.on_log((request.payload_str or "").partition(" - - ")[2].removeprefix("- "))
        return False

    def answered(self, request: Message, response: Message) -> None:
        """Pass an answer on; some tell the broker something."""
        own = _ON_ANSWER.get(response.topic.removeprefix(f"{self.name}."))
        if own is not None:
            own(self, response)
        self.respond(request, as_value(response) if isinstance(request.src, Handle) else response.data)

    def unclaimed(self, response: Message) -> None:
        """Late, or made up: it was sent all the same."""
        self.sent(response)

    def stray_response(self, response: Message) -> None:
        self.peer.send_stray(response)

    def _learn_mask(self, message: Message) -> None:
        """The process keeps the debug mask; its answers tell it, and with it whether counters are emitted."""
        try:
            self.set_mask(int(message.payload["flags"]))
        except (RequestError, KeyError, TypeError, ValueError):
            return  # not Flux's answer, so no news of the mask

    def turned(self) -> None:
        """Something came from the process: a turn of its loop, as seen from here, for the hook of its counters.

        After a request it is the turn of that request, whose hooks have waited for it: a handler that makes an rpc
        shows request_rx and request_tx as one change, as in a process of Flux.
        """
        self.wakeups -= self.is_turning
        self.is_turning = False
        if self.loop is None:
            self.wakeups += 1
        else:
            self.loop.iterate(None)


#: What the broker itself learns from answers to the methods every module has.
_ON_ANSWER: dict[str, Callable[[RemoteHandle, Message], None]] = {
    "debug": RemoteHandle._learn_mask,
    "stats-clear": lambda handle, _: handle.clear_counts(),
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
