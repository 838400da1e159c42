"""Packets: whole lines up to 1440 bytes; and the datagram of a fixed list of gauges, compiled once.

Knows nothing of what lines say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from brokersim.statsd.names import check_name

# Ethernet's MTU less headers; Flux's own client uses the same.
MAX_PACKET = 1440


def pack(groups: Iterable[bytes], limit: int = MAX_PACKET) -> Iterator[bytes]:
    """Packets of at most `limit` bytes, LF between lines and none at the end, in the order given.

    A group is one line or several that must not part (a negative gauge's two). Raises ValueError for one that is
    longer than the limit.
    """
    packet: list[bytes] = []
    size = -1
    for group in groups:
        if len(group) > limit:
            raise ValueError(f"line {group[:40]!r}… has {len(group)} bytes; a packet holds {limit}")
        if size + 1 + len(group) > limit:
            yield b"\n".join(packet)
            packet, size = [], -1
        packet.append(group)
        size += 1 + len(group)
    if packet:
        yield b"\n".join(packet)


def gauge_lines(key: bytes, value: bytes) -> bytes:
    """The lines that set a gauge to `value`. Below 0 they are two: a minus sign alone would be a decrement."""
    if value.startswith(b"-"):
        return b"%b:0|g\n%b:%b|g" % (key, key, value)
    return b"%b:%b|g" % (key, value)


class GaugeBlock:
    """One datagram that sets a fixed list of gauges to whole numbers, such as a module's eight counters.

    Raises StatsNameError for a bad name, ValueError if the datagram could exceed `MAX_PACKET`.
    """

    # Room for a count of 64 bits with its sign.
    _DIGITS = 20

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(check_name(name) for name in names)
        if not self.names:
            raise ValueError("a gauge block needs at least one name")
        longest = sum(len(name) + len(":|g\n") + self._DIGITS for name in self.names) - 1
        if longest > MAX_PACKET:
            raise ValueError(
                f"{len(names)} gauges from {names[0]!r} on may need {longest} bytes; a packet holds {MAX_PACKET}"
            )
        self._template = "\n".join(f"{name}:%d|g" for name in self.names).encode()

    def format(self, values: Sequence[int]) -> bytes:
        """The datagram, LF between lines, none at the end. Raises TypeError unless there is one value per name."""
        packet = self._template % tuple(values)
        # One search is cheaper than a comparison per value; counters never go below 0.
        return packet if b":-" not in packet else self._with_negatives(values)

    def format_counts(self, values: Sequence[int]) -> bytes:
        """The same for values that are known to be at least 0, which need no look at their signs."""
        return self._template % tuple(values)

    def _with_negatives(self, values: Sequence[int]) -> bytes:
        pairs = zip(self.names, values, strict=True)
        return b"\n".join(gauge_lines(name.encode(), b"%d" % value) for name, value in pairs)
