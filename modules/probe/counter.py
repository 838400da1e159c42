"""Knows how two readings of a counter become what it grew by, and tells a wrap from a reset; not what is counted."""

from __future__ import annotations

from typing import Final, NamedTuple

#: How a counter came from one reading to the next.
ROSE: Final = "rose"
WRAPPED: Final = "wrapped"
RESET: Final = "reset"


class Step(NamedTuple):
    """How a counter moved, and by how much; a reset has no amount."""

    how: str
    delta: float | None


def step(old: float, new: float, *, width: int = 64, same: bool = True, most: float | None = None) -> Step:
    """From ``old`` to ``new`` of a counter of ``width`` bits.

    ``same`` is whether it is still the same thing that counts (boot id, start time, major:minor, index); ``most`` is
    what it can have grown by at most. Arithmetic alone cannot tell a device that came back from a wrap, so whoever
    knows either says so. Less than half the range is taken for a wrap, more for a reset.
    """
    if not same:
        return Step(RESET, None)
    if new >= old:
        return Step(ROSE, new - old)
    delta = (new - old) % (1 << width)
    if delta < 1 << (width - 1) and (most is None or delta <= most):
        return Step(WRAPPED, delta)
    return Step(RESET, None)
