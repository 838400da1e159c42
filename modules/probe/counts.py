"""Knows what is counted of a measurement; not when."""

from __future__ import annotations


class Counts:
    """Whole numbers by name, 0 at first: a thousand measurements have one each, at half of what a dictionary takes."""

    __slots__ = (
        "fail", "late", "merged", "nomatch", "overrun", "partial", "reset", "runs", "slow", "suppressed", "timeout",
        "untimed",
    )  # fmt: skip

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def __getitem__(self, name: str) -> int:
        return getattr(self, name)  # type: ignore[no-any-return]

    def __setitem__(self, name: str, value: int) -> None:
        setattr(self, name, value)

    def to_dict(self) -> dict[str, int]:
        """Those that are not 0."""
        return {name: value for name in self.__slots__ if (value := self[name])}
