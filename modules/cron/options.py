"""Knows whether runs wait for an event, and for how long after one they need not; not which entries wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from brokersim.brokermod import duration

#: Seconds after a sync event within which a run still counts as synchronised (flux-core's default).
EPSILON: Final = 0.015


@attrs.define(eq=False)
class SyncOption:
    """The event runs wait for (None: they don't), and when it came last (seconds since the epoch)."""

    topic: str | None = None
    epsilon: float = EPSILON
    last: float = 0.0

    def must_wait(self, now: float) -> bool:
        """Does a run that is due now have to wait for the next event?"""
        return self.topic is not None and now - self.last >= self.epsilon


def sync_option(args: Sequence[str]) -> SyncOption:
    """From the arguments ``sync=TOPIC`` and ``sync_epsilon=FSD``. Raises ValueError that names the wrong one."""
    option = SyncOption()
    for arg in args:
        key, equals, value = arg.partition("=")
        if key == "sync" and value:
            option.topic = value
        elif key == "sync_epsilon" and equals:
            option.epsilon = duration.parse_duration(value)
        else:
            raise ValueError(f"unknown argument {arg!r}; there are sync=TOPIC and sync_epsilon=DURATION")
    return option
