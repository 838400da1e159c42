"""Knows how a plan that breaks something becomes the smallest that still does: by leaving out, then by simplifying.

Delta debugging (Zeller, Hildebrandt 2002) on steps and faults together, then one field after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from brokersim.explore.plan import Plan, PlannedFault, Step

#: Does a plan still break the same?
Breaks = Callable[[Plan], bool]
#: Runs at most: a shrink that is good enough soon is better than the best one later.
RUNS = 300
#: Steps and faults up to which other orders are tried, and how many.
_SMALL, _ORDERS = 6, 7
#: How many messages of its topic what is anchored may come earlier when something before it is left out.
_EARLIER = (1, 2)


class _Enough(Exception):
    """The runs are used up."""


class _Counted:
    """Asks each plan once, and no more than so many."""

    def __init__(self, breaks: Breaks, limit: int) -> None:
        self._breaks = breaks
        self._limit = limit
        self._known: dict[bytes, bool] = {}

    def __call__(self, plan: Plan) -> bool:
        key = plan.to_json()
        if key not in self._known:
            if len(self._known) >= self._limit:
                raise _Enough
            self._known[key] = self._breaks(plan)
        return self._known[key]

    @property
    def runs(self) -> int:
        return len(self._known)


def shrink(plan: Plan, breaks: Breaks, limit: int = RUNS) -> tuple[Plan, int]:
    """The smallest plan found that breaks the same, and how many runs that took. ``breaks(plan)`` must hold."""
    counted = _Counted(breaks, limit)
    best = plan
    try:
        while True:
            before = best
            for way in (_fewer, _simpler):
                for smaller in way(best, counted):
                    best = smaller
            if best == before:
                break
    except _Enough:
        pass
    return best, counted.runs


def _fewer(plan: Plan, breaks: Breaks) -> Iterator[Plan]:
    """Plans with less and less in them, each breaking."""
    items: list[Step | PlannedFault] = [*plan.faults, *plan.steps]
    width = max(1, len(items) // 2)
    while items:
        at, found = 0, False
        while at < len(items):
            rest = items[:at] + items[at + width :]
            smaller = next(filter(breaks, _tried(_with(plan, rest))), None)
            if smaller is None:
                at += width
            else:
                items, found, plan = rest, True, smaller
                yield smaller
        if width == 1 and not found:
            return
        width = max(1, min(width // 2 if not found else width, len(items)))


def _tried(plan: Plan) -> Iterator[Plan]:
    """A plan, and a small one with other anchors and orders, too: what is behind that left out has lower numbers."""
    yield plan
    if plan.weight <= _SMALL:
        yield from _lowered(plan)
        if plan.spread:
            yield from (plan.replace(order=order) for order in range(1, _ORDERS))


def _lowered(plan: Plan) -> Iterator[Plan]:
    """One of its anchors a message of the topic earlier, or two."""
    items: list[Step | PlannedFault] = [*plan.faults, *plan.steps]
    for at, item in enumerate(items):
        for less in _EARLIER:
            if item.on is not None and item.on[2] > less:
                topic, rank, number = item.on
                earlier = msgspec.structs.replace(item, on=(topic, rank, number - less))
                yield _with(plan, [*items[:at], earlier, *items[at + 1 :]])


def _with(plan: Plan, items: list[Step | PlannedFault]) -> Plan:
    steps = tuple(item for item in items if isinstance(item, Step))
    faults = tuple(item for item in items if isinstance(item, PlannedFault))
    return plan.replace(steps=steps, faults=faults)


def _simpler(plan: Plan, breaks: Breaks) -> Iterator[Plan]:
    """The same with plainer fields."""
    best = plan
    for change in _changes(plan):
        simpler = change(best)
        if simpler != best and breaks(simpler):
            best = simpler
            yield best


def _changes(plan: Plan) -> Iterator[Callable[[Plan], Plan]]:
    used = {step.op.partition(".")[0] for step in plan.steps}
    yield lambda one: one.replace(families=tuple(name for name in one.families if name in used))
    for size in range(1 + max([0, *(item.rank for item in plan.items)]), plan.size):
        yield lambda one, size=size: _sized(one, size)  # type: ignore[misc]
    for field, value in (
        ("spread", 0.0),
        ("has_disk", False),
        ("attributes", {}),
        ("fanout", 2),
        ("latency", 50e-6),
        ("seed", 0),
    ):
        yield lambda one, field=field, value=value: one.replace(**{field: value})  # type: ignore[misc]
    for at in range(len(plan.steps)):
        yield lambda one, at=at: _step(one, at, at=0.0, on=None)  # type: ignore[misc]
        yield lambda one, at=at: _step(one, at, rank=0)  # type: ignore[misc]
        yield lambda one, at=at: _less(one, at, lambda _: 1)  # type: ignore[misc]
        yield lambda one, at=at: _less(one, at, lambda value: value - 1)  # type: ignore[misc]
    for at in range(len(plan.faults)):
        yield lambda one, at=at: _fault(one, at, seconds=0.0)  # type: ignore[misc]
        yield lambda one, at=at: _fault(one, at, count=1)  # type: ignore[misc]
    for order in range(1, 4):
        yield lambda one, order=order: one if one.order < 4 else one.replace(order=order)  # type: ignore[misc]


def _sized(plan: Plan, size: int) -> Plan:
    ranks = [item.rank for item in plan.items]
    anchors = [item.on[1] for item in plan.items if item.on is not None]
    return plan.replace(size=size) if max([0, *ranks, *anchors]) < size < plan.size else plan


def _step(plan: Plan, number: int, **changes: object) -> Plan:
    steps = list(plan.steps)
    if number < len(steps):
        steps[number] = msgspec.structs.replace(steps[number], **changes)
    return plan.replace(steps=tuple(steps))


def _less(plan: Plan, number: int, less_than: Callable[[int], int]) -> Plan:
    """With less of whatever a step says a whole number of: who waits for version 6 needs six commits before it.

    Flags are no number: with others a request is refused, which is another find.
    """
    if number >= len(plan.steps):
        return plan
    args = plan.steps[number].args
    numbers = {name: value for name, value in args.items() if type(value) is int and name != "flags"}
    less = {name: less_than(value) for name, value in numbers.items() if value > 1}
    return _step(plan, number, args={**args, **less})


def _fault(plan: Plan, number: int, **changes: object) -> Plan:
    faults = list(plan.faults)
    if number < len(faults):
        faults[number] = msgspec.structs.replace(faults[number], **changes)
    return plan.replace(faults=tuple(faults))
