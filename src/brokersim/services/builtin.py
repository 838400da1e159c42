"""Knows the services the broker itself answers: attr, event, service, log, module, config, overlay and their like.

Topics and payloads: flux-core 0.88 (docs/flux-compat.md); ``broker.*`` and ``module.hook`` are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from brokersim.host import methods
from brokersim.host.handle import Handle
from brokersim.host.instrument import Instrument
from brokersim.host.loader import describe
from brokersim.host.remote import RemoteModule
from brokersim.protocol.errnums import EINVAL, EIO, ENODATA, ENOENT, EPERM, EPROTO, RequestError
from brokersim.protocol.message import EVENT, FLAG_PRIVATE, FLAG_UPSTREAM, REQUEST, ROLE_OWNER, Message
from brokersim.protocol.settings import check_hook
from brokersim.reactor.actor import FAILURES
from brokersim.reactor.loop import NS, Flood, Livelock
from brokersim.routing import logring
from brokersim.routing.endpoint import Method
from brokersim.routing.trace import ModuleTrace
from brokersim.services import resource, rexec
from brokersim.services.overlay import overlay_fault, overlay_health, overlay_topology, overlay_trace
from brokersim.services.subprocess import Subprocess

if TYPE_CHECKING:
    from brokersim.host.life import Module
    from brokersim.routing.rank import Broker

Service = Callable[["BrokerEndpoint", Message], object]


class BrokerEndpoint(Handle):
    """The broker's own handle: it has counters, a mask and the default methods as service ``broker``."""

    __slots__ = ("inventory", "processes", "streams")

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, "broker", broker.uuid)
        #: Open streams served here: request to what ends it.
        self.streams: dict[int, tuple[Message, Callable[[], object]]] = {}
        #: Processes started by rexec.exec on this rank.
        self.processes: list[Subprocess] = []
        #: Of rank 0 only, made when first asked for.
        self.inventory: resource.Inventory | None = None
        for service in SERVICES:
            broker.services[service] = self
        broker.endpoints[broker.uuid] = self

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A service here or its task raised: our bug. Who asked is told, the log keeps it, the instance goes on."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a nursery's wrapping says nothing
        if isinstance(error, Flood):
            # What floods are its answers, to whoever asked without end; they were dropped, nobody here is to blame.
            self.broker.write_log(logring.ERR, "broker", f"answers dropped: {error}")
            return
        if isinstance(error, Livelock):
            return  # it passes on what others ask without end, and those have been failed
        if not isinstance(error, Exception):
            super().failed(error, message)
            return
        if message is None or message.type != REQUEST:
            self.broker.write_log(logring.ERR, "broker", f"a task of it failed: {describe(error)}")
            return
        self.broker.write_log(logring.ERR, "broker", f"{message.topic} failed: {describe(error)}")
        self.respond_error(message, EIO, f"{message.topic} failed in the broker: {describe(error)}")

    def method(self, topic: str) -> Method | None:
        service, _, name = topic.partition(".")
        entry: tuple[Service, bool] | None = TABLE.get(topic)
        if entry is None and service == "broker":
            entry = methods.METHODS.get(name)
        if entry is None:
            return (partial(end_streams, self), True) if name == "disconnect" else None
        return partial(entry[0], self), entry[1]

    def pass_on(self, response: Message, request: Message) -> None:
        """Answer a request with the answer somebody else gave."""
        if response.errnum:
            self.respond_error(request, response.errnum, response.payload_str or "")
        else:
            self.respond(request, response.data)

    def add_stream(self, request: Message, stop: Callable[[], object]) -> None:
        """Remember an open stream, ended by the disconnect of whoever asked."""
        self.streams[id(request)] = (request, stop)

    def drop_stream(self, request: Message) -> None:
        """It has ended by itself."""
        self.streams.pop(id(request), None)


