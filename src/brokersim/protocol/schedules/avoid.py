"""Knows slots that collide with nobody's: who is busy when is handed in; not who keeps the calendars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import attrs

from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import Random, Schedule, Span, seconds, to_every
from brokersim.protocol.schedules.base import count as count_of

#: Slots of one reservation: what is reserved nobody else has.
COUNT_MAX: Final = 1000

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


def _to_duration(given: Any) -> float:
    return seconds(given, "duration")


def _to_count(given: Any) -> int:
    found = count_of(given, "count", least=1)
    if found > COUNT_MAX:
        raise ValueError(f"count must be at most {COUNT_MAX}, not {found}")
    return found


def to_uses(given: Any) -> tuple[tuple[str, float], ...]:
    """From ``[{"ref": "disk0", "usage": 0.5}]``, or a name alone, which is all of it. Raises ValueError."""
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, Sequence):
        raise ValueError(f"resources must be a list of {{ref, usage}}, not {quoted(given)}")
    return tuple(_to_use(one) for one in parts)


def _to_use(one: Any) -> tuple[str, float]:
    if isinstance(one, str):
        one = {"ref": one}
    if isinstance(one, Mapping) and {"ref"} <= set(one) <= {"ref", "usage"}:
        one = (one["ref"], one.get("usage", 1.0))
    if isinstance(one, tuple | list) and len(one) == 2:
        ref, usage = one
        is_number = isinstance(usage, int | float) and not isinstance(usage, bool)
        if isinstance(ref, str) and ref and is_number and 0 < usage <= 1:
            return ref, float(usage)
    raise ValueError(
        f"a resource is {{ref, usage}}, usage above 0 and at most 1, which is alone: not {quoted(one)}"
    )


@attrs.frozen(kw_only=True)
class Avoid(Schedule):
    """``count`` slots of ``duration`` s at a time, ``every`` s apart or more, in which nobody else uses ``resources``.

    Alone, as here, nobody is in the way; who keeps calendars hands out other slots (`slots`), and more when they end.
    """

    every: float = attrs.field(converter=to_every)
    duration: float = attrs.field(converter=_to_duration)
    count: int = attrs.field(default=10, converter=_to_count)
    resources: tuple[tuple[str, float], ...] = attrs.field(default=(), converter=to_uses)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        return iter(slots(now, self.every, self.duration, self.count, ()))

    def to_dict(self) -> dict[str, Any]:
        shown = Schedule.to_dict(self)
        if self.resources:
            shown["resources"] = [{"ref": ref, "usage": usage} for ref, usage in self.resources]
        return shown
