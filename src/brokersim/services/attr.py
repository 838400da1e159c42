"""Knows the service attr: the attributes of a rank read, listed, set and removed (flux-core 0.88's payloads)."""

from __future__ import annotations

import msgspec

from brokersim.protocol.errnums import ENOENT
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table


class NameArgs(msgspec.Struct):
    """Payload of attr.get and attr.rm."""

    name: str


class SetArgs(msgspec.Struct):
    """Payload of attr.set."""

    name: str
    value: str
    force: bool = False


def get(server: BrokerEndpoint, request: Message) -> None:
    """The value, and whether a client may keep it for good (``flags``)."""
    name = request.unpack(NameArgs).name
    value = server.broker.attributes.get(name)
    if value is None:
        server.respond_error(request, ENOENT)
    else:
        server.respond(request, {"value": value, "flags": server.broker.attributes.flags(name)})


def list_(server: BrokerEndpoint, request: Message) -> None:
    """All names, in the order they were first set."""
    server.respond(request, {"names": [name for name, _ in server.broker.attributes.items()]})


def set_(server: BrokerEndpoint, request: Message) -> None:
    """Refused with EPERM if it is immutable, EINVAL if it is not meant to change and that is not forced."""
    args = request.unpack(SetArgs)
    server.broker.attributes.set(args.name, args.value, args.force)
    server.respond(request)


def remove(server: BrokerEndpoint, request: Message) -> None:
    """Refused with EPERM if it is immutable."""
    server.broker.attributes.remove(request.unpack(NameArgs).name)
    server.respond(request)


TABLE: Table = {
    "attr.get": (get, True),
    "attr.list": (list_, True),
    "attr.set": (set_, False),
    "attr.rm": (remove, False),
}
