"""Knows what a measurement asks of its module, and of chance; implements none of it."""

from __future__ import annotations

from typing import Protocol

from brokersim.brokermod import Handle

from .contract import Reading
from .plan import Measurement
from .sending.collector import Collector
from .ticker import Ticker


class Measured(Protocol):
    """A measurement as its module sees it when told of it."""

    __slots__ = ()

    measurement: Measurement
    state: str
    reason: str


class Random(Protocol):
    """What a measurement asks of chance."""

    def random(self) -> float: ...

    def uniform(self, low: float, high: float) -> float: ...


class Station(Protocol):
    """What a measurement asks of its module."""

    handle: Handle
    collector: Collector
    ticker: Ticker
    #: What a flat answer is about: this rank.
    subject: str

    def clock(self) -> float:
        """Seconds of this process's own clock, by which reads are charged; stands still in virtual time."""

    def reported(self) -> None:
        """Queues have something new."""

    def told(self, runner: Measured) -> None:
        """Its state is another now."""

    def gone(self, runner: Measured, reading: Reading) -> None:
        """A process it read is no more."""

    def counted(self, label: str, what: str, number: int) -> None:
        """For the module's own statistics: so many more of these. ``label`` is a name as statsd can take it."""

    def took(self, label: str, seconds: float) -> None:
        """The same: a run has taken so long."""
