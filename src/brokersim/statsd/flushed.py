"""What an aggregator hands over at a flush, and what it says of its own health.

Knows nothing of how it was gathered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import attrs

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.numbers import Number

Values = Mapping[str, Number]


@attrs.frozen(kw_only=True)
class Flush:
    """One interval's result. `t` is when it was flushed, `interval` its length, both in seconds.

    `values` has the names the dialect's server would use, strict and etsy without their leading `stats.`; `graphite()`
    gives the full ones. Counters are the interval's sums, `totals` the sums since the start. `samples` are ascending;
    a key beyond the cap is in `buckets` instead, and in `approx`: its percentiles are within 1 %. `packets`, `metrics`
    and `bad_lines` are what the dialect's server would say of itself; the truth is in the aggregator's statistics.
    """

    t: float
    interval: float
    dialect: str
    path_prefix: str = ""
    values: Values
    self_values: Values
    counters: Values
    totals: Values
    gauges: Values
    sets: Values
    samples: Mapping[str, list[float]]
    buckets: Mapping[str, LogBuckets]
    timer_counts: Values
    packets: Number
    metrics: Number
    bad_lines: Number
    dropped_creates: int = 0
    # What came with a time of its own (Unix s), under the names of `values`.
    timed: Mapping[int, Values] = {}

    @property
    def approx(self) -> frozenset[str]:
        return frozenset(self.buckets)

    def graphite(self) -> Iterator[tuple[str, Number]]:
        """Full path and value of everything, own health too. NaN and infinity are left out: carbon drops them."""
        for table in (self.values, self.self_values):
            for name, value in table.items():
                if isinstance(value, int) or math.isfinite(value):
                    yield self.path_prefix + name, value


@attrs.frozen(kw_only=True)
class BadLine:
    """A line that was no metric: why, its first bytes, who sent it and when (the time given to `feed`)."""

    reason: str
    line: bytes
    sender: str | None
    t: float


@attrs.frozen(kw_only=True)
class Health:
    """Counts since the start, and the state now. Times are those given to `feed`; None = never."""

    packets: int
    bytes: int
    lines: int
    metrics: int
    bad_lines: int
    bad_by_reason: Mapping[str, int]
    cut_packets: int
    keys: Mapping[str, int]
    expired_keys: int
    refused_keys: int
    flushes: int
    approx_timers: int
    dropped_creates: int
    last_packet_t: float | None
    last_bad_t: float | None


@attrs.frozen(kw_only=True)
class KeyInfo:
    """What is known of one key: its types, what each holds in the running interval, and who sent it first."""

    key: str
    kinds: tuple[str, ...]
    values: Mapping[str, Number | list[float]]
    first_sender: str | None
    is_disabled: bool
