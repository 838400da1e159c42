"""Knows one direction of a link between two ranks: its latency and what went over it."""

from __future__ import annotations

from collections.abc import Callable

from brokersim.protocol.message import Message
from brokersim.routing.ports import Neighbour

Receive = Callable[[Message], None]
#: One hop between two brokers, in seconds; 50 µs is a fast local network.
DEFAULT_LATENCY = 50e-6


class Link:
    """From one broker to a neighbour; messages arrive in the order they were sent."""

    __slots__ = ("is_up", "latency", "peer", "sent", "tap")

    def __init__(self, peer: Neighbour, latency: int) -> None:
        self.peer = peer
        self.latency = latency  # ns
        self.is_up = True
        self.sent = 0
        #: Given every message instead of the peer, to look at, hold or lose it; what may pass it hands to ``carry``.
        self.tap: Callable[[Receive, Message], object] | None = None

    def send(self, receive: Receive, message: Message) -> None:
        """Have the peer call ``receive(message)`` one latency from now."""
        self.sent += 1
        if self.tap is not None:
            self.tap(receive, message)
        elif self.latency:
            reactor = self.peer.reactor
            reactor.arrive_at(reactor.now + self.latency, receive, message)
        else:
            receive(message)

    def carry(self, receive: Receive, message: Message, delay: int = 0) -> None:
        """For a tap: have the peer call ``receive(message)`` one latency and ``delay`` (ns) from now."""
        reactor = self.peer.reactor
        reactor.call_at(reactor.now + self.latency + delay, receive, message)
