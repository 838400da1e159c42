"""Knows whether runs differ by more than runs of the same differ among themselves; not what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import attrs

#: Below this share nothing is judged, however steady three runs happened to be: runs of equal work lie as far apart.
FLOOR = 0.03
#: From so many rounds on the least and the most are left out of the spread: one of ten meets something by chance.
MANY = 6


@attrs.frozen(kw_only=True)
class Times:
    """By how many times something is more than what it is held against.

    ``noise`` is half the spread of that ratio among the rounds, as a share of the ratio itself.
    """

    times: float
    noise: float

    @property
    def share(self) -> float:
        """What was added, as a share."""
        return self.times - 1

    @property
    def is_noise(self) -> bool:
        """It differs by no more than equal runs do."""
        return abs(self.share) <= self.noise * max(1.0, self.times)


def times(these: Sequence[float], base: Sequence[float], floor: float = FLOOR) -> Times | None:
    """The median of the ratios of runs that ran in the same round, one after the other; None without a base.

    A machine that is slow for a minute slows both of a round. Of a single round only ``floor`` is known.
    """
    ratios = [this / other for this, other in zip(these, base, strict=False) if other]
    if not ratios:
        return None
    middle = median(ratios)
    return Times(times=middle, noise=max(floor, half_spread(ratios) / middle) if middle else floor)


def half_spread(values: Sequence[float]) -> float:
    """Half of how far they lie apart; of many without the least and the most."""
    inner = sorted(values)[1:-1] if len(values) >= MANY else sorted(values)
    return (inner[-1] - inner[0]) / 2


def all_times(
    values: Mapping[str, Sequence[float]], base: Sequence[float], floor: float = FLOOR
) -> dict[str, Times]:
    """`times` of each; of few rounds under one noise, that of whichever differs most among its own.

    From `MANY` rounds on each has its own: they are enough to say how far apart equal ones lie.
    """
    found = {name: one for name, these in values.items() if (one := times(these, base, floor)) is not None}
    if len(base) >= MANY:
        return found
    noise = max((one.noise for one in found.values()), default=floor)
    return {name: attrs.evolve(one, noise=noise) for name, one in found.items()}
