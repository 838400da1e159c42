"""How statsd names and computes what it flushes to Graphite; the strict dialect shows its values the same way.

Knows nothing of lines.
"""

from __future__ import annotations

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect, Fold, Interval, TimerInterval
from brokersim.statsd.names import join_name, split_tags
from brokersim.statsd.numbers import Number
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
        self._counter_part = "" if old else _part(config.prefix_counter)

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

    def render(self, interval: Interval) -> dict[str, Number]:
        out: dict[str, Number] = {}
        for key, value in interval.counters.items():
            self._counter(out, *self._split(key), value, interval.seconds)
        for key, timer in interval.timers.items():
            name, tail = self._split(key)
            for field, value in self._fields(name, timer, interval.seconds).items():
                out[f"{self._timer_part}{name}.{field}{tail}"] = value
        for key, value in interval.gauges.items():
            name, tail = self._split(key)
            out[f"{self._gauge_part}{name}{tail}"] = value
        for key, size in interval.sets.items():
            name, tail = self._split(key)
            out[f"{self._set_part}{name}.count{tail}"] = size
        return out

    def _counter(self, out: dict[str, Number], name: str, tail: str, value: Number, seconds: float) -> None:
        """The old namespace calls the rate by the bare name, which is why its counters look too small."""
        old = self.config.legacy_namespace
        out[f"stats.{name}{tail}" if old else f"{self._counter_part}{name}.rate{tail}"] = value / seconds
        if self.config.flush_counts:
            out[f"stats_counts.{name}{tail}" if old else f"{self._counter_part}{name}.count{tail}"] = value

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
            self._counter(out, join_name(prefix, name), self._suffix, value, interval.seconds)
        out[f"{join_name(prefix, 'numStats')}{self._suffix}"] = stats
        return out


def _part(prefix: str) -> str:
    """An empty part of a name drops out, its dot with it."""
    return f"{prefix}." if prefix else ""
