"""Knows how queues are emptied into their sinks: one batch at a time, each sink by itself, again after a failure."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from brokersim.brokermod import Handle

from ..sinks import Down, Partly, Refused, Sink
from .collector import Collector
from .outqueue import OutQueue, Random
from .series import Sample

#: Of syslog's levels: for who looks for a fault.
DEBUG: Final = 7
#: Seconds that what is left may take at the end.
FLUSH_TIMEOUT: Final = 2.0


class Delivery:
    """Pumps: a slow or broken sink keeps nobody else waiting."""

    def __init__(self, handle: Handle, collector: Collector, random: Random) -> None:
        self._handle = handle
        self._collector = collector
        self._random = random
        self._sinks: dict[str, Sink] = {}
        self._retired: list[Sink] = []
        #: By sink the series that it knows, and in which form their samples come.
        self._described: dict[str, dict[str, str]] = {}
        self._timers: dict[str, Any] = {}

    def add(self, sink: Sink, queue: OutQueue) -> None:
        """From now on it is there for measurements; one that it replaces ends, what waits goes to the new one."""
        before = self._sinks.get(queue.name)
        if before is not None:
            self._retire(before, queue)
        self._sinks[queue.name] = sink
        self._described[queue.name] = {}
        self._collector.add_sink(queue)

    def remove(self, name: str) -> None:
        """Nobody reports to it any more: what it will not take now is lost, and counted."""
        queue = self._collector.queues[name]
        queue.reset()
        self._pump(name, is_last=True)
        self._cancel(name)
        del self._collector.queues[name], self._described[name]
        self._collector.fresh.discard(name)
        self._retire(self._sinks.pop(name), queue)
        queue.give_up()

    def retry(self) -> None:
        """Whoever changed something wants to see it: no sink is waited for any longer."""
        for name, queue in self._collector.queues.items():
            queue.reset()
            self._cancel(name)
            self._pump(name)

    def _retire(self, sink: Sink, queue: OutQueue) -> None:
        if queue.flight:  # it is sending: closed at the end
            self._retired.append(sink)
        else:
            sink.close()

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def kick(self) -> None:
        """Send what is new in any queue."""
        fresh = self._collector.fresh
        while fresh:
            self._pump(fresh.pop())

    def _pump(self, name: str, is_last: bool = False) -> None:
        queue = self._collector.queues[name]
        while batch := queue.take(self._handle.now(), is_last):
            sink = self._sinks[name]
            try:
                self._describe(name, sink, batch)
                sending = sink.send(batch, queue.gaps)
            except Exception as error:
                self._failed(name, queue, error)
                return
            if sending is not None:
                self._handle.spawn(self._sent(name, queue, sink, sending))
                return
            queue.delivered_now()
            if not queue.queued:
                return

    def _describe(self, name: str, sink: Sink, batch: list[Sample]) -> None:
        known = self._described[name]
        for sample in batch:
            series = sample.series
            if known.get(series.mid) != series.form:
                sink.describe(series)
                known[series.mid] = series.form

    async def _sent(self, name: str, queue: OutQueue, sink: Sink, sending: Awaitable[None]) -> None:
        try:
            await self._timed(name, sink, sending, len(queue.flight))
        except Partly as error:
            queue.delivered_but(error.count, str(error))
            if self._collector.queues.get(name) is queue:
                self._pump(name)
            return
        except Exception as error:
            self._failed(name, queue, error)
            return
        queue.delivered_now()
        if self._collector.queues.get(name) is queue:
            self._pump(name)

    async def _timed(self, name: str, sink: Sink, sending: Awaitable[None], count: int) -> None:
        """A line of each request for who debugs."""
        begun, status = self._handle.now(), "ok"
        try:
            await sending
        except Exception as error:
            status = f"{type(error).__name__}: {error}"
            raise
        finally:
            if sink.target:
                took = (self._handle.now() - begun) * 1000
                text = f"{count} samples, {sink.size} bytes, {status}, {took:.1f} ms"
                self._handle.log(DEBUG, f"sink {name}: {sink.target}: {text}")

    def _failed(self, name: str, queue: OutQueue, error: Exception) -> None:
        """What a sink raises beside Down is about this batch, not about later ones: a sample it cannot say."""
        now = self._handle.now()
        retry_after = error.retry_after if isinstance(error, Down) else None
        trouble = str(error) if isinstance(error, Down | Refused) else f"{type(error).__name__}: {error}"
        queue.failed(now, self._random, trouble, retry_after, is_final=not isinstance(error, Down))
        if name not in self._timers and self._collector.queues.get(name) is queue:
            delay = max(0.0, queue.not_before - now)
            self._timers[name] = self._handle.call_later(delay, self._again, name)

    def _again(self, name: str) -> None:
        self._timers.pop(name, None)
        self._pump(name)

    # -- the end

    async def end(self) -> None:
        """The last flush, within its time; what no sink takes is counted as lost to the shutdown."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for name, queue in self._collector.queues.items():
            queue.reset()
            self._pump(name, is_last=True)
        waited = 0.0
        while waited < FLUSH_TIMEOUT and any(queue.flight for queue in self._collector.queues.values()):
            await self._handle.sleep(0.05)
            waited += 0.05
        self.close()

    def close(self) -> None:
        """Sinks are closed, what is left is counted."""
        for timer in self._timers.values():
            timer.cancel()
        for name, sink in self._sinks.items():
            self._collector.queues[name].give_up()
            sink.close()
        for sink in self._retired:
            sink.close()
        self._sinks.clear()
