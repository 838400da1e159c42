"""Knows the functions of Flux's C library that take a handle and that Python finds by name, beside its methods."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, Protocol

from brokersim.fluxapi.constants import FLUX_NODEID_ANY
from brokersim.fluxapi.endpoint import FluxHandle
from brokersim.fluxapi.future import Future
from brokersim.fluxapi.message import Message
from brokersim.fluxapi.payload import to_data
from brokersim.host.future import Future as Inner
from brokersim.protocol import hostlist
from brokersim.protocol import message as wire
from brokersim.protocol.decoded import Json, JsonObject

#: As the C structure has them, in the order of the endpoint's counts.
_COUNTERS = (
    "request_tx", "request_rx", "response_tx", "response_rx", "event_tx", "event_rx", "control_tx", "control_rx",
)  # fmt: skip


class Handle(FluxHandle, Protocol):
    """What they ask of a handle."""

    aux: JsonObject

    def attr_get(self, attr_name: str) -> str: ...


def respond_error(h: Handle, message: Message, errnum: int, errstr: str | None = None) -> None:
    h.endpoint.respond_error(message.inner, errnum, errstr or "")


def event_unsubscribe(h: Handle, topic: str) -> None:
    h.endpoint.event_unsubscribe(plain_prefix(topic))


def get_size(h: Handle) -> int:
    return h.endpoint.size


def reactor_now(h: Handle, reactor: object = None) -> float:
    """The wall clock's time (s since the epoch), as libev has it."""
    return h.endpoint.time()


def reactor_time(h: Handle) -> float:
    return h.endpoint.time()


def reactor_unchanged(h: Handle, reactor: object = None) -> None:
    """Nothing to do: time is fixed within a turn, and a module's loop lives as long as the module."""


def event_publish(h: Handle, topic: str, flags: int = 0, json_str: str | None = None) -> Future:
    """Publish by RPC: the future is fulfilled when rank 0 has numbered the event."""
    request: JsonObject = {"topic": topic, "flags": flags & wire.FLAG_PRIVATE}
    if json_str is not None:
        data = wire.encode_payload(to_data(json_str)) or b""
        request["payload"] = binascii.b2a_base64(data, newline=False).decode()
    return asked(h, "event.publish", request, 0)


def get_msgcounters(h: Handle, counters: object = None) -> Any:
    """The eight counters as attributes (request_tx ...), of the object given or a new one."""
    counters = SimpleNamespace() if counters is None else counters
    for name, value in zip(_COUNTERS, h.endpoint.counts, strict=True):
        setattr(counters, name, value)
    return counters


def clr_msgcounters(h: Handle) -> None:
    h.endpoint.clear_counts()


def aux_get(h: Handle, name: str) -> Any:
    return h.aux.get(name)


def aux_set(h: Handle, name: str, value: object, destroy: object = None) -> int:
    """Keep a value with the handle; None drops it."""
    if value is None:
        h.aux.pop(name, None)
    else:
        h.aux[name] = value
    return 0


def get_hostbyrank(h: Handle, rank: int) -> str:
    """The name of a rank's host; as in C, ``(null)`` if there is no such rank."""
    hosts = hostlist.expand(h.endpoint.attr_get("hostlist") or "")
    return hosts[rank] if 0 <= rank < len(hosts) else "(null)"


def get_instance_starttime(h: Handle) -> float:
    return float(h.attr_get("broker.starttime"))


def asked(h: Handle, topic: str, payload: Json, nodeid: int = FLUX_NODEID_ANY) -> Future:
    """The answer to a request, to be waited for."""
    future = Future(Inner(h.endpoint, topic, payload, nodeid, 0))
    future.set_flux(h)
    return future


def plain_prefix(topic: str | bytes) -> str:
    """What stands before the first glob character."""
    text = topic.decode() if isinstance(topic, bytes) else topic
    cut = min((at for at in map(text.find, "*?[") if at >= 0), default=len(text))
    return text[:cut]


#: By name without ``flux_``.
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "respond_error": respond_error,
    "event_unsubscribe": event_unsubscribe,
    "get_size": get_size,
    "reactor_now": reactor_now,
    "reactor_time": reactor_time,
    "reactor_now_update": reactor_unchanged,
    "reactor_active_incref": reactor_unchanged,
    "reactor_active_decref": reactor_unchanged,
    "event_publish": event_publish,
    "get_msgcounters": get_msgcounters,
    "clr_msgcounters": clr_msgcounters,
    "aux_get": aux_get,
    "aux_set": aux_set,
    "get_hostbyrank": get_hostbyrank,
    "get_instance_starttime": get_instance_starttime,
}
