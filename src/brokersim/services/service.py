"""Knows the service service: names that clients and modules register and give back; not how they are found."""

from __future__ import annotations

import msgspec

from brokersim.protocol.errnums import EPERM, RequestError
from brokersim.protocol.message import ROLE_OWNER, Message
from brokersim.services.endpoint import BrokerEndpoint, Table


class ServiceArgs(msgspec.Struct):
    """Payload of service.add and service.remove."""

    service: str


def add(server: BrokerEndpoint, request: Message) -> None:
    """Requests ``NAME.*`` go to the sender from now on; refused with EEXIST if the name is taken."""
    name = request.unpack(ServiceArgs).service
    check_service_name(name, request)
    server.broker.add_service(name, request.src)
    server.respond(request)


def check_service_name(name: str, request: Message) -> None:
    """Raises RequestError(EPERM): a guest's service must be named for its user, ``4242-NAME`` (flux-core's rule)."""
    if not request.rolemask & ROLE_OWNER and not name.startswith(f"{request.userid}-"):
        text = f"service {name!r}: a guest may only register names that begin with {request.userid}-"
        raise RequestError(EPERM, f"Operation not permitted: {text}")


def remove(server: BrokerEndpoint, request: Message) -> None:
    """Refused with ENOENT if the sender does not serve it."""
    server.broker.drop_service(request.unpack(ServiceArgs).service, request.src)
    server.respond(request)


TABLE: Table = {
    "service.add": (add, True),
    "service.remove": (remove, True),
}
