"""Knows gaps drawn by chance: uniform, or exponential within bounds; not where chance comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from brokersim.protocol.schedules.base import Random, Schedule, Span, to_high, to_low, to_mean

UNIFORM = "uniform"
EXPONENTIAL = "exponential"


@attrs.frozen(kw_only=True)
class RandomGaps(Schedule):
    """Gaps uniform in ``[low, high)``, or exponential with ``mean`` and redrawn outside it; the first follows now."""

    low: float = attrs.field(converter=to_low)
    high: float | None = attrs.field(default=None, converter=to_high)
    distribution: str = UNIFORM
    mean: float | None = attrs.field(default=None, converter=to_mean)

    def __attrs_post_init__(self) -> None:
        if self.distribution not in (UNIFORM, EXPONENTIAL):
            raise ValueError(f"distribution must be uniform or exponential, not {self.distribution!r:.40}")
        if self.high is not None and not self.low < self.high:
            raise ValueError(f"high must be above low, not {self.high:g} and {self.low:g}")
        if self.distribution == UNIFORM and (self.high is None or self.mean is not None):
            raise ValueError("uniform gaps have a low and a high, and no mean")
        if self.distribution == EXPONENTIAL and self.mean is None:
            raise ValueError("exponential gaps need a mean")

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        at = now
        while True:
            at += self._gap(random)
            yield at, math.inf

    def _gap(self, random: Random) -> float:
        width = math.inf if self.high is None else self.high - self.low
        while True:
            gap = self.low + (self._exponential(random, width) if self.mean else width * random.random())
            # Sums round: a gap of exactly `high` is drawn again.
            if self.high is None or gap < self.high:
                return gap

    def _exponential(self, random: Random, width: float) -> float:
        # Redrawing until it falls into the bounds would take for ever where they are far from the mean. The same
        # distribution in one draw: what is left of an exponential beyond `low` is exponential again.
        assert self.mean is not None
        mass = -math.expm1(-width / self.mean)
        return -self.mean * math.log1p(-random.random() * mass)
