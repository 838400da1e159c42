"""Knows what those who are asked about a running server ask of it in turn, as a Protocol."""

from __future__ import annotations

from typing import Protocol

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.cardinality import Cardinality
from brokersim.statsd.flushed import BadLine, Flush
from brokersim.statsd_server.health import ServerStatistics
from brokersim.statsd_server.outputs.openmetrics import OpenMetricsPage
from brokersim.statsd_server.settings import ServeSettings
from brokersim.statsd_server.wiretap import Wiretap


class Running(Protocol):
    """A server, to whoever tells of it."""

    settings: ServeSettings
    aggregator: Aggregator
    openmetrics: OpenMetricsPage
    wiretap: Wiretap
    last_flush: Flush | None
    #: What it says of its health; somebody may set it.
    is_up: bool

    def now(self) -> float:
        """Seconds of its clock."""

    def cardinality(self) -> Cardinality:
        """Who makes the series, as of some seconds ago."""

    def statistics(self) -> ServerStatistics:
        """Its own figures, up to now."""

    def bad_lines(self) -> tuple[BadLine, ...]:
        """The last lines it could not read."""

    def note_fault(self, line: str) -> None:
        """A fault that is nobody's to mend but ours, or a lack of descriptors: told, 100 times at most."""
