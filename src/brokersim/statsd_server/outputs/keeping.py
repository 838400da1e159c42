"""Knows what goes from one life of a server to the next, and when it is written down; not how it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.held import Held
from brokersim.statsd_server.outputs.base import Output
from brokersim.statsd_server.outputs.rundb import RunDatabaseOutput

#: Seconds between two times that what is held is written down: 200,000 gauges take 50 ms.
HOLD_S: Final = 10.0


class Keeping:
    """Gauges and totals of ``aggregator``, in the run databases among ``outputs``."""

    def __init__(self, aggregator: Aggregator, outputs: Iterable[Output] = ()) -> None:
        self._aggregator = aggregator
        self._keepers = [output for output in outputs if isinstance(output, RunDatabaseOutput)]
        self._held_t = -HOLD_S

    def take_up(self, log: Callable[[str], None]) -> None:
        """What the server held that wrote to a run database before."""
        for keeper in self._keepers:
            held = Held.from_bytes(keeper.held) if keeper.held is not None else None
            if held is not None and (taken := self._aggregator.take_up(held)):
                log(f"{keeper.target}: {taken:,} gauges and totals taken up from the run before")

    def hold(self, t: float, *, is_last: bool) -> None:
        """Now and then, what is held goes with the flush of ``t`` (s): a crash costs the last of it, an end nothing."""
        if self._keepers and (is_last or t - self._held_t >= HOLD_S):
            self._held_t = t
            held = self._aggregator.held().to_bytes()
            for keeper in self._keepers:
                keeper.held = held
