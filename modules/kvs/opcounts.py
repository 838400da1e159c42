"""Knows how many operations commits had: the figures of ``module stats kvs``, without keeping the commits."""

from __future__ import annotations

import math
from typing import Any

import attrs


@attrs.define
class OpCounts:
    """Their sum and that of their squares, whole numbers of any size, so nothing is rounded before it is asked for."""

    count: int = 0
    least: int = 0
    most: int = 0
    _sum: int = 0
    _squares: int = 0

    def add(self, ops: int) -> None:
        """One more commit."""
        if ops > self.most or ops < self.least or not self.count:
            self.most = max(ops, self.most)
            self.least = min(ops, self.least) if self.count else ops
        self.count += 1
        self._sum += ops
        self._squares += ops * ops

    def statistics(self) -> dict[str, Any]:
        """Flux's keys; ``stddev`` is that of a sample."""
        count = self.count
        spread = self._squares * count - self._sum**2
        return {
            "count": count, "min": self.least, "mean": self._sum / count if count else 0.0,
            "stddev": math.sqrt(spread / (count * (count - 1))) if count > 1 else 0.0, "max": self.most,
        }  # fmt: skip
