"""Knows the handle that a module written for Flux is given; what stands behind it is the endpoint's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

from brokersim.fluxapi.constants import (
    FLUX_MATCHTAG_NONE,
    FLUX_MSGTYPE_ANY,
    FLUX_MSGTYPE_EVENT,
    FLUX_NODEID_ANY,
    FLUX_POLLERR,
    FLUX_POLLIN,
    FLUX_POLLOUT,
)
from brokersim.fluxapi.core.functions import FUNCTIONS, asked, plain_prefix
from brokersim.fluxapi.core.watchers import (
    CheckWatcher,
    FDWatcher,
    IdleWatcher,
    PrepareWatcher,
    SignalWatcher,
    TimerWatcher,
    Watcher,
)
from brokersim.fluxapi.endpoint import FluxEndpoint
from brokersim.fluxapi.future import Future
from brokersim.fluxapi.message import _FROM_WIRE, Message, MessageWatcher
from brokersim.fluxapi.payload import to_data
from brokersim.fluxapi.rpc import RPC
from brokersim.host.blocking import wait_for_message
from brokersim.protocol import message as wire
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import ENOENT, EPROTO, RequestError

W = TypeVar("W", bound=Watcher)
Callback = Callable[..., object]
_NO_OPEN = "a module in brokersim has the handle it was given; flux.Flux() would open a second connection"


class Flux:
    """Flux's handle. Methods named ``flux_x``, and the C functions in ``FUNCTIONS``, are found as in Flux."""

    def __init__(self, url: object = None, flags: int = 0, handle: FluxEndpoint | None = None) -> None:
        if handle is None:
            raise OSError(EPROTO, _NO_OPEN)
        self.endpoint: FluxEndpoint = handle
        #: The transaction that ``flux.kvs.put`` fills when it is given none.
        self.aux_txn: Any = None
        #: What functions keep with it, by name.
        self.aux: JsonObject = {}
        self._active_watchers: dict[Watcher, None] = {}

    @property
    def handle(self) -> Flux:
        """In Flux, what C functions want; here they want the handle itself."""
        return self

    def __getattr__(self, name: str) -> Any:
        plain = name.removeprefix("flux_")
        if plain in FUNCTIONS:
            return partial(FUNCTIONS[plain], self)
        if plain != name and not plain.startswith("_") and hasattr(type(self), plain):
            return getattr(self, plain)
        raise AttributeError(
            f"the handle has no {name!r} in brokersim; what it has is in docs/flux-compat.md",
            name=name,
            obj=self,
        )

    # -- messages

    def log(self, level: int, fstring: str | bytes) -> None:
        """Append a line to the broker's log; ``level`` as in module syslog."""
        self.endpoint.log(level, fstring if isinstance(fstring, str) else fstring.decode(errors="replace"))

    def send(self, message: Message, flags: int = 0) -> None:
        """Send a message as it is: an event, or a request, whose answer comes to a watcher or ``recv``."""
        inner, endpoint = message.inner, self.endpoint
        if inner.type == wire.EVENT:
            endpoint.publish(inner.topic, inner.data, bool(inner.flags & wire.FLAG_PRIVATE))
        elif inner.type == wire.REQUEST:
            wants = not inner.flags & wire.FLAG_NORESPONSE
            endpoint.request(inner.topic, inner.data, self._came if wants else None, nodeid=inner.nodeid)
        else:
            raise RequestError(EPROTO, f"send: a {message.type_str} is sent with respond()")

    def _came(self, response: wire.Message, _: object) -> None:
        """The answer to a plain ``send`` goes to whoever watches responses."""
        self.endpoint.stray_response(response)

    def respond(self, message: Message, payload: object = None) -> None:
        """Answer a request; the payload is a JSON value, JSON text or bytes."""
        self.endpoint.respond(message.inner, to_data(payload))

    def recv(
        self,
        type_mask: int = FLUX_MSGTYPE_ANY,
        match_tag: int = FLUX_MATCHTAG_NONE,
        topic_glob: str | None = None,
        flags: int = 0,
    ) -> Message | None:
        """Block until a message of such a type and topic comes; no watcher gets it."""

        def wanted(message: wire.Message) -> bool:
            return (
                bool(_FROM_WIRE[message.type] & type_mask)
                and (not match_tag or message.matchtag == match_tag)
                and (not topic_glob or fnmatchcase(message.topic, topic_glob))
            )

        return Message(handle=wait_for_message(self.endpoint, wanted))

    def rpc(self, topic: str, payload: Json = None, nodeid: int = FLUX_NODEID_ANY, flags: int = 0) -> RPC:
        """Send a request; flags FLUX_RPC_STREAMING, FLUX_RPC_NORESPONSE."""
        return RPC(self, topic, payload, nodeid, flags)

    def event_create(self, topic: str, payload: object = None) -> Message:
        return Message.from_event_encode(topic, payload)

    def event_send(self, topic: str, payload: object = None) -> None:
        """Publish an event."""
        self.send(self.event_create(topic, payload))

    def event_recv(self, topic: str | None = None) -> Message | None:
        """Block until an event comes."""
        return self.recv(type_mask=FLUX_MSGTYPE_EVENT, topic_glob=topic)

    def event_subscribe(self, topic: str) -> None:
        """Receive events whose topic starts with ``topic``, up to a glob character in it."""
        if topic is None:
            raise OSError(22, "event_subscribe: a topic is needed, not None")
        self.endpoint.event_subscribe(plain_prefix(topic))

    # -- watchers

    def add_watcher(self, watcher: W) -> W:
        """Keep a watcher from being collected."""
        self._active_watchers[watcher] = None
        return watcher

    def del_watcher(self, watcher: Watcher) -> None:
        """Keep it no more."""
        self._active_watchers.pop(watcher, None)

    def msg_watcher_create(
        self,
        callback: Callback,
        type_mask: int = FLUX_MSGTYPE_ANY,
        topic_glob: str | bytes | None = "*",
        args: Any = None,
        match_tag: int = FLUX_MATCHTAG_NONE,
        rolemask: int | None = None,
    ) -> MessageWatcher:
        """A stopped watcher: ``callback(handle, watcher, msg, args)`` for messages that match."""
        return MessageWatcher(self, type_mask, callback, topic_glob, match_tag, rolemask, args)

    def timer_watcher_create(
        self, after: float, callback: Callback, repeat: float = 0.0, args: Any = None
    ) -> TimerWatcher:
        return TimerWatcher(self, after, callback, repeat=repeat, args=args)

    def prepare_watcher_create(self, callback: Callback, args: Any = None) -> PrepareWatcher:
        return PrepareWatcher(self, callback, args=args)

    def check_watcher_create(self, callback: Callback, args: Any = None) -> CheckWatcher:
        return CheckWatcher(self, callback, args=args)

    def idle_watcher_create(self, callback: Callback | None = None, args: Any = None) -> IdleWatcher:
        return IdleWatcher(self, callback, args=args)

    def signal_watcher_create(self, signum: int, callback: Callback, args: Any = None) -> SignalWatcher:
        return SignalWatcher(self, signum, callback, args)

    def fd_watcher_create(
        self, fd_int: int, callback: Callback, events: int | None = None, args: Any = None
    ) -> FDWatcher:
        every = FLUX_POLLIN | FLUX_POLLOUT | FLUX_POLLERR
        return FDWatcher(self, fd_int, every if events is None else events, callback, args=args)

    # -- the broker

    def get_rank(self) -> int:
        return self.endpoint.rank

    def attr_get(self, attr_name: str) -> str:
        """A broker attribute. Raises OSError(ENOENT) if there is none."""
        value = self.endpoint.attr_get(attr_name)
        if value is None:
            raise RequestError(ENOENT, f"no attribute {attr_name!r}")
        return value

    def attr_set(self, attr: str, value: str) -> None:
        """Raises ValueError if either is no text, OSError(EPERM) if it is immutable."""
        if not isinstance(attr, str) or not isinstance(value, str):
            raise ValueError("attribute name and value must be strings")
        self.endpoint.attr_set(attr, value)

    def attr_remove(self, attr: str) -> None:
        """Raises ValueError if it is no text, OSError if there is none or it is immutable."""
        if not isinstance(attr, str):
            raise ValueError("attribute name must be a string")
        self.endpoint.attr_remove(attr)

    def conf_get(self, key: str | None = None, default: object = None, update: bool = False) -> Json:
        """The configuration, or what stands under a dotted key of it."""
        return self.endpoint.conf_get(key, default)

    def service_register(self, name: str) -> Future:
        """Serve requests ``name.*``."""
        return asked(self, "service.add", {"service": name})

    def service_unregister(self, name: str) -> Future:
        """Serve them no more."""
        return asked(self, "service.remove", {"service": name})

    # -- the reactor

    def get_reactor(self) -> Any:
        """What stands for the module's reactor; only good as an argument of the methods below."""
        return self.endpoint.reactor

    def reactor_run(self, reactor: object = None, flags: int = 0) -> int:
        """Run until stopped: 0, or -1 if stopped with an error. Raises what a callback raised."""
        if self.endpoint.run is None:
            raise OSError(EPROTO, "reactor_run: the module has ended")
        return self.endpoint.run.reactor_run()

    def reactor_stop(self, reactor: object = None) -> None:
        """Let ``reactor_run`` return when the callback that runs now has ended."""
        if self.endpoint.run is not None:
            self.endpoint.run.stop()

    def reactor_stop_error(self, reactor: object = None) -> None:
        """The same, with -1."""
        if self.endpoint.run is not None:
            self.endpoint.run.stop(code=-1)

    @classmethod
    def reactor_running(cls) -> bool:
        """Every callback of a module is called by the reactor."""
        return True

    @classmethod
    def reactor_enter(cls) -> None:
        """In Flux: the thread's reactor begins to run."""

    @classmethod
    def reactor_exit(cls) -> None:
        """In Flux: it ends."""

    @contextmanager
    def in_reactor(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        """Handles close by themselves. Raises RuntimeError, as in Flux."""
        raise RuntimeError("a handle is closed by itself when its module ends")


def has_function(name: str) -> bool:
    """Is a C function ``flux_NAME``, or a method of that name, here?"""
    return name in FUNCTIONS or (not name.startswith("_") and hasattr(Flux, name))
