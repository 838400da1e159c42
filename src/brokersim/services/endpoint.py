"""Knows how the broker itself is spoken to: which service answers a topic, its open streams, what services keep.

It doesn't know any service: their tables are handed to it (`table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from brokersim.host import methods
from brokersim.host.handle import Handle
from brokersim.host.loader import describe
from brokersim.protocol.errnums import EIO
from brokersim.protocol.message import REQUEST, Message
from brokersim.protocol.topic import method_of, service_of
from brokersim.reactor.interrupts import pass_on
from brokersim.reactor.standstill import Flood, Livelock
from brokersim.routing import logring
from brokersim.routing.endpoint import Method
from brokersim.services.broker import Broker

Kept = TypeVar("Kept")
#: A service's part of the table: topic to (what answers it, may a guest call it).
Table = Mapping[str, tuple[Callable[["BrokerEndpoint", Message], object], bool]]


class BrokerEndpoint(Handle):
    """What the broker answers itself, as the broker or a module built into it, with counters, mask, default methods."""

    __slots__ = ("_kept", "_streams", "_table")

    broker: Broker

    def __init__(self, broker: Broker, table: Table, names: Iterable[str], name: str = "broker") -> None:
        super().__init__(
            broker,
            name,
            broker.uuid if name == "broker" else broker.instance.identities.uuid(broker.rank, name),
        )
        self._table = table
        #: Open streams served here: request to what ends it.
        self._streams: dict[int, tuple[Message, Callable[[], object]]] | None = None
        self._kept: dict[Callable[..., Any], Any] | None = None
        if name != "broker":
            broker.subscribe(f"{name}.stats-clear", self)
        for name in names:
            broker.services[name] = self
        broker.add_endpoint(self)

    def kept(self, kind: Callable[[BrokerEndpoint], Kept]) -> Kept:
        """What a service keeps on this rank: one of each kind, made as ``kind(server)`` when first asked for."""
        if self._kept is None:
            self._kept = {}
        found: Kept | None = self._kept.get(kind)
        if found is None:
            found = self._kept[kind] = kind(self)
        return found

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A service here or its task raised: our bug. Who asked is told, the log keeps it, the instance goes on."""
        pass_on(error)
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a nursery's wrapping says nothing
        if isinstance(error, Flood):
            # What floods are its answers, to whoever asked without end; they were dropped, nobody here is to blame.
            self.broker.write_log(logring.ERR, self.name, f"answers dropped: {error}")
            return
        if isinstance(error, Livelock):
            return  # it passes on what others ask without end, and those have been failed
        if not isinstance(error, Exception):
            super().failed(error, message)
            return
        if message is None or message.type != REQUEST:
            self.broker.write_log(logring.ERR, self.name, f"a task of it failed: {describe(error)}")
            return
        self.broker.write_log(logring.ERR, self.name, f"{message.topic} failed: {describe(error)}")
        self.respond_error(message, EIO, f"{message.topic} failed in the broker: {describe(error)}")

    def method(self, topic: str) -> Method | None:
        service, name = service_of(topic), method_of(topic)
        entry = self._table.get(topic)
        if entry is None and name == "disconnect":
            return self._end_streams, True
        if entry is None and service == self.name:
            entry = methods.METHODS.get(name)
        if entry is None:
            return None
        return partial(entry[0], self), entry[1]

    def pass_on(self, response: Message, request: Message) -> None:
        """Answer a request with the answer somebody else gave."""
        if response.errnum:
            self.respond_error(request, response.errnum, response.payload_str or "")
        else:
            self.respond(request, response.data)

    # -- streams

    def add_stream(self, request: Message, stop: Callable[[], object]) -> None:
        """Remember an open stream, ended by the disconnect of whoever asked."""
        if self._streams is None:
            self._streams = {}
        self._streams[id(request)] = (request, stop)

    def drop_stream(self, request: Message) -> None:
        """It has ended by itself."""
        if self._streams is not None:
            self._streams.pop(id(request), None)

    def _end_streams(self, request: Message) -> None:
        """A peer went: end its streams of this service."""
        service = service_of(request.topic)
        streams = self._streams or {}
        for key, (stream, stop) in list(streams.items()):
            if stream.sender == request.sender and service_of(stream.topic) == service:
                del streams[key]
                stop()
