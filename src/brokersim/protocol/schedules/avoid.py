"""Knows slots that collide with nobody's: who is busy when is handed in; not who keeps the calendars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

#: A slot or a busy interval, half-open (s).
Slot = tuple[float, float]


def slots(now: float, every: float, duration: float, count: int, busy: Iterable[Slot]) -> list[Slot]:
    """``count`` slots of ``duration`` s, none before ``now``, at least ``every`` apart, none in a busy interval."""
    taken = merged(busy)
    found: list[Slot] = []
    start = now
    at = 0
    while len(found) < count:
        while at < len(taken) and taken[at][1] <= start:
            at += 1
        if at < len(taken) and taken[at][0] < start + duration:
            start = taken[at][1]
            continue
        found.append((start, start + duration))
        start += every
    return found


def merged(busy: Iterable[Slot]) -> list[Slot]:
    """The same time as intervals that neither touch nor overlap, in order."""
    whole: list[Slot] = []
    for start, end in sorted(busy):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        elif start < end:
            whole.append((start, end))
    return whole


def overfull(claims: Sequence[tuple[float, float, float]], usage: float) -> list[Slot]:
    """When a resource has no room for ``usage`` (1 is alone) beside claims of (start, end, usage)."""
    edges = sorted({edge for start, end, _ in claims for edge in (start, end)})
    found = []
    for start, end in pairwise(edges):
        used = sum(part for first, last, part in claims if first <= start and end <= last)
        # Sums of tenths are not what they look like: a ninth of a millionth is no usage.
        if used + usage > 1.0 + 1e-9:
            found.append((start, end))
    return merged(found)
