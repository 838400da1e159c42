"""Knows a schedule that looks closer while readings call for it; what was read is told to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import (
    Random,
    Schedule,
    Span,
    first_index,
    grid,
    seconds,
    to_start,
)

_KEYS = ("metric", "above", "every", "below", "calm")


@attrs.frozen(kw_only=True)
class Rule:
    """Above ``above`` every ``every`` s, until ``calm`` readings in a row are below ``below``."""

    metric: str
    above: float
    every: float
    below: float
    calm: int = 1


def to_rule(given: object) -> Rule:
    """Raises ValueError with what would be right."""
    if not isinstance(given, Mapping) or not {"metric", "above", "every", "below"} <= set(given) <= set(
        _KEYS
    ):
        raise ValueError(f"a rule has {', '.join(_KEYS)}, not {quoted(given)}")
    rule = Rule(
        metric=str(given["metric"]), above=float(given["above"]), every=seconds(given["every"], "every"),
        below=float(given["below"]), calm=given.get("calm", 1),
    )  # fmt: skip
    if rule.below > rule.above or type(rule.calm) is not int or rule.calm < 1:
        raise ValueError(f"a rule's below is at most its above, and calm 1 or more: not {quoted(given)}")
    return rule


class Pace:
    """The grid of a base, and a fast one from the reading that broke a rule; then the base again, in its own phase."""

    def __init__(self, start: float, base: float, rules: tuple[Rule, ...]) -> None:
        self._start = start
        self._base = base
        self._rules = rules
        #: The rule in force, when it began, and readings in a row that were calm.
        self._rule: Rule | None = None
        self._since = 0.0
        self._calm = 0

    def following(self, tick: float, metrics: JsonView) -> float:
        """The tick after ``tick``, at which ``metrics`` were read."""
        self._judge(tick, metrics)
        return self.next_after(tick)

    def next_after(self, tick: float) -> float:
        """The tick after ``tick`` as far as is known now."""
        after = math.nextafter(tick, math.inf)
        if self._rule is not None:
            return self._since + first_index(self._since, self._rule.every, after) * self._rule.every
        return self._start + first_index(self._start, self._base, after) * self._base

    def _judge(self, tick: float, metrics: JsonView) -> None:
        broken = self._first(lambda rule, value: value > rule.above, metrics)
        if broken is not None and broken is not self._rule:
            self._rule, self._since = broken, tick
        if self._rule is None:
            return
        value = metrics.get(self._rule.metric)
        is_calm = isinstance(value, int | float) and value < self._rule.below
        self._calm = self._calm + 1 if is_calm else 0
        if self._calm >= self._rule.calm:
            self._rule, self._calm = None, 0

    def _first(self, holds: Callable[[Rule, float], bool], metrics: JsonView) -> Rule | None:
        for rule in self._rules:
            value = metrics.get(rule.metric)
            if isinstance(value, int | float) and holds(rule, value):
                return rule
        return None


def _to_base(given: object) -> float:
    return seconds(given, "base")


def _to_rules(given: object) -> tuple[Rule, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ValueError(f"rules must be a list of rules, not {quoted(given)}")
    return tuple(one if isinstance(one, Rule) else to_rule(one) for one in given)


@attrs.frozen(kw_only=True)
class Adaptive(Schedule):
    """Every ``base`` seconds, and closer while ``rules`` over what is read ask for it; whoever reads tells a `Pace`.

    Who has nothing to tell has the grid of the base.
    """

    base: float = attrs.field(converter=_to_base)
    rules: tuple[Rule, ...] = attrs.field(converter=_to_rules)
    start: float | None = attrs.field(default=None, converter=to_start)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        return grid(now if self.start is None else self.start, self.base, math.inf, now)

    def pace(self, now: float) -> Pace:
        """For one who begins ``now`` and tells what is read at each tick."""
        return Pace(now if self.start is None else self.start, self.base, self.rules)

    def to_dict(self) -> JsonObject:
        return {**Schedule.to_dict(self), "rules": [attrs.asdict(rule) for rule in self.rules]}
