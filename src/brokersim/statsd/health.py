"""Counts of what came in, and a ring of the lines that were no metrics.

Knows nothing of keys' values.
"""

from __future__ import annotations

from collections import Counter, deque

import attrs

from brokersim.statsd.flushed import BadLine

# Enough of a line to recognise its sender's mistake; a ring of 64 kB lines would be a memory leak.
KEPT_BYTES = 200


@attrs.define(eq=False)
class Intake:
    """What came in since the start; `mark()` tells the difference since the last mark."""

    packets: int = 0
    bytes: int = 0
    lines: int = 0
    cut_packets: int = 0
    bad_lines: int = 0
    bad_by_reason: Counter[str] = attrs.field(factory=Counter)
    last_packet_t: float | None = None
    last_bad_t: float | None = None
    _marked: tuple[int, int, int] = (0, 0, 0)
    _marked_reasons: Counter[str] = attrs.field(factory=Counter)

    def mark(self) -> tuple[int, int, int, dict[str, int]]:
        """Packets, lines, bad lines and bad lines by reason since the last call."""
        now = (self.packets, self.lines, self.bad_lines)
        packets, lines, bad_lines = (new - old for new, old in zip(now, self._marked, strict=True))
        reasons = {name: n - self._marked_reasons[name] for name, n in self.bad_by_reason.items()}
        self._marked = now
        self._marked_reasons = self.bad_by_reason.copy()
        return packets, lines, bad_lines, reasons


@attrs.define(eq=False)
class BadLineRing:
    """The last bad lines, oldest first."""

    size: int
    _ring: deque[tuple[str, bytes, str | None, float]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ring = deque(maxlen=self.size)

    def add(self, reason: str, line: bytes, sender: str | None, t: float) -> None:
        # A flood of them passes through here, few of them are ever looked at.
        self._ring.append((reason, line[:KEPT_BYTES], sender, t))

    def snapshot(self) -> tuple[BadLine, ...]:
        return tuple(
            BadLine(reason=reason, line=line, sender=sender, t=t) for reason, line, sender, t in self._ring
        )
