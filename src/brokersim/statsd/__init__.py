"""The statsd floor: a stats client, an aggregator that stands in for several servers, and tools for their streams.

Knows nothing of brokers, sockets, clocks or trio: it can be used alone, with any of them.
"""

from __future__ import annotations

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
