"""Knows when a module's counters are emitted: the debug bit, the hook, the last snapshot. Not the socket.

Source: the journal's week 2. While bit 0x1000 of a module's debug mask is set, its hook compares the eight
counters with those last sent and, only if one moved, sends them all as gauges in one datagram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brokersim.native.engine import twin
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.actor import Timer
from brokersim.reactor.watchers import Watcher
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.sink import CountSink, NullSink, Sink
from brokersim.statsd.packet import GaugeBlock

#: The debug bit with a meaning for every module: emit the eight message counters as gauges.
MSGCOUNT = 0x1000


@twin
class Instrument:
    """Emits one module's counters from one hook for as long as its mask bit is set.

    With the bit clear nothing is left in the loop.
    """

    __slots__ = (
        "_block",
        "_counts",
        "_handle",
        "_last",
        "_reactor",
        "_sink",
        "_take",
        "_timer",
        "_watcher",
        "has_told",
        "hook",
        "packets",
    )

    def __init__(self, handle: Endpoint, sink: Sink, hook: str) -> None:
        self._handle = handle
        self._block = GaugeBlock(
            [f"flux.{handle.name}.{handle.broker.rank}.{name}" for name in COUNTER_NAMES]
        )
        self._counts = handle.counts
        self._reactor = handle.reactor
        self._sink = sink
        self._take: Callable[[Sequence[int]], object] | None = (
            sink.taker(handle.name) if isinstance(sink, CountSink) else None
        )
        self._last: list[int] = []
        self._watcher: Watcher | None = None
        self._timer: Timer | None = None
        self.hook = hook
        self.packets = 0
        #: The log has a line on the module's own packets beside these.
        self.has_told = False

    @property
    def sends(self) -> bool:
        """It is in the loop, and there is somewhere to send to."""
        return self.is_running and not isinstance(self._sink, NullSink)

    @property
    def is_running(self) -> bool:
        return self._watcher is not None or self._timer is not None

    @property
    def _is_timer(self) -> bool:
        return self.hook.startswith("timer")

    @property
    def flushed(self) -> tuple[int, ...]:
        """The counters sent last, empty before the first time."""
        return tuple(self._last)

    def start(self) -> None:
        """Put the hook into the loop; the first turn sends, whatever the counters are."""
        if self.is_running:
            return
        self._last = []
        if self._is_timer:
            self._arm()
            return
        # Oldest: after the handle's own and before the module's, so a check sees the module's work of its turn.
        self._watcher = Watcher(self._handle.module_loop(), self.hook, self.emit)
        self._watcher.start(oldest=True)

    def stop(self) -> None:
        """Take the hook out of the loop."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def use(self, hook: str) -> None:
        """Change the hook, at once if it runs."""
        running = self.is_running
        self.stop()
        self.hook = hook
        if running:
            self.start()

    def emit(self) -> None:
        """The hook: send the counters if one moved."""
        counts = self._counts
        if counts == self._last:
            return
        self._last = last = counts.copy()
        self.packets += 1
        self._reactor.extra += 1
        if self._take is None:
            self._sink.send(self._block.format_counts(last))
        else:
            self._take(last)

    def _arm(self) -> None:
        period = parse_duration(self.hook.partition(":")[2])
        self._timer = self._handle.reactor.call_later(period, self._tick, actor=self._handle)

    def _tick(self) -> None:
        self._arm()
        self.emit()
