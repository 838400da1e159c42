"""Knows what a traced message looks like, for ``module.trace`` and for byte-comparable traces of a whole run."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Protocol

import attrs

from brokersim.protocol.blobref import Blob
from brokersim.protocol.errnums import RequestError, strerror
from brokersim.protocol.message import Message, encode_payload

#: Endpoints that nobody loaded: clients, the broker, and what is built into it.
NO_MODULES = frozenset(
    {"broker", "client", "config", "connector", "connector-local", "groups", "overlay", "rexec"}
)


class Trace(Protocol):
    """Something endpoints tell their messages to."""

    def wants(self, name: str) -> bool: ...

    def record(self, direction: str, actor: Any, message: Message) -> None: ...


@attrs.frozen(kw_only=True)
class ModuleTrace:
    """One ``module.trace`` stream: a filter, and where the records go."""

    names: tuple[str, ...]
    typemask: int
    topic_glob: str
    full: bool
    emit: Callable[[dict[str, Any]], object]

    def wants(self, name: str) -> bool:
        """An empty list of names means every module that was loaded."""
        return name in self.names if self.names else name not in NO_MODULES

    def record(self, direction: str, actor: Any, message: Message) -> None:
        wire_type = 1 << (message.type >> 1)
        if message.topic == "module.trace":
            return  # a trace of its own records would never end
        if wire_type & self.typemask and fnmatchcase(message.topic, self.topic_glob):
            self.emit(self._fields(direction, actor, message, wire_type))

    def _fields(self, direction: str, actor: Any, message: Message, wire_type: int) -> dict[str, Any]:
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


class RunTrace:
    """Every message of a run as a line of text; equal seeds give equal bytes under the virtual clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def wants(self, name: str) -> bool:
        return True

    def record(self, direction: str, actor: Any, message: Message) -> None:
        self.lines.append(
            f"{actor.reactor.now} {actor.broker.rank} {actor.name} {direction} {message.type_str} {message.topic} "
            f"{message.errnum} {message.seq} {payload_size(message)}"
        )

    def to_bytes(self) -> bytes:
        return "\n".join(self.lines).encode()


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
