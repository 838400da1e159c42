"""Knows how many operations commits had: the figures of ``module stats kvs``, without keeping the commits."""

from __future__ import annotations

import math
from typing import Any

import attrs


@attrs.define
class OpCounts:
    """Welford's running mean and variance: one number at a time, no sum that grows."""

    count: int = 0
    least: int = 0
    most: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, ops: int) -> None:
        """One more commit."""
        if ops < self.least or not self.count:
            self.least = ops
        if ops > self.most:
            self.most = ops
        self.count += 1
        before = ops - self.mean
        self.mean += before / self.count
        self._squares += before * (ops - self.mean)

    def statistics(self) -> dict[str, Any]:
        """Flux's keys; ``stddev`` is that of a sample."""
        stddev = math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else 0.0
        return {
            "count": self.count, "min": self.least, "mean": self.mean, "stddev": stddev, "max": self.most,
        }  # fmt: skip
