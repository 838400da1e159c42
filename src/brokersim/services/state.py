"""Knows what is asked of the instance as a whole: its status, its clock and its end. How far it is: stages."""

from __future__ import annotations

import math

import msgspec

from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table


class WaitArgs(msgspec.Struct):
    """Payload of broker.wait: seconds of the instance's clock, as ``uptime`` of broker.status counts them."""

    until: float


def status(server: BrokerEndpoint, request: Message) -> None:
    """What ``brokersim status`` shows."""
    instance, sink = server.broker.instance, server.broker.instance.sink
    handles = [module.handle for module in instance.modules(server.rank)]
    server.respond(
        request,
        {
            "size": instance.size,
            "online": instance.size,
            "uptime": server.now(),
            "modules": len(handles),
            "messages": instance.messages(),
            "clock": instance.common_attributes["clock"],
            "seed": instance.seed,
            "stats": {"target": sink.target, "sent": sink.sent, "refused": sink.refused},
            "masks": {handle.name: handle.mask for handle in handles if handle.mask},
        },
    )


def wait(server: BrokerEndpoint, request: Message) -> None:
    """Answer with ``now`` (s) once the instance's clock has reached ``until``; at once if that is past.

    A client's way to let virtual time pass: it moves while somebody waits. Raises RequestError(EPROTO).
    """
    until = request.unpack(WaitArgs).until
    if not math.isfinite(until):
        raise RequestError(EPROTO, "broker.wait: until is no finite number of seconds")
    server.reactor.call_later(
        max(0.0, until - server.now()), lambda: server.respond(request, {"now": server.now()})
    )


def stop(server: BrokerEndpoint, request: Message) -> None:
    """Answer, then end the whole instance."""
    server.respond(request)
    server.reactor.call_later(0, server.broker.instance.stop)


#: ``broker.*`` is ours.
TABLE: Table = {
    "broker.status": (status, True),
    "broker.wait": (wait, True),
    "broker.stop": (stop, False),
}
