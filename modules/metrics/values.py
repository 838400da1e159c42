"""Knows observed values: what a number is here, how values are told apart, ordered and hashed alike on every rank."""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Any

import msgspec

#: What is beyond cannot be squared and summed in a float; it is refused like infinity.
MAGNITUDE = 1e150
#: Integers that every JSON reader keeps whole in 64 bits.
INT_MAX = 2**62
#: A text beyond this many characters is cut before it is kept: what is observed are names, not documents.
TEXT_MAX = 1000


def is_number(value: Any) -> bool:
    """A finite number that can be counted with."""
    return type(value) in (int, float) and -MAGNITUDE <= value <= MAGNITUDE


def can_be_counted(value: Any) -> bool:
    """A text, a number that is finite and not too large, True or False."""
    return isinstance(value, str) or (type(value) in (int, float, bool) and -MAGNITUDE <= value <= MAGNITUDE)


def plain(value: Any) -> Any:
    """The one form of equal values: 2.0 and True are numbers like 2 and 1; a long text is cut, and what is no UTF-8."""
    if isinstance(value, str):
        value = value[:TEXT_MAX]
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < INT_MAX:
        return int(value)
    if isinstance(value, int):
        return float(value) if abs(value) >= INT_MAX else int(value)
    return value


def order(value: Any) -> tuple[bool, Any]:
    """A sort key for values of both kinds: numbers, then texts."""
    return isinstance(value, str), value


def hash64(value: Any) -> int:
    """64 bits that depend on the value alone, not on the process."""
    return int.from_bytes(blake2b(msgspec.json.encode(plain(value)), digest_size=8).digest(), "big")


def pieces(number: int) -> list[float]:
    """Floats whose exact sum is an integer of any size (below the magnitude)."""
    found: list[float] = []
    while number:
        piece = float(number)
        found.append(piece)
        number -= int(piece)
    return found


def exact_sum(floats: list[float]) -> list[float]:
    """The floats that stand for the exact sum of some, always the same for the same sum: nearest first, then the rest.

    Addition of floats depends on the order; what this returns does not, so that any tree gives the same bytes.
    """
    rest = list(floats)
    found: list[float] = []
    while piece := math.fsum(rest):
        found.append(piece)
        rest.append(-piece)
    return found
