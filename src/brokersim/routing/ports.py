"""Knows what the parts of routing ask of what stands beside and above them, as Protocols; implements none of it.

Whoever implements one says so in its list of bases, so that a method that goes missing is an error of the type checker.
What a module's handle asks is in `host/ports.py`, what services ask in `services/broker.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from brokersim.protocol.message import Message
from brokersim.reactor.loop import Reactor


class Router(Protocol):
    """What an endpoint asks of its rank, or of what stands for one at the far end of a wire."""

    rank: int
    uuid: str
    #: User id of the instance's owner.
    owner: int
    reactor: Reactor

    def identity(self, name: str, serial: int) -> str:
        """The identity of the party called ``name`` that was given this number."""

    def route_request(self, message: Message) -> None:
        """Send a request one step on: to the local service, further on, or back with an errnum."""

    def route_response(self, response: Message) -> None:
        """Send a response one step back along its route stack."""

    def publish(self, event: Message) -> None:
        """Have an event sequenced and given to its subscribers."""


class Neighbour(Router, Protocol):
    """What a link asks of its peer, and who sends over it."""

    def distribute(self, event: Message) -> None:
        """Give a sequenced event to the subscribers of the peer, and to the ranks below it."""


class Naming(Protocol):
    """Who gives parties their identities."""

    def uuid(self, rank: int, name: str) -> str:
        """An identity for what is called ``name`` on a rank; a new one each time."""

    def serial(self, rank: int, name: str) -> int:
        """A number from which the same can be made when it is asked for."""

    def identity(self, rank: int, name: str, serial: int) -> str:
        """The identity of what was the ``serial``th called ``name`` on a rank."""


class Ranks(Protocol):
    """What a rank asks of its instance."""

    size: int
    fanout: int
    #: User id of the instance's owner.
    owner: int
    reactor: Reactor
    #: Broker attributes that every rank has.
    common_attributes: Mapping[str, str]
    identities: Naming

    def own_attributes(self, rank: int) -> Mapping[str, str]:
        """Broker attributes by which a rank differs from the others (`attributes.OWN`)."""

    def wall_time(self) -> float:
        """Seconds since the epoch, by the instance's clock."""
