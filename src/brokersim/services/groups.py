"""Knows the service groups: which ranks are members of what; ``broker.online`` is there from the first moment on.

A change goes up the tree, one message a hop (``groups.update``), and rank 0 knows all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import msgspec

from brokersim.host.methods import message_counts
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, EPROTO, RequestError
from brokersim.protocol.message import NODEID_UPSTREAM, Message
from brokersim.protocol.ranks import format_ranks, parse_ranks
from brokersim.routing import logring
from brokersim.services.attr import NameArgs
from brokersim.services.endpoint import BrokerEndpoint, Table
from brokersim.services.stages import own_stages

ONLINE: Final = "broker.online"
#: What may be done to a member: flux-core's words.
_CHANGES: Final[dict[str, Callable[[set[int], Iterable[int]], object]]] = {
    "join": lambda members, ranks: members.update(ranks),
    "leave": lambda members, ranks: members.difference_update(ranks),
}


class UpdateArgs(msgspec.Struct):
    """Payload of groups.update: for each group what is done, and to which ranks."""

    update: dict[str, list[tuple[str, str]]]


class Groups:
    """What a rank knows: who of its clients is in which group, and on rank 0 all members and who follows them."""

    def __init__(self, server: BrokerEndpoint) -> None:
        self._server = server
        self.joined: dict[str, Message] = {}
        self.members: dict[str, set[int]] = {}
        self.followers: list[tuple[Message, str]] = []
        if server.rank == 0:
            own_stages(server.broker).on_online = partial(self._tell, ONLINE)

    def idset(self, name: str) -> str:
        """The members as of now."""
        if name != ONLINE:
            return format_ranks(sorted(self.members.get(name, ())))
        online = own_stages(self._server.broker.instance.broker(0)).online
        return format_ranks(range(self._server.size) if online is None else sorted(online))

    def _tell(self, name: str) -> None:
        for request, wanted in list(self.followers):
            if wanted == name:
                self._server.respond(request, {"members": self.idset(name)})

    def change(self, name: str, what: str) -> None:
        """This rank is a member from now on, or no more."""
        self.update({name: [(what, str(self._server.rank))]})

    def update(self, update: dict[str, list[tuple[str, str]]]) -> None:
        """Take changes in where all are known, else pass them on. Raises ValueError for what is none."""
        if self._server.rank:
            self._server.request("groups.update", {"update": update}, nodeid=NODEID_UPSTREAM)
            return
        for name, changes in update.items():
            members = self.members.setdefault(name, set())
            for what, ranks in changes:
                if what not in _CHANGES:
                    raise ValueError(
                        f"group {name!r:.60}: no change {what!r:.40}; there are {', '.join(_CHANGES)}"
                    )
                _CHANGES[what](members, parse_ranks(ranks, self._server.size))
            if not members:
                del self.members[name]
            self._tell(name)


def get(server: BrokerEndpoint, request: Message) -> None:
    """The members of a group as an idset (nobody joined: the empty one); a stream goes on with each change."""
    if server.rank:
        raise RequestError(EPROTO, "groups.get is only available on rank 0")
    groups, name = server.kept(Groups), request.unpack(NameArgs).name
    server.respond(request, {"members": groups.idset(name)})
    if request.is_streaming:
        follower = (request, name)
        groups.followers.append(follower)
        server.add_stream(request, lambda: groups.followers.remove(follower))


def join(server: BrokerEndpoint, request: Message) -> None:
    """The rank is a member until its client leaves the group, or goes."""
    name = _own(server, request)
    groups = server.kept(Groups)
    if name in groups.joined:
        raise RequestError(EEXIST, f"rank {server.rank} is already a member of {name:.60}")
    groups.joined[name] = request
    server.add_stream(request, partial(_leave, server, name))
    groups.change(name, "join")
    server.respond(request)


def leave(server: BrokerEndpoint, request: Message) -> None:
    """The rank is no member any more."""
    name = _own(server, request)
    joined = server.kept(Groups).joined.get(name)
    if joined is None or joined.sender != request.sender:
        raise RequestError(ENOENT, f"rank {server.rank} is not a member of {name:.60}")
    server.drop_stream(joined)
    _leave(server, name)
    server.respond(request)


def _own(server: BrokerEndpoint, request: Message) -> str:
    """The group of a request of a client of this rank. Raises RequestError."""
    name = request.unpack(NameArgs).name
    if len(request.routes) > 1:  # each rank it came over is one more
        raise RequestError(EINVAL, f"{request.topic} is restricted to the local broker")
    if name == ONLINE:
        raise RequestError(EINVAL, f"group {ONLINE} is the brokers' own")
    return name


def _leave(server: BrokerEndpoint, name: str) -> None:
    groups = server.kept(Groups)
    del groups.joined[name]
    groups.change(name, "leave")


def update(server: BrokerEndpoint, request: Message) -> None:
    """Changes of the ranks below; never answered, so what makes no sense stands in the log."""
    try:
        server.kept(Groups).update(request.unpack(UpdateArgs).update)
    except (RequestError, ValueError) as error:
        server.broker.write_log(logring.ERR, "groups", f"groups.update: {error}")


def stats(server: BrokerEndpoint, request: Message) -> None:
    """The message counters, and the members of all groups as far as this rank knows."""
    groups = server.kept(Groups)
    subtree = {name: groups.idset(name) for name in (ONLINE, *groups.members)}
    server.respond(request, {**message_counts(server.counts), "subtree": subtree})


TABLE: Table = {
    "groups.get": (get, True),
    "groups.join": (join, False),
    "groups.leave": (leave, False),
    "groups.update": (update, False),
    "groups.stats-get": (stats, True),
}
