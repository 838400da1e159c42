"""Knows one rank: who serves a name, who subscribed, where a message goes next. Not what modules do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from brokersim.native.engine import twin
from brokersim.protocol.errnums import EEXIST, EHOSTUNREACH, EINVAL, ENOENT, ENOSYS, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_PRIVATE,
    FLAG_UPSTREAM,
    NODEID_ANY,
    REQUEST,
    ROLE_OWNER,
    Message,
)
from brokersim.protocol.topic import service_of
from brokersim.protocol.topology import children, next_hop, parent
from brokersim.routing import served
from brokersim.routing.attributes import Attributes
from brokersim.routing.endpoint import Endpoint, Handler
from brokersim.routing.link import Link
from brokersim.routing.logring import LogRing, format_line
from brokersim.routing.ports import Neighbour, Ranks
from brokersim.routing.subscriptions import Subscribers, Subscriptions
from brokersim.routing.trace import Trace, tracer_for

#: Topics whose ways a rank remembers: shells and commands ask some thirty.
_WAYS_MAX = 256


#: Asked once or twice in a module's life: remembering where they lead would cost each module, or rank, 300 bytes.
_SELDOM = frozenset(
    {"event.subscribe", "event.unsubscribe", "log.append", "module.status", "service.add", "service.remove"}
)


@twin
def fan_out(event: Message, subscribers: Subscribers, push: Callable[[Message], object]) -> None:
    """Queue a delivery of an event for each of its subscribers on one rank."""
    topic, data, flags, seq = event.topic, event.data, event.flags, event.seq
    userid, rolemask, routes, src = event.userid, event.rolemask, event.routes, event.src
    private = flags & FLAG_PRIVATE
    endpoints, handlers = subscribers
    if not rolemask & ROLE_OWNER:
        handlers = tuple(dst.guest_event_handler(topic) for dst in endpoints)
    for dst, handler in zip(endpoints, handlers, strict=True):
        if private and not dst.rolemask & ROLE_OWNER and dst.userid != userid:
            continue
        delivery = Message(
            EVENT, topic, data, flags, 0, userid, rolemask, src, dst, handler, routes, seq
        )  # fmt: skip
        push(delivery)


@twin
def pass_down(event: Message, links: tuple[Link, ...]) -> None:
    """Send an event over links that are up."""
    for link in links:
        if link.connection.is_whole:
            link.send(link.connection.distribute, event)


class Rank(Neighbour):
    """One rank of an instance: its services, subscriptions and links. One fact, one table each.

    ``services`` says who serves a name; ``subscriptions`` who wants which topic prefix, one entry a
    subscription; ``endpoints`` who is on this rank; open requests live in the endpoints' ``pending``.
    """

    def __init__(self, instance: Ranks, rank: int) -> None:
        self.instance: Ranks = instance
        self.reactor = instance.reactor
        self.rank = rank
        self.size = instance.size
        self.owner = instance.owner
        self.uuid = instance.identities.uuid(rank, "broker")
        #: Speaks for the broker itself: services ``broker``, ``attr``, ``log`` and their like.
        self.endpoint: Endpoint
        self.services: dict[str, Endpoint] = {}
        self.subscriptions = Subscriptions()
        self.endpoints: dict[Endpoint, None] = {}
        self.parent: Link | None = None
        self.children: tuple[Link, ...] = ()
        #: Links by the identity of who is at their end; made when an answer goes back over one.
        self._peers: dict[str, Link] | None = None
        #: Made when they are asked for: a lean rank never is.
        self._attributes: Attributes | None = None
        self._log: LogRing | None = None
        self.sequence = 0
        #: What parties that have gone received, and the turns they took.
        self._retired = 0
        self._retired_turns = 0
        self.traces: tuple[Trace, ...] = ()
        #: Told of every event that is handed out on this rank, with its subscribers here.
        self.on_distribute: Callable[[Rank, Message, Subscribers], object] | None = None
        #: Where topics lead here that who asks does not remember: who comes and goes, as each job has a shell that asks
        #: what the last one asked, and who wants no answer or speaks for another. Most ranks of many have none.
        self._ways: dict[str, tuple[Endpoint, Handler]] | None = None

    def connect(self, ranks: Sequence[Rank], latency: int) -> None:
        """Make the links of this rank in the k-ary tree."""
        fanout = self.instance.fanout
        up = parent(self.rank, fanout)
        if up is not None:
            self.parent = Link(ranks[up], latency)
        self.children = tuple(Link(ranks[rank], latency) for rank in children(self.rank, fanout, self.size))

    def replace(self, old: Rank) -> None:
        """Stand at the end of the links of one that is gone; its neighbours still have to `meet` this one."""
        self.parent, self.children = old.parent, old.children
        self._retired, self._retired_turns = old.messages(), old.turns()

    def meet(self, peer: Neighbour) -> None:
        """A neighbour is there, maybe anew: the link to it is up, and nothing it was sent before will arrive."""
        link = self.link_to(peer.rank)
        link.peer = peer
        self._peers = None
        link.come_up()

    @property
    def above(self) -> int | None:
        """The rank of the parent, ``None`` on rank 0."""
        return None if self.parent is None else self.parent.peer.rank

    @property
    def below(self) -> tuple[int, ...]:
        """The ranks of the children, ascending."""
        return tuple(link.peer.rank for link in self.children)

    @property
    def links(self) -> tuple[Link, ...]:
        """To its neighbours: the parent first, then the children by rank."""
        return self.children if self.parent is None else (self.parent, *self.children)

    def link_to(self, rank: int) -> Link:
        """The link to a neighbour."""
        if self.parent is not None and rank == self.parent.peer.rank:
            return self.parent
        return self.children[rank - self.children[0].peer.rank]  # their ranks follow one another

    @property
    def attributes(self) -> Attributes:
        """Broker attributes as they are on this rank."""
        if self._attributes is None:
            own = partial(self.instance.own_attributes, self.rank)
            self._attributes = Attributes(self.instance.common_attributes, own)
        return self._attributes

    @property
    def log(self) -> LogRing:
        """The last lines of its log."""
        if self._log is None:
            self._log = LogRing(self.rank, int(self.instance.common_attributes["log-ring-size"]))
        return self._log

    # -- endpoints and services

    def identity(self, name: str, serial: int) -> str:
        return self.instance.identities.identity(self.rank, name, serial)

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint] = None
        if self.traces:
            endpoint.set_tracer(tracer_for(self.traces, endpoint.name))

    def drop_endpoint(self, endpoint: Endpoint) -> None:
        """An endpoint goes: its names, its subscriptions, the requests on their way to it, what it owed."""
        endpoint.is_open = False
        self._retired += sum(endpoint.counts[1::2])
        self._retired_turns += endpoint.iterations
        self.endpoints.pop(endpoint, None)
        if endpoint.has_served:  # most that go are clients, which served nobody
            self._drop_names(endpoint)
        self.subscriptions.drop(endpoint)
        for message in self.reactor.purge(endpoint):
            if message.type == REQUEST:
                message.dst = None  # so that it is answered once, by whoever it reaches now
                self.route_request(message)
        for request in list(served.owed_by(endpoint)):
            # Nobody will answer it any more: its callers get EHOSTUNREACH, as in Flux.
            self.endpoint.respond_error(request, EHOSTUNREACH, "module disconnect")
        served.forget(endpoint)
        self._send_disconnects(endpoint)
        endpoint.pending.clear()
        # A message is no business of the garbage collector: who is held by one that it holds would never be let go.
        endpoint.tracer = endpoint.loop = endpoint.own_loop = None
        endpoint.drop_routes()
        if endpoint.station is not None:
            endpoint.station.leave()

    def _drop_names(self, endpoint: Endpoint) -> None:
        names = [name for name, served_by in self.services.items() if served_by is endpoint]
        for name in names:
            del self.services[name]
        if names:
            self._changed()

    def messages(self) -> int:
        """Messages received by all parties of this rank since the start, those that have gone included."""
        return self._retired + sum(sum(endpoint.counts[1::2]) for endpoint in self.endpoints)

    def turns(self) -> int:
        """Turns of their loops that the same parties took."""
        return self._retired_turns + sum(endpoint.iterations for endpoint in self.endpoints)

    def service(self, name: str) -> Endpoint | None:
        """Who serves a name here."""
        return self.services.get(name) or self.built_in(name)

    def built_in(self, name: str) -> Endpoint | None:
        """A service that is made when it is first asked for: most ranks of a large instance never need theirs."""
        return None

    def add_service(self, name: str, endpoint: Endpoint) -> None:
        """Raises RequestError: EINVAL for a name that cannot be one, EEXIST if it is taken.

        Nobody serves a name who went before it was its turn.
        """
        if not name or "." in name or "\0" in name:
            raise RequestError(EINVAL, f"service name {name!r} is empty or contains a dot")
        if self.service(name) is not None:
            raise RequestError(EEXIST, f"service {name!r} is already registered")
        if not endpoint.is_open:
            return
        self.services[name] = endpoint  # nobody remembers a way to it: ways lead to names that are there
        endpoint.has_served = True

    def drop_service(self, name: str, endpoint: Endpoint) -> None:
        """Raises RequestError(ENOENT) if ``endpoint`` does not serve it."""
        if self.services.get(name) is not endpoint:
            raise RequestError(ENOENT, f"service {name!r} is not registered here")
        del self.services[name]
        for asker in endpoint.askers or ():  # nobody else remembers a way to it, but the rank
            asker.drop_routes_to(name)
        if self._ways:
            self._ways = {topic: way for topic, way in self._ways.items() if way[0] is not endpoint}

    def replace_server(self, old: Endpoint, new: Endpoint) -> None:
        """All that ``old`` serves is served by ``new`` from now on."""
        for name in [name for name, server in self.services.items() if server is old]:
            self.services[name] = new
        new.has_served = True
        self._changed()

    def stop_serving(self, endpoint: Endpoint) -> None:
        """An endpoint takes no new requests; those still queued are routed anew (ENOSYS if nobody else serves)."""
        self._drop_names(endpoint)
        queued = self.reactor.purge(endpoint)
        for message in queued:
            if message.type == REQUEST:
                # Whoever it reaches now answers it, and nobody does when this one has gone.
                message.dst = None
                self.route_request(message)
            else:
                self.reactor.push(message)

    def write_log(self, level: int, name: str, text: str) -> None:
        """Append a line of the broker's own to this rank's log, and to those above it, as modules' lines are."""
        line = self.write_local_log(level, name, text)
        if self.rank:
            self.endpoint.request("log.append", line.encode(), nodeid=self.rank, flags=FLAG_UPSTREAM)

    def write_local_log(self, level: int, name: str, text: str) -> str:
        """Append a line to the log of this rank alone."""
        line = format_line(level, self.instance.wall_time(), self.rank, name, text)
        self.log.append(line)
        return line

    def _changed(self) -> None:
        """Services or handlers changed: what was remembered of them is void."""
        self.subscriptions.known.clear()
        self._ways = None
        for endpoint in self.endpoints:
            endpoint.drop_routes()

    def _send_disconnects(self, gone: Endpoint) -> None:
        for service, nodeid, upstream in gone.called or ():
            message = Message(
                REQUEST, f"{service}.disconnect", None, FLAG_NORESPONSE | upstream, nodeid=nodeid,
                userid=gone.userid, rolemask=gone.rolemask, routes=(gone.uuid,), src=gone,
            )  # fmt: skip
            self.route_request(message)
        gone.called = None

    # -- requests and responses

    def path(self, request: Message) -> tuple[str, ...]:
        """The uuids a request came by, originator first, this broker's last."""
        return (*(request.routes or (request.src.uuid,)), self.uuid)

    def route_request(self, message: Message) -> None:
        """Send a request one step on: to the local service, over a link, or back with an errnum."""
        if not self.reactor.is_inside:
            self.reactor.defer(partial(self.route_request, message))
            return
        nodeid = message.nodeid
        here = nodeid == self.rank
        upstream = message.flags & FLAG_UPSTREAM
        if upstream and here:
            if self.parent is None:
                self.endpoint.respond_error(
                    message, EHOSTUNREACH, "No route to host: nothing is above rank 0"
                )
            else:
                self._forward(self.parent, message)
        elif nodeid == NODEID_ANY or here or upstream:
            if self._ways and self._goes_a_known_way(message):
                return
            service = self.service(service_of(message.topic))
            if service is not None:
                self.deliver_request(service, message)
            elif self.parent is None or (here and not upstream):
                self._no_service(message)
            else:
                self._forward(self.parent, message)
        elif nodeid < self.size:
            rank = next_hop(self.rank, nodeid, self.instance.fanout, self.size)
            self._forward(self.link_to(rank), message)
        else:
            text = f"No route to rank {nodeid}: the instance has ranks 0-{self.size - 1}"
            self.endpoint.respond_error(message, EHOSTUNREACH, text)

    def _goes_a_known_way(self, message: Message) -> bool:
        """Queue a request for whom the one before it was for, if that is known; else False."""
        assert self._ways is not None
        way = self._ways.get(message.topic)
        if way is None or not message.rolemask & ROLE_OWNER:
            return False
        message.dst, message.handler = service, handler = way
        if self._may_be_remembered(message):
            message.src.remember(message.topic, service, handler)
        if service.has_served:
            served.note(service, message.src)
        self.reactor.push(message)
        return True

    def _may_be_remembered(self, message: Message) -> bool:
        """Where it leads its sender may send the next one of that topic by itself."""
        # Not one that wants no answer: what is remembered skips the note for the disconnect.
        return (
            message.src.broker is self
            and message.nodeid == NODEID_ANY
            and bool(message.rolemask & ROLE_OWNER)
            and not message.flags & FLAG_NORESPONSE
            and message.topic not in _SELDOM
        )

    def forget_way(self, topic: str) -> None:
        """A request of that topic went to who was not ready yet: the next one may lead elsewhere."""
        if self._ways is not None:
            self._ways.pop(topic, None)

    def deliver_request(self, service: Endpoint, message: Message) -> None:
        """Queue a request for the endpoint that serves its name."""
        method = service.method(message.topic)
        is_owner = message.rolemask & ROLE_OWNER
        if method is None:
            handler: Handler = service.unknown_method
        elif not is_owner and not method[1]:
            handler = service.deny
        else:
            handler = method[0]
        if is_owner and (method is not None or message.topic.endswith(".disconnect")):
            self._remember(message, service, handler)
        if service.has_served:  # the broker itself never goes
            served.note(service, message.src)
        message.dst = service
        message.handler = handler
        self.reactor.push(message)

    def _remember(self, message: Message, service: Endpoint, handler: Handler) -> None:
        """The next request of that topic goes there: its sender knows, or the rank does."""
        src = message.src
        if self._may_be_remembered(message):
            src.remember(message.topic, service, handler)
            if self.services.get(src.name) is src:  # a module
                return
        if message.topic not in _SELDOM:
            if self._ways is None or len(self._ways) >= _WAYS_MAX:
                self._ways = {}
            self._ways[message.topic] = service, handler

    def next_towards(self, request: Message) -> Neighbour:
        """The rank that a request which is no business of this one goes to next; the root has nobody above."""
        if request.nodeid == NODEID_ANY or request.flags & FLAG_UPSTREAM:
            return self if self.parent is None else self.parent.peer
        return self.link_to(next_hop(self.rank, request.nodeid, self.instance.fanout, self.size)).peer

    def _forward(self, link: Link, message: Message) -> None:
        connection = link.connection
        if not connection.is_whole:
            self.endpoint.respond_error(message, EHOSTUNREACH, f"rank {link.peer.rank} is not reachable")
            return
        message.routes = (*(message.routes or (message.src.uuid,)), self.uuid)
        link.send(connection.route_request, message)

    def _no_service(self, message: Message) -> None:
        self.endpoint.respond_error(message, ENOSYS, f"No service matching {message.topic} is registered")

    def route_response(self, response: Message) -> None:
        """Send a response one hop back along its route stack, or hand it to whoever asked."""
        routes = response.routes
        if len(routes) <= 1:
            self.reactor.push(response)
            return
        if not self.reactor.is_inside:
            self.reactor.defer(partial(self.route_response, response))
            return
        if self._peers is None:
            self._peers = {link.peer.uuid: link for link in self.links}
        link = self._peers.get(routes[-1])
        if link is None or not link.connection.is_whole:
            return  # the way back is gone; the broker at its other end has answered EHOSTUNREACH
        response.routes = routes[:-1]
        link.send(link.connection.route_response, response)

    # -- events

    def publish(self, event: Message) -> None:
        """Bring an event to rank 0, which gives it the next sequence number and sends it down the tree."""
        if not self.reactor.is_inside:
            self.reactor.defer(partial(self.publish, event))
            return
        if self.parent is not None:
            if self.parent.connection.is_whole:
                self.parent.send(self.parent.connection.publish, event)
            return
        self.sequence += 1
        event.seq = self.sequence
        event.routes = (*event.routes, self.uuid)
        self.distribute(event)

    def distribute(self, event: Message) -> None:
        """Queue a sequenced event for every subscriber here, and pass it to the ranks below."""
        topic = event.topic
        subscribers = self.subscriptions.known.get(topic)
        if subscribers is None:
            subscribers = self.subscriptions.subscribers(topic)
        if self.on_distribute is not None:
            self.on_distribute(self, event, subscribers)
        if subscribers[0]:
            fan_out(event, subscribers, self.reactor.push)
        pass_down(event, self.children)

    def subscribe(self, prefix: str, endpoint: Endpoint) -> None:
        """Add one subscription; ``""`` is everything. Of one who went while it was asked for there is none to add."""
        if not endpoint.is_open:
            return
        self.subscriptions.add(prefix, endpoint)

    def unsubscribe(self, prefix: str, endpoint: Endpoint) -> None:
        """Drop one subscription. Raises RequestError(ENOENT) if there is none."""
        if not self.subscriptions.remove(prefix, endpoint):
            raise RequestError(ENOENT, f"no subscription to {prefix!r}")

    # -- tracing

    def add_trace(self, trace: Trace) -> None:
        self.traces = (*self.traces, trace)
        self._retrace()

    def drop_trace(self, trace: Trace) -> None:
        self.traces = tuple(one for one in self.traces if one is not trace)
        self._retrace()

    def _retrace(self) -> None:
        for endpoint in self.endpoints:
            endpoint.set_tracer(tracer_for(self.traces, endpoint.name))
