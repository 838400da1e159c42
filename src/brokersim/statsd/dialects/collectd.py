"""collectd's statsd plugin: whole-number counters with a residue, times in seconds, one table entry per type and key.

Knows nothing of collectd's other plugins. Source: collectd 5.12 as run, with CounterSum and every Timer option on,
percentiles 50, 90 and 99, and StoreRates off.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Fold, Interval, TimerInterval
from brokersim.statsd.dialects.latency import LatencyCounter
from brokersim.statsd.numbers import LARGEST, Number, strtod_number
from brokersim.statsd.sample import (
    COUNTERS,
    GAUGES,
    NOTHING,
    SETS,
    TIMERS,
    BadLineError,
    Judgement,
    Sample,
    bad,
)

LONGEST_KEY = 127
# Its totals are 64-bit.
_LARGEST_COUNT = 2.0**63
_FORBIDDEN = re.compile(r'[\x00-\x20\x7f.:"\\!,/()]')
_PERCENTILES = (50, 90, 99)
_LATENCY_FIELDS = ("average", "lower", "upper", "sum")
_KINDS = {b"c": COUNTERS, b"ms": TIMERS, b"g": GAUGES, b"s": SETS}


class Collectd(Dialect):
    name: ClassVar[str] = "collectd"
    packet_limit: ClassVar[int] = 4095
    plain_decimals: ClassVar[bool] = False
    counts_bad_lines: ClassVar[bool] = False

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__(config)
        self._residues: dict[bytes, float] = {}
        self._derived: dict[bytes, int] = {}

    def lines(self, datagram: bytes) -> list[bytes]:
        """A NUL ends the packet, and nobody is told."""
        return datagram.partition(b"\0")[0].split(b"\n")

    def judge(self, line: bytes) -> Judgement:
        if not line:
            return NOTHING
        try:
            return Judgement((_sample(line),))
        except BadLineError as error:
            return bad(error.reason)

    def new_fold(self) -> Fold:
        return LatencyCounter()

    def render(self, interval: Interval) -> dict[str, Number]:
        out: dict[str, Number] = {}
        for key, value in interval.counters.items():
            whole = self._whole(key, value)
            out[self._name("count", key)] = whole
            out[self._name("derive", key)] = self._derived[key]
        for key, timer in interval.timers.items():
            self._timer(out, key, timer)
        for key, value in interval.gauges.items():
            out[self._name("gauge", key)] = value
        for key, size in interval.sets.items():
            out[self._name("objects", key)] = size
        return out

    def _whole(self, key: bytes, value: Number) -> int:
        """Rounded half to even, what is cut off kept for the next flush; the running total moves by the same."""
        exact = value + self._residues.get(key, 0)
        whole = round(exact)
        self._residues[key] = exact - whole
        self._derived[key] = self._derived.get(key, 0) + whole
        return whole

    def _timer(self, out: dict[str, Number], key: bytes, timer: TimerInterval) -> None:
        """Idle: NaN and a count of 0. Only times below 1 ms, which it drops: 0 throughout."""
        if isinstance(timer.fold, LatencyCounter):
            latency = timer.fold
        else:
            latency = LatencyCounter()
            latency.add_many(timer.values)
        idle = not timer.values and timer.fold is None
        name = self._name("latency", key)
        for field in _LATENCY_FIELDS:
            out[f"{name}-{field}"] = math.nan if idle else getattr(latency, field)
        for percent in _PERCENTILES:
            out[f"{name}-percentile-{percent}"] = math.nan if idle else latency.percentile(percent)
        out[f"{self._name('gauge', key)}-count"] = latency.n

    def _name(self, kind: str, key: bytes) -> str:
        text = _FORBIDDEN.sub("_", self.text(key))
        return f"{kind}-{text}" if text else kind

    def forget(self, key: bytes) -> None:
        super().forget(key)
        self._residues.pop(key, None)
        self._derived.pop(key, None)


def _sample(line: bytes) -> Sample:
    head, bar, sections = line.partition(b"|")
    name, colon, field = head.rpartition(b":")
    letter, second, extra = sections.partition(b"|")
    if not bar:
        raise BadLineError("no_type")
    if not colon:
        raise BadLineError("no_value")
    if letter not in _KINDS:
        raise BadLineError("unknown_type")
    kind, key = _KINDS[letter], name[:LONGEST_KEY]
    if second and kind in (GAUGES, SETS):
        raise BadLineError("unknown_section")
    if kind == SETS:
        return Sample(SETS, key, 0, element=field)
    return _numeric(kind, key, field, _rate(extra) if second else 1)


def _rate(section: bytes) -> float:
    rate = strtod_number(section[1:]) if section.startswith(b"@") else None
    if rate is None or not 0 < rate <= 1:
        raise BadLineError("bad_rate")
    return rate


def _numeric(kind: str, key: bytes, field: bytes, rate: float) -> Sample:
    value = strtod_number(field)
    if value is None:
        raise BadLineError("bad_number" if field else "no_value")
    if kind == GAUGES:
        return Sample(GAUGES, key, value, signed=field[:1] in (b"+", b"-"))
    # It turns these into whole numbers, which C leaves undefined for NaN, infinity and what is beyond 64 bits.
    if not abs(value / rate) < (LARGEST if kind == TIMERS else _LARGEST_COUNT):
        raise BadLineError("peer_would_garble")
    if kind == TIMERS:
        # A sample rate divides the time itself: 100 ms at 0.1 becomes a second. What is below a millisecond is cut off
        # where times are counted (`LatencyCounter`), and not here: plain lines do not come this way.
        return Sample(TIMERS, key, float(max(value / rate, 0.0)))
    return Sample(COUNTERS, key, value / rate)
