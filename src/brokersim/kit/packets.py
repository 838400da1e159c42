"""Knows the packets of message counters among all that was sent to statsd: whose they are and what they say."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from brokersim.protocol.message import COUNTER_NAMES

_TYPES = {name: index for index, name in enumerate(COUNTER_NAMES)}


@attrs.frozen
class CounterPacket:
    """The gauges of one module in one packet: ``values`` by counter name; ``extra`` lines are no counter of it."""

    time: float
    name: str
    rank: int
    values: dict[str, int]
    extra: int

    @property
    def metrics(self) -> int:
        """Lines in the packet."""
        return len(self.values) + self.extra


def counter_packet(time: float, packet: bytes) -> CounterPacket | None:
    """A packet whose first line is ``flux.<module>.<rank>.<counter>:<n>|g``, or None for any other."""
    lines = packet.decode(errors="replace").splitlines()
    found = [_gauge(line) for line in lines]
    if not found or found[0] is None:
        return None
    _, name, rank, _ = found[0]
    values = {item[0]: item[3] for item in found if item is not None and item[1:3] == (name, rank)}
    return CounterPacket(time, name, rank, values, len(lines) - len(values))


def counter_packets(packets: Iterable[tuple[float, bytes]]) -> list[CounterPacket]:
    """Those of a stream that carry message counters, in order."""
    found = (counter_packet(time, packet) for time, packet in packets)
    return [packet for packet in found if packet is not None]


def _gauge(line: str) -> tuple[str, str, int, int] | None:
    key, _, value = line.partition(":")
    number, bar, kind = value.partition("|")
    prefix, _, rest = key.partition(".")
    left, _, counter = rest.rpartition(".")
    name, _, rank = left.rpartition(".")
    digits = number.removeprefix("-")
    if (
        prefix != "flux"
        or counter not in _TYPES
        or not name
        or not rank.isdecimal()
        or not digits.isdecimal()
    ):
        return None
    return (counter, name, int(rank), int(number)) if bar and kind == "g" else None
