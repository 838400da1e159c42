"""Knows the requests every module answers without writing a line: ping, stats, debug, rusage, shutdown."""

from __future__ import annotations

import resource
from collections.abc import Callable

import msgspec

from brokersim.host.handle import DefaultMethod, Handle
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError
from brokersim.protocol.message import Message

_SIDES = ("request", "response", "event", "control")


def message_counts(counts: list[int]) -> dict[str, dict[str, int]]:
    """The eight counters in the shape of Flux's default stats-get."""
    return {
        "tx": dict(zip(_SIDES, counts[0::2], strict=True)),
        "rx": dict(zip(_SIDES, counts[1::2], strict=True)),
    }


def ping(handle: Handle, request: Message) -> None:
    """Echo every key, and add the way the request came."""
    reply = dict(request.unpack(JsonObject))
    path = (*handle.broker.path(request), handle.uuid)
    reply |= {
        "route": "!".join(uuid[:8] for uuid in path),
        "userid": request.userid,
        "rolemask": request.rolemask,
        "rank": handle.rank,
    }
    handle.respond(request, reply)


def stats_get(handle: Handle, request: Message) -> None:
    """The message counters, and what the module's own ``stats()`` adds."""
    stats: JsonObject = message_counts(handle.counts)
    own = getattr(handle.body, "stats", None)
    if own is not None:
        stats |= own()
    handle.respond(request, stats)


def stats_clear(handle: Handle, request: Message) -> None:
    """Zero the counters; the answer to this request is counted again."""
    handle.clear_counts()
    handle.respond(request)


class DebugArgs(msgspec.Struct):
    op: str
    flags: int


_MASK_OPS: dict[str, Callable[[int, int], int]] = {
    "setbit": lambda mask, flags: mask | flags,
    "clrbit": lambda mask, flags: mask & ~flags,
    "set": lambda mask, flags: flags,
    "clr": lambda mask, flags: 0,
}


def debug(handle: Handle, request: Message) -> None:
    """Change the debug mask and answer with the new one."""
    args = request.unpack(DebugArgs)
    operation = _MASK_OPS.get(args.op)
    if operation is None:
        raise RequestError(EPROTO, f"debug: no operation {args.op!r}; give setbit, clrbit, set or clr")
    if not 0 <= args.flags <= 0xFFFFFFFF:
        raise RequestError(EPROTO, f"debug: flags {args.flags} do not fit 32 bits")
    handle.set_mask(operation(handle.mask, args.flags))
    handle.respond(request, {"flags": handle.mask})


class RusageArgs(msgspec.Struct):
    who: str = "self"


_WHO = {"self": resource.RUSAGE_SELF, "children": resource.RUSAGE_CHILDREN, "thread": resource.RUSAGE_THREAD}
_RUSAGE_KEYS = (
    "utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock",
    "msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw",
)  # fmt: skip


def rusage(handle: Handle, request: Message) -> None:
    """Resource use of the whole process: modules share it."""
    who = request.unpack(RusageArgs).who
    if who not in _WHO:
        raise RequestError(EINVAL, f"rusage: who is {who!r}; give {', '.join(_WHO)}")
    used = resource.getrusage(_WHO[who])
    handle.respond(request, dict(zip(_RUSAGE_KEYS, used, strict=True)))


def shutdown(handle: Handle, request: Message) -> None:
    """End the module, as ``module remove`` does."""
    if handle.module is not None:
        handle.module.stop()
    handle.respond(request)


def accept(handle: Handle, request: Message) -> None:
    """Nothing to do but to say so."""
    handle.respond(request)


def disconnect(handle: Handle, request: Message) -> None:
    """A peer went: by default a module keeps nothing of it."""


#: Method to (handler, may a guest call it); roles as in flux-core 0.88.
METHODS: dict[str, DefaultMethod] = {
    "ping": (ping, True),
    "stats-get": (stats_get, True),
    "stats-clear": (stats_clear, False),
    "debug": (debug, False),
    "rusage": (rusage, True),
    "shutdown": (shutdown, False),
    "config-reload": (accept, False),
    "config-update": (accept, False),
    "disconnect": (disconnect, True),
}
