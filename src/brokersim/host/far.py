"""Knows what a module has for a broker when it runs in a process of its own: all goes over one wire. No sockets.

The module's handle, its loop, its coroutines and its blocking calls are the same as in the broker's process; what is
here answers them as the rank, the instance (`services/broker.py`, `instance.py`) and `life.py` do there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn, Protocol

from brokersim.host import own_packets
from brokersim.host.blocking import Workers
from brokersim.host.course import (
    EXITED,
    FINALIZING,
    RUNNING,
    Course,
    Done,
    Life,
    Staged,
    exit_errnum,
    make_handle,
)
from brokersim.host.handle import Handle
from brokersim.host.handler_table import EMPTY_TABLE
from brokersim.host.loader import ModuleCode, describe
from brokersim.host.methods import METHODS
from brokersim.host.observers import CHANGED, FarObservers, Observe
from brokersim.host.ports import Home, Program, SeenAttributes, Surroundings, Watching
from brokersim.host.remote_handle import as_value
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import EINVAL, ENOENT, ENOSYS, ENOTSUP, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_ROUTE,
    NODEID_ANY,
    REQUEST,
    ROLE_OWNER,
    USERID_UNKNOWN,
    Message,
)
from brokersim.protocol.topology import neighbours
from brokersim.reactor.loop import NS, Reactor
from brokersim.routing import logring
from brokersim.routing.endpoint import Endpoint, ignore
from brokersim.routing.ports import Naming
from brokersim.routing.sink import NullSink, Sink

#: Seconds a module waits at its end for the broker to hear that no more requests should come (flux-core 0.88).
_FINALIZE_TIMEOUT = 10.0
_NO_TASKS = (
    "a handler marked @trio_task needs the broker's own loop: load the module without --exec, "
    "or await the handle's calls in a plain async def"
)


class Far(Protocol):
    """The module's end of the wire, and the loop around it."""

    reactor: Reactor

    def attach(self, broker: FarBroker) -> None:
        """What comes is this one's to receive, for its handle."""

    def send(self, message: Message) -> None:
        """Queue a message for the broker."""

    def ask(
        self,
        handle: Handle,
        topic: str,
        payload: object,
        timeout: float | None = None,
        nodeid: int = NODEID_ANY,
    ) -> Message:
        """Send a request and wait for its answer; what else comes is queued. Raises RequestError if none comes."""

    def leave(self) -> None:
        """End the loop when the turn that runs now has ended."""

    def watch_fd(self, fd: int, events: int, call: Callable[[int], object]) -> Callable[[], object]:
        """Call ``call(revents)`` while ``fd`` is ready (masks of `select.poll`); returns what stops that."""

    def watch_signal(self, number: int, call: Callable[[], object]) -> Callable[[], object]:
        """Call back when the process gets a signal; returns what stops that."""


class FarAttributes(SeenAttributes):
    """The broker's attributes: those that never change came with the welcome, others are asked for each time."""

    def __init__(self, broker: FarBroker, fixed: dict[str, str]) -> None:
        self._broker = broker
        self._fixed = fixed

    def get(self, name: str) -> str | None:
        """The value, ``None`` if there is none."""
        if name in self._fixed:
            return self._fixed[name]
        try:
            found = self._broker.ask("attr.get", {"name": name})
        except RequestError as error:
            if error.errno != ENOENT:
                raise
            return None
        if found["flags"]:
            self._fixed[name] = found["value"]
        return str(found["value"])

    def set(self, name: str, value: str) -> None:
        """Raises RequestError(EPERM) if it is immutable."""
        self._broker.ask("attr.set", {"name": name, "value": value})

    def remove(self, name: str) -> None:
        """Raises RequestError: ENOENT, EPERM."""
        self._broker.ask("attr.rm", {"name": name})


class _FarEnd(Endpoint):
    """Whoever sent what comes in: answers go to the wire, which knows the way back by the route stack."""

    __slots__ = ()


