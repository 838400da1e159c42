"""The statsd floor: a stats client, an aggregator that stands in for several servers, and tools for their streams.

Knows nothing of brokers, sockets, clocks or trio: it can be used alone, with any of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokersim.statsd.aggregator import Aggregator
    from brokersim.statsd.client import ClientStatistics, StatsClient
    from brokersim.statsd.config import AggregatorConfig, ConfigError
    from brokersim.statsd.dialects import DIALECTS, UnknownDialectError
    from brokersim.statsd.flushed import BadLine, Flush, Health
    from brokersim.statsd.names import StatsNameError
    from brokersim.statsd.packet import MAX_PACKET, GaugeBlock, pack

__all__ = [
    "DIALECTS",
    "MAX_PACKET",
    "Aggregator",
    "AggregatorConfig",
    "BadLine",
    "ClientStatistics",
    "ConfigError",
    "Flush",
    "GaugeBlock",
    "Health",
    "StatsClient",
    "StatsNameError",
    "UnknownDialectError",
    "pack",
]

_FILES = {
    "Aggregator": "aggregator",
    "ClientStatistics": "client",
    "StatsClient": "client",
    "AggregatorConfig": "config",
    "ConfigError": "config",
    "DIALECTS": "dialects",
    "UnknownDialectError": "receivers",
    "BadLine": "flushed",
    "Flush": "flushed",
    "Health": "flushed",
    "StatsNameError": "names",
    "MAX_PACKET": "packet",
    "GaugeBlock": "packet",
    "pack": "packet",
}


def __getattr__(name: str) -> object:
    # A module's process needs the client, or less, and must not pay for the aggregator (0.1 s) before it runs.
    if name in _FILES:
        return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
