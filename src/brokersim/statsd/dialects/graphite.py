"""How statsd names and computes what it flushes to Graphite; the strict dialect shows its values the same way.

Knows nothing of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Fold, Interval, TimerInterval
from brokersim.statsd.keyed import writes_lines
from brokersim.statsd.names import join_name, split_tags
from brokersim.statsd.numbers import Number
from brokersim.statsd.shown import Columns, Keyed, Pieces
from brokersim.statsd.timerstats import (
    Bins,
    Fields,
    bucket_fields,
    histogram_fields,
    keep_fields,
    statsd_fields,
)

# statsd's own gauges are among those it counts in numStats.
_OWN_GAUGES = 1


class Names:
    """The names of a table's keys, in its order, kept as long as no key goes: new ones only join at the end."""

    __slots__ = ("_keys", "_names", "before", "behind", "name_of")

    def __init__(self, before: str, behind: str, suffix: str, text: Callable[[bytes], str]) -> None:
        """Of a key's `text` its tags go last, behind the suffix."""
        self.before = before
        self.behind = behind + suffix

        def name_of(key: bytes) -> str:
            name, tail = split_tags(text(key))
            return f"{before}{name}{self.behind}{tail}"

        self.name_of = name_of
        self._keys: list[bytes] = []
        self._names: list[str] = []

    def columns(self, table: Mapping[bytes, Number], divisor: float | None = None) -> Columns[Number] | Keyed:
        """The table with the names of its keys, its numbers divided if wanted."""
        if writes_lines(table):
            return Keyed(
                table=table, before=self.before, behind=self.behind, name_of=self.name_of, divisor=divisor
            )
        numbers = list(table.values())
        if divisor is not None:
            numbers = [number / divisor for number in numbers]
        return Columns(self._of(table), numbers)

    def _of(self, table: Mapping[bytes, object]) -> list[str]:
        keys = list(table)
        known = len(self._keys)
        # The same objects as the last time: comparing them costs 10 ns each.
        if keys[:known] != self._keys:
            known = 0
            self._names = []
        if len(keys) != known:
            # A new list: one that was given away stays as it is.
            self._names = self._names + list(map(self.name_of, keys[known:]))
        self._keys = keys
        return self._names


class GraphiteDialect(Dialect):
    """Names as statsd builds them, old and new namespace, prefixes, suffix, tags last."""

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__(config)
        # Shown names lack the global prefix; in the old namespace it is not the same for all of them.
        self.path_prefix = "" if config.legacy_namespace else join_name(config.global_prefix, "").lstrip(".")
        self._suffix = f".{config.global_suffix}" if config.global_suffix else ""
        self._timer_names: dict[bytes, tuple[str, tuple[str, ...], list[str]]] = {}
        old = config.legacy_namespace
        self._timer_part = "stats.timers." if old else _part(config.prefix_timer)
        self._gauge_part = "stats.gauges." if old else _part(config.prefix_gauge)
        self._set_part = "stats.sets." if old else _part(config.prefix_set)
        counters = _part(config.prefix_counter)
        # The old namespace calls the rate by the bare name, which is why its counters look too small.
        self._rates = self._names("stats.", "") if old else self._names(counters, ".rate")
        self._counts = self._names("stats_counts.", "") if old else self._names(counters, ".count")
        self._gauges = self._names(self._gauge_part, "")
        self._sets = self._names(self._set_part, ".count")

    def new_fold(self) -> Fold:
        return LogBuckets()

    def forget(self, key: bytes) -> None:
        super().forget(key)
        self._timer_names.pop(key, None)

    def render(self, interval: Interval) -> Columns[Number]:
        """Names are put together once; a flush of the same keys puts its values beside them."""
        pieces = [self._rates.columns(interval.counters, interval.seconds)]
        if self.config.flush_counts:
            pieces.append(self._counts.columns(interval.counters))
        pieces.append(self._timers(interval))
        pieces.append(self._gauges.columns(interval.gauges))
        pieces.append(self._sets.columns(interval.sets))
        return Pieces(pieces)

    def _timers(self, interval: Interval) -> Columns[Number]:
        names: list[str] = []
        numbers: list[Number] = []
        for key, timer in interval.timers.items():
            name, shape, own = self._timer_names.get(key) or (split_tags(self.text(key))[0], (), [])
            fields = self._fields(name, timer, interval.seconds)
            if shape != (shape := tuple(fields)):
                tail = self._suffix + split_tags(self.text(key))[1]
                own = [f"{self._timer_part}{name}.{field}{tail}" for field in shape]
                self._timer_names[key] = (name, shape, own)
            names += own
            numbers += fields.values()
        return Columns(names, numbers)

    def _names(self, before: str, behind: str) -> Names:
        return Names(before, behind, self._suffix, self.text)

    def _own_counter(self, out: dict[str, Number], name: str, value: Number, seconds: float) -> None:
        key = name.encode()
        out[self._rates.name_of(key)] = value / seconds
        if self.config.flush_counts:
            out[self._counts.name_of(key)] = value

    def _fields(self, name: str, timer: TimerInterval, seconds: float) -> Fields:
        fields: Fields = {"count": timer.count, "count_ps": timer.count / seconds}
        if isinstance(timer.fold, LogBuckets):
            fields |= bucket_fields(timer.fold, self.config.percentiles)
        elif timer.values:
            fields |= statsd_fields(timer.values, self.config.percentiles)
            fields |= histogram_fields(timer.values, self._bins(name))
        return keep_fields(fields, self.config.calculated)

    def _bins(self, name: str) -> Bins:
        """The bins of the first entry whose name part is in the key."""
        return next((bins for part, bins in self.config.histogram if part in name), ())

    def _own_gauges(self) -> int:
        return _OWN_GAUGES

    def render_self(self, interval: Interval) -> dict[str, Number]:
        """statsd's four, and ours: bad lines by reason."""
        intake = self.reported(interval)
        own: dict[str, Number] = {
            "bad_lines_seen": intake.bad_lines,
            "packets_received": intake.packets,
            "metrics_received": intake.metrics,
        }
        stats = len(own) + self._own_gauges()
        stats += len(interval.counters) + len(interval.timers) + len(interval.gauges) + len(interval.sets)
        own |= {f"bad_lines.{reason}": count for reason, count in interval.bad_by_reason.items()}
        prefix = self.config.prefix_stats
        out: dict[str, Number] = {}
        for name, value in own.items():
            self._own_counter(out, join_name(prefix, name), value, interval.seconds)
        out[f"{join_name(prefix, 'numStats')}{self._suffix}"] = stats
        return out


def _part(prefix: str) -> str:
    """An empty part of a name drops out, its dot with it."""
    return f"{prefix}." if prefix else ""
