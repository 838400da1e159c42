"""Knows how a link between two ranks goes down and comes up, and what becomes of those who wait across it.

Flux's brokers tell each other that a peer is lost, and answer for it what they passed on to it: so whoever waits across
the link gets EHOSTUNREACH from the near end. Here the requests are found from those who asked (their ``pending``), by
the way each has taken: its route stack as far as it came, its destination if it arrived, and from there back as far as
its answer has still to go. One whose answer is past the link already is left alone, or it would be answered twice. An
answer that is under way on the link is lost with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Protocol

from brokersim.protocol.errnums import EHOSTUNREACH
from brokersim.protocol.message import RESPONSE, Message
from brokersim.reactor.loop import Reactor
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
    return tree.broker(link.peer.rank).link_to(near.rank)


def cut_off(tree: Tree, rank: int, tell: Callable[[Message], object]) -> tuple[Link, Link]:
    """Take the link above a rank down. ``tell(request)`` of each open request over it, which gets EHOSTUNREACH.

    Who asked is told at once, as upstream's brokers tell each other; what is under way on the link is lost.
    """
    links = link_above(tree, rank)
    above, below = links[0].peer, links[1].peer
    crossing = list(_crossing(tree, above.uuid, below.uuid))
    for link in links:
        link.go_down()
    for request in crossing:
        tell(request)
        _refuse(tree, request, {above.uuid, below.uuid}, rank)
    return links


def join(links: tuple[Link, Link]) -> None:
    """The link is there again; what was sent meanwhile is lost."""
    for link in links:
        link.come_up()


def _crossing(tree: Tree, one: str, other: str) -> Iterator[Message]:
    """Open requests that have a link before or behind them which they, or their answers, still have to take."""
    ranks = {broker.uuid: broker for broker in map(tree.broker, range(tree.size))}
    answers = _answers(tree.broker(0).reactor)
    for endpoint in list(tree.all_endpoints()):
        for request in endpoint.open_requests():
            if len(request.routes) < 2:
                continue  # it never left its rank
            way = _way(request, ranks, answers.get((request.src, request.matchtag)))
            if any({a, b} == {one, other} for a, b in pairwise(way)):
                yield request


def _answers(reactor: Reactor) -> dict[tuple[Any, int], Message]:
    """The last answers that are under way, by who waits for them; most requests have none."""
    return {
        (message.dst, message.matchtag): message
        for message in reactor.under_way()
        if message.type == RESPONSE and (message.errnum or not message.is_streaming)
    }


def _way(request: Message, ranks: dict[str, Rank], answer: Message | None) -> list[str]:
    """The ranks whose links carry a request and its answer, as far as they are not behind both."""
    way = list(request.routes[1:])
    if request.dst is not None:
        if way[-1] != request.dst.broker.uuid:
            way.append(request.dst.broker.uuid)
        if request.errnum or (request.handler is None and not request.is_streaming):  # it has been answered
            return [] if answer is None else way[: len(answer.routes) + 1]
    else:
        way.append(ranks[way[-1]].next_towards(request).uuid)
    return way


def _refuse(tree: Tree, request: Message, ends: set[str], rank: int) -> None:
    """From the near side of the link, by the way the request came; what is beyond owes it no answer any more."""
    answer = copy.copy(request)
    near = next(at for at, hop in enumerate(request.routes) if hop in ends)  # it was here at the latest
    answer.routes = request.routes[:near]
    here = next(
        broker for broker in map(tree.broker, range(tree.size)) if broker.uuid == request.routes[near]
    )
    answer.dst = here.endpoint
    pending = request.src.pending
    pending[request.matchtag] = (*pending[request.matchtag][:2], answer)
    here.endpoint.respond_error(answer, EHOSTUNREACH, f"rank {rank} is not reachable")
