"""Knows how a count can be expected other than exactly: at most, at least, between, about."""

from __future__ import annotations

import attrs


@attrs.frozen(eq=False)
class Range:
    """Equal to every number from ``low`` to ``high``, both included; ``None`` is no limit."""

    low: float | None
    high: float | None
    text: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (int, float)):
            return NotImplemented
        return (self.low is None or other >= self.low) and (self.high is None or other <= self.high)

    __hash__ = None  # type: ignore[assignment]  # equal to many numbers, so no hash can be right

    def __repr__(self) -> str:
        return self.text


def at_most(count: int) -> Range:
    """``count`` or fewer."""
    return Range(None, count, f"at_most({count})")


def at_least(count: int) -> Range:
    """``count`` or more."""
    return Range(count, None, f"at_least({count})")


def between(low: int, high: int) -> Range:
    """From ``low`` to ``high``. Raises ValueError if that is nothing."""
    if low > high:
        raise ValueError(f"between({low}, {high}) is no range; give the smaller number first")
    return Range(low, high, f"between({low}, {high})")


def approx(count: float, *, percent: float | None = None, abs: float | None = None) -> Range:
    """``count`` give or take ``percent`` of it, or ``abs``. Raises ValueError unless one of them is given."""
    if (percent is None) == (abs is None) or (percent or 0) < 0 or (abs or 0) < 0:
        raise ValueError("approx(count, percent=P) or approx(count, abs=N), neither below 0")
    slack = abs if abs is not None else count * (percent or 0) / 100
    text = f"percent={percent:g}" if percent is not None else f"abs={abs:g}"
    return Range(count - slack, count + slack, f"approx({count:g}, {text})")


def difference(got: float, expected: object) -> float | None:
    """How far ``got`` is from the nearest number expected; None if that has no number."""
    if isinstance(expected, Range):
        if expected.low is not None and got < expected.low:
            return got - expected.low
        return got - expected.high if expected.high is not None and got > expected.high else 0
    if isinstance(expected, (int, float)):
        return got - expected
    near = getattr(expected, "expected", None)  # pytest.approx
    return got - near if isinstance(near, (int, float)) else None
