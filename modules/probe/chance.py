"""Knows a measurement's own chance, made when first asked: most never ask, and a generator holds 2.5 kB."""

from __future__ import annotations

from random import Random


class Chance:
    """A generator seeded by a number and a name: the same ones, the same numbers."""

    __slots__ = ("_made", "_name", "_seed")

    def __init__(self, seed: int, name: str) -> None:
        self._seed = seed
        self._name = name
        self._made: Random | None = None

    def random(self) -> float:
        return self._generator().random()

    def uniform(self, low: float, high: float) -> float:
        return self._generator().uniform(low, high)

    def _generator(self) -> Random:
        if self._made is None:
            self._made = Random(f"{self._seed}/{self._name}")
        return self._made
