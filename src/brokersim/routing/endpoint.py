"""Knows how one party on a rank sends: requests, responses, events, and how their counters move.

It doesn't know where a topic leads beyond what it sent before (the broker does), nor what a module is.
Source of the counting rules: flux-core 0.88 as observed; tx at the start of a send, rx at the hand-out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.native.engine import twin
from brokersim.protocol.errnums import EDEADLK, EINVAL, ENOSYS, EPERM, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_PRIVATE,
    FLAG_STREAMING,
    FLAG_UPSTREAM,
    NODEID_ANY,
    NODEID_UPSTREAM,
    REQUEST,
    RESPONSE,
    ROLE_LOCAL,
    ROLE_OWNER,
    Message,
)
from brokersim.protocol.topic import disconnect_service
from brokersim.reactor.actor import NOTHING_OPEN, Actor, Tracer
from brokersim.reactor.loop import Reactor
from brokersim.reactor.watchers import ModuleLoop
from brokersim.routing.ports import Router

Then = Callable[[Message, Any], object]
Handler = Callable[[Message], object]
#: A request handler and whether guests may call it.
Method = tuple[Handler, bool]
#: Requests one party may have open. The largest simulations have one a job, 100,000; of modules that call each other
#: without end, which are what it is for, each costs 2 kB.
OPEN_LIMIT = 200_000
#: The routes of who has asked nobody, as most modules of a large instance; never written to.
_NOWHERE: Final[dict[str, tuple[Endpoint, Handler]]] = {}
#: Requests every module makes at its start, which leave nothing behind that a disconnect would end.
_LEAVES_NOTHING = frozenset({"event.subscribe", "module.status"})


@twin
class Endpoint(Actor):
    """One party on a rank: a module's handle, a client's connection, the broker itself.

    ``routes`` remembers where its own topics lead, so that a repeated request costs one look-up; the broker
    clears it whenever services come or go. ``called`` lists the services it asked, for the disconnects at its
    end: (service, nodeid, flags).
    """

    __slots__ = (
        "_identity", "_matchtag", "asked", "askers", "broker", "called", "has_overasked", "has_served", "is_open",
        "name", "reactor", "rolemask", "routes", "userid",
    )  # fmt: skip

    name: str
    own_loop: ModuleLoop | None

    def __init__(self, broker: Router, name: str, uuid: str | int) -> None:
        """``uuid`` is its identity, or the number from which its broker makes that when it is asked for."""
        super().__init__()
        self.broker: Router = broker
        self.reactor: Reactor = broker.reactor
        self.name = name
        self._identity = uuid
        self.userid = broker.owner
        self.rolemask = ROLE_OWNER | ROLE_LOCAL
        self.routes: dict[str, tuple[Endpoint, Handler]] = _NOWHERE
        self.called: dict[tuple[str, int, int], None] | None = None
        #: Who it was ever seen to ask, and who asked it; kept by `served`.
        self.asked: dict[Endpoint, None] | None = None
        self.askers: dict[Endpoint, None] | None = None
        self.is_open = True
        self.has_served = False
        self.has_overasked = False
        self._matchtag = 0

    def identity(self) -> str:
        """What `uuid` is, not kept here: that of a module which asks nobody beyond its rank is told once."""
        found = self._identity
        return found if isinstance(found, str) else self.broker.identity(self.name, found)

    @property
    def uuid(self) -> str:
        """Its identity, as messages' routes have it."""
        found = self._identity
        if type(found) is not str:
            self._identity = found = self.identity()
        return found

    # -- sending

    def request(
        self,
        topic: str,
        payload: object = None,
        then: Then | None = None,
        arg: object = None,
        nodeid: int = NODEID_ANY,
        flags: int = 0,
        cred: Message | None = None,
    ) -> Message:
        """Send a request; ``then(response, arg)`` is called with the answer, whatever its errnum.

        Without ``then`` it carries the noresponse flag and is never answered. With ``cred`` it speaks for the user and
        the roles of that message: what its sender may not see stays hidden. Returns the message sent.
        """
        self.counts[0] += 1
        dst: Endpoint | None
        handler: Handler | None
        try:
            dst, handler = self.routes[topic]
        except KeyError:
            dst = handler = None
        if then is None:
            flags |= FLAG_NORESPONSE
            message = Message(
                REQUEST, topic, payload, flags, 0, self.userid, self.rolemask, self, dst, handler
            )
        else:
            self._matchtag = tag = self._matchtag + 1
            message = Message(
                REQUEST, topic, payload, flags, tag, self.userid, self.rolemask, self, dst, handler
            )
            pending = self.pending
            if pending is NOTHING_OPEN:
                pending = self.pending = {}
            pending[tag] = then, arg, message
            if len(pending) > OPEN_LIMIT:
                self._refuse_to_ask(tag, topic)
        if nodeid != NODEID_ANY:
            message.nodeid = nodeid
            dst = None  # remembered is only where a topic leads from here
        if cred is not None:
            message.userid, message.rolemask = cred.userid, cred.rolemask
            if not cred.rolemask & ROLE_OWNER:
                dst = None  # remembered for an owner; others' roles have to be checked
        if self.tracer is not None:
            self.tracer("tx", self, message)
        if dst is not None:
            self.reactor.push(message)
        else:
            self.dispatch_request(message)
        return message

    def _refuse_to_ask(self, tag: int, topic: str) -> None:
        """Whoever asks this much without an answer waits for itself, one way or another."""
        del self.pending[tag]
        text = f"{self.name!r} has {OPEN_LIMIT} requests open, the next one to {topic}; do modules call each other?"
        if not self.has_overasked:
            self.has_overasked = True
            self.overasked(text)
        raise RequestError(EDEADLK, text)

    def overasked(self, text: str) -> None:
        """It was refused a request for the first time."""

    def dispatch_request(self, message: Message) -> None:
        """The slow path of a send: note the service for the disconnect, let the broker find the way."""
        message.dst = message.handler = None
        if message.nodeid == NODEID_UPSTREAM:
            message.nodeid = self.broker.rank
            message.flags |= FLAG_UPSTREAM
        if not message.flags & FLAG_NORESPONSE and message.topic not in _LEAVES_NOTHING:
            service = disconnect_service(message.topic)
            if self.called is None:  # most modules of a large instance never ask anybody
                self.called = {}
            self.called[(service, message.nodeid, message.flags & FLAG_UPSTREAM)] = None
        self.broker.route_request(message)

    def stream(
        self, topic: str, payload: object, then: Then, arg: object = None, nodeid: int = NODEID_ANY
    ) -> Message:
        """Send a request for a stream: ``then`` gets every response, the last one has an errnum (61 = end)."""
        return self.request(topic, payload, then, arg, nodeid, FLAG_STREAMING)

    def forget(self, request: Message) -> None:
        """Give a request of one's own up: what still comes of it is counted as stray. Harmless when it is over."""
        self.pending.pop(request.matchtag, None)

    def respond(self, request: Message, payload: object = None) -> None:
        """Answer a request; nothing is sent if it must not be answered."""
        flags = request.flags
        if flags:
            if flags & FLAG_NORESPONSE:
                return
            flags &= FLAG_STREAMING
        self.counts[2] += 1
        request.handler = None  # from now on nobody owes it an answer (streams: see EHOSTUNREACH at unload)
        routes = request.routes
        response = Message(
            RESPONSE, request.topic, payload, flags, request.matchtag, self.userid, self.rolemask, self, request.src
        )  # fmt: skip
        if routes:
            response.routes = routes
        if self.tracer is not None:
            self.tracer("tx", self, response)
        if len(routes) > 1:
            self.broker.route_response(response)
        else:
            self.reactor.push(response)

    def respond_error(self, request: Message, errnum: int, text: str = "") -> None:
        """Answer with an errnum and, if given, a text a person can read; this also ends a stream.

        An errnum of 0 is sent as EINVAL, by flux_respond_error(3): an answer without one says that all went well.
        """
        if request.flags & FLAG_NORESPONSE:
            return
        errnum = errnum or EINVAL
        request.handler = None
        request.errnum = errnum  # a stream is owed nothing more, though its end may be on its way for long
        response = Message(
            RESPONSE, request.topic, text or None, request.flags & FLAG_STREAMING, request.matchtag,
            self.userid, self.rolemask, self, request.src, None, request.routes, errnum=errnum,
        )  # fmt: skip
        self.sent(response)
        self.broker.route_response(response)

    def publish(self, topic: str, payload: object = None, private: bool = False) -> None:
        """Publish an event; it is sequenced at rank 0 and delivered to every subscriber, the publisher included."""
        event = Message(
            EVENT, topic, payload, FLAG_PRIVATE if private else 0, userid=self.userid, rolemask=self.rolemask,
            routes=(self.uuid,), src=self,
        )  # fmt: skip
        self.sent(event)
        self.broker.publish(event)

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Tell every message to ``tracer``; who is to be told has a loop, beside which the shortest path leads."""
        self.tracer = tracer
        if tracer is not None or self.own_loop is not None:
            self.module_loop().trace()

    def module_loop(self) -> ModuleLoop:
        """This endpoint's loop with its watchers, made when first asked for."""
        if self.own_loop is None:
            self.own_loop = ModuleLoop(self.reactor, self)
        return self.own_loop

    # -- receiving

    def method(self, topic: str) -> Method | None:
        """The handler of a request topic, ``None`` if this endpoint has no such method."""
        return None

    def event_handler(self, topic: str) -> Handler:
        """What an event is given to when this endpoint's subscription matched."""
        return ignore

    def guest_event_handler(self, topic: str) -> Handler:
        """The same for an event of a guest's, which is counted and handed out, but acted on only where that is said."""
        return self.event_handler(topic)

    def unknown_method(self, request: Message) -> None:
        """Handler of a topic whose service is here but knows no such method; a disconnect needs none."""
        if not request.topic.endswith(".disconnect"):
            self.respond_error(request, ENOSYS, f"Unknown service method '{request.topic}'")

    def deny(self, request: Message) -> None:
        """Handler of a request whose sender lacks the owner role."""
        self.respond_error(request, EPERM, "Request requires owner credentials")

    def refuse(self, request: Message, error: Exception) -> None:
        """Answer a request whose handler raised RequestError."""
        if isinstance(error, RequestError):
            self.respond_error(request, error.errno or 0, error.text)

    async def room(self) -> None:
        """Wait until this endpoint can take more; only who is outside the process can be slow."""

    def remember(self, topic: str, dst: Endpoint, handler: Handler) -> None:
        """A topic of its own leads there."""
        if self.routes is _NOWHERE:
            self.routes = {}
        self.routes[topic] = dst, handler

    def drop_routes(self) -> None:
        """Forget where topics lead: a service came or went."""
        self.routes.clear()

    def drop_routes_to(self, service: str) -> None:
        """Forget where the topics of one service lead."""
        prefix = f"{service}."
        for topic in [topic for topic in self.routes if topic.startswith(prefix) or topic == service]:
            del self.routes[topic]


def unheard(response: Message, _: object) -> None:
    """A continuation (with `AT_ONCE`) for an answer that nobody's code waits for: it takes no turn."""
    asker = response.dst
    asker.wakeups -= 1
    if not asker.pending:
        asker.pending = NOTHING_OPEN  # an empty dict is 64 bytes, and one that held something more


def ignore(*_: object) -> None:
    """A handler or continuation for what needs no reaction."""
