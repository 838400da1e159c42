"""Knows the service log: lines that come in, the ring that dmesg streams; not the form of a line (logring)."""

from __future__ import annotations

from functools import partial

import msgspec

from brokersim.protocol.errnums import ENODATA
from brokersim.protocol.message import FLAG_UPSTREAM, Message
from brokersim.routing.logring import one_line
from brokersim.services.endpoint import BrokerEndpoint, Table


class DmesgArgs(msgspec.Struct):
    """Payload of log.dmesg: go on with new lines; leave out the old ones."""

    follow: bool
    nobacklog: bool = False


def append(server: BrokerEndpoint, request: Message) -> None:
    """Keep a finished log line; ranks below 0 pass it up, so that rank 0 has them all. Never answered."""
    line = one_line(request.raw.rstrip(b"\0\n").decode(errors="replace"))
    server.broker.log.append(line)
    if server.rank:
        server.request("log.append", line.encode(), nodeid=server.rank, flags=FLAG_UPSTREAM)


def dmesg(server: BrokerEndpoint, request: Message) -> None:
    """Stream the ring, one line a response, and with ``follow`` what comes after."""
    args = request.unpack(DmesgArgs)
    ring = server.broker.log
    if not args.nobacklog:
        for line in ring.lines():
            server.respond(request, line)
    if not args.follow:
        server.respond_error(request, ENODATA)
        return
    follow = partial(server.respond, request)
    ring.followers.append(follow)
    server.add_stream(request, partial(ring.followers.remove, follow))


def stats(server: BrokerEndpoint, request: Message) -> None:
    """Lines in the ring, and lines there were since the start."""
    ring = server.broker.log
    server.respond(request, {"ring-used": len(ring.lines()), "count": ring.count})


def clear(server: BrokerEndpoint, request: Message) -> None:
    """Empty the ring of this rank."""
    server.broker.log.clear()
    server.respond(request)


TABLE: Table = {
    "log.append": (append, True),
    "log.dmesg": (dmesg, False),
    "log.clear": (clear, False),
    "log.stats-get": (stats, True),
}
