"""Knows how a test waits for what messages bring about, by the instance's time, and what it says if nothing comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from brokersim.kit.witness import Witness

#: Seconds of the instance's clock that anything awaited may take.
PATIENCE = 60.0


class Impatient(AssertionError):
    """What a test waited for did not come, or cannot come any more."""


class Waits:
    """Waits that end; a time that is over tells whether anything could still have happened."""

    def __init__(self, witness: Witness) -> None:
        self._instance = witness.instance
        self._ledger = witness.ledger

    def now(self) -> float:
        """Seconds of the instance's clock."""
        return self._instance.broker(0).endpoint.now()

    @contextmanager
    def within(self, seconds: float, text: str) -> Iterator[None]:
        """Raises Impatient with this text for a block that takes longer."""
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise Impatient(f"{text} {self._why(seconds)}") from None

    async def until(
        self, condition: Callable[[], bool], otherwise: Callable[[], str], seconds: float
    ) -> None:
        """Wait until a condition holds that messages bring about. Raises Impatient with ``otherwise()``."""
        if condition():
            return
        endpoint = self._instance.broker(0).endpoint
        try:
            with trio.fail_after(seconds):
                await endpoint.occurrence(lambda done: self._ledger.when(condition, done))
        except trio.TooSlowError:
            raise Impatient(f"{otherwise()} {self._why(seconds)}") from None

    async def for_move(self, module: str, otherwise: str, deadline: float) -> None:
        """Until a module of rank 0 has sent or received something, for at most a second. Raises Impatient.

        ``deadline`` is by the instance's clock; ``otherwise`` tells what had not come by then.
        """

        def moves() -> int:
            return sum(self._ledger.tallies.get((0, module), {}).values())

        before = moves()
        patience = min(1.0, deadline - self.now())
        if patience <= 0:
            raise Impatient(f"{otherwise} until {self.now():g} s")
        try:
            await self.until(lambda: moves() > before, lambda: otherwise, patience)
        except Impatient:
            if self._is_over():
                raise

    def _why(self, seconds: float) -> str:
        if self._is_over():
            return f"within {seconds:g} s: nothing is under way or due any more"
        return f"within {seconds:g} s"

    def _is_over(self) -> bool:
        """Nothing can happen any more by itself."""
        return self._instance.runner.is_virtual and self._instance.reactor.next_due() is None
