"""What an aggregator asks of a dialect, and the interval it asks it to render.

Knows nothing of any one server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple, Protocol

import attrs

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.names import is_plain_key
from brokersim.statsd.numbers import Number
from brokersim.statsd.sample import Judgement


class Fold(Protocol):
    """Where the samples of a key go once they are too many to keep one by one."""

    def add_many(self, values: Iterable[float]) -> None: ...


@attrs.frozen(kw_only=True)
class TimerInterval:
    """One key's timings of one interval: `values` ascending, or all of them in `fold`. `count` heeds sample rates."""

    values: list[float]
    count: Number
    fold: Fold | None = None


@attrs.frozen(kw_only=True)
class Interval:
    """All an interval gathered, idle keys included. `seconds` is the nominal flush interval."""

    seconds: float
    counters: Mapping[bytes, Number]
    gauges: Mapping[bytes, Number]
    timers: Mapping[bytes, TimerInterval]
    sets: Mapping[bytes, int]
    packets: int
    metrics: int
    bad_lines: int
    bad_by_reason: Mapping[str, int]

    @classmethod
    def only(
        cls,
        seconds: float,
        *,
        counters: Mapping[bytes, Number] | None = None,
        gauges: Mapping[bytes, Number] | None = None,
        timers: Mapping[bytes, TimerInterval] | None = None,
        sets: Mapping[bytes, int] | None = None,
    ) -> Interval:
        """An interval of these tables, in which nothing else came in."""
        return cls(
            seconds=seconds, counters=counters or {}, gauges=gauges or {}, timers=timers or {}, sets=sets or {},
            packets=0, metrics=0, bad_lines=0, bad_by_reason={},
        )  # fmt: skip


class Reported(NamedTuple):
    """Packets, metrics and bad lines of one interval."""

    packets: Number
    metrics: Number
    bad_lines: Number


class Dialect:
    """One server's reading of lines and its way to show what they add up to."""

    name: ClassVar[str]
    # Bytes of a packet that are looked at.
    packet_limit: ClassVar[int] = 65_535
    # True: the first type of a key is its type for ever.
    one_type_per_key: ClassVar[bool] = False
    # True: a key past its time-to-live is no longer shown, but keeps its value for when it comes back.
    keeps_expired: ClassVar[bool] = False
    # True: a counter or gauge with decimals is that number and nothing rounded.
    plain_decimals: ClassVar[bool] = True
    # True: whether a line is good, and what its value does, never depends on the value but for being a plain number.
    has_forms: ClassVar[bool] = False
    #: Except of these keys: what their lines say does not follow from the form.
    without_forms: ClassVar[frozenset[bytes]] = frozenset()
    # True: `k:1:2:3|ms` is three timings.
    packs_values: ClassVar[bool] = False
    # True: a bad line counts as a metric received.
    counts_bad_lines: ClassVar[bool] = True
    # True: what a timing with a rate stands for is cut to a whole number.
    counts_whole_timings: ClassVar[bool] = False
    path_prefix: str = ""
    #: A new name of letters, digits and `_.=-` is its key with nothing to be judged, unless it begins so. None: never.
    plain_unless: bytes | None = None

    def __init__(self, config: AggregatorConfig) -> None:
        self.config = config

    def lines(self, datagram: bytes) -> list[bytes]:
        """The lines of a packet, empty ones included where they matter; the packet is within the limit."""
        return datagram.split(b"\n")

    def judge(self, line: bytes) -> Judgement:
        """What a line says. Never raises, whatever the bytes."""
        raise NotImplementedError

    def takes_plainly(self, key: bytes) -> bool:
        """True: a line `key:digits|type` of a counter, gauge or timing says just that, whatever the digits."""
        unless = self.plain_unless
        return unless is not None and is_plain_key(key) and not key.startswith(unless)

    def difference(self, previous: Number | None, total: Number) -> Number:
        """What a running total adds: the first only primes, a smaller one means its sender was restarted."""
        if previous is None:
            return 0
        return total - previous if total >= previous else total

    def new_fold(self) -> Fold:
        raise NotImplementedError

    @property
    def timer_cap(self) -> int:
        return self.config.timer_cap

    def reported(self, interval: Interval) -> Reported:
        """What the server itself would say came in."""
        return Reported(packets=interval.packets, metrics=interval.metrics, bad_lines=interval.bad_lines)

    def render(self, interval: Interval) -> Mapping[str, Number]:
        """Name and value of everything users sent."""
        raise NotImplementedError

    def render_self(self, interval: Interval) -> dict[str, Number]:
        """Name and value of the server's own metrics."""
        return {}

    def forget(self, key: bytes) -> None:
        """A key is gone from every table."""

    def stored(self, key: bytes) -> bytes:
        """The coarsest form any output has of a key; of two keys that share one, the later is refused."""
        return key

    def text(self, key: bytes) -> str:
        """What people see of a key. Not kept: decoding costs as much as looking it up, and a string 80 bytes."""
        return key.decode("utf-8", "backslashreplace")
