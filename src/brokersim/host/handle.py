"""Knows what a module is handed: Flux's handle with its watchers, plus awaiting, timers, tasks and statistics.

It doesn't know how the module was found or what state it is in (host).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from brokersim.host.callee import Callee
from brokersim.host.future import Future
from brokersim.host.handler_table import COROUTINE, EMPTY_TABLE, TASK, Entry, HandlerTable
from brokersim.host.instrument import MSGCOUNT, Instrument
from brokersim.host.observers import Observe, Tap
from brokersim.host.ports import Home, Program
from brokersim.host.waits import Call
from brokersim.host.watcher_objects import HookWatcher, TimerWatcher
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import (
    EVENT,
    NODEID_ANY,
    REQUEST,
    ROLE_OWNER,
    Message,
    NoPayload,
    UnreadablePayload,
)
from brokersim.protocol.topic import method_of
from brokersim.reactor.actor import AT_ONCE
from brokersim.reactor.interrupts import pass_on
from brokersim.reactor.step import ModuleUnloaded
from brokersim.routing import logring
from brokersim.routing.endpoint import Handler, Method, unheard

if TYPE_CHECKING:
    from brokersim.statsd.client import StatsClient

Kept = TypeVar("Kept")
#: What answers a method every module has, and may a guest call it.
DefaultMethod = tuple[Callable[["Handle", Message], None], bool]


class Living(Protocol):
    """What a handle asks of its module."""

    __slots__ = ()

    name: str
    #: What it answers without a handler of its own, by the last word of the topic.
    methods: Mapping[str, DefaultMethod]

    def set_running(self) -> None:
        """The module says that it is ready."""

    def told(self, status: int, errnum: int) -> None:
        """The module says how far it is. Raises RequestError for what is no such step."""

    def stop(
        self, removed: Callable[[RequestError | None], object] | None = None, cancel: bool = False
    ) -> None:
        """Begin its end in good order; ``removed`` is told when it is over."""

    def crashed(self, error: BaseException, message: Message | None) -> None:
        """A callback raised: it ends now."""


class Handle(Callee):
    """A module's, or a program's, way into the broker on its rank."""

    #: What emits its counters.
    instrumented = Instrument

    __slots__ = (
        "body",
        "module",
        "observe",
        "table",
    )

    def __init__(self, broker: Home, name: str, uuid: str | int, module: Living | None = None) -> None:
        super().__init__(broker, name, uuid)
        self.module = module
        #: The object whose methods the table names: the BrokerModule instance.
        self.body: Any = None
        self.table: HandlerTable = EMPTY_TABLE
        #: ``observe(stream, key, value=1)``: one observation for whoever listens on this rank, at once and without a
        #: message. ``key`` is a text or an object of plain values, ``value`` a number or a text. Never raises.
        self.observe: Observe = broker.observe

    # -- identity, time, chance

    @property
    def rank(self) -> int:
        return self.broker.rank

    @property
    def size(self) -> int:
        return self.broker.size

    def get_rank(self) -> int:
        """Flux's name for ``rank``."""
        return self.broker.rank

    @property
    def parent(self) -> int | None:
        """The rank above this one in the tree, ``None`` on rank 0; as ``overlay.topology`` tells it."""
        return self.broker.above

    @property
    def children(self) -> tuple[int, ...]:
        """The ranks right below this one in the tree, ascending; as ``overlay.topology`` tells it."""
        return self.broker.below

    @property
    def random(self) -> random.Random:
        """A generator of this module's own, seeded from (seed, rank, name): no other module disturbs it."""
        seldom = self._make_seldom()
        if seldom.random is None:
            text = f"{self.broker.instance.seed}/{self.rank}/{self.name}"
            seldom.random = random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
        return seldom.random

    def inherit(self, make: Callable[[], Kept]) -> Kept:
        """What outlives this module on its rank until the instance ends: ``make()`` when nothing is there yet.

        A crash leaves it, too. A module in a process of its own has it no longer than the process.
        """
        kept = self.broker.instance.kept
        key = self.rank, self.name
        if key not in kept:
            kept[key] = make()
        return kept[key]  # type: ignore[no-any-return]

    # -- log, attributes, configuration

    def log(self, level: int, text: str) -> None:
        """Append a line to this rank's log; ``level`` is syslog's, 0 emerg to 7 debug."""
        line = logring.format_line(level, self.time(), self.rank, self.name, str(text))
        # No response is ever sent to log.append, and yet its noresponse flag is clear, as upstream.
        message = Message(
            REQUEST, "log.append", line.encode(), userid=self.userid, rolemask=self.rolemask, src=self
        )
        self.sent(message)
        self.broker.route_request(message)

    def attr_get(self, name: str) -> str | None:
        """A broker attribute, ``None`` if there is none."""
        return self.broker.attributes.get(name)

    def attr_set(self, name: str, value: str) -> None:
        """Raises RequestError(EPERM) if it is immutable."""
        self.broker.attributes.set(name, str(value))

    def attr_remove(self, name: str) -> None:
        """Raises RequestError: ENOENT, or EPERM if it is immutable."""
        self.broker.attributes.remove(name)

    def conf_get(self, key: str | None = None, default: object = None) -> Json:
        """The configuration object, or what is under a dotted key of it."""
        value: Json = self.broker.instance.conf
        for part in key.split(".") if key else ():
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    # -- requests, answers, events

    def call(
        self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, flags: int = 0
    ) -> Awaitable[Any]:
        """Await the payload of the answer (dict, bytes or None); raises RequestError.

        For stepped coroutines, trio tasks and programs alike.
        """
        return Call(self, topic, payload, nodeid, flags)

    def rpc(self, topic: str, payload: object = None, nodeid: int = NODEID_ANY, flags: int = 0) -> Future:
        """Flux's RPC: a Future to ``then`` on."""
        return Future(self, topic, payload, nodeid, flags)

    def event_subscribe(self, topic: str) -> None:
        """Receive events whose topic starts with ``topic``."""
        self.request("event.subscribe", {"topic": topic}, unheard, AT_ONCE)

    def event_unsubscribe(self, topic: str) -> None:
        """Drop one subscription."""
        self.request("event.unsubscribe", {"topic": topic}, unheard, AT_ONCE)

    def service_register(self, name: str) -> None:
        """Serve requests ``name.*`` on this rank. Raises RequestError(EEXIST) if the name is taken."""
        self.broker.add_service(name, self)

    def service_unregister(self, name: str) -> None:
        """Raises RequestError(ENOENT) if this module does not serve it."""
        self.broker.drop_service(name, self)

    # -- others on this rank

    def client(self, name: str, body: object = None, rank: int | None = None) -> Handle | None:
        """A handle that is a party of its own, as a program on the socket of this rank or another; ``close`` it.

        What it sends and receives does not count as this module's, and whom it asked is told when it goes; methods of
        ``body`` that are marked as handlers serve the names it registers. ``None`` in a module that is a process: it
        has but one wire.
        """
        return self.broker.client(name, body, rank)  # type: ignore[return-value]

    def offer_program(self, name: str, program: Program) -> bool:
        """Have rexec run commands called ``name`` by ``program(words, told)``, inside this module.

        False in a module that is a process: rexec would start a process.
        """
        return self.broker.offer(name, program, self)

    # -- timers, watchers, coroutines, tasks

    def timer_watcher_create(
        self, after: float, callback: Callable[..., object], repeat: float = 0.0, args: object = None
    ) -> TimerWatcher:
        """A stopped timer: ``callback(handle, watcher, revents, args)`` after ``after`` s, then every ``repeat`` s."""
        return TimerWatcher(self, after, callback, repeat, args)

    def prepare_watcher_create(self, callback: Callable[..., object], args: object = None) -> HookWatcher:
        """A stopped watcher called before each poll."""
        return HookWatcher(self, "prepare", callback, args)

    def check_watcher_create(self, callback: Callable[..., object], args: object = None) -> HookWatcher:
        """A stopped watcher called after each poll, before the message is handed out."""
        return HookWatcher(self, "check", callback, args)

    def idle_watcher_create(
        self, callback: Callable[..., object] | None = None, args: object = None
    ) -> HookWatcher:
        """A stopped watcher called in iterations without events; without callback it only keeps poll from blocking."""
        return HookWatcher(self, "idle", callback, args)

    def hold_clock(self) -> AbstractContextManager[None]:
        """While inside, virtual time stands still: something real (a process) is being waited for."""
        return self.broker.instance.hold_clock()

    # -- observations

    def listen(self, stream: str, tap: Tap) -> Callable[[], None]:
        """Have ``tap(key, value)`` called for each observation of a stream on this rank; returns what ends that."""
        return self.broker.observers.listen(stream, tap, self)

    # -- instrumentation

    @property
    def stats(self) -> StatsClient:
        """This module's statsd context, prefix ``flux.<module>.<rank>``; costs a no-op while no target is set."""
        seldom = self._make_seldom()
        if seldom.stats is None:
            seldom.stats = self.stats_client()
        return seldom.stats

    def stats_client(self, prefix: str | None = None, period: float | None = None) -> StatsClient:
        """One more statsd context; whoever asks for it closes it.

        ``period`` is in seconds, 0 sends at once; ``None`` is what attributes say of all modules.
        """
        # Not at the top: few modules have statistics of their own, and a process of one would start slower by a third.
        from brokersim.host.statistics import client_of

        return client_of(self, self.send_packet, prefix, period)

    def send_packet(self, packet: bytes) -> bool:
        """Send a statsd packet as it is to where the instance's statistics go; False if it was refused."""
        self.reactor.extra += 1
        return self.broker.instance.sink.send(packet)

    @property
    def mask(self) -> int:
        """The debug mask."""
        return 0 if self._seldom is None else self._seldom.mask

    @property
    def instrument(self) -> Instrument | None:
        """What emits its counters, once the mask has asked for that."""
        return None if self._seldom is None else self._seldom.instrument

    @instrument.setter
    def instrument(self, instrument: Instrument) -> None:
        self._make_seldom().instrument = instrument

    def set_mask(self, mask: int) -> None:
        """Set the debug mask; bit 0x1000 starts the emission of counters at this module's hook."""
        mask &= 0xFFFFFFFF
        hook = self.broker.instance.hook
        if mask & MSGCOUNT and self.instrument is None and hook is not None:
            self.instrument = self.instrumented(self, self.broker.instance.sink, hook)
        if self.instrument is not None:
            if mask & MSGCOUNT:
                self.instrument.start()
            else:
                self.instrument.stop()
        self._make_seldom().mask = mask

    # -- receiving

    def method(self, topic: str) -> Method | None:
        """The module's own handler of a topic, else one of those every module has."""
        if self.body is None and self.module is not None:
            return self._late, True
        entry = self.table.request(self.name, topic)
        if entry is not None:
            return self._bind(entry), entry.allow_guest
        default = None if self.module is None else self.module.methods.get(method_of(topic))
        if default is None:
            return None
        fn, allow_guest = default
        return partial(fn, self), allow_guest

    def _late(self, request: Message) -> None:
        """Handler of a request that was sent before the module's object was made; it has been by now."""
        request.src.routes.pop(request.topic, None)
        self.broker.forget_way(request.topic)
        found = self.method(request.topic) if self.body is not None else None
        if found is None:
            self.unknown_method(request)
        elif not found[1] and not request.rolemask & ROLE_OWNER:
            self.deny(request)
        else:
            found[0](request)

    def event_handler(self, topic: str) -> Handler:
        """All of the module's handlers for an event, as one."""
        own: list[Handler] = [self.clear_counts] if topic == f"{self.name}.stats-clear" else []
        return self._all_of(self._events(topic), own)

    def guest_event_handler(self, topic: str) -> Handler:
        """Those that a guest's event may reach, as Flux has it: handlers are the owner's unless they say otherwise."""
        return self._all_of([entry for entry in self._events(topic) if entry.allow_guest], [])

    def _events(self, topic: str) -> list[Entry]:
        return [entry for entry in self.table.events if entry.wants(self.name, topic)]

    def _all_of(self, entries: list[Entry], own: list[Handler]) -> Handler:
        found = [*map(self._bind, entries), *own]
        if len(found) == 1:
            return found[0]
        return partial(self._call_all, found)

    def _call_all(self, handlers: list[Handler], message: Message) -> None:
        for handler in handlers:
            try:
                handler(message)
            except (RequestError, NoPayload) as error:  # what one of them refuses the others still get
                self.failed(error, message)

    def _bind(self, entry: Entry) -> Handler:
        bound = getattr(self.body, entry.attribute)
        if entry.kind == COROUTINE:
            return lambda message: self.spawn(bound(message), message)
        if entry.kind == TASK:
            return lambda message: self._start_task(message, bound, message)
        if (workers := self.workers) is not None:
            return lambda message: workers.call(self, message, bound, message)
        return bound  # type: ignore[no-any-return]

    # -- the end

    def overasked(self, text: str) -> None:
        self.log(logring.ERR, text)

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A callback raised: the module ends, the rest goes on.

        A payload nobody can read is its sender's mistake, and an event that its handler refuses is nobody's.
        """
        if isinstance(error, ModuleUnloaded):
            return  # it has ended already, and wanted to wait
        pass_on(error)
        kind = error.kind if isinstance(error, NoPayload | UnreadablePayload) else None
        is_event = message is not None and message.type == EVENT
        if kind == EVENT or (is_event and isinstance(error, RequestError)):
            self.log(logring.ERR, f"event ignored: {error}")
        elif kind == REQUEST and message is not None and message.type == REQUEST:
            self.refuse(message, RequestError(EPROTO, str(error)))
        elif self.module is not None:
            self.module.crashed(error, message)
        else:
            self.broker.instance.fault(error)

    def close(self) -> None:
        """Off the loop and off the tables; whoever waited inside is thrown ModuleUnloaded."""
        self.end_callbacks()
        if self.instrument is not None:
            self.instrument.stop()
        if self._seldom is not None and self._seldom.stats is not None:
            self._seldom.stats.close()
        if self.loop is not None:
            self.loop.close()
        if self.own_loop is not None:
            self.own_loop.close()
        self.loop = None
        self.cancel_timers()
        self.broker.drop_endpoint(self)
        self.body = None  # breaks the cycle with the module, so that its files close now
