"""Knows the service module: load, remove, list, trace, and ours to choose a hook; not how a module lives (life)."""

from __future__ import annotations

from functools import partial

import msgspec

from brokersim.host import methods
from brokersim.host.course import Loaded
from brokersim.host.handle import Handle
from brokersim.host.observers import relay
from brokersim.host.remote import RemoteModule
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError, strerror
from brokersim.protocol.message import Message
from brokersim.protocol.settings import check_hook
from brokersim.reactor.actor import FAILURES
from brokersim.reactor.loop import NS
from brokersim.routing.trace import ModuleTrace
from brokersim.services.endpoint import BrokerEndpoint, Table


class LoadArgs(msgspec.Struct):
    """Payload of module.load; with ``exec`` as a process of its own, ``loader`` (ours) says by which program."""

    path: str
    args: list[str] = []
    exec: bool = False
    name: str | None = None
    loader: str | None = None


class RemoveArgs(msgspec.Struct):
    """Payload of module.remove; with ``cancel`` a teardown that waits is not waited for."""

    name: str
    cancel: bool = False


class DebugArgs(msgspec.Struct):
    """Payload of module.debug: while ``defer`` holds, requests for the module wait in the broker."""

    name: str
    defer: bool


class StatusArgs(msgspec.Struct):
    """Payload of module.status, which a module sends: one of life's states, and why it ended."""

    status: int
    errnum: int = 0


class ListenArgs(msgspec.Struct):
    """Payload of module.listen (ours): the streams of observations a module in a process of its own listens to."""

    streams: list[str]


class HookArgs(msgspec.Struct):
    """Payload of module.hook."""

    name: str
    hook: str


class TraceArgs(msgspec.Struct):
    """Payload of module.trace: bits of message types (request 1, response 2, event 4, control 8), a topic glob."""

    typemask: int = 15
    topic_glob: str = "*"
    names: list[str] = []
    full: bool = False


def list_(server: BrokerEndpoint, request: Message) -> None:
    """Every module of this rank, in the order they were loaded."""
    mods = [_listed(server, module, request) for module in server.broker.instance.modules(server.rank)]
    # The time, so that who asks twice knows how far apart the counters are by the clock that moved them.
    server.respond(request, {"mods": mods, "time": server.now()})


def _listed(server: BrokerEndpoint, module: Loaded, request: Message) -> JsonObject:
    """Flux's keys, and ours: counters, mask, hook, how often the loop turned, a process of its own if it has one.

    All that ``brokersim top`` shows is in it, so that a look at a module is no message to the module.
    """
    handle = module.handle
    process: JsonObject = (
        {"pid": module.pid, "loader": module.loader} if isinstance(module, RemoteModule) else {}
    )
    if handle.station is not None:
        handle.station.settle()
    instrument = handle.instrument
    loop = handle.own_loop
    services = [name for name, served_by in server.broker.services.items() if served_by is handle]
    return {
        "name": module.name,
        "path": str(module.path),
        "idle": module.idle_ns // NS,
        "status": module.status,
        "services": services,
        "sendqueue": module.sendqueue,
        "recvqueue": server.reactor.queued_for(handle) + (len(handle.station.inbox) if handle.station else 0),
        "mask": handle.mask,
        "hook": instrument.hook if instrument else server.broker.instance.hook,
        "iterations": handle.iterations,
        "idle_calls": loop.idle_calls if loop else 0,
        "packets": instrument.packets if instrument else 0,
        "uuid": handle.uuid,
        **methods.message_counts(handle.counts),
        "open": len(handle.pending),
        **process,
        **_figures(module, request),
    }


def _figures(module: Loaded, request: Message) -> JsonObject:
    """What the module itself wants to be listed with; one that raises ends, as by any callback."""
    figures = getattr(module.handle.body, "listed_figures", None)
    if figures is None:
        return {}
    try:
        return {"figures": figures()}
    except FAILURES as error:
        module.crashed(error, request)
        return {}


