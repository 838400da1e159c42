"""How an aggregator is set up.

Knows nothing of what the settings do.
"""

from __future__ import annotations

from typing import Any

import attrs

# Flushes have been seen to work down to this interval; below it a flush costs more than it gathers.
SHORTEST_FLUSH = 0.01


class ConfigError(ValueError):
    """A setting that cannot be; says which, what it is and what would be right."""


def _at_least(lowest: float, unit: str = "") -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not value >= lowest:
            raise ConfigError(f"{attribute.name} is {value}{unit}; it must be at least {lowest}{unit}")

    return check


def _thresholds(_: object, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    for threshold in value:
        if not 0 < abs(threshold) <= 100:
            raise ConfigError(
                f"{attribute.name} has {threshold}; use a number in (0, 100], or below 0 for the top"
            )


@attrs.frozen(kw_only=True)
class AggregatorConfig:
    """Settings of an Aggregator. Time-to-lives count flushes since the last write; 0 = kept for ever.

    `flush` is in seconds. `max_creates_per_minute` is carbon's bucket of new series. `timer_cap` is how many samples
    of a key and interval are kept exactly; beyond it they fold into 1 % log buckets. `weighted_timers`: a timing with a
    rate stands for 1 / rate of them in percentiles, means and sums too, not in the count alone. Raises ConfigError.
    """

    flush: float = attrs.field(default=1.0, validator=_at_least(SHORTEST_FLUSH, " s"))
    percentiles: tuple[float, ...] = attrs.field(default=(90,), converter=tuple, validator=_thresholds)
    prefix_stats: str = "statsd"
    legacy_namespace: bool = False
    global_prefix: str = "stats"
    prefix_counter: str = "counters"
    prefix_timer: str = "timers"
    prefix_gauge: str = "gauges"
    prefix_set: str = "sets"
    global_suffix: str = ""
    flush_counts: bool = True
    counter_ttl: int = attrs.field(default=0, validator=_at_least(0))
    timer_ttl: int = attrs.field(default=0, validator=_at_least(0))
    gauge_ttl: int = attrs.field(default=0, validator=_at_least(0))
    set_ttl: int = attrs.field(default=0, validator=_at_least(0))
    histogram: tuple[tuple[str, tuple[float, ...]], ...] = ()
    calculated: frozenset[str] | None = None
    weighted_timers: bool = False
    max_creates_per_minute: float | None = attrs.field(default=None, validator=_at_least(1))
    # 0.8 kB a gauge, its line for Graphite included: 160 MB at most of gauges, whoever sends whatever.
    max_keys: int = attrs.field(default=200_000, validator=_at_least(1))
    # Exact is the cheapest way up to here, and `upper_90`, `sum_90` and `std` need every sample.
    timer_cap: int = attrs.field(default=20_000, validator=_at_least(1))
    bad_ring: int = attrs.field(default=256, validator=_at_least(1))
