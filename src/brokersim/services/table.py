"""Knows which services a broker answers itself: the tables of all of them, as one. Not what any of them does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brokersim.services import attr, broker, event, groups, log, module, overlay, resource, rexec, service
from brokersim.services.endpoint import BrokerEndpoint, Table

if TYPE_CHECKING:
    from brokersim.routing.rank import Broker

TABLE: Table = {
    topic: entry
    for part in (attr, broker, event, groups, log, module, overlay, resource, rexec, service)
    for topic, entry in part.TABLE.items()
}
#: Their service names, each once.
NAMES = tuple(dict.fromkeys(topic.partition(".")[0] for topic in TABLE))


def speaker(rank: Broker) -> BrokerEndpoint:
    """What speaks for a rank's broker, with all of these services."""
    return BrokerEndpoint(rank, TABLE, NAMES)