class FarBroker(Home):
    """Stands where a module's handle expects its rank's broker."""

    def __init__(self, far: Far, welcome: JsonObject, sink: Sink | None) -> None:
        attrs = welcome.get("attrs", {})
        self.far = far
        self.reactor = far.reactor
        self.rank = int(attrs.get("rank", 0))
        self.size = int(attrs.get("size", 1))
        self.owner = USERID_UNKNOWN
        self.uuid = ""
        self._attributes = FarAttributes(self, dict(attrs))
        self.instance = FarInstance(self, welcome, sink)
        self.handle: Handle
        #: A file written for Flux decodes by itself; our own modules are given values, as in the broker's process.
        self.wants_values = False
        self._observers = FarObservers(lambda: self.handle)
        self._sender = _FarEnd(self, "broker", "")
        self._tree: tuple[int | None, tuple[int, ...]] | None = None

    def ask(
        self, topic: str, payload: object, timeout: float | None = None, nodeid: int = NODEID_ANY
    ) -> Json:
        """The payload of the broker's answer. Raises RequestError."""
        self._observers.flush()
        answer = self.far.ask(self.handle, topic, payload, timeout, nodeid)
        if answer.errnum:
            raise answer.error()
        return None if answer.data is None else answer.payload

    def identity(self, name: str, serial: int) -> str:
        """The module's, whatever its number."""
        return self.instance.identities.identity(self.rank, name, serial)

    @property
    def attributes(self) -> FarAttributes:
        """The broker's."""
        return self._attributes

    @property
    def observers(self) -> FarObservers:
        """Who listens in this process, and the way out for what others count."""
        return self._observers

    @property
    def observe(self) -> Observe:
        """What the module's ``observe`` is."""
        return self._observers.observe

    # -- the tree: asked for once, since arithmetic on a fanout is wrong where there is none (Flux's kary:32, custom)

    @property
    def above(self) -> int | None:
        """The rank of the parent, ``None`` on rank 0. Raises RequestError."""
        return self._neighbours()[0]

    @property
    def below(self) -> tuple[int, ...]:
        """The ranks of the children, ascending. Raises RequestError."""
        return self._neighbours()[1]

    def _neighbours(self) -> tuple[int | None, tuple[int, ...]]:
        if self._tree is None:
            # Of rank 0, which has the whole tree: another one of Flux's answers only for what is below it.
            self._tree = neighbours(self.ask("overlay.topology", {"rank": 0}, nodeid=0), self.rank)
        return self._tree

    # -- endpoints and services

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """The module's handle: who it speaks for is the broker's to fill in."""
        assert isinstance(endpoint, Handle)
        endpoint.userid, endpoint.rolemask = USERID_UNKNOWN, 0
        self.handle = endpoint
        self.far.attach(self)

    def drop_endpoint(self, endpoint: Endpoint) -> None:
        """The broker does that when the wire ends."""
        endpoint.is_open = False

    def add_service(self, name: str, endpoint: Endpoint) -> None:
        """Raises RequestError(EEXIST). Its own name the module has from the start."""
        if name != endpoint.name:
            self.ask("service.add", {"service": name})

    def drop_service(self, name: str, endpoint: Endpoint) -> None:
        """Raises RequestError(ENOENT)."""
        self.ask("service.remove", {"service": name})

    def forget_way(self, topic: str) -> None:
        """The broker finds the ways."""

    def client(self, name: str, body: object = None, rank: int | None = None) -> None:
        """There is but one wire."""

    def offer(self, name: str, program: Program, endpoint: Endpoint) -> bool:
        """Programs are run where rexec is."""
        return False

    def write_log(self, level: int, name: str, text: str) -> None:
        self.handle.log(level, text)

    # -- messages out

    def route_request(self, message: Message) -> None:
        self._observers.flush()
        message.flags |= FLAG_ROUTE
        self.far.send(message)

    def route_response(self, response: Message) -> None:
        """Behind what was answered before it, which may be in the queue still."""
        self._observers.flush()
        if len(response.routes) > 1:
            self.route_request(response)
        else:
            self.reactor.push(response)

    def publish(self, event: Message) -> None:
        event.routes = ()
        self.route_request(event)

    def path(self, request: Message) -> tuple[str, ...]:
        """The uuids a request came by, the broker's included."""
        return request.routes

    # -- messages in

    def receive(self, message: Message) -> None:
        """Queue what came, with the handler that will get it."""
        handle = self.handle
        message.src, message.dst = self._sender, handle
        if message.type == REQUEST:
            method = handle.method(message.topic)
            if method is None:
                message.handler = handle.unknown_method
            elif not message.rolemask & ROLE_OWNER and not method[1]:
                message.handler = handle.deny
            else:
                message.handler = method[0]
        elif message.type == EVENT:
            if message.topic == CHANGED:
                self._observers.changed()
            is_owners = message.rolemask & ROLE_OWNER
            find = handle.event_handler if is_owners else handle.guest_event_handler
            message.handler = find(message.topic)
        elif self.wants_values:
            message.data = as_value(message)
        self.reactor.push(message)


