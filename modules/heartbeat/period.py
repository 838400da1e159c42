"""Knows how long a heartbeat lasts and how it is written; nothing of timers or events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from brokersim.brokermod import duration

#: Seconds between two beats in flux-core.
PERIOD_DEFAULT: Final = 2.0
#: A shorter beat would be load, not a heartbeat.
PERIOD_MIN: Final = 0.001


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
