"""The aggregator's tables: what every key holds per type, and what that adds up to in an interval.

Which keys there are knows the register, what timers hold the timer table. Knows nothing of lines, packets, names at the
flush or health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from brokersim.statsd.batch import DELTA, GAUGE, INC, TIMING, Entry
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, TimerInterval
from brokersim.statsd.forms import Form, plain_value
from brokersim.statsd.keyed import BEST, Keyed, Numbers, dict_of
from brokersim.statsd.names import MAX_KEY
from brokersim.statsd.numbers import Number
from brokersim.statsd.sample import COUNTERS, GAUGES, SETS, TIMERS, TOTALS, Sample
from brokersim.statsd.stored.register import TOO_MANY, Register
from brokersim.statsd.stored.timers import TimerTable

if TYPE_CHECKING:
    from brokersim.native._lines import Reader

# Values with a time of their own, of an interval; more of them are taken as of now.
MAX_TIMED = 100_000
# A total is a counter told in another way: both show up in one table.
_TABLE_OF = {COUNTERS: COUNTERS, TOTALS: COUNTERS, GAUGES: GAUGES, TIMERS: TIMERS, SETS: SETS}


@attrs.define(eq=False)
class Store:
    """Tables by key, in the key's cleaned bytes.

    `counts` and `gauges` are open to the aggregator's fast path, which may change the value of a key that is already in
    one, and nothing else. In dicts a gauge may stand as its digits, read when somebody needs the number.
    """

    dialect: Dialect
    config: AggregatorConfig
    keyed: Keyed = BEST
    counts: Any = attrs.field(init=False)
    gauges: Any = attrs.field(init=False)
    register: Register = attrs.field(init=False)
    timers: TimerTable = attrs.field(init=False)
    #: Compiled code that takes plain lines into these tables, where there is some.
    reader: Reader | None = attrs.field(init=False)
    sums: Any = attrs.field(init=False)
    # By (time in s, kind, key), of this interval.
    timed: dict[tuple[int, str, bytes], Number] = attrs.field(factory=dict)
    expired: int = 0
    refused: int = 0
    _differences: dict[bytes, Number] = attrs.field(factory=dict)
    _last_totals: dict[bytes, Number] = attrs.field(factory=dict)
    _settled: dict[bytes, Number] = attrs.field(factory=dict)
    _members: dict[bytes, set[bytes]] = attrs.field(factory=dict)
    _appliers: dict[str, Callable[[Sample], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        new = self.keyed.numbers
        self.counts, self.gauges, self.sums = new(), new(), new()
        self.register = Register(self.dialect, self.config, self.keyed)
        self.timers = TimerTable(self.dialect, self.keyed, self.config.weighted_timers)
        self.reader = self._new_reader()
        self._appliers = {
            COUNTERS: self._add_count,
            TOTALS: self._add_total,
            GAUGES: self._set_gauge,
            TIMERS: self.timers.add,
            SETS: self._add_member,
        }

    def _new_reader(self) -> Reader | None:
        dialect = self.dialect
        reader = self.keyed.reader(
            self.counts,
            self.gauges,
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
                self._appliers[sample.kind](sample)
            else:
                self._add_timed(sample, sample.t)
        return ""

    def apply_plain(self, sample: Sample, sender: str | None) -> str:
        """As `apply`, for one sample of a key that every output writes as it is, in a dialect without first types."""
        kind, key = sample.kind, sample.key
        if not self.register.knows(kind, key) and (reason := self._refusal({(kind, key)})):
            return reason
        self.register.touch(kind, key, sender, kind)
        self._appliers[kind](sample)
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
            self._set_gauge(sample)
            self.timed[at] = sample.value
            return
        added = sample.value if sample.weight == 1 else sample.value * sample.weight
        self.timed[at] = self.timed.get(at, 0) + added
        self.counts.setdefault(sample.key, 0)
        self.sums[sample.key] = self.sums.get(sample.key, 0) + added

    def _add_count(self, sample: Sample) -> None:
        added = sample.value if sample.weight == 1 else sample.value * sample.weight
        self.counts[sample.key] = self.counts.get(sample.key, 0) + added

    def _add_total(self, sample: Sample) -> None:
        key = sample.key
        # A rate is about the total, as brubeck has it; other dialects know of no total with one.
        total = sample.value if sample.weight == 1 else sample.value * sample.weight
        difference = self.dialect.difference(self._last_totals.get(key), total)
        self._last_totals[key] = total
        self._differences[key] = self._differences.get(key, 0) + difference

    def _set_gauge(self, sample: Sample) -> None:
        value = sample.value
        self.gauges[sample.key] = self.gauge(sample.key) + value if sample.signed else value

    def gauge(self, key: bytes) -> Number:
        """The gauge's value; 0 if there is none."""
        value = self.gauges.get(key)
        if value is None:
            return self._settled.get(key, 0)
        return int(value) if isinstance(value, bytes) else value

    def _add_member(self, sample: Sample) -> None:
        self._members.setdefault(sample.key, set()).add(sample.element)

    def take(self, entry: Entry, key: bytes) -> bool:
        """A client's entry for a key that is written already, without the way over text; False if it must go there."""
        if entry.kind == TIMING and key in self.timers.samples:
            self.timers.samples.extend(key, list(map(float, entry.values)))
        elif entry.kind not in (INC, GAUGE, DELTA) or isinstance(value := entry.values[0], str):
            return False
        elif entry.kind == INC and key in self.counts:
            self.counts[key] += value
        elif entry.kind != INC and key in self.gauges:
            self.gauges[key] = value if entry.kind == GAUGE else self.gauge(key) + value
        else:
            return False
        return True

    def take_known(self, form: Form, field: bytes) -> int:
        """Takes in the value of a line whose form is known; how many samples it was, 0 if its line must be judged."""
        kind, key, weight = form
        if kind == TIMERS:
            return self.timers.take(key, weight, field)
        if kind == SETS:
            return self._take_member(key, field)
        value = plain_value(kind, field)
        if value is None:
            return 0
        if kind == COUNTERS and key in self.counts:
            self.counts[key] += value if weight == 1 else value * weight
        elif kind == GAUGES and key in self.gauges:
            self.gauges[key] = self.gauge(key) + value if field[:1] in (b"+", b"-") else value
        elif kind == TOTALS and key in self._last_totals:
            return int(not self.apply((Sample(TOTALS, key, value),), None))
        else:
            return 0
        return 1

    def _take_member(self, key: bytes, field: bytes) -> int:
        members = self._members.get(key)
        if members is None or not field or b":" in field or b"\0" in field:
            return 0
        members.add(field)
        return 1

    # Reading

    def current(self, kind: str, key: bytes) -> Number | list[float]:
        """What a key holds in the running interval: a sum, a value, samples as they came, or how many members."""
        if kind == COUNTERS:
            count: Number = self.counts.get(key, 0)
            return count + self._differences.get(key, 0)
        if kind == GAUGES:
            return self.gauge(key)
        if kind == TIMERS:
            return list(self.timers.samples.of(key))
        return len(self._members.get(key, ()))

    # From one life to the next

    def held_gauges(self) -> dict[bytes, Number]:
        # A million one by one take two seconds: most often what is there is all.
        if len(self.gauges) == len(self.register.known[GAUGES]) and not isinstance(self.gauges, dict):
            return dict_of(self.gauges)
        return {key: self.gauge(key) for key in self.register.known[GAUGES]}

    def take_up(self, gauges: Mapping[bytes, Number], totals: Mapping[bytes, Number]) -> int:
        """Values of an earlier life, as if written now by nobody; what has been written since stands. How many."""
        taken = 0
        for kind, table in ((GAUGES, gauges), (COUNTERS, totals)):
            for key, value in table.items():
                if self.register.knows(kind, key) or self.register.refuses({(kind, key)}):
                    continue
                self.register.touch(kind, key, None, kind)
                if kind == GAUGES:
                    self.gauges[key] = value
                else:
                    self.counts[key] = 0
                    self.sums[key] = value
                taken += 1
        return taken

    # Flushing

    def close_interval(self) -> None:
        """Expires what is too old. Call it first; then read the four tables, then `open_interval()`."""
        # The fast path writes without a note, but only to keys `open_interval` or the slow path left there.
        for kind, table in ((COUNTERS, self.counts), (GAUGES, self.gauges), (TIMERS, self.timers.samples)):
            self.register.written(kind, table)
        for kind, key in self.register.too_old():
            self._expire(kind, key)

    def _expire(self, kind: str, key: bytes) -> None:
        if not self.dialect.keeps_expired:
            self.expired += self.delete(kind, key)
        elif not self.register.is_disabled(key, (kind,)):
            self.expired += self.disable(kind, key)

    def counters(self) -> Mapping[bytes, Number]:
        shown = self.register.shown(COUNTERS)
        # Most often every counter was or could have been written: then the table is the interval's own.
        table: Numbers = self.counts
        if len(table) != len(shown):
            table = {key: table.get(key, 0) for key in shown}
        for key, difference in self._differences.items():
            table[key] = table.get(key, 0) + difference
        self.keyed.add_all(self.sums, table)
        return table

    def gauge_values(self) -> Mapping[bytes, Number]:
        gauges = self.gauges
        if isinstance(gauges, dict) and bytes in set(map(type, gauges.values())):
            gauges.update([(key, int(value)) for key, value in gauges.items() if type(value) is bytes])
        shown = self.register.shown(GAUGES)
        if shown is self.register.known[GAUGES] and len(shown) == len(gauges):
            return cast("Mapping[bytes, Number]", self.keyed.copied(gauges))
        return {key: self.gauge(key) for key in shown}

    def timer_intervals(self) -> dict[bytes, TimerInterval]:
        return self.timers.intervals(self.register.shown(TIMERS))

    def set_sizes(self) -> dict[bytes, int]:
        return {key: len(self._members.get(key, ())) for key in self.register.shown(SETS)}

    def open_interval(self) -> None:
        """Everything of the interval goes; gauges stay. Keys that can expire must be touched again by the slow path."""
        self.register.next_interval()
        keyed = self.keyed
        self.counts = keyed.numbers() if self.config.counter_ttl else keyed.zeroed(self.counts)
        self.timers.open_interval(keeps_keys=not self.config.timer_ttl)
        if self.config.gauge_ttl:
            self._settled.update((key, self.gauge(key)) for key in list(self.gauges))
            self.gauges = keyed.numbers()
        if self.reader is not None:
            self.reader.point(self.counts, self.gauges, self.timers.samples)
        self._differences = {}
        self._members = {}
        self.timed = {}

    # Administration

    def delete(self, kind: str, key: bytes) -> bool:
        """The key and its value are gone from one table. False if it was not there."""
        if not self.register.drop(kind, key):
            return False
        if kind == TIMERS:
            self.timers.drop(key)
        for table in self._tables(kind):
            table.pop(key, None)
        return True

    def _tables(self, kind: str) -> tuple[Any, ...]:
        """Tables of all kinds of values but timers; they are only popped from."""
        tables: dict[str, tuple[Any, ...]] = {
            COUNTERS: (self.counts, self._differences, self._last_totals, self.sums),
            GAUGES: (self.gauges, self._settled),
            SETS: (self._members,),
        }
        return tables.get(kind, ())

    def disable(self, kind: str, key: bytes) -> bool:
        """The key is no longer shown, but keeps its gauge, until it is written again. False if it is not known."""
        if not self.register.knows(kind, key):
            return False
        if kind == GAUGES:
            self._settled[key] = self.gauge(key)
        # Out of the fast path's sight, so that the next write comes by the register's `touch`.
        fast: dict[str, Any] = {
            COUNTERS: self.counts,
            GAUGES: self.gauges,
            TIMERS: self.timers.samples,
            SETS: self._members,
        }
        fast[kind].pop(key, None)
        self.register.disable(kind, key)
        return True
