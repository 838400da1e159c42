"""Knows schedules inside schedules: something every so often for a while, and that again every so often."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.quoting import quoted
from brokersim.protocol.schedules.base import Random, Schedule, Span, grid, seconds, seconds_or_none, to_start

#: What stands innermost: the thing done.
PROBE: Final = "P"
#: More would be a mistake, and each level is one frame of the recursion.
DEPTH_MAX: Final = 16


@attrs.frozen
class Level:
    """What is inside it, every ``interval`` seconds for ``window`` seconds (None: no end)."""

    child: Level | None
    interval: float
    window: float | None

    @property
    def step(self) -> float:
        """Seconds between activations: one that would begin inside its predecessor begins where that ends."""
        if self.child is None:
            return self.interval
        return max(self.interval, math.inf if self.child.window is None else self.child.window)

    def to_list(self) -> list[object]:
        return [PROBE if self.child is None else self.child.to_list(), self.interval, self.window]


def check_depth(depth: int) -> None:
    """Raises ValueError where schedules lie deeper in each other than anybody means them to."""
    if depth > DEPTH_MAX:
        raise ValueError(f"nested schedules may be {DEPTH_MAX} deep")


def parse_level(given: object, depth: int = 1) -> Level:
    """From ``[[["P", 1, 2], 5, 10], 60, null]``. Raises ValueError."""
    check_depth(depth)
    if isinstance(given, Level):
        return given
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 3:
        raise ValueError(f'nested: a level is ["P" or a level, interval, window], not {quoted(given)}')
    inner, interval, window = given
    child = None if inner == PROBE else parse_level(inner, depth + 1)
    return Level(child, seconds(interval, "interval"), seconds_or_none(window, "window"))


def parse_words(text: str) -> Level:
    """From ``10s for 1m every 1h``: innermost first, as one says it. Raises ValueError."""
    words = text.split()
    if words[:1] == ["every"]:
        words = words[1:]
    level: Level | None = None
    depth = 0
    while words:
        check_depth(depth := depth + 1)
        interval, window, words = words[0], None, words[1:]
        if words[:1] == ["for"]:
            window, words = (words[1:] or [""])[0], words[2:]
            seconds(window, "the time after for")
        level = Level(level, seconds(interval, "the time after every"), seconds_or_none(window, "window"))
        if words and (words[0] != "every" or len(words) == 1):
            raise ValueError(f"{quoted(text)} is no schedule: say it as in 10s for 1m every 1h for 1d")
        words = words[1:]
    if level is None:
        raise ValueError("a schedule must not be empty: 10s, or 10s for 1m every 1h")
    return level


@attrs.frozen(kw_only=True)
class Nested(Schedule):
    """A level within a level, each anchored on its own start, from ``start`` (now). The outer clips the inner."""

    spec: Level = attrs.field(converter=parse_level)
    start: float | None = attrs.field(default=None, converter=to_start)

    def spans(self, now: float, random: Random) -> Iterator[Span]:
        return _activation(self.spec, now if self.start is None else self.start, math.inf, now)

    def to_dict(self) -> JsonObject:
        return {**Schedule.to_dict(self), "spec": self.spec.to_list()}


def _activation(level: Level, start: float, clip: float, now: float) -> Iterator[Span]:
    end = clip if level.window is None else min(clip, start + level.window)
    if level.child is None:
        yield from grid(start, level.interval, end, now)
        return
    step = level.step
    # The activation that now lies in has begun already; those before it are over.
    n = 0 if math.isinf(step) else max(0, math.floor((now - start) / step) - 1)
    while (begin := start + (n * step if n else 0.0)) < end:
        yield from _activation(level.child, begin, min(end, start + (n + 1) * step), now)
        n += 1
