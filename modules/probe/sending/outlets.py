"""Knows the sinks there are, and how they become those that are wanted: what waits for one waits for the next, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from brokersim.brokermod import Handle

from ..config import PLAIN, Config
from ..plan import Measurement
from ..sinks import Sink, to_sink
from .bounds import Bounds
from .collector import Collector
from .delivery import Delivery
from .outqueue import OutQueue
from .spool import Spool

#: A sink's record, itself, its queue and what that is to be.
Made = tuple[Mapping[str, Any], Sink, OutQueue, Bounds]


@attrs.define(eq=False)
class Outlets:
    """Sinks by name, each with its queue; a queue outlives the sink that another configuration replaces."""

    _handle: Handle
    _collector: Collector
    _delivery: Delivery
    _records: dict[str, Mapping[str, Any]] = attrs.field(factory=dict, init=False)
    _bounds: dict[str, Bounds] = attrs.field(factory=dict, init=False)

    def prepare(self, config: Config) -> dict[str, Made]:
        """Sinks that are new or other ones, begun but not used: nothing has changed. Raises ValueError, OSError."""
        made: dict[str, Made] = {}
        try:
            for name, record in _wanted(config).items():
                if self._records.get(name) != record:
                    made[name] = self._begun(name, record)
        except BaseException:
            for _, sink, queue, _ in made.values():
                sink.close()
                if queue.spool is not None and queue.name not in self._records:
                    queue.spool.close([])
            raise
        return made

    def take(self, made: Mapping[str, Made]) -> None:
        """They are used from now on."""
        for name, one in made.items():
            self._use(name, *one)

    def settle(self, config: Config) -> None:
        """Those that nobody wants any more end, once what reported to them has; all others are tried again at once."""
        wanted = _wanted(config)
        for name in [name for name in self._records if name not in wanted]:
            self._delivery.remove(name)
            del self._records[name], self._bounds[name]
        self._delivery.retry()

    def plain(self, measurement: Measurement) -> None:
        """Those of a measurement that need no configuration are begun when it is the first to want them."""
        for name in measurement.reporting.all_sinks:
            if name in PLAIN and name not in self._records:
                self._use(name, *self._begun(name, {}))

    def _begun(self, name: str, record: Mapping[str, Any]) -> Made:
        sink, bounds = to_sink(name, record, self._handle)
        before, queue = self._bounds.get(name), self._collector.queues.get(name)
        try:
            if before is None or queue is None:
                spool = Spool(bounds.spool, bounds.spool_max) if bounds.spool else None
                queue = OutQueue(name=name, spool=spool)
            elif (before.spool, before.spool_max) != (bounds.spool, bounds.spool_max):
                raise ValueError(
                    f"/sinks/{name}/queue/spool is another one: unload the module and load it again"
                )
        except BaseException:
            sink.close()
            raise
        return record, sink, queue, bounds

    def _use(self, name: str, record: Mapping[str, Any], sink: Sink, queue: OutQueue, bounds: Bounds) -> None:
        queue.bound(bounds)
        queue.has_times, queue.has_text, queue.is_off = sink.has_times, sink.has_text, sink.is_off
        self._delivery.add(sink, queue)
        if name not in self._records and queue.spooled:
            self._collector.recover(queue)
        self._records[name], self._bounds[name] = record, bounds


def _wanted(config: Config) -> dict[str, Mapping[str, Any]]:
    """What is configured, and the plain ones that a measurement reports to."""
    used = {name for one in config.measurements.values() for name in one.reporting.all_sinks if name in PLAIN}
    return {**{name: {} for name in sorted(used)}, **config.sinks}
