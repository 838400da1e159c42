"""How statsd names and computes what it flushes to Graphite; the strict dialect shows its values the same way.

Knows nothing of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Fold, Interval, TimerInterval
from brokersim.statsd.names import join_name, split_tags
from brokersim.statsd.numbers import Number
from brokersim.statsd.shown import Columns
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

    __slots__ = ("_keys", "_names", "name_of")

    def __init__(self, name_of: Callable[[bytes], str]) -> None:
        self.name_of = name_of
        self._keys: list[bytes] = []
        self._names: list[str] = []

    def of(self, table: Mapping[bytes, object]) -> list[str]:
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
        self._splits: dict[bytes, tuple[str, str]] = {}
        old = config.legacy_namespace
        self._timer_part = "stats.timers." if old else _part(config.prefix_timer)
        self._gauge_part = "stats.gauges." if old else _part(config.prefix_gauge)
        self._set_part = "stats.sets." if old else _part(config.prefix_set)
        counters = _part(config.prefix_counter)
        # The old namespace calls the rate by the bare name, which is why its counters look too small.
        self._rates = Names(self._name_of("stats.", "") if old else self._name_of(counters, ".rate"))
        self._counts = Names(self._name_of("stats_counts.", "") if old else self._name_of(counters, ".count"))
        self._gauges = Names(self._name_of(self._gauge_part, ""))
        self._sets = Names(self._name_of(self._set_part, ".count"))

    def new_fold(self) -> Fold:
        return LogBuckets()

    def forget(self, key: bytes) -> None:
        super().forget(key)
        self._splits.pop(key, None)

    def _split(self, key: bytes) -> tuple[str, str]:
        """The name, and what goes behind all else: the suffix and the tags."""
        parts = self._splits.get(key)
        if parts is None:
            name, tags = split_tags(self.text(key))
            parts = self._splits[key] = (name, self._suffix + tags)
        return parts

    def render(self, interval: Interval) -> Columns[Number]:
        """Names are put together once; a flush of the same keys puts its values beside them."""
        seconds = interval.seconds
        counts = list(interval.counters.values())
        names = list(self._rates.of(interval.counters))
        numbers: list[Number] = [count / seconds for count in counts]
        if self.config.flush_counts:
            names += self._counts.of(interval.counters)
            numbers += counts
        for key, timer in interval.timers.items():
            name, tail = self._split(key)
            start = f"{self._timer_part}{name}."
            fields = self._fields(name, timer, seconds)
            names += [f"{start}{field}{tail}" for field in fields]
            numbers += fields.values()
        names += self._gauges.of(interval.gauges)
        numbers += interval.gauges.values()
        names += self._sets.of(interval.sets)
        numbers += interval.sets.values()
        return Columns(names, numbers)

    def _name_of(self, before: str, behind: str) -> Callable[[bytes], str]:
        """What makes a name of a key: `behind` stands before its tags."""

        def name_of(key: bytes) -> str:
            name, tail = split_tags(self.text(key))
            return f"{before}{name}{behind}{self._suffix}{tail}"

        return name_of

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
