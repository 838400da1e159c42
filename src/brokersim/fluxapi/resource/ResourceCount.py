"""Knows how many of a thing a jobspec asks for (RFC 14, RFC 45): 4, ``2-8``, ``2+``, ``2-8:2:*``, ``1,7-9``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from brokersim.fluxapi.idset import IDset

#: A sequence of more numbers is a mistake, or an attack on memory.
_LENGTH_MAX: Final = 65_536
_RANGE: Final = re.compile(
    r"(?P<min>[0-9]{1,9})(?:(?P<open>\+)|-(?P<max>[0-9]{1,9}))?(?::(?P<operand>[0-9]{1,9})(?::(?P<operator>.))?)?"
)
_STEPS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": lambda count, operand: count + operand,
    "*": lambda count, operand: count * operand,
    "^": lambda count, operand: count**operand,
}


class ResourceCount:
    """From ``min`` to ``max`` (None for no end), or of the numbers in ``_values`` only."""

    __slots__ = ("_values", "max", "min")

    def __init__(self, mn: int, mx: int | None, values: IDset | None = None) -> None:
        self.min = mn
        self.max = mx
        self._values = values

    @classmethod
    def from_count_spec(cls, v: object, default: int = 1) -> ResourceCount:
        """What a jobspec says under ``count``; what is neither number, object nor text is ``default``.

        Raises ValueError that says what is wrong.
        """
        if isinstance(v, Mapping):
            end = v.get("max")
            found = (int(v.get("min", default)), None if end is None else int(end))
            return cls._stepped(*found, str(v.get("operator", "+")), int(v.get("operand", 1)))
        if isinstance(v, str):
            return cls._of_text(v.strip())
        count = v if isinstance(v, int) else default
        return cls._stepped(count, count, "+", 1)

    @classmethod
    def _of_text(cls, text: str) -> ResourceCount:
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        found = _RANGE.fullmatch(inner)
        if found is None:
            ids = IDset(inner)
            if not ids or not ids.first():
                raise ValueError(f"RFC 14 count: {text:.40!r} is no list of counts of 1 and more")
            return cls(ids.first(), ids.last(), ids)
        first = int(found["min"])
        last = None if found["open"] else int(found["max"] or first)
        return cls._stepped(first, last, found["operator"] or "+", int(found["operand"] or 1))

    @classmethod
    def _stepped(cls, first: int, last: int | None, operator: str, operand: int) -> ResourceCount:
        if first < 1:
            raise ValueError(f"RFC 14 count: a count must be >= 1, got {first}")
        if last is not None and last < first:
            raise ValueError(f"RFC 14 count: max must be >= min, got max={last} min={first}")
        if (operator, operand) == ("+", 1):
            return cls(first, last)
        if last is None:
            raise ValueError(f"RFC 14 count: one without end cannot go in steps ({operator!r}, {operand})")
        return cls(first, last, IDset(_sequence(first, last, operator, operand)))

    def scaled(self, factor: int) -> ResourceCount:
        """So many times as many."""
        if factor == 1:
            return self
        values = None if self._values is None else IDset(count * factor for count in self._values)
        return ResourceCount(self.min * factor, None if self.max is None else self.max * factor, values)

    def valid_counts(self, available: int) -> Iterator[int]:
        """The counts up to ``available``, largest first."""
        most = available if self.max is None else min(available, self.max)
        if self._values is None:
            yield from range(most, self.min - 1, -1)
        else:
            yield from reversed([count for count in self._values if count <= most])

    def __repr__(self) -> str:
        values = "" if self._values is None else f", values={self._values!r}"
        return f"ResourceCount({self.min}, {self.max}{values})"


def _sequence(first: int, last: int, operator: str, operand: int) -> list[int]:
    step = _STEPS.get(operator)
    if step is None:
        raise ValueError(f"RFC 14 count: operator {operator!r} is not supported; there are +, * and ^")
    if step(first, operand) <= first:
        raise ValueError(f"RFC 14 count: {operator}{operand} leads from {first} no further")
    found = [first]
    while (count := step(found[-1], operand)) <= last:
        found.append(count)
        if len(found) > _LENGTH_MAX:
            raise ValueError("RFC 14 count: sequence too large to expand")
    return found
