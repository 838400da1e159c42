"""brubeck: one type per key, `C` totals, bare names, and plaintext in single precision.

Knows nothing of its threads, pickle output or signatures. Source: brubeck as run, plaintext carbon output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import attrs

from brokersim.statsd.dialects.base import Dialect, Fold, Interval, TimerInterval
from brokersim.statsd.names import MAX_KEY
from brokersim.statsd.numbers import Number, brubeck_number, brubeck_plaintext
from brokersim.statsd.sample import COUNTERS, GAUGES, TIMERS, TOTALS, BadLineError, Judgement, Sample, bad
from brokersim.statsd.timerstats import BRUBECK_LIMIT, brubeck_fields

_KINDS = {b"g": GAUGES, b"c": COUNTERS, b"C": TOTALS, b"h": TIMERS, b"ms": TIMERS}


@attrs.define(eq=False)
class FirstSamples:
    """The first samples of an interval; what comes once they are 65,535 is counted and not looked at."""

    values: list[float] = attrs.field(factory=list)

    def add_many(self, values: Iterable[float]) -> None:
        self.values.extend(list(values)[: BRUBECK_LIMIT - len(self.values)])


class Brubeck(Dialect):
    name: ClassVar[str] = "brubeck"
    packet_limit: ClassVar[int] = 8191
    one_type_per_key: ClassVar[bool] = True
    keeps_expired: ClassVar[bool] = True
    plain_decimals: ClassVar[bool] = False
    counts_bad_lines: ClassVar[bool] = False
    counts_whole_timings: ClassVar[bool] = True

    def lines(self, datagram: bytes) -> list[bytes]:
        """An empty line inside a packet is an error; the one behind the last LF is no line."""
        lines = datagram.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return lines

    def judge(self, line: bytes) -> Judgement:
        try:
            return Judgement((_sample(line.partition(b"\0")[0]),))
        except BadLineError as error:
            return bad(error.reason)

    def difference(self, previous: Number | None, total: Number) -> Number:
        """A total only primes while the one before was not above 0, so the first step from 0 is lost."""
        return super().difference(previous, total) if previous is not None and previous > 0 else 0

    def new_fold(self) -> Fold:
        return FirstSamples()

    @property
    def timer_cap(self) -> int:
        return BRUBECK_LIMIT

    def render(self, interval: Interval) -> dict[str, Number]:
        out: dict[str, Number] = {}
        for table in (interval.counters, interval.gauges):
            for key, value in table.items():
                out[self.text(key)] = brubeck_plaintext(value)
        for key, timer in interval.timers.items():
            name = self.text(key)
            for field, value in brubeck_fields(_kept(timer), timer.count, interval.seconds).items():
                out[f"{name}.{field}"] = brubeck_plaintext(value)
        return out

    def render_self(self, interval: Interval) -> dict[str, Number]:
        prefix = self.config.prefix_stats
        return {f"{prefix}.metrics": interval.metrics, f"{prefix}.errors": interval.bad_lines}


def _kept(timer: TimerInterval) -> list[float]:
    return sorted(timer.fold.values) if isinstance(timer.fold, FirstSamples) else timer.values


def _sample(line: bytes) -> Sample:
    key, colon, rest = line.partition(b":")
    if b" " in key:
        raise BadLineError("blank_in_name")
    if not colon:
        raise BadLineError("no_value")
    if key.endswith(b"."):
        raise BadLineError("name_ends_in_dot")
    if len(key) > MAX_KEY:
        # Its stack is not long enough for the name of one output line.
        raise BadLineError("peer_would_crash")
    field, bar, sections = rest.partition(b"|")
    letter, second, rate = sections.partition(b"|")
    value = brubeck_number(field)
    if value is None:
        raise BadLineError("bad_number")
    if letter not in _KINDS:
        raise BadLineError("unknown_type" if bar else "no_type")
    if second and not rate.startswith(b"@"):
        raise BadLineError("unknown_section")
    weight = _weight(rate[1:]) if second else 1
    return Sample(_KINDS[letter], key, value, weight, signed=field[:1] in (b"+", b"-"))


def _weight(field: bytes) -> float:
    rate = brubeck_number(field)
    if rate is None or not 0 < rate <= 1:
        raise BadLineError("bad_rate")
    return 1 / rate
