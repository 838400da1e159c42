"""All that an aggregator's keys hold: samples go into the table of their type, which the register lets in.

Which keys there are knows the register, what a key holds the table. Knows nothing of lines, packets, names at the flush
or health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from brokersim.statsd.batch import DELTA, GAUGE, INC, TIMING, Entry
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.keyed import BEST, Keyed
from brokersim.statsd.names import MAX_KEY
from brokersim.statsd.numbers import Number
from brokersim.statsd.sample import COUNTERS, GAUGES, SETS, TIMERS, TOTALS, Sample
from brokersim.statsd.stored.register import TOO_MANY, Register
from brokersim.statsd.stored.timers import TimerTable
from brokersim.statsd.stored.values import CounterTable, GaugeTable, SetTable

if TYPE_CHECKING:
    from brokersim.native._lines import Reader

Table = CounterTable | GaugeTable | TimerTable | SetTable
TakeKnown = Callable[[bytes, Number, bytes], int]
# Values with a time of their own, of an interval; more of them are taken as of now.
MAX_TIMED = 100_000
# A total is a counter told in another way: both show up in one table.
_TABLE_OF = {COUNTERS: COUNTERS, TOTALS: COUNTERS, GAUGES: GAUGES, TIMERS: TIMERS, SETS: SETS}


@attrs.define(eq=False)
class Store:
    """Tables by key, in the key's cleaned bytes."""

    dialect: Dialect
    config: AggregatorConfig
    keyed: Keyed = BEST
    register: Register = attrs.field(init=False)
    counters: CounterTable = attrs.field(init=False)
    gauges: GaugeTable = attrs.field(init=False)
    timers: TimerTable = attrs.field(init=False)
    sets: SetTable = attrs.field(init=False)
    #: Compiled code that takes plain lines into these tables, where there is some.
    reader: Reader | None = attrs.field(init=False)
    #: By kind: takes in the value of a line whose form is known; how many samples it was, 0 if its line must be judged.
    take_known: dict[str, TakeKnown] = attrs.field(init=False)
    # By (time in s, kind, key), of this interval.
    timed: dict[tuple[int, str, bytes], Number] = attrs.field(factory=dict)
    expired: int = 0
    refused: int = 0
    _tables: dict[str, Table] = attrs.field(init=False)
    _adders: dict[str, Callable[[Sample], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.register = Register(self.dialect, self.config, self.keyed)
        self.counters = CounterTable(self.dialect, self.keyed)
        self.gauges = GaugeTable(self.keyed)
        self.timers = TimerTable(self.dialect, self.keyed, self.config.weighted_timers)
        self.sets = SetTable()
        self.reader = self._new_reader()
        self._tables = {
            COUNTERS: self.counters,
            GAUGES: self.gauges,
            TIMERS: self.timers,
            SETS: self.sets,
        }
        self._adders = {kind: table.add for kind, table in self._tables.items()}
        self._adders[TOTALS] = self.counters.add_total
        self.take_known = {kind: table.take for kind, table in self._tables.items()}
        self.take_known[TOTALS] = self._take_total

    def _new_reader(self) -> Reader | None:
        dialect = self.dialect
        reader = self.keyed.reader(
            self.counters.counts,
            self.gauges.values,
            self.timers.samples,
            dialect.plain_decimals,
            dialect.packs_values,
            dialect.packet_limit,
        )
        if reader is not None and dialect.plain_unless is not None:
            counters, gauges, timers, sets = (
                self.register.known[kind] for kind in (COUNTERS, GAUGES, TIMERS, SETS)
            )
            # Of kinds that expire it has to be noted when they were written.
            kinds = not self.config.counter_ttl, not self.config.gauge_ttl, not self.config.timer_ttl
            reader.welcome(
                cast("Any", (counters, gauges, timers, sets)), kinds, self.config.max_keys, MAX_KEY,
                self.register.forms_taken, dialect.plain_unless,
            )  # fmt: skip
        return reader

    # Writing

    def apply(self, samples: Iterable[Sample], sender: str | None) -> str:
        """Takes in the samples of one line, and nothing of it if there is a reason against one; that, or empty."""
        register = self.register
        typed = [register.with_first_type(sample) for sample in samples]
        new = {
            (_TABLE_OF[each.kind], each.key)
            for each in typed
            if not register.knows(_TABLE_OF[each.kind], each.key)
        }
        if new and (reason := self._refusal(new)):
            return reason
        for sample in typed:
            register.touch(_TABLE_OF[sample.kind], sample.key, sender, sample.kind)
            if sample.t is None or len(self.timed) >= MAX_TIMED:
                self._adders[sample.kind](sample)
            else:
                self._add_timed(sample, sample.t)
        return ""

    def apply_plain(self, sample: Sample, sender: str | None) -> str:
        """As `apply`, for one sample of a key that every output writes as it is, in a dialect without first types."""
        kind, key = sample.kind, sample.key
        if not self.register.knows(kind, key) and (reason := self._refusal({(kind, key)})):
            return reason
        self.register.touch(kind, key, sender, kind)
        self._adders[kind](sample)
        return ""

    def _refusal(self, new: set[tuple[str, bytes]]) -> str:
        reason = self.register.refuses(new)
        if reason == TOO_MANY:
            self.refused += len(new)
        return reason

    def _add_timed(self, sample: Sample, t: int) -> None:
        """A value of another time is shown at that one. Now it counts in the total, and a gauge is what it says."""
        at = (t, sample.kind, sample.key)
        if sample.kind == GAUGES:
            self.gauges.add(sample)
            self.timed[at] = sample.value
            return
        self.timed[at] = self.timed.get(at, 0) + sample.weighted
        self.counters.add_past(sample.key, sample.weighted)

    def take(self, entry: Entry, key: bytes) -> bool:
        """A client's entry for a key that is written already, without the way over text; False if it must go there."""
        if entry.kind == TIMING and key in self.timers.samples:
            self.timers.samples.extend(key, list(map(float, entry.values)))
        elif entry.kind not in (INC, GAUGE, DELTA) or isinstance(value := entry.values[0], str):
            return False
        elif entry.kind == INC and key in self.counters.counts:
            self.counters.counts[key] += value
        elif entry.kind != INC and key in self.gauges.values:
            self.gauges.values[key] = value if entry.kind == GAUGE else self.gauges.current(key) + value
        else:
            return False
        return True

    def _take_total(self, key: bytes, weight: Number, field: bytes) -> int:
        # By way of the register: a total leaves nothing in the tables by which it sees that a key was written.
        value = self.counters.plain_total(key, field)
        return int(value is not None and not self.apply((Sample(TOTALS, key, value),), None))

    # Reading

    def current(self, kind: str, key: bytes) -> Number | list[float]:
        """What a key holds in the running interval: a sum, a value, samples as they came, or how many members."""
        return self._tables[kind].current(key)

    # From one life to the next

    def take_up(self, gauges: Mapping[bytes, Number], totals: Mapping[bytes, Number]) -> int:
        """Values of an earlier life, as if written now by nobody; what has been written since stands. How many."""
        taken = 0
        for kind, table in ((GAUGES, gauges), (COUNTERS, totals)):
            for key, value in table.items():
                if self.register.knows(kind, key) or self.register.refuses({(kind, key)}):
                    continue
                self.register.touch(kind, key, None, kind)
                if kind == GAUGES:
                    self.gauges.values[key] = value
                else:
                    self.counters.add_past(key, value)
                taken += 1
        return taken

    # Flushing

    def close_interval(self) -> None:
        """Expires what is too old. Call it first; then read the four tables, then `open_interval()`."""
        # The fast path writes without a note, but only to keys `open_interval` or the slow path left there.
        self.register.written(COUNTERS, self.counters.counts)
        self.register.written(GAUGES, self.gauges.values)
        self.register.written(TIMERS, self.timers.samples)
        for kind, key in self.register.too_old():
            self._expire(kind, key)

    def _expire(self, kind: str, key: bytes) -> None:
        if not self.dialect.keeps_expired:
            self.expired += self.delete(kind, key)
        elif not self.register.is_disabled(key, (kind,)):
            self.expired += self.disable(kind, key)

    def open_interval(self) -> None:
        """Everything of the interval goes; gauges stay. Keys that can expire must be touched again by the slow path."""
        self.register.next_interval()
        self.counters.open_interval(keeps_keys=not self.config.counter_ttl)
        self.gauges.open_interval(keeps_keys=not self.config.gauge_ttl)
        self.timers.open_interval(keeps_keys=not self.config.timer_ttl)
        self.sets.open_interval()
        if self.reader is not None:
            self.reader.point(self.counters.counts, self.gauges.values, self.timers.samples)
        self.timed = {}

    # Administration

    def delete(self, kind: str, key: bytes) -> bool:
        """The key and its value are gone from one table. False if it was not there."""
        if not self.register.drop(kind, key):
            return False
        self._tables[kind].drop(key)
        return True

    def disable(self, kind: str, key: bytes) -> bool:
        """The key is no longer shown, but keeps its gauge, until it is written again. False if it is not known."""
        if not self.register.knows(kind, key):
            return False
        self._tables[kind].hide(key)
        self.register.disable(kind, key)
        return True
