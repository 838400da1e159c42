"""Knows the resource service: what there is, what is drained, and the scheduler that is told of it; not who gets it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from brokersim.protocol import treeobj
from brokersim.protocol.drain import DrainSet, nodelist
from brokersim.protocol.errnums import ENOSYS, EPROTO, RequestError
from brokersim.protocol.ranks import format_ranks

if TYPE_CHECKING:
    from brokersim.protocol.message import Message
    from brokersim.services.builtin import BrokerEndpoint

EVENTLOG: Final = "resource.eventlog"
_APPEND: Final = 32


class DrainArgs(msgspec.Struct):
    targets: str
    reason: str | None = None
    mode: str = ""


class Inventory:
    """What the instance has: drained nodes, and the one scheduler that holds the resources (its open request)."""

    __slots__ = ("drained", "nodes", "scheduler")

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.drained = DrainSet(nodes)
        self.scheduler: Message | None = None

    def up(self) -> str:
        """The nodes that may be used."""
        return format_ranks(set(range(self.nodes)).difference(self.drained.nodes()))

    def release(self) -> None:
        """The scheduler went."""
        self.scheduler = None


def _inventory(self: BrokerEndpoint, request: Message) -> Inventory:
    if self.rank:
        raise RequestError(EPROTO, "this RPC only works on rank 0")
    if self.inventory is None:
        self.inventory = Inventory(self.broker.instance.settings.resources.nodes)
    return self.inventory


def status(self: BrokerEndpoint, request: Message) -> None:
    """All resources, and which of their nodes are drained, since when and why; none is ever offline here."""
    there = _inventory(self, request)
    nodes = format_ranks(range(there.nodes))
    self.respond(
        request,
        {
            "R": self.broker.instance.resource_set(),
            "drain": there.drained.to_dict(),
            "online": nodes,
            "offline": "",
            "exclude": "",
            "torpid": "",
        },
    )


def sched_status(self: BrokerEndpoint, request: Message) -> None:
    """What the scheduler knows of the resources; in Flux the resource module forwards this, too."""
    self.request("sched.resource-status", None, self.pass_on, request)


def acquire(self: BrokerEndpoint, request: Message) -> None:
    """A scheduler takes the resources: ``{"resources": R, "up": ids}``, then ``{"down"}`` and ``{"up"}`` (RFC 28)."""
    there = _inventory(self, request)
    if not request.is_streaming:
        raise RequestError(EPROTO, "resource.acquire must be a streaming request")
    if there.scheduler is not None:
        raise RequestError(errno.EBUSY, "resource.acquire: a scheduler has the resources already")
    there.scheduler = request
    self.add_stream(request, there.release)
    self.respond(request, {"resources": self.broker.instance.resource_set(), "up": there.up()})


def drain(self: BrokerEndpoint, request: Message) -> None:
    """No more jobs for these nodes; what they run goes on."""
    there, args = _inventory(self, request), request.unpack(DrainArgs)
    targets = there.drained.targets(args.targets)
    now = self.time()
    fresh = there.drained.drain(targets, now, args.reason, args.mode)
    _tell(self, there, "down", fresh)
    overwrite = {"overwrite": 1, "force-overwrite": 2}.get(args.mode, 0)
    context: dict[str, Any] = {"idset": format_ranks(targets), "nodelist": nodelist(targets)}
    reason = {} if args.reason is None else {"reason": args.reason}
    _post(self, request, now, "drain", {**context, **reason, "overwrite": overwrite})


def undrain(self: BrokerEndpoint, request: Message) -> None:
    """They may be used again."""
    there, args = _inventory(self, request), request.unpack(DrainArgs)
    freed = there.drained.undrain(there.drained.targets(args.targets), args.mode)
    if not freed:
        self.respond(request)
        return
    _tell(self, there, "up", freed)
    context = {"idset": format_ranks(freed), "nodelist": nodelist(freed)}
    reason = {} if args.reason is None else {"reason": args.reason}
    _post(self, request, self.time(), "undrain", {**context, **reason})


def reload(self: BrokerEndpoint, request: Message) -> None:
    """Raises RequestError(ENOSYS): the simulated resources are those of the start."""
    raise RequestError(
        ENOSYS, "resource.reload: simulated resources cannot be reloaded; start with --fake-resources"
    )


def _tell(self: BrokerEndpoint, there: Inventory, what: str, nodes: list[int]) -> None:
    if there.scheduler is not None and nodes:
        self.respond(there.scheduler, {what: format_ranks(nodes)})


def _post(self: BrokerEndpoint, request: Message, now: float, name: str, context: dict[str, Any]) -> None:
    """Write an event to the log of resources, then answer; without a KVS there is no log."""
    line = msgspec.json.encode({"timestamp": now, "name": name, "context": context}) + b"\n"
    operation = {"key": EVENTLOG, "flags": _APPEND, "dirent": treeobj.val(line)}
    commit = {"namespace": "primary", "flags": 0, "ops": [operation]}
    self.request("kvs.commit", commit, partial(_posted, self), request)


def _posted(self: BrokerEndpoint, response: Message, request: Message) -> None:
    if response.errnum in (0, ENOSYS):
        self.respond(request)
    else:
        self.pass_on(response, request)


#: Topic to (service, may a guest call it).
TABLE: dict[str, tuple[Callable[[BrokerEndpoint, Message], None], bool]] = {
    "resource.status": (status, True),
    "resource.sched-status": (sched_status, True),
    "resource.acquire": (acquire, False),
    "resource.drain": (drain, False),
    "resource.undrain": (undrain, False),
    "resource.reload": (reload, False),
}
