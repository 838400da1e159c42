"""Knows where statsd packets go inside the process: nowhere, or into a list. Sockets are in `net`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from brokersim.statsd.receivers import ANY


class Sink(Protocol):
    """Takes packets without blocking. ``send`` is False if a packet was refused; it never raises.

    ``dialect`` is what the receiver reads (`brokersim.statsd.receivers.RECEIVERS`).
    """

    target: str
    dialect: str
    sent: int
    refused: int

    def send(self, packet: bytes) -> bool: ...

    def close(self) -> None: ...


@runtime_checkable
class CountSink(Sink, Protocol):
    """A sink that reads no packets: it takes a module's counters as they are, sparing it their datagram.

    What ``taker(module)`` gives is called with the eight counters, which stay as they are.
    """

    def taker(self, module: str) -> Callable[[Sequence[int]], object]: ...


class NullSink:
    """No target: packets are dropped and not counted."""

    target = ""
    dialect = ANY

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0

    def send(self, packet: bytes) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class MemorySink:
    """Keeps every packet with its reactor time in seconds."""

    target = "mem:"
    dialect = "strict"

    def __init__(self) -> None:
        self.now: Callable[[], float] = lambda: 0.0
        self.packets: list[tuple[float, bytes]] = []
        self.refused = 0

    @property
    def sent(self) -> int:
        return len(self.packets)

    @sent.setter
    def sent(self, value: int) -> None:
        raise AttributeError("the packets kept are the count")

    def send(self, packet: bytes) -> bool:
        self.packets.append((self.now(), packet))
        return True

    def close(self) -> None:
        """The packets stay readable."""
