"""What a server holds beyond an interval, as bytes: gauges, and counters' totals since the start.

Knows nothing of where the bytes are kept.
"""

from __future__ import annotations

import msgspec

from brokersim.statsd.numbers import Number

# MessagePack's integers; larger ones are kept as doubles.
_LARGEST_INTEGER = 2**63


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Tables by key. They are only taken up by the dialect they were made in: another would have read other lines."""

    dialect: str
    gauges: dict[bytes, int | float]
    totals: dict[bytes, int | float]

    def to_bytes(self) -> bytes:
        try:
            return msgspec.msgpack.encode(self)
        except OverflowError:  # rare, and looking for it takes ten times as long
            whole = msgspec.structs.replace(self, gauges=_kept(self.gauges), totals=_kept(self.totals))
            return msgspec.msgpack.encode(whole)

    @classmethod
    def from_bytes(cls, data: bytes) -> Held | None:
        """None for bytes that are none of ours."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError:
            return None


def _kept(table: dict[bytes, int | float]) -> dict[bytes, Number]:
    return {
        key: value if isinstance(value, float) or abs(value) < _LARGEST_INTEGER else float(value)
        for key, value in table.items()
    }
