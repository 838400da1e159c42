"""Knows the law of intervals: how old what a store shows is, from the periods on its way. Not any workload.

What a graph draws at time t is the truth at t - A. With a value told every ``emission`` s, gathered by a client for
``client`` s, flushed every ``flush`` s and kept in slots of ``retention`` s that are labelled with their start,

    A = U(0, emission) + U(0, client) + U(0, flush) - U(0, retention)

if the phases of the four are independent. Derivation, check and limits: docs/intervals.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import factorial, prod

import attrs

US = 1_000_000
#: Halvings of a quantile's bracket: to less than a microsecond of a year.
_HALVINGS = 46
#: Phases looked at of each stage that is locked, by how many are: some hundred in all.
_PHASES = (1, 101, 11, 5)


def _wide(widths: Sequence[int]) -> tuple[int, ...]:
    return tuple(width for width in widths if width)


def _at_least_0(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} is {value:g} s; it must be 0 or more")


@attrs.frozen
class Age:
    """The age of what is drawn: a sum of independent uniform parts, in microseconds.

    ``shift`` plus U(0, width) for each of ``widths``; parts of no width add nothing. Its figures are exact: the
    moments and the distribution of such a sum are polynomials, and integers keep their large terms from cancelling.
    """

    shift: int
    widths: tuple[int, ...] = attrs.field(converter=_wide)

    @property
    def mean(self) -> float:
        """How late the curve is on average (s); below 0: early, since a slot bears the time of its start."""
        return (self.shift + sum(self.widths) / 2) / US

    @property
    def spread(self) -> float:
        """The standard deviation (s)."""
        return float((sum(width * width for width in self.widths) / 12) ** 0.5) / US

    @property
    def low(self) -> int:
        return self.shift

    @property
    def high(self) -> int:
        return self.shift + sum(self.widths)

    @cached_property
    def off(self) -> float:
        """E|A| (s): by how much of its time a curve is off."""
        return self.off_from(0)

    @cached_property
    def residual(self) -> float:
        """E|A - mean| (s): what is left when the curve is moved by its mean age, which is known."""
        return self.off_from(round(self.mean * US))

    def off_from(self, at: int) -> float:
        """E|A - at| (s)."""
        mean = Fraction(2 * self.shift + sum(self.widths), 2)
        return float(mean - at + 2 * self._below(at, 1)) / US

    def share_below(self, at: int) -> float:
        """P(A < at)."""
        return float(self._below(at, 0))

    def quantile(self, share: float) -> float:
        """The age (s) below which a share of what is drawn lies."""
        low, high = self.low, self.high
        for _ in range(_HALVINGS):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            low, high = (middle, high) if self._below(middle, 0) < share else (low, middle)
        return high / US

    def _below(self, at: int, order: int) -> Fraction:
        """P(A < at) for order 0, E[(at - A)+] in µs for order 1: the distribution, and its integral."""
        count = len(self.widths)
        reach = at - self.shift
        if not count:
            return Fraction(max(0, reach) if order else int(reach > 0))
        total = 0
        for chosen in product((False, True), repeat=count):
            left = reach - sum(width for width, is_in in zip(self.widths, chosen, strict=True) if is_in)
            if left > 0:
                total += (-1) ** sum(chosen) * left ** (count + order)
        return Fraction(total, factorial(count + order) * prod(self.widths))

    def expected(self, value: Callable[[int], float], steps: int) -> float:
        """E[value(A)], as the middle of ``steps`` equal stretches of the range of A, weighed by their probability."""
        if not self.widths:
            return value(self.shift)
        edges = [self.low + (self.high - self.low) * at // steps for at in range(steps + 1)]
        shares = [self.share_below(edge) for edge in edges]
        return sum(
            (shares[at + 1] - shares[at]) * value((edges[at] + edges[at + 1]) // 2) for at in range(steps)
        )


@attrs.frozen(kw_only=True)
class Chain:
    """The periods (s) between a value and its graph; 0 where a stage passes everything on at once.

    Raises ValueError for a period below 0, and for a flush or a retention of 0: both always have one.
    """

    emission: float = attrs.field(default=0.0, validator=_at_least_0)
    client: float = attrs.field(default=0.0, validator=_at_least_0)
    flush: float = attrs.field(validator=_at_least_0)
    retention: float = attrs.field(validator=_at_least_0)

    def __attrs_post_init__(self) -> None:
        for name in ("flush", "retention"):
            if not getattr(self, name):
                raise ValueError(f"{name} is 0 s; a server flushes and a store keeps slots: give 10s, say")

    @property
    def _us(self) -> tuple[int, int, int, int]:
        emission, client, flush, retention = (round(one * US) for one in attrs.astuple(self))
        return emission, client, flush, retention

    @cached_property
    def age(self) -> Age:
        """Over all phases: what one who does not know them has to expect."""
        emission, client, flush, retention = self._us
        return Age(-retention, (emission, client, flush, retention))

    @property
    def sampling(self) -> float:
        """How far apart (s) the looks at the truth are that reach the store at best: its slowest stage."""
        return max(self.emission, self.client, self.flush, self.retention)

    def shown(self, dwell: float) -> float:
        """The share of visits of ``dwell`` s that a store shows at all, if every stage keeps the last value."""
        return min(1.0, dwell / self.sampling)

    @property
    def locked(self) -> tuple[str, ...]:
        """The stages whose phase stands still against the one that looks at them: their period divides its looks' step.

        An installation has one phase of these for as long as it runs, and another after a restart.
        """
        emission, client, flush, retention = self._us
        step = max(flush, retention)
        if step % min(flush, retention):
            return ()  # what is kept drifts through the slots, and what was looked at with it
        found = ["flush"]
        for name, period in (("client", client), ("emission", emission)):
            if not period:
                continue
            if step % period == 0:
                found.append(name)
            else:
                # The looks at what is before it are its own, in whatever order the store picks them.
                step = period
        return tuple(reversed(found))

    def at_phase(self, ages: Sequence[float]) -> Age:
        """The age if the stages that are `locked` have these ages (s) at each kept look, in that order.

        For the flush that is the age of the last flush at the end of its slot, at most the shorter of the two.
        """
        emission, client, flush, retention = self._us
        at = dict(zip(self.locked, (round(one * US) for one in ages), strict=True))
        upstream = tuple(
            period
            for name, period in (("emission", emission), ("client", client))
            if period and name not in at
        )
        slots = () if "flush" in at and flush > retention else (retention,)
        flushes = () if "flush" in at and flush <= retention else (flush,)
        return Age(sum(at.values()) - retention, (*upstream, *flushes, *slots))

    @cached_property
    def worst(self) -> Age:
        """At the phases that are off by most. E|A| is convex in each of them, so they are at an end of their range."""
        return max(self.corners, key=lambda age: age.off)

    def off_within(self, least: float, most: float) -> tuple[float, float]:
        """Between which E|A| (s) lies at all phases but the shares below ``least`` and above ``most``.

        An installation has one phase of what is locked; each is as likely as another. Where nothing is, both are E|A|.
        """
        ranges = {"emission": self.emission, "client": self.client, "flush": min(self.flush, self.retention)}
        steps = _PHASES[len(self.locked)]
        each = [[ranges[name] * (at + 0.5) / steps for at in range(steps)] for name in self.locked]
        offs = sorted(self.at_phase(phases).off for phases in product(*each)) if each else [self.age.off]
        return offs[round(least * (len(offs) - 1))], offs[round(most * (len(offs) - 1))]

    @property
    def corners(self) -> list[Age]:
        """The ages at the ends of the phases of what is locked."""
        most = {"emission": self.emission, "client": self.client, "flush": min(self.flush, self.retention)}
        ends = product(*((0.0, most[name]) for name in self.locked))
        return [self.at_phase(one) for one in ends]

    @property
    def aligned(self) -> Age:
        """With flushes right before the slots' ends, whatever the other phases are."""
        emission, client, flush, retention = self._us
        if "flush" not in self.locked:
            return self.age
        if flush > retention:
            return Age(-retention, (emission, client, flush))
        return Age(-retention, (emission, client, retention))
