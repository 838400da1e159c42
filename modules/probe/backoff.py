"""Knows how long a measurement that crashed waits before it is tried again; not what a crash is."""

from __future__ import annotations

import math
from typing import Final

import attrs

from .ports import Random

#: Seconds between tries, at most.
DELAY_MAX: Final = 60.0
#: Seconds after which a measurement that crashed counts as healthy.
HEALTHY: Final = 60.0


@attrs.define(eq=False)
class Backoff:
    """1, 2, 4 ... up to 60 s, each times a half to one by chance; from the beginning after a minute of health."""

    crashes: int = 0
    _back: float = -math.inf

    def crash(self, now: float, random: Random) -> float:
        """Seconds to wait after a crash at ``now``."""
        self.crashes = self.crashes + 1 if now - self._back < HEALTHY else 0
        delay = min(DELAY_MAX, 2.0**self.crashes) * random.uniform(0.5, 1.0)
        self._back = now + delay
        return delay