def end_streams(self: BrokerEndpoint, request: Message) -> None:
    """A peer went: end its streams of this service."""
    service = request.topic.partition(".")[0]
    for key, (stream, stop) in list(self.streams.items()):
        if stream.sender == request.sender and stream.topic.partition(".")[0] == service:
            del self.streams[key]
            stop()


# -- attributes


class NameArgs(msgspec.Struct):
    name: str


class AttrSetArgs(msgspec.Struct):
    name: str
    value: str


def attr_get(self: BrokerEndpoint, request: Message) -> None:
    name = request.unpack(NameArgs).name
    value = self.broker.attributes.get(name)
    if value is None:
        self.respond_error(request, ENOENT)
    else:
        self.respond(request, {"value": value, "flags": self.broker.attributes.flags(name)})


def attr_list(self: BrokerEndpoint, request: Message) -> None:
    self.respond(request, {"names": [name for name, _ in self.broker.attributes.items()]})


def attr_set(self: BrokerEndpoint, request: Message) -> None:
    args = request.unpack(AttrSetArgs)
    self.broker.attributes.set(args.name, args.value)
    self.respond(request)


def attr_rm(self: BrokerEndpoint, request: Message) -> None:
    self.broker.attributes.remove(request.unpack(NameArgs).name)
    self.respond(request)


# -- events and services


class TopicArgs(msgspec.Struct):
    topic: str


class PublishArgs(msgspec.Struct):
    topic: str
    flags: int = 0
    payload: str | None = None


class ServiceArgs(msgspec.Struct):
    service: str


def event_subscribe(self: BrokerEndpoint, request: Message) -> None:
    self.broker.subscribe(request.unpack(TopicArgs).topic, request.src)
    self.respond(request)


def event_unsubscribe(self: BrokerEndpoint, request: Message) -> None:
    self.broker.unsubscribe(request.unpack(TopicArgs).topic, request.src)
    self.respond(request)


def event_publish(self: BrokerEndpoint, request: Message) -> None:
    """Publish for a peer that wants the sequence number; asked of rank 0."""
    args = request.unpack(PublishArgs)
    if not args.topic:
        raise RequestError(EPROTO, "event.publish: the topic is empty")
    if self.rank != 0:
        raise RequestError(EPROTO, "event.publish: events are sequenced by rank 0; send it there")
    try:
        payload = None if args.payload is None else msgspec.convert(args.payload, bytes)
    except msgspec.ValidationError:
        raise RequestError(EPROTO, "event.publish: payload is not base64") from None
    event = Message(
        EVENT, args.topic, payload, FLAG_PRIVATE if args.flags & FLAG_PRIVATE else 0,
        userid=request.userid, rolemask=request.rolemask, src=request.src,
    )  # fmt: skip
    self.broker.publish(event)
    self.respond(request, {"seq": event.seq})


def service_add(self: BrokerEndpoint, request: Message) -> None:
    name = request.unpack(ServiceArgs).service
    check_service_name(name, request)
    self.broker.add_service(name, request.src)
    self.respond(request)


def check_service_name(name: str, request: Message) -> None:
    """Raises RequestError(EPERM): a guest's service must be named for its user, ``4242-NAME`` (flux-core's rule)."""
    if not request.rolemask & ROLE_OWNER and not name.startswith(f"{request.userid}-"):
        text = f"service {name!r}: a guest may only register names that begin with {request.userid}-"
        raise RequestError(EPERM, text)


def service_remove(self: BrokerEndpoint, request: Message) -> None:
    self.broker.drop_service(request.unpack(ServiceArgs).service, request.src)
    self.respond(request)


# -- log


class DmesgArgs(msgspec.Struct):
    follow: bool = False
    nobacklog: bool = False


def log_append(self: BrokerEndpoint, request: Message) -> None:
    """Keep a finished log line; ranks below 0 pass it up, so that rank 0 has them all. Never answered."""
    line = request.raw.rstrip(b"\0").decode(errors="replace")
    self.broker.log.append(line)
    if self.rank:
        self.request("log.append", line.encode(), nodeid=self.rank, flags=FLAG_UPSTREAM)


