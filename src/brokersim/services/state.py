"""Knows what is asked of the instance as a whole: its state, its status and its end."""

from __future__ import annotations

from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table


def state(server: BrokerEndpoint, request: Message) -> None:
    """Whoever can ask finds the instance in state ``run``; ``duration`` is seconds since its start."""
    server.respond(request, {"state": "run", "duration": server.now()})


def status(server: BrokerEndpoint, request: Message) -> None:
    """What ``brokersim status`` shows."""
    server.respond(request, server.broker.instance.status(server.broker))


def stop(server: BrokerEndpoint, request: Message) -> None:
    """Answer, then end the whole instance."""
    server.respond(request)
    server.reactor.call_later(0, server.broker.instance.stop)


#: ``broker.*`` is ours.
TABLE: Table = {
    "state-machine.get": (state, True),
    "broker.status": (status, True),
    "broker.stop": (stop, False),
}
