"""Knows what a message looks like in a ``module.trace`` stream, and which messages one asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs

from brokersim.protocol.blobref import Blob
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError, strerror
from brokersim.protocol.message import Message, encode_payload
from brokersim.protocol.topic import topic_matcher
from brokersim.reactor.actor import Tracer

#: Endpoints that nobody loaded: clients, the broker, and what is built into it.
NO_MODULES = frozenset(
    {"broker", "client", "config", "connector", "connector-local", "groups", "overlay", "rexec"}
)


class Trace(Protocol):
    """Something endpoints tell their messages to."""

    def wants(self, name: str) -> bool: ...

    def record(self, direction: str, actor: object, message: Message) -> None: ...


def tracer_for(traces: Iterable[Trace], name: str) -> Tracer | None:
    """What an endpoint of that name tells its messages to: every trace that wants it, or nothing."""
    wanted = [trace.record for trace in traces if trace.wants(name)]
    if len(wanted) < 2:
        return wanted[0] if wanted else None

    def tell_all(direction: str, actor: object, message: Message) -> None:
        for record in wanted:
            record(direction, actor, message)

    return tell_all


@attrs.frozen(kw_only=True)
class ModuleTrace:
    """One ``module.trace`` stream: a filter, and where the records go."""

    names: tuple[str, ...]
    typemask: int
    topic_glob: str
    full: bool
    emit: Callable[[JsonObject], object]
    _matches: Callable[[str], bool] = attrs.field(init=False)

    @_matches.default
    def _compiled(self) -> Callable[[str], bool]:
        return topic_matcher(self.topic_glob)

    def wants(self, name: str) -> bool:
        """An empty list of names means every module that was loaded."""
        return name in self.names if self.names else name not in NO_MODULES

    def record(self, direction: str, actor: object, message: Message) -> None:
        wire_type = 1 << (message.type >> 1)
        if message.topic == "module.trace":
            return  # a trace of its own records would never end
        if wire_type & self.typemask and self._matches(message.topic):
            self.emit(self._fields(direction, actor, message, wire_type))

    def _fields(self, direction: str, actor: Any, message: Message, wire_type: int) -> JsonObject:
        errnum = message.errnum
        return {
            "timestamp": actor.broker.instance.wall_time(),
            "prefix": direction,
            "rank": -1,  # upstream's value: the stream is of one rank, the one that was asked
            "name": actor.name,
            "type": wire_type,
            "topic": message.topic,
            "payload_size": 0 if errnum else payload_size(message),
            "payload": _json(message) if self.full and not errnum else None,
            "errnum": errnum,
            "errstr": (message.payload_str or strerror(errnum)) if self.full and errnum else "",
        }


def payload_size(message: Message) -> int:
    """Bytes the payload takes on the wire; 0 for none, or for one that cannot be encoded."""
    try:
        data = message.data
        return len(data if isinstance(data, Blob) else encode_payload(data) or b"")
    except RequestError:
        return 0


def _json(message: Message) -> Any:
    try:
        return message.payload
    except (TypeError, RequestError):
        return None