def log_dmesg(self: BrokerEndpoint, request: Message) -> None:
    """Stream the ring, one line a response, and with ``follow`` what comes after."""
    args = request.unpack(DmesgArgs)
    ring = self.broker.log
    if not args.nobacklog:
        for line in ring.lines():
            self.respond(request, line)
    if not args.follow:
        self.respond_error(request, ENODATA)
        return
    follow = partial(self.respond, request)
    ring.followers.append(follow)
    self.add_stream(request, partial(ring.followers.remove, follow))


def log_clear(self: BrokerEndpoint, request: Message) -> None:
    self.broker.log.clear()
    self.respond(request)


# -- modules


class LoadArgs(msgspec.Struct):
    path: str
    args: list[str] = []
    exec: bool = False
    name: str | None = None
    loader: str | None = None


class RemoveArgs(msgspec.Struct):
    name: str
    cancel: bool = False


class StatusArgs(msgspec.Struct):
    status: int
    errnum: int = 0


class HookArgs(msgspec.Struct):
    name: str
    hook: str


class TraceArgs(msgspec.Struct):
    typemask: int = 15
    topic_glob: str = "*"
    names: list[str] = []
    full: bool = False


def module_list(self: BrokerEndpoint, request: Message) -> None:
    mods = [_listed(self, module, request) for module in self.broker.instance.modules(self.rank)]
    # The time, so that who asks twice knows how far apart the counters are by the clock that moved them.
    self.respond(request, {"mods": mods, "time": self.now()})


def _listed(self: BrokerEndpoint, module: Module, request: Message) -> dict[str, Any]:
    """Flux's keys, and ours: counters, mask, hook, how often the loop turned, a process of its own if it has one.

    All that ``brokersim top`` shows is in it, so that a look at a module is no message to the module.
    """
    handle = module.handle
    process = {"pid": module.pid, "loader": module.loader} if isinstance(module, RemoteModule) else {}
    if handle.station is not None:
        handle.station.settle()
    instrument = handle.instrument
    loop = handle.own_loop
    services = [name for name, owner in self.broker.services.items() if owner is handle]
    return {
        "name": module.name,
        "path": str(module.code.path),
        "idle": module.idle_ns // NS,
        "status": module.status,
        "services": services,
        "sendqueue": module.sendqueue,
        "recvqueue": self.reactor.queued_for(handle) + (len(handle.station.inbox) if handle.station else 0),
        "mask": handle.mask,
        "hook": instrument.hook if instrument else self.broker.instance.hook,
        "iterations": handle.iterations,
        "idle_calls": loop.idle_calls if loop else 0,
        "packets": instrument.packets if instrument else 0,
        "uuid": handle.uuid,
        **methods.message_counts(handle.counts),
        "open": len(handle.pending),
        **process,
        **_figures(module, request),
    }


def _figures(module: Module, request: Message) -> dict[str, Any]:
    """What the module itself wants to be listed with; one that raises ends, as by any callback."""
    figures = getattr(module.handle.owner, "listed_figures", None)
    if figures is None:
        return {}
    try:
        return {"figures": figures()}
    except FAILURES as error:
        module.crashed(error, request)
        return {}


def module_load(self: BrokerEndpoint, request: Message) -> None:
    args = request.unpack(LoadArgs)
    load = self.broker.instance.load_module
    if args.exec:
        load = partial(self.broker.instance.load_process, args.loader)
    load(self.rank, args.path, tuple(args.args), args.name, partial(_answer, self, request))


def module_remove(self: BrokerEndpoint, request: Message) -> None:
    args = request.unpack(RemoveArgs)
    module = self.broker.instance.module(self.rank, args.name)
    module.stop(partial(_answer, self, request), args.cancel)


