"""Knows how a link between two ranks goes down and comes up, and what becomes of those who wait across it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

from brokersim.protocol.errnums import EHOSTUNREACH
from brokersim.protocol.message import Message
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.link import Link
from brokersim.routing.rank import Rank


class Tree(Protocol):
    """The ranks of an instance, and all who are on them."""

    size: int

    def broker(self, rank: int) -> Rank:
        """One of them."""

    def all_endpoints(self) -> Iterator[Endpoint]:
        """Every party on every rank."""


def link_above(tree: Tree, rank: int) -> tuple[Link, Link]:
    """Both directions of the link between a rank (not 0) and its parent: up, down."""
    below = tree.broker(rank)
    assert below.parent is not None
    return below.parent, opposite(tree, below, below.parent)


def opposite(tree: Tree, near: Rank, link: Link) -> Link:
    """The other direction of a link from a rank."""
    return tree.broker(link.peer.rank).peers[near.uuid]


def cut_off(tree: Tree, rank: int, tell: Callable[[Message], object]) -> tuple[Link, Link]:
    """Take the link above a rank down. ``tell(request)`` of each open request over it, which gets EHOSTUNREACH.

    Who asked is told at once, as upstream's brokers tell each other.
    """
    links = link_above(tree, rank)
    above, below = links[0].peer, links[1].peer
    for link in links:
        link.is_up = False
    for request in list(_crossing(tree, above.uuid, below.uuid)):
        tell(request)
        _refuse(tree, request, {above.uuid, below.uuid}, rank)
    return links


def join(links: tuple[Link, Link]) -> None:
    """The link is there again; what was sent meanwhile is lost."""
    for link in links:
        link.is_up = True


def _crossing(tree: Tree, one: str, other: str) -> Iterator[Message]:
    """Open requests whose way, or whose answer's, goes over a link."""
    for endpoint in list(tree.all_endpoints()):
        for request in endpoint.open_requests():
            if _crosses(request, {one, other}):
                yield request


def _crosses(request: Message, ends: set[str]) -> bool:
    way = [*request.routes[1:]]
    if request.dst is not None and way and way[-1] != request.dst.broker.uuid:
        way.append(request.dst.broker.uuid)
    return any({a, b} == ends for a, b in pairwise(way))


def _refuse(tree: Tree, request: Message, ends: set[str], rank: int) -> None:
    """From the near side of the link, by the way the request came."""
    answer = copy.copy(request)
    near = next(at for at, hop in enumerate(request.routes) if hop in ends)
    answer.routes = request.routes[:near]
    here = next(
        broker for broker in map(tree.broker, range(tree.size)) if broker.uuid == request.routes[near]
    )
    here.endpoint.respond_error(answer, EHOSTUNREACH, f"rank {rank} is not reachable")
