"""Knows which services a broker answers itself: the tables of all of them, as one. Not what any of them does."""

from __future__ import annotations

from brokersim.services import attr, event, groups, log, module, overlay, resource, rexec, service, state
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint, Table

TABLE: Table = {
    topic: entry
    for part in (attr, event, groups, log, module, overlay, resource, rexec, service, state)
    for topic, entry in part.TABLE.items()
}
#: Their service names, each once.
NAMES = tuple(dict.fromkeys(topic.partition(".")[0] for topic in TABLE))


def speaker(broker: Broker) -> BrokerEndpoint:
    """What speaks for a rank's broker, with all of these services."""
    return BrokerEndpoint(broker, TABLE, NAMES)
