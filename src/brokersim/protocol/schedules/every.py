"""Knows grids: one tick every so many seconds, and one moment alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from brokersim.protocol.schedules.base import (
    Random,
    Schedule,
    Span,
    first_index,
    grid,
    to_end,
    to_every,
    to_start,
)

EPOCH = "epoch"


def _align(value: str | None) -> str | None:
    if value not in (None, EPOCH):
        raise ValueError(f"align must be epoch, which means whole multiples of every, not {value!r:.40}")
    return value


@attrs.frozen(kw_only=True)
class Every(Schedule):
    """Every ``every`` seconds from ``start`` (now) until before ``end``; what lies before now is skipped, not made up.

    ``align="epoch"`` puts ticks on whole multiples of ``every`` since the epoch, so that ranks agree on them.
    """

    every: float = attrs.field(converter=to_every)
    start: float | None = attrs.field(default=None, converter=to_start)
    end: float | None = attrs.field(default=None, converter=to_end)
    align: str | None = attrs.field(default=None, converter=_align)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        start = now if self.start is None else self.start
        end = math.inf if self.end is None else self.end
        if self.align == EPOCH:
            # Whole multiples: counted from the epoch, from `start` on.
            return grid(0.0, self.every, end, max(start, now))
        return grid(start, self.every, end, now)

    def following(self, due: float, now: float) -> float:
        """The tick after ``due`` (itself one), not before ``now``: a grid keeps its phase however late one is."""
        start = due if self.start is None else self.start
        n = first_index(start, self.every, max(now, math.nextafter(due, math.inf)))
        return start + n * self.every


@attrs.frozen(kw_only=True)
class Onetime(Schedule):
    """Once, at ``start`` (now); a moment that has passed does not come."""

    start: float | None = attrs.field(default=None, converter=to_start)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        start = now if self.start is None else self.start
        if start >= now:
            yield start, math.inf
