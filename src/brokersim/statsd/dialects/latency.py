"""collectd's latency counter: 1000 equal bins whose width doubles until the longest time fits.

Knows nothing of lines or keys. Source: collectd 5.12 as run; its times are whole 2⁻³⁰ s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

BINS = 1000
_TICKS = 1 << 30
_NARROWEST = 1 << 20
# Times are 64-bit there, with 2⁻³⁰ s for a unit: from here on (272 years) it shows nothing, or something else.
_LONGEST_MS = (1 << 33) * 1000


@attrs.define(eq=False)
class LatencyCounter:
    """Count, sum, lower, upper and percentiles of times, in seconds.

    Times below 1 ms, and of 272 years or more, count nothing.
    """

    n: int = 0
    width: int = _NARROWEST
    bins: Counter[int] = attrs.field(factory=Counter)
    total: int = 0
    lowest: int = 0
    highest: int = 0

    def add_many(self, milliseconds: Iterable[float]) -> None:
        for value in milliseconds:
            whole = int(value)
            if 1 <= whole < _LONGEST_MS:
                self._add((whole * _TICKS + 500) // 1000)

    def _add(self, ticks: int) -> None:
        while (ticks - 1) // self.width >= BINS:
            self._widen()
        self.bins[(ticks - 1) // self.width] += 1
        self.lowest = min(self.lowest, ticks) if self.n else ticks
        self.highest = max(self.highest, ticks)
        self.total += ticks
        self.n += 1

    def _widen(self) -> None:
        merged: Counter[int] = Counter()
        for index, count in self.bins.items():
            merged[index // 2] += count
        self.bins = merged
        self.width *= 2

    @property
    def average(self) -> float:
        return self.total // self.n / _TICKS if self.n else 0.0

    @property
    def lower(self) -> float:
        return self.lowest / _TICKS

    @property
    def upper(self) -> float:
        return self.highest / _TICKS

    @property
    def sum(self) -> float:
        return self.total / _TICKS

    def percentile(self, percent: float) -> float:
        """Linear inside the bin that holds it; the first bin answers its width, so it may lie above the maximum."""
        below = 0
        for index in sorted(self.bins):
            count = self.bins[index]
            upto = 100 * (below + count) / self.n
            if upto >= percent:
                if index == 0:
                    return self.width / _TICKS
                low = 100 * below / self.n
                return (index + (percent - low) / (upto - low)) * self.width / _TICKS
            below += count
        return 0.0
