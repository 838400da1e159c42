"""Knows the statsd packets of a test: as they came, as parsed samples, as last values. Not what they should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase

from brokersim.kit.expect import at_least
from brokersim.protocol.decoded import JsonView
from brokersim.routing.sink import MemorySink
from brokersim.statsd.parse import judge_strict
from brokersim.statsd.sample import Sample


class StatsSink(MemorySink):
    """A statsd server of the test's own: ``packets`` are (time in s, bytes), ``lines`` text, ``metrics`` parsed."""

    def __init__(self) -> None:
        super().__init__()
        #: Told after every packet.
        self.listeners: list[Callable[[], object]] = []
        #: The instance whose time ``wait`` takes: the last one opened with this sink.
        self.waiter: Callable[..., Awaitable[float]] | None = None
        self._values: dict[str, float] = {}
        self._read = 0

    def send(self, packet: bytes) -> bool:
        taken = self._take(packet)
        for listener in self.listeners:
            listener()
        return taken

    def _take(self, packet: bytes) -> bool:
        return super().send(packet)

    def clear(self) -> None:
        """Forget what came."""
        self.receive()
        self.packets.clear()
        self._values.clear()
        self._read = 0

    def receive(self) -> None:
        """Nothing is on its way in memory; over a socket, take in what has come."""

    @property
    def lines(self) -> list[str]:
        """Every line, in the order they came."""
        self.receive()
        return [line.decode() for _, packet in self.packets for line in packet.splitlines()]

    @property
    def metrics(self) -> list[Sample]:
        """Every line as a sample; raises BadLineError for one that is no metric."""
        self.receive()
        return _parsed(self.packets)

    def value(self, name: str) -> float | None:
        """The last value of a metric, None if none came. Increments of gauges are added up."""
        self.receive()
        _add_values(self._values, self.packets[self._read :])
        self._read = len(self.packets)
        return self._values.get(name)

    async def wait(self, name: str, *, ge: float, timeout: float = 60.0) -> float:
        """Wait until a metric's last value is ``ge`` or more; that value. The time is the instance's.

        Raises Impatient, at once if nothing can happen any more. In a test that is no coroutine:
        ``broker.wait_metric(name, ge=...)``.
        """
        if self.waiter is None:
            raise RuntimeError("nothing to wait for: no instance sends to this sink")
        return await self.waiter(name, ge=ge, timeout=timeout)


def _parsed(packets: list[tuple[float, bytes]]) -> list[Sample]:
    return [sample for _, packet in packets for line in packet.splitlines() for sample in judge_strict(line)]


def values(packets: list[tuple[float, bytes]]) -> dict[str, float]:
    """Metric name to its last value; increments of gauges are added up, negative absolutes do not exist."""
    found: dict[str, float] = {}
    _add_values(found, packets)
    return found


def _add_values(found: dict[str, float], packets: list[tuple[float, bytes]]) -> None:
    for sample in _parsed(packets):
        name = sample.key.decode()
        before = found.get(name, 0) if sample.signed else 0
        found[name] = before + float(sample.value)


class ExpectedMetrics:
    """What was emitted while the ``with`` block ran, compared at its end.

    Names may be globs, which at least one metric must match. ``None`` as value means any.
    """

    def __init__(self, sink: MemorySink, expected: JsonView) -> None:
        self._sink = sink
        self._expected = expected
        self._first = len(sink.packets)
        self._last: int | None = None

    @property
    def packets(self) -> list[tuple[float, bytes]]:
        """The packets of the block."""
        return self._sink.packets[self._first : self._last]

    @property
    def metrics(self) -> list[Sample]:
        """The samples of the block."""
        return _parsed(self.packets)

    @property
    def values(self) -> dict[str, float]:
        """Metric name to its last value in the block."""
        return values(self.packets)

    def check(self) -> None:
        """Raises AssertionError that names each metric that is missing or has another value."""
        self._last = len(self._sink.packets)
        seen = self.values
        wrong = []
        for pattern, value in self._expected.items():
            found = {name: got for name, got in seen.items() if fnmatchcase(name, pattern)}
            wanted = at_least(-(1 << 62)) if value is None else value
            if not found:
                wrong.append(f"    {pattern}  got nothing  expected {'a metric' if value is None else value}")
            wrong += [
                f"    {name}  got {got:g}  expected {value}" for name, got in found.items() if wanted != got
            ]
        if wrong:
            raise AssertionError("\n".join(["metrics differ:", *wrong]))