def _answer(self: BrokerEndpoint, request: Message, error: RequestError | None) -> None:
    if error is None:
        self.respond(request)
    else:
        self.refuse(request, error)


def module_status(self: BrokerEndpoint, request: Message) -> None:
    """A module says how far it is: running, finalizing, exited."""
    args = request.unpack(StatusArgs)
    module = getattr(request.src, "module", None)
    if module is None:
        raise RequestError(EPROTO, "module.status: the sender is no module of this rank")
    module.told(args.status, args.errnum)
    self.respond(request)


def module_hook(self: BrokerEndpoint, request: Message) -> None:
    """Change the hook a module's counters are emitted from."""
    args = request.unpack(HookArgs)
    try:
        hook = check_hook(args.hook)
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    handle = self.broker.instance.module(self.rank, args.name).handle
    if handle.instrument is None:
        handle.instrument = Instrument(handle, hook)
    else:
        handle.instrument.use(hook)
    self.respond(request, {"hook": hook})


def module_trace(self: BrokerEndpoint, request: Message) -> None:
    args = request.unpack(TraceArgs)
    trace = ModuleTrace(
        names=tuple(args.names), typemask=args.typemask, topic_glob=args.topic_glob, full=args.full,
        emit=partial(self.respond, request),
    )  # fmt: skip
    self.broker.add_trace(trace)
    self.add_stream(request, partial(self.broker.drop_trace, trace))


# -- the instance


def config_get(self: BrokerEndpoint, request: Message) -> None:
    self.respond(request, self.broker.instance.conf)


def broker_status(self: BrokerEndpoint, request: Message) -> None:
    self.respond(request, self.broker.instance.status(self.broker))


def broker_stop(self: BrokerEndpoint, request: Message) -> None:
    """Answer, then end the whole instance."""
    self.respond(request)
    self.reactor.call_later(0, self.broker.instance.stop)


def state_machine_get(self: BrokerEndpoint, request: Message) -> None:
    self.respond(request, {"state": "run", "duration": self.now()})


def groups_get(self: BrokerEndpoint, request: Message) -> None:
    name = request.unpack(NameArgs).name
    if name not in ("broker.online", "broker.torpid"):
        raise RequestError(ENOENT, f"no group {name!r}")
    self.respond(request, {"members": _idset(self.size) if name == "broker.online" else ""})


def _idset(size: int) -> str:
    return "0" if size == 1 else f"0-{size - 1}"


#: Topic to (service, may a guest call it).
TABLE: dict[str, tuple[Service, bool]] = {
    "attr.get": (attr_get, True),
    "attr.list": (attr_list, True),
    "attr.set": (attr_set, False),
    "attr.rm": (attr_rm, False),
    "event.subscribe": (event_subscribe, True),
    "event.unsubscribe": (event_unsubscribe, True),
    "event.publish": (event_publish, True),
    "service.add": (service_add, True),
    "service.remove": (service_remove, True),
    "log.append": (log_append, True),
    "log.dmesg": (log_dmesg, False),
    "log.clear": (log_clear, False),
    "module.list": (module_list, True),
    "module.load": (module_load, False),
    "module.remove": (module_remove, False),
    "module.status": (module_status, False),
    "module.hook": (module_hook, False),
    "module.trace": (module_trace, False),
    "config.get": (config_get, True),
    "broker.status": (broker_status, True),
    "broker.stop": (broker_stop, False),
    "state-machine.get": (state_machine_get, True),
    "groups.get": (groups_get, True),
    "overlay.health": (overlay_health, True),
    "overlay.topology": (overlay_topology, True),
    **resource.TABLE,
    **rexec.TABLE,
    "overlay.trace": (overlay_trace, False),
    "overlay.fault": (overlay_fault, False),
}
SERVICES = tuple(dict.fromkeys(topic.partition(".")[0] for topic in TABLE))