def load(server: BrokerEndpoint, request: Message) -> None:
    """Answered when the module runs, or with why it does not."""
    args = request.unpack(LoadArgs)
    start = server.broker.instance.loaded.load
    if args.exec:
        start = partial(server.broker.instance.loaded.load_process, args.loader)
    elif args.loader and "/" not in args.path:
        raise RequestError(EINVAL, f"a loader needs a path: {args.path!r:.60} is a name")
    try:
        start(server.rank, args.path, tuple(args.args), args.name, partial(_answer, server, request))
    except RequestError as error:
        _answer(server, request, error)


def remove(server: BrokerEndpoint, request: Message) -> None:
    """Answered when the module is gone."""
    args = request.unpack(RemoveArgs)
    try:
        module = server.broker.instance.module(server.rank, args.name)
    except RequestError as error:
        _answer(server, request, error)
    else:
        module.stop(partial(_answer, server, request), args.cancel)


def _answer(server: BrokerEndpoint, request: Message, error: RequestError | None) -> None:
    """With the errnum's own words in front: flux-core says no more, and scripts look for them."""
    if error is None:
        server.respond(request)
    else:
        errnum = error.errno or EPROTO
        server.respond_error(request, errnum, f"{strerror(errnum)}: {error.text}" if error.text else "")


def status(server: BrokerEndpoint, request: Message) -> None:
    """A module says how far it is: running, finalizing, exited."""
    try:
        args = request.unpack(StatusArgs)
    except RequestError as error:
        raise RequestError(EPROTO, f"error decoding module.status request: {error.text}") from None
    module = request.src.module if isinstance(request.src, Handle) else None
    if module is not None:  # from anybody else it says nothing
        module.told(args.status, args.errnum)
    server.respond(request)


def listen(server: BrokerEndpoint, request: Message) -> None:
    """What is observed on this rank goes to a module in a process of its own, too: these streams and no others."""
    args = request.unpack(ListenArgs)
    module = request.src.module if isinstance(request.src, Handle) else None
    if not isinstance(module, RemoteModule):
        raise RequestError(EPROTO, "module.listen: only a module in a process of its own may")
    server.broker.observers.drop(module.handle)
    topic = f"{module.name}.observations"
    for stream in args.streams:
        server.broker.observers.listen(stream, relay(module.tell, topic, stream), module.handle)
    if not request.is_noresponse:
        server.respond(request)


def hook(server: BrokerEndpoint, request: Message) -> None:
    """Change the hook a module's counters are emitted from."""
    args = request.unpack(HookArgs)
    try:
        wanted = check_hook(args.hook)
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    handle = server.broker.instance.module(server.rank, args.name).handle
    if handle.instrument is None:
        handle.instrument = handle.instrumented(handle, server.broker.instance.sink, wanted)
    else:
        handle.instrument.use(wanted)
    server.respond(request, {"hook": wanted})


def debug(server: BrokerEndpoint, request: Message) -> None:
    """Keep a module's requests from it for a while, as if it were too busy to look."""
    args = request.unpack(DebugArgs)
    server.broker.instance.loaded.defer(server.rank, args.name, args.defer)
    server.respond(request)


def trace(server: BrokerEndpoint, request: Message) -> None:
    """Stream what modules of this rank send and are given, until whoever asked goes."""
    args = request.unpack(TraceArgs)
    try:
        stream = ModuleTrace(
            names=tuple(args.names), typemask=args.typemask, topic_glob=args.topic_glob, full=args.full,
            emit=partial(server.respond, request),
        )  # fmt: skip
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    server.broker.add_trace(stream)
    server.add_stream(request, partial(server.broker.drop_trace, stream))


TABLE: Table = {
    "module.list": (list_, True),
    "module.load": (load, False),
    "module.remove": (remove, False),
    "module.status": (status, False),
    "module.debug": (debug, False),
    "module.hook": (hook, False),
    "module.listen": (listen, False),
    "module.trace": (trace, False),
}
