"""Knows how all that is wrong with something is gathered and told at once; not what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")
#: Faults that are told in one sentence; whoever lists them has all.
FAULTS_MAX: Final = 20


class Faults(ValueError):
    """All that is wrong with something, a text each."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = len(faults) - FAULTS_MAX
        super().__init__("; ".join([*faults[:FAULTS_MAX], *([f"and {more} more"] if more > 0 else [])]))
        self.faults = tuple(faults)


def faults_of(error: ValueError) -> Sequence[str]:
    """What an error says is wrong: one thing, or several."""
    return error.faults if isinstance(error, Faults) else (str(error),)


class Gathered:
    """What several checks find wrong: each is made, whatever the others found."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def of(self, check: Callable[..., T], *given: Any, otherwise: Any = None) -> T:
        """What the check answers, or ``otherwise`` where it finds something wrong, which ``tell`` then raises."""
        try:
            return check(*given)
        except ValueError as error:
            self.faults += faults_of(error)
        answer: T = otherwise
        return answer

    def tell(self) -> None:
        """Raises Faults if there are any."""
        if self.faults:
            raise Faults(self.faults)
