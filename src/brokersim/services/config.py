"""Knows the service config: the configuration object of the instance, read."""

from __future__ import annotations

from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table


def get(server: BrokerEndpoint, request: Message) -> None:
    """The configuration object."""
    server.respond(request, server.broker.instance.conf)


TABLE: Table = {"config.get": (get, True)}
