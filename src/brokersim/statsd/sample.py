"""What one statsd line says, whoever wrote it, once it has been judged.

Knows nothing of any dialect's grammar or of what samples add up to.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from brokersim.statsd.numbers import Number

COUNTERS = "counters"
TOTALS = "totals"
GAUGES = "gauges"
TIMERS = "timers"
SETS = "sets"
KINDS = (COUNTERS, GAUGES, TIMERS, SETS)


class Sample(NamedTuple):
    """One value for one key.

    `weight` is 1 / sample rate; `signed` is true if the text began with + or −, which makes a gauge relative.
    A set's element is in `element` and its `value` is 0. `t` is a time of its own (Unix s), which few have.
    """

    kind: str
    key: bytes
    value: Number
    weight: Number = 1
    signed: bool = False
    element: bytes = b""
    t: int | None = None

    @property
    def weighted(self) -> Number:
        """As much as it stands for in a sum."""
        return self.value if self.weight == 1 else self.value * self.weight


class Judgement(NamedTuple):
    """The samples of one line and the reason of each part of it that is bad. One line may have both."""

    samples: tuple[Sample, ...] = ()
    bad: tuple[str, ...] = ()


class BadLineError(Exception):
    """A line, or a part of one, that is no metric; the reason is one of the words in docs/statsd-dialects.md."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


NOTHING = Judgement()


@cache
def bad(reason: str) -> Judgement:
    """The judgement of a line that is bad as a whole."""
    return Judgement(bad=(reason,))
