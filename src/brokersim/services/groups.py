"""Knows the service groups: which ranks are online. All are, from the first moment to the last."""

from __future__ import annotations

from brokersim.protocol.errnums import ENOENT, RequestError
from brokersim.protocol.message import Message
from brokersim.protocol.ranks import format_ranks
from brokersim.services.attr import NameArgs
from brokersim.services.endpoint import BrokerEndpoint, Table


def get(server: BrokerEndpoint, request: Message) -> None:
    """The members of ``broker.online`` or ``broker.torpid`` as an idset; refused with ENOENT for other names."""
    name = request.unpack(NameArgs).name
    if name not in ("broker.online", "broker.torpid"):
        raise RequestError(ENOENT, f"no group {name!r}")
    server.respond(request, {"members": format_ranks(range(server.size)) if name == "broker.online" else ""})


TABLE: Table = {"groups.get": (get, True)}
