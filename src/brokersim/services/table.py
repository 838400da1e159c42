"""Knows which services a broker answers itself, and which of them are modules built into it. Not what any does."""

from __future__ import annotations

from brokersim.host.handle import Handle
from brokersim.protocol.topic import service_of
from brokersim.services import (
    attr,
    config,
    environment,
    event,
    flux_paths,
    groups,
    log,
    module,
    overlay,
    rexec,
    scripts,
    service,
    stages,
    state,
)
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint, Table

TABLE: Table = {
    topic: entry
    for part in (attr, environment, event, flux_paths, log, module, scripts, service, stages, state)
    for topic, entry in part.TABLE.items()
}
#: Their service names, each once.
NAMES = frozenset(service_of(topic) for topic in TABLE)
#: Modules that Flux builds into its broker: each counts its own messages.
BUILTINS: dict[str, Table] = {
    "config": config.TABLE,
    "groups": groups.TABLE,
    "overlay": overlay.TABLE,
    "rexec": rexec.TABLE,
}


def speaker(broker: Broker) -> BrokerEndpoint:
    """What speaks for a rank's broker, with the services that are no module's."""
    return BrokerEndpoint(broker, TABLE, ())


def built_in(broker: Broker, name: str) -> Handle | None:
    """What serves a name that no module does: the broker itself, or a module Flux builds into it, made here and now."""
    if name in NAMES:
        return broker.endpoint
    table = BUILTINS.get(name)
    return None if table is None else BrokerEndpoint(broker, table, (name,), name)
