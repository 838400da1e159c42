"""Knows how long a heartbeat lasts and how it is written; nothing of timers or events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from brokersim.brokermod import duration

#: Seconds between two beats in flux-core.
PERIOD_DEFAULT: Final = 2.0
#: A shorter beat would be load, not a heartbeat.
PERIOD_MIN: Final = 0.001
#: What ``timeout`` is when there is none, in flux-core's words.
NEVER: Final = -1.0


@attrs.frozen(kw_only=True)
class Table:
    """Table ``heartbeat`` of the configuration, with flux-core's defaults: seconds, and periods without a beat.

    ``timeout`` and ``warn_thresh`` are checked and shown: ranks of one process do not lose each other's beats.
    """

    period: float | None = None
    timeout: float = 300.0
    warn_thresh: int = 3


def in_table(conf: Mapping[str, Any], default: float) -> Table:
    """What a configuration says; a table that names no period means ``default`` (s). Raises ValueError."""
    if "heartbeat" not in conf:
        return Table()  # whoever loads it names a period as long as he likes
    table = conf["heartbeat"]
    if not isinstance(table, Mapping) or not table.keys() <= {"period", "timeout", "warn_thresh"}:
        raise ValueError(
            "error reading [heartbeat] config table: it may have period, timeout and warn_thresh"
        )
    period = check_period(_seconds(table, "period")) if "period" in table else default
    timeout = _seconds(table, "timeout") if "timeout" in table else Table().timeout
    if timeout in (0.0, math.inf):
        timeout = NEVER
    if timeout != NEVER and timeout < 2 * period:
        raise ValueError("heartbeat.timeout must be >= 2*heartbeat.period, infinity, or 0")
    warn = table.get("warn_thresh", Table().warn_thresh)
    if type(warn) is not int or warn <= 0:
        raise ValueError("heartbeat.warn_thresh must be positive")
    return Table(period=period, timeout=timeout, warn_thresh=warn)


def _seconds(table: Mapping[str, Any], key: str) -> float:
    if not isinstance(table[key], str):
        raise ValueError(f"heartbeat.{key} must be a duration in words, such as 2s")
    return duration.parse_duration(table[key])


def heartbeat_period(args: Sequence[str], attribute: str | None) -> float:
    """Seconds between beats: the ``period=FSD`` argument, else the attribute, else two seconds.

    Raises ValueError that names the argument and what would be right.
    """
    text = attribute
    for arg in args:
        key, equals, value = arg.partition("=")
        if key != "period" or not equals:
            raise ValueError(f"unknown argument {arg!r}; the only one is period=DURATION, e.g. period=2s")
        text = value
    return PERIOD_DEFAULT if text is None else check_period(duration.parse_duration(text))


def check_period(seconds: float) -> float:
    """The same number. Raises ValueError unless it is 1 ms or more and finite."""
    if not PERIOD_MIN <= seconds < math.inf:
        raise ValueError(f"a period is 1 ms or more and finite, not {seconds:g} s")
    return seconds
