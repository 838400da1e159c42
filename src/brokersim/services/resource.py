"""Knows the resource service: what there is, what is drained, and the scheduler that is told of it; not who gets it."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any, Final

import msgspec

from brokersim.protocol import treeobj
from brokersim.protocol.drain import DrainSet, nodelist
from brokersim.protocol.errnums import ENOSYS, EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.protocol.ranks import format_ranks
from brokersim.services.endpoint import BrokerEndpoint, Table

EVENTLOG: Final = "resource.eventlog"
_APPEND: Final = 32


class DrainArgs(msgspec.Struct):
    targets: str
    reason: str | None = None
    mode: str = ""


class Inventory:
    """What the instance has: drained nodes, and the one scheduler that holds the resources (its open request)."""

    __slots__ = ("drained", "nodes", "scheduler")

    def __init__(self, server: BrokerEndpoint) -> None:
        self.nodes = server.broker.instance.resources.nodes
        self.drained = DrainSet(self.nodes)
        self.scheduler: Message | None = None

    def up(self) -> str:
        """The nodes that may be used."""
        return format_ranks(set(range(self.nodes)).difference(self.drained.nodes()))

    def release(self) -> None:
        """The scheduler went."""
        self.scheduler = None


def _inventory(server: BrokerEndpoint, request: Message) -> Inventory:
    if server.rank:
        raise RequestError(EPROTO, "this RPC only works on rank 0")
    return server.kept(Inventory)


def status(server: BrokerEndpoint, request: Message) -> None:
    """All resources, and which of their nodes are drained, since when and why; none is ever offline here."""
    there = _inventory(server, request)
    nodes = format_ranks(range(there.nodes))
    server.respond(
        request,
        {
            "R": server.broker.instance.resources.to_r(),
            "drain": there.drained.to_dict(),
            "online": nodes,
            "offline": "",
            "exclude": "",
            "torpid": "",
        },
    )


def sched_status(server: BrokerEndpoint, request: Message) -> None:
    """What the scheduler knows of the resources; in Flux the resource module forwards this, too."""
    server.request("sched.resource-status", None, server.pass_on, request)


def acquire(server: BrokerEndpoint, request: Message) -> None:
    """A scheduler takes the resources: ``{"resources": R, "up": ids}``, then ``{"down"}`` and ``{"up"}`` (RFC 28)."""
    there = _inventory(server, request)
    if not request.is_streaming:
        raise RequestError(EPROTO, "resource.acquire must be a streaming request")
    if there.scheduler is not None:
        raise RequestError(errno.EBUSY, "resource.acquire: a scheduler has the resources already")
    there.scheduler = request
    server.add_stream(request, there.release)
    server.respond(request, {"resources": server.broker.instance.resources.to_r(), "up": there.up()})


def drain(server: BrokerEndpoint, request: Message) -> None:
    """No more jobs for these nodes; what they run goes on."""
    there, args = _inventory(server, request), request.unpack(DrainArgs)
    targets = there.drained.targets(args.targets)
    now = server.time()
    fresh = there.drained.drain(targets, now, args.reason, args.mode)
    _tell(server, there, "down", fresh)
    overwrite = {"overwrite": 1, "force-overwrite": 2}.get(args.mode, 0)
    context: dict[str, Any] = {"idset": format_ranks(targets), "nodelist": nodelist(targets)}
    reason = {} if args.reason is None else {"reason": args.reason}
    _post(server, request, now, "drain", {**context, **reason, "overwrite": overwrite})


def undrain(server: BrokerEndpoint, request: Message) -> None:
    """They may be used again."""
    there, args = _inventory(server, request), request.unpack(DrainArgs)
    freed = there.drained.undrain(there.drained.targets(args.targets), args.mode)
    if not freed:
        server.respond(request)
        return
    _tell(server, there, "up", freed)
    context = {"idset": format_ranks(freed), "nodelist": nodelist(freed)}
    reason = {} if args.reason is None else {"reason": args.reason}
    _post(server, request, server.time(), "undrain", {**context, **reason})


def reload(server: BrokerEndpoint, request: Message) -> None:
    """Raises RequestError(ENOSYS): the simulated resources are those of the start."""
    raise RequestError(
        ENOSYS, "resource.reload: simulated resources cannot be reloaded; start with --fake-resources"
    )


def _tell(server: BrokerEndpoint, there: Inventory, what: str, nodes: list[int]) -> None:
    if there.scheduler is not None and nodes:
        server.respond(there.scheduler, {what: format_ranks(nodes)})


def _post(server: BrokerEndpoint, request: Message, now: float, name: str, context: dict[str, Any]) -> None:
    """Write an event to the log of resources, then answer; without a KVS there is no log."""
    line = msgspec.json.encode({"timestamp": now, "name": name, "context": context}) + b"\n"
    operation = {"key": EVENTLOG, "flags": _APPEND, "dirent": treeobj.val(line)}
    commit = {"namespace": "primary", "flags": 0, "ops": [operation]}
    server.request("kvs.commit", commit, partial(_posted, server), request)


def _posted(server: BrokerEndpoint, response: Message, request: Message) -> None:
    if response.errnum in (0, ENOSYS):
        server.respond(request)
    else:
        server.pass_on(response, request)


TABLE: Table = {
    "resource.status": (status, True),
    "resource.sched-status": (sched_status, True),
    "resource.acquire": (acquire, False),
    "resource.drain": (drain, False),
    "resource.undrain": (undrain, False),
    "resource.reload": (reload, False),
}
