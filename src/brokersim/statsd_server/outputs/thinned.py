"""Knows which outputs a retention thins, and stands before them; not how flushes become one (statsd.slots)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brokersim.statsd.flushed import Flush
from brokersim.statsd.slots import Keep, Slots
from brokersim.statsd_server.health import OutputStatistics
from brokersim.statsd_server.outputs.base import Output
from brokersim.statsd_server.outputs.graphite import Graphite
from brokersim.statsd_server.outputs.rundb import RunDatabaseOutput

_SECOND = 1_000_000


def thinned(output: Output, keeps: Sequence[Keep], slots: Callable[[int], Slots]) -> Output:
    """The output, getting a flush for each slot of the finest step if it is a store; others get every flush.

    ``slots`` makes the slots of a step in microseconds. A step is never below a second for Graphite, which has no less.
    """
    if not keeps:
        return output
    step = keeps[0].step
    if isinstance(output, Graphite):
        return Thinned(output, slots(-(-step // _SECOND) * _SECOND))
    return Thinned(output, slots(step)) if isinstance(output, RunDatabaseOutput) else output


class Thinned:
    """Hands a slot on once the next one begins; the last, unfinished one at the close."""

    def __init__(self, output: Output, slots: Slots) -> None:
        self.name = output.name
        self.target = output.target
        self._output = output
        self._slots = slots

    def offer(self, flush: Flush) -> None:
        self._pass(self._slots.add(flush))

    def close(self) -> None:
        self._pass(self._slots.end())
        self._output.close()

    def _pass(self, slot: Flush | None) -> None:
        if slot is not None:
            self._output.offer(slot)

    async def run(self) -> None:
        await self._output.run()

    def statistics(self) -> OutputStatistics:
        return self._output.statistics()
