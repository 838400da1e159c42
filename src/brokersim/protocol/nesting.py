"""Knows how deep JSON of a peer may nest before somebody looks into it; not what it means."""

from __future__ import annotations

from typing import Final

#: Levels. Ours has a dozen at most, 16 nested schedules some 50; JSON decoders take 1,000, at which recursion ends.
NESTING_MAX: Final = 64
_CONTAINERS: Final = (dict, list, tuple)


def check_nesting(value: object, what: str) -> None:
    """Raises ValueError, which says ``what`` it is, for objects and lists in each other beyond 64 levels."""
    level = [value]
    for _ in range(NESTING_MAX + 1):
        level = [
            inner
            for one in level
            if isinstance(one, _CONTAINERS)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, _CONTAINERS)
        ]
        if not level:
            return
    raise ValueError(f"{what} nests objects and lists at most {NESTING_MAX} deep")
