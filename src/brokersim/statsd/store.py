"""The aggregator's tables: every key's state per type, what it adds up to in an interval, and when it expires.

Knows nothing of lines, packets, names at the flush or health.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from brokersim.statsd.batch import DELTA, GAUGE, INC, TIMING, Entry
from brokersim.statsd.cardinality import TOP, Cardinality, cardinality
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Fold, TimerInterval
from brokersim.statsd.forms import Form, plain_timings, plain_value
from brokersim.statsd.keyed import BEST, Keyed, Numbers, dict_of
from brokersim.statsd.names import MAX_KEY
from brokersim.statsd.numbers import LARGEST, Number
from brokersim.statsd.sample import COUNTERS, GAUGES, KINDS, SETS, TIMERS, TOTALS, Sample

if TYPE_CHECKING:
    from brokersim.native._lines import Reader

# Values with a time of their own, of an interval; more of them are taken as of now.
MAX_TIMED = 100_000
# What a sample may stand for in percentiles: a sender chooses its rate, and a copy takes 8 bytes.
MAX_COPIES = 1000
# A total is a counter told in another way: both show up in one table.
_TABLE_OF = {COUNTERS: COUNTERS, TOTALS: COUNTERS, GAUGES: GAUGES, TIMERS: TIMERS, SETS: SETS}


@attrs.define(eq=False)
class Store:
    """Tables by key, in the key's cleaned bytes.

    `counts`, `gauges` and `timings` are open to the aggregator's fast path, which may change the value of a key that
    is already in one, and nothing else. In dicts a gauge may stand as its digits, read when somebody needs the number.
    """

    dialect: Dialect
    config: AggregatorConfig
    keyed: Keyed = BEST
    counts: Any = attrs.field(init=False)
    gauges: Any = attrs.field(init=False)
    timings: Any = attrs.field(init=False)
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
    _extra_weight: dict[bytes, Number] = attrs.field(factory=dict)
    # Parts of a sample that rates left over, by key.
    _owed: dict[bytes, float] = attrs.field(factory=dict)
    _folds: dict[bytes, Fold] = attrs.field(factory=dict)
    _members: dict[bytes, set[bytes]] = attrs.field(factory=dict)
    # Of keys that outputs write in another form: the form, and whose it is.
    _forms_taken: dict[bytes, bytes] = attrs.field(factory=dict)
    # The first type of a key, where a dialect holds to it.
    _types: dict[bytes, str] = attrs.field(factory=dict)
    # The known keys, each with who sent it first. One string a sender, however many keys it has.
    _known: dict[str, MutableMapping[bytes, str | None]] = attrs.field(init=False)
    _senders: dict[str, str] = attrs.field(factory=dict)
    # Of kinds that expire: number of the flush before which a key was last seen to be written.
    _last_flush: dict[str, dict[bytes, int]] = attrs.field(init=False)
    _disabled: dict[str, set[bytes]] = attrs.field(init=False)
    _flush_number: int = 1
    _appliers: dict[str, Callable[[Sample], None]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        new = self.keyed.numbers
        self.counts, self.gauges, self.sums = new(), new(), new()
        self.timings = self.keyed.samples()
        self._known = {kind: new() for kind in KINDS}
        self.reader = self._new_reader()
        self._last_flush = {kind: {} for kind in KINDS if self._time_to_live(kind)}
        self._disabled = {kind: set() for kind in KINDS}
        self._appliers = {
            COUNTERS: self._add_count,
            TOTALS: self._add_total,
            GAUGES: self._set_gauge,
            TIMERS: self._add_timing,
            SETS: self._add_member,
        }

    def _new_reader(self) -> Reader | None:
        dialect = self.dialect
        reader = self.keyed.reader(
            self.counts,
            self.gauges,
            self.timings,
            dialect.plain_decimals,
            dialect.packs_values,
            dialect.packet_limit,
        )
        if reader is not None and dialect.plain_unless is not None:
            counters, gauges, timers, sets = (self._known[kind] for kind in (COUNTERS, GAUGES, TIMERS, SETS))
            # Of kinds that expire it has to be noted when they were written.
            kinds = not self.config.counter_ttl, not self.config.gauge_ttl, not self.config.timer_ttl
            reader.welcome(
                cast("Any", (counters, gauges, timers, sets)), kinds, self.config.max_keys, MAX_KEY,
                self._forms_taken, dialect.plain_unless,
            )  # fmt: skip
        return reader

    # Writing

    def apply(self, samples: Iterable[Sample], sender: str | None) -> str:
        """Takes in the samples of one line, and nothing of it if there is a reason against one; that, or empty."""
        typed = [self._with_first_type(sample) for sample in samples]
        new = {
            (_TABLE_OF[each.kind], each.key)
            for each in typed
            if not self.knows(_TABLE_OF[each.kind], each.key)
        }
        if new and self.key_count + len(new) > self.config.max_keys:
            self.refused += len(new)
            return "too_many_keys"
        if new and any(self._looks_like_another(key) for key in {key for _, key in new}):
            return "same_name"
        for sample in typed:
            self._touch(_TABLE_OF[sample.kind], sample.key, sender, sample.kind)
            if sample.t is None or len(self.timed) >= MAX_TIMED:
                self._appliers[sample.kind](sample)
            else:
                self._add_timed(sample, sample.t)
        return ""

    def apply_plain(self, sample: Sample, sender: str | None) -> str:
        """As `apply`, for one sample of a key that every output writes as it is, in a dialect without first types."""
        kind, key = sample.kind, sample.key
        if key not in self._known[kind]:
            if self.key_count >= self.config.max_keys:
                self.refused += 1
                return "too_many_keys"
            if key in self._forms_taken:
                return "same_name"
        self._touch(kind, key, sender, kind)
        self._appliers[kind](sample)
        return ""

    def _looks_like_another(self, key: bytes) -> bool:
        """Would an output write this key and one that is known as the same series? If not, the key has its form."""
        stored = self.dialect.stored(key)
        if stored == key:
            return key in self._forms_taken
        other = self._forms_taken.get(stored)
        if other is None and not any(stored in table for table in self._known.values()):
            self._forms_taken[stored] = other = key
        return other != key

    def key_of(self, text: str) -> bytes:
        """The key that is shown as `text`."""
        raw = text.encode("utf-8", "surrogateescape")
        return self._forms_taken.get(self.dialect.stored(raw), raw)

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

    def _with_first_type(self, sample: Sample) -> Sample:
        if not self.dialect.one_type_per_key:
            return sample
        kind = self._types.get(sample.key, sample.kind)
        return sample if kind == sample.kind else sample._replace(kind=kind, value=float(sample.value))

    def _touch(self, kind: str, key: bytes, sender: str | None, first_type: str) -> None:
        known = self._known[kind]
        if key not in known:
            known[key] = None if sender is None else self._senders.setdefault(sender, sender)
            if self.dialect.one_type_per_key:
                self._types.setdefault(key, first_type)
        if kind in self._last_flush:
            self._last_flush[kind][key] = self._flush_number
        self._disabled[kind].discard(key)

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

    def _add_timing(self, sample: Sample) -> None:
        if sample.weight == 1:
            self.timings.extend(sample.key, [float(sample.value)])
        else:
            self._add_sampled(sample.key, float(sample.value), sample.weight)

    def _add_sampled(self, key: bytes, value: float, weight: Number) -> None:
        """A timing that stands for `weight`: in the count it always does, in what is computed of values if wanted."""
        if self.dialect.counts_whole_timings:
            weight = float(math.floor(min(weight, LARGEST)))
        copies = self._copies(key, weight) if self.config.weighted_timers else 1
        self._extra_weight[key] = self._extra_weight.get(key, 0) + (weight - copies)
        held = self.timings.extend(key, [value] * copies)
        if copies > 1 and held > self.dialect.timer_cap:
            self._fold_away(key)

    def _copies(self, key: bytes, weight: Number) -> int:
        """The whole part of the weight; what is left over goes to the key's next sample."""
        owed = min(weight, MAX_COPIES) + self._owed.get(key, 0.0)
        copies = max(1, math.floor(owed))
        self._owed[key] = owed - copies
        return copies

    def _add_member(self, sample: Sample) -> None:
        self._members.setdefault(sample.key, set()).add(sample.element)

    def take(self, entry: Entry, key: bytes) -> bool:
        """A client's entry for a key that is written already, without the way over text; False if it must go there."""
        if entry.kind == TIMING and key in self.timings:
            self.timings.extend(key, list(map(float, entry.values)))
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
            return self._take_timings(key, weight, field)
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

    def _take_timings(self, key: bytes, weight: Number, field: bytes) -> int:
        values = plain_timings(field) if key in self.timings else None
        if values is None or (len(values) > 1 and not self.dialect.packs_values):
            return 0
        if weight == 1:
            self.timings.extend(key, values)
        else:
            for value in values:
                self._add_sampled(key, value, weight)
        return len(values)

    def fold_long(self) -> None:
        """Bounds memory: keys with more samples than the cap fold them away now and not at the flush."""
        for key in self.timings.longer(self.dialect.timer_cap):
            self._fold_away(key)

    def _fold_away(self, key: bytes) -> None:
        self._fold(key, self.timings.of(key))
        self.timings.empty(key)

    def _fold(self, key: bytes, samples: list[float]) -> Fold:
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = self.dialect.new_fold()
        self._extra_weight[key] = self._extra_weight.get(key, 0) + len(samples)
        fold.add_many(samples)
        return fold

    # Reading

    def knows(self, kind: str, key: bytes) -> bool:
        return key in self._known[kind]

    @property
    def key_count(self) -> int:
        return sum(map(len, self._known.values()))

    def count_of(self, kind: str) -> int:
        return len(self._known[kind])

    def keys(self, kind: str) -> list[bytes]:
        return list(self._known[kind])

    def first_sender(self, key: bytes) -> str | None:
        return next((known[key] for known in self._known.values() if key in known), None)

    def cardinality(self) -> Cardinality:
        """Of every key once for each of its types, and who sent it first."""
        return cardinality(*self.keyed.makers(tuple(self._known.values()), TOP))

    def is_disabled(self, key: bytes) -> bool:
        return any(key in keys for keys in self._disabled.values())

    def current(self, kind: str, key: bytes) -> Number | list[float]:
        """What a key holds in the running interval: a sum, a value, samples as they came, or how many members."""
        if kind == COUNTERS:
            count: Number = self.counts.get(key, 0)
            return count + self._differences.get(key, 0)
        if kind == GAUGES:
            return self.gauge(key)
        if kind == TIMERS:
            return list(self.timings.of(key))
        return len(self._members.get(key, ()))

    # From one life to the next

    def held_gauges(self) -> dict[bytes, Number]:
        # A million one by one take two seconds: most often what is there is all.
        if len(self.gauges) == len(self._known[GAUGES]) and not isinstance(self.gauges, dict):
            return dict_of(self.gauges)
        return {key: self.gauge(key) for key in self._known[GAUGES]}

    def take_up(self, gauges: Mapping[bytes, Number], totals: Mapping[bytes, Number]) -> int:
        """Values of an earlier life, as if written now by nobody; what has been written since stands. How many."""
        taken = 0
        for kind, table in ((GAUGES, gauges), (COUNTERS, totals)):
            for key, value in table.items():
                is_new = not self.knows(kind, key)
                if not is_new or self.key_count >= self.config.max_keys or self._looks_like_another(key):
                    continue
                self._touch(kind, key, None, kind)
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
        self._note_touched()
        for kind in KINDS:
            time_to_live = self._time_to_live(kind)
            if not time_to_live:
                continue
            last_flush = self._last_flush[kind].items()
            for key in [key for key, last in last_flush if self._flush_number - last >= time_to_live]:
                self._expire(kind, key)

    def _time_to_live(self, kind: str) -> int:
        config = self.config
        return {
            COUNTERS: config.counter_ttl,
            GAUGES: config.gauge_ttl,
            TIMERS: config.timer_ttl,
            SETS: config.set_ttl,
        }[kind]

    def _note_touched(self) -> None:
        """The fast path writes without a note, but only to keys `open_interval` or the slow path left there."""
        for kind, table in ((COUNTERS, self.counts), (GAUGES, self.gauges), (TIMERS, self.timings)):
            if self._time_to_live(kind):
                self._last_flush[kind].update(dict.fromkeys(table, self._flush_number))

    def _expire(self, kind: str, key: bytes) -> None:
        if not self.dialect.keeps_expired:
            self.expired += 1
            self.delete(kind, key)
        elif key not in self._disabled[kind]:
            self.expired += 1
            self.disable(kind, key)

    def counters(self) -> Mapping[bytes, Number]:
        shown = self._shown(COUNTERS)
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
        shown = self._shown(GAUGES)
        if len(shown) == len(gauges) and not self._disabled[GAUGES]:
            return cast("Mapping[bytes, Number]", self.keyed.copied(gauges))
        return {key: self.gauge(key) for key in shown}

    def timers(self) -> dict[bytes, TimerInterval]:
        return {key: self._timer(key) for key in self._shown(TIMERS)}

    def _timer(self, key: bytes) -> TimerInterval:
        samples = self.timings.of(key)
        fold = self._folds.get(key)
        if fold is not None or len(samples) > self.dialect.timer_cap:
            fold = self._fold(key, samples)
            samples = []
        samples.sort()
        return TimerInterval(values=samples, count=len(samples) + self._extra_weight.get(key, 0), fold=fold)

    def set_sizes(self) -> dict[bytes, int]:
        return {key: len(self._members.get(key, ())) for key in self._shown(SETS)}

    def _shown(self, kind: str) -> Collection[bytes]:
        disabled = self._disabled[kind]
        known = self._known[kind]
        return [key for key in known if key not in disabled] if disabled else known

    def open_interval(self) -> None:
        """Everything of the interval goes; gauges stay. Keys that can expire must be touched again by the slow path."""
        self._flush_number += 1
        keyed = self.keyed
        self.counts = keyed.numbers() if self.config.counter_ttl else keyed.zeroed(self.counts)
        if self.config.timer_ttl:
            self.timings = keyed.samples()
        else:
            self.timings.clear_samples()
        if self.config.gauge_ttl:
            self._settled.update((key, self.gauge(key)) for key in list(self.gauges))
            self.gauges = keyed.numbers()
        if self.reader is not None:
            self.reader.point(self.counts, self.gauges, self.timings)
        self._differences = {}
        self._extra_weight = {}
        self._owed = {}
        self._folds = {}
        self._members = {}
        self.timed = {}

    # Administration

    def delete(self, kind: str, key: bytes) -> bool:
        """The key and its value are gone from one table. False if it was not there."""
        if key not in self._known[kind]:
            return False
        del self._known[kind][key]
        self._last_flush.get(kind, {}).pop(key, None)
        self._drop_values(kind, key)
        self._disabled[kind].discard(key)
        if not any(key in table for table in self._known.values()):
            self._types.pop(key, None)
            if self._forms_taken.get(form := self.dialect.stored(key)) == key:
                del self._forms_taken[form]
            self.dialect.forget(key)
        return True

    def _drop_values(self, kind: str, key: bytes) -> None:
        for table in self._tables(kind):
            table.pop(key, None)

    def _tables(self, kind: str) -> tuple[Any, ...]:
        """Tables of all kinds of values; they are only popped from."""
        tables: dict[str, tuple[Any, ...]] = {
            COUNTERS: (self.counts, self._differences, self._last_totals, self.sums),
            GAUGES: (self.gauges, self._settled),
            TIMERS: (self.timings, self._extra_weight, self._owed, self._folds),
            SETS: (self._members,),
        }
        return tables[kind]

    def disable(self, kind: str, key: bytes) -> bool:
        """The key is no longer shown, but keeps its gauge, until it is written again. False if it is not known."""
        if key not in self._known[kind]:
            return False
        if kind == GAUGES:
            self._settled[key] = self.gauge(key)
        # Out of the fast path's sight, so that the next write comes by `_touch`.
        fast: dict[str, Any] = {
            COUNTERS: self.counts,
            GAUGES: self.gauges,
            TIMERS: self.timings,
            SETS: self._members,
        }
        fast[kind].pop(key, None)
        self._disabled[kind].add(key)
        return True
