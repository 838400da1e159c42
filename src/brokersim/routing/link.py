"""Knows one direction of a link between two ranks: its latency, what a frame costs the peer, and how it breaks."""

from __future__ import annotations

from collections.abc import Callable

from brokersim.native.engine import twin
from brokersim.protocol.message import Message
from brokersim.routing.ports import Neighbour
from brokersim.routing.trace import payload_size

Receive = Callable[[Message], None]
#: One hop between two brokers, in seconds; 50 µs is a fast local network.
DEFAULT_LATENCY = 50e-6


class Port:
    """Where a rank takes in what its neighbours send: one frame after the other, each for its price (ns).

    One for all its links, because a broker is one thread: what makes a star dear is the root's port, not its links.
    """

    __slots__ = ("byte", "frame", "free_at")

    def __init__(self, frame: int, byte: float) -> None:
        self.frame = frame
        self.byte = byte
        self.free_at = 0

    def taken(self, message: Message, when: int) -> int:
        """When (ns) a message is in that gets here at ``when``; the port is busy until then."""
        price = self.frame + (round(payload_size(message) * self.byte) if self.byte else 0)
        self.free_at = max(self.free_at, when) + price
        return self.free_at


class Connection:
    """What a link is made of while it is up. What is under way on one that broke never arrives."""

    __slots__ = ("_peer", "is_whole")

    def __init__(self, peer: Neighbour) -> None:
        self._peer = peer
        self.is_whole = True

    def route_request(self, message: Message) -> None:
        if self.is_whole:
            self._peer.route_request(message)

    def route_response(self, response: Message) -> None:
        if self.is_whole:
            self._peer.route_response(response)

    def publish(self, event: Message) -> None:
        if self.is_whole:
            self._peer.publish(event)

    def distribute(self, event: Message) -> None:
        if self.is_whole:
            self._peer.distribute(event)


@twin
class Link:
    """From one broker to a neighbour; messages arrive in the order they were sent.

    Whoever sends gives a method of ``connection`` as receiver, so that what is under way when it goes down is lost.
    """

    __slots__ = ("connection", "latency", "peer", "port", "sent", "tap")

    def __init__(self, peer: Neighbour, latency: int) -> None:
        self.peer = peer
        self.latency = latency  # ns
        #: The peer's, where virtual time is charged for frames and bytes.
        self.port: Port | None = None
        self.connection = Connection(peer)
        self.sent = 0
        #: Given every message instead of the peer, to look at, hold or lose it; what may pass it hands to ``carry``.
        self.tap: Callable[[Receive, Message], object] | None = None

    @property
    def is_up(self) -> bool:
        """Messages sent now will arrive, unless it goes down before they do."""
        return self.connection.is_whole

    def go_down(self) -> None:
        """Lose what is under way; harmless when it is down already."""
        self.connection.is_whole = False

    def come_up(self) -> None:
        """A new connection; what was under way on the last one stays lost."""
        self.connection = Connection(self.peer)

    def send(self, receive: Receive, message: Message) -> None:
        """Have the peer call ``receive(message)`` one latency from now."""
        self.sent += 1
        if self.tap is not None:
            self.tap(receive, message)
        elif self.port is not None:
            reactor = self.peer.reactor
            reactor.arrive_at(self.port.taken(message, reactor.now + self.latency), receive, message)
        elif self.latency:
            reactor = self.peer.reactor
            reactor.arrive_at(reactor.now + self.latency, receive, message)
        else:
            receive(message)

    def carry(self, receive: Receive, message: Message, delay: int = 0) -> None:
        """For a tap: have the peer call ``receive(message)`` one latency and ``delay`` (ns) from now."""
        reactor = self.peer.reactor
        when = reactor.now + self.latency + delay
        if self.port is None:
            reactor.call_at(when, receive, message)
        elif delay:
            # The port is asked when it gets there: what is on its way for long keeps nobody else waiting.
            reactor.call_at(when, self._take_in, receive, message)
        else:
            reactor.call_at(self.port.taken(message, when), receive, message)

    def _take_in(self, receive: Receive, message: Message) -> None:
        reactor = self.peer.reactor
        when = reactor.now if self.port is None else self.port.taken(message, reactor.now)
        reactor.call_at(when, receive, message)
