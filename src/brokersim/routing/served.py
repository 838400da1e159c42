"""Knows who has been asked by whom, so that one that goes finds the answers it owes; not what was asked.

The requests themselves are the askers' (``Actor.pending``), open or not; here is only where to look. A pair is noted
when a way is found, which is before the first request and never again while that way is remembered: so the price is
off the path of a message, and what goes looks at its own askers, whatever the size of the instance.
"""

from __future__ import annotations

from collections.abc import Iterator

from brokersim.protocol.message import Message
from brokersim.routing.endpoint import Endpoint


def note(server: Endpoint, asker: Endpoint) -> None:
    """``server`` is about to be handed a request of ``asker``; who has gone sends disconnects, and is owed nothing."""
    if not asker.is_open:
        return
    if server.askers is None:
        server.askers = {}
    if asker not in server.askers:
        server.askers[asker] = None
        if asker.asked is None:
            asker.asked = {}
        asker.asked[server] = None


def owed_by(server: Endpoint) -> Iterator[Message]:
    """The open requests that ``server`` was handed and has not answered; a stream counts until it has ended."""
    for asker in server.askers or ():
        for request in asker.open_requests():
            is_answered = request.errnum or (request.handler is None and not request.is_streaming)
            if request.dst is server and not is_answered:
                yield request


def forget(gone: Endpoint) -> None:
    """It has gone: nobody asks it any more, and it asks nobody."""
    for asker in gone.askers or ():
        if asker.asked is not None:
            asker.asked.pop(gone, None)
    for server in gone.asked or ():
        if server.askers is not None:
            server.askers.pop(gone, None)
    gone.askers = gone.asked = None
