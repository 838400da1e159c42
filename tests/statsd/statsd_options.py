"""Knows statsd's own option names and what they are as settings of ours; not what the settings do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from brokersim.statsd.config import AggregatorConfig


def config_of(options: Mapping[str, Any], **others: Any) -> AggregatorConfig:
    """``graphite`` is nested as there; options that set no value here are ignored."""
    settings: dict[str, Any] = dict(others)
    flat = {**options, **options.get("graphite", {})}
    for option, (name, convert) in _STATSD_OPTIONS.items():
        if option in flat:
            settings[name] = convert(flat[option])
    settings.update(_time_to_lives(options))
    return AggregatorConfig(**settings)


def _as_tuple(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _as_histogram(value: Any) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return tuple(
        (each.get("metric", ""), tuple(math.inf if bin_ == "inf" else float(bin_) for bin_ in each["bins"]))
        for each in value
    )


_STATSD_OPTIONS: dict[str, tuple[str, Any]] = {
    "flushInterval": ("flush", lambda milliseconds: milliseconds / 1000),
    "percentThreshold": ("percentiles", _as_tuple),
    "prefixStats": ("prefix_stats", str),
    "legacyNamespace": ("legacy_namespace", bool),
    "globalPrefix": ("global_prefix", str),
    "prefixCounter": ("prefix_counter", str),
    "prefixTimer": ("prefix_timer", str),
    "prefixGauge": ("prefix_gauge", str),
    "prefixSet": ("prefix_set", str),
    "globalSuffix": ("global_suffix", lambda suffix: suffix or ""),
    "flush_counts": ("flush_counts", bool),
    "histogram": ("histogram", _as_histogram),
    "calculatedTimerMetrics": ("calculated", frozenset),
}


def _time_to_lives(options: Mapping[str, Any]) -> dict[str, int]:
    """`deleteIdleStats` switches the four others on; each can be overridden. Gauges live `gaugesMaxTTL` flushes."""
    idle = options.get("deleteIdleStats", False)
    lives = {"Counters": ("counter_ttl", 1), "Timers": ("timer_ttl", 1), "Sets": ("set_ttl", 1)}
    lives["Gauges"] = ("gauge_ttl", options.get("gaugesMaxTTL", 1))
    return {name: flushes for kind, (name, flushes) in lives.items() if options.get(f"delete{kind}", idle)}