class OneIdentity(Naming):
    """The module's, as the broker chose it: there is no other here."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid

    def uuid(self, rank: int, name: str) -> str:
        return self._uuid

    def serial(self, rank: int, name: str) -> int:
        return 0

    def identity(self, rank: int, name: str, serial: int) -> str:
        return self._uuid


class FarInstance(Surroundings):
    """Stands where a module's handle expects the instance."""

    def __init__(self, broker: FarBroker, welcome: JsonObject, sink: Sink | None) -> None:
        self._broker = broker
        self.identities = OneIdentity(str(welcome["uuid"]))
        self.sink = sink or NullSink()
        self.conf = welcome.get("conf") or {}
        self.seed = welcome.get("attrs", {}).get("seed", 0)
        self.hook = None  # the broker emits the counters, by its own view of them
        self.workers = Workers()
        self.kept = {}  # nothing outlives the process
        self.epoch = time.time() - broker.reactor.now / NS

    def node(self, rank: int) -> None:
        """Real time costs what it costs."""

    def seconds(self, attribute: str, default: float) -> float:
        """A duration kept in an attribute; an unreadable one is the default."""
        text = self._broker.attributes.get(attribute)
        try:
            return default if text is None else parse_duration(text)
        except ValueError:
            return default

    def hold_clock(self) -> AbstractContextManager[None]:
        """The clock is the real one: nothing to hold."""
        return nullcontext()

    def start_task(
        self, fn: Callable[[], Awaitable[None]], failed: Callable[[BaseException], object]
    ) -> NoReturn:
        """Raises RequestError: there is no trio here."""
        raise RequestError(ENOTSUP, _NO_TASKS)

    def watch_fd(
        self, who: Watching, fd: int, events: int, call: Callable[[int], object]
    ) -> Callable[[], object]:
        return self._broker.far.watch_fd(fd, events, call)

    def watch_signal(self, who: Watching, number: int, call: Callable[[], object]) -> Callable[[], object]:
        return self._broker.far.watch_signal(number, call)

    def fault(self, error: BaseException) -> NoReturn:
        raise error


class FarModule(Staged):
    """The module itself, as the protocol of its wire has it: what it says of its state is a message to the broker."""

    methods = METHODS

    def __init__(self, broker: FarBroker, name: str, code: ModuleCode, args: tuple[str, ...]) -> None:
        self.name = name
        self.code = code
        self.args = args
        self.life = Life(broker.reactor, ignore)
        self._broker = broker
        self._said_ready = False
        self._has_logged = False
        self._is_stopping = False
        broker.wants_values = code.program is None
        self.handle = make_handle(broker, name, code, self)
        own_packets.charge(broker.reactor)  # nothing is charged in real time; but what is told twice is said

    @classmethod
    def refuse(cls, broker: FarBroker, name: str, path: Path, error: RequestError) -> None:
        """The file is none that can be run: say why, and leave in good order."""
        module = cls(broker, name, ModuleCode(path=path, cls=object, table=EMPTY_TABLE), ())
        module.handle.handed(Message(REQUEST, "welcome"))
        module.end(error.errno or EINVAL, error.text)

    def begin(self) -> None:
        """Construct the class, or enter ``mod_main``; the welcome is counted like any other message."""
        handle = self.handle
        welcome = Message(REQUEST, "welcome")
        handle.handed(welcome)
        handle.reactor.current = handle
        Course(self).begin()
        handle.reactor.current = None

    def set_running(self) -> None:
        """It says so once, and is: nobody here has to hear it first."""
        if not self.life.status and not self._said_ready:
            self._said_ready = True
            self.handle.request("module.status", {"status": RUNNING})
        self.life.run()

    def told(self, status: int, errnum: int) -> None:
        """What it says of itself goes to the broker."""

    def stop(self, removed: Done | None = None, cancel: bool = False) -> None:
        """Let ``run`` return and ``teardown`` run, while answers still come; then say that it is over."""
        self.life.tell_when_over(removed)
        if not self._is_stopping and self.life.status < FINALIZING:
            self._is_stopping = True
            self.life.no_limit()
            Course(self).tear_down()

    def crashed(self, error: BaseException, message: Message | None) -> None:
        """A callback raised: say so, and leave."""
        if self.life.status < FINALIZING:
            self._has_logged = True
            what = f" in {message.type_str} {message.topic}" if message is not None and message.topic else ""
            self.log(f"ended by {describe(error)}{what}")
            self.end(exit_errnum(error), f"module {self.name!r} ended: {describe(error)}")

    def end(self, errnum: int, text: str) -> None:
        """Tell the broker that no more requests should come, refuse those that have, then leave."""
        life = self.life
        if life.status >= FINALIZING:
            return
        if errnum and text and not self._has_logged:
            self.log(text)
        life.status, life.errnum = FINALIZING, errnum
        life.no_limit()
        try:
            self._broker.ask("module.status", {"status": FINALIZING}, _FINALIZE_TIMEOUT)
        except RequestError as error:
            self.log(f"module.status: {error}")
        self._refuse_queued()
        self.handle.close()
        life.exit(errnum)
        self.handle.request("module.status", {"status": EXITED, "errnum": errnum})
        self._broker.far.leave()

    def _refuse_queued(self) -> None:
        handle = self.handle
        for message in handle.reactor.purge(handle):
            if message.type == REQUEST:
                handle.handed(message)
                handle.respond_error(message, ENOSYS)

    def log(self, text: str) -> None:
        self.handle.log(logring.ERR, text)
