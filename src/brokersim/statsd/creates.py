"""carbon's limit on new series a minute: what finds the bucket empty is dropped until it has a token again.

Knows nothing of what the values are. Source: carbon's MAX_CREATES_PER_MINUTE, 50 in the configuration it ships.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from brokersim.statsd.numbers import Number


@attrs.define(eq=False)
class CreateLimit:
    """A bucket of `per_minute` tokens, full at the start, refilled over a minute. A series needs one, once."""

    per_minute: float
    dropped: int = 0
    _tokens: float = attrs.field(init=False)
    _refilled_at: float | None = None
    _created: set[str] = attrs.field(factory=set)
    _held_back: set[str] = attrs.field(factory=set)

    @property
    def held_back(self) -> frozenset[str]:
        """Series that were sent and never created."""
        return frozenset(self._held_back)

    def __attrs_post_init__(self) -> None:
        self._tokens = self.per_minute

    def admit(self, values: Mapping[str, Number], now: float) -> dict[str, Number]:
        """The values whose series exists or could be created at `now` (s); the others are counted as dropped."""
        self._refill(now)
        admitted = {
            name: value for name, value in values.items() if name in self._created or self._create(name)
        }
        self.dropped += len(values) - len(admitted)
        return admitted

    def _refill(self, now: float) -> None:
        if self._refilled_at is not None and now > self._refilled_at:
            gained = (now - self._refilled_at) * self.per_minute / 60
            self._tokens = min(self.per_minute, self._tokens + gained)
        self._refilled_at = now

    def _create(self, name: str) -> bool:
        if self._tokens < 1:
            self._held_back.add(name)
            return False
        self._tokens -= 1
        self._held_back.discard(name)
        self._created.add(name)
        return True
