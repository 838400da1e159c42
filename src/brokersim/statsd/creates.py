"""carbon's limit on new series a minute: what finds the bucket empty is dropped until it has a token again.

Knows nothing of what the values are. Source: carbon's MAX_CREATES_PER_MINUTE, 50 in the configuration it ships.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from brokersim.statsd.numbers import Number

#: A minute, in the configuration that carbon ships.
SHIPPED: Final = 50.0
_FOLLOWS = re.compile(r"\.(?:rate|count_ps|std|sum_squares\w*|mean_\w+|sum_\w+|count_\w+|bin_\w+)(?:;|$)")
_SAYS_MUCH = re.compile(r"\.(?:upper\w*|lower\w*|mean|median|sum|min|max|percentile\.\w+)(?:;|$)")


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
        new = [name for name in values if name not in self._created]
        for name in sorted(new, key=_rank):
            self._create(name)
        admitted = {name: value for name, value in values.items() if name in self._created}
        self.dropped += len(values) - len(admitted)
        return admitted

    def _refill(self, now: float) -> None:
        if self._refilled_at is not None and now > self._refilled_at:
            gained = (now - self._refilled_at) * self.per_minute / 60
            self._tokens = min(self.per_minute, self._tokens + gained)
        self._refilled_at = now

    def _create(self, name: str) -> None:
        if self._tokens < 1:
            self._held_back.add(name)
            return
        self._tokens -= 1
        self._held_back.discard(name)
        self._created.add(name)


def _rank(name: str) -> int:
    """What says most is created first: values, sums and counts, then how long it took, then what follows from these."""
    if _FOLLOWS.search(name):
        return 2
    return 1 if _SAYS_MUCH.search(name) else 0


@attrs.define(eq=False)
class Unstored:
    """How many of the series that are sent cannot be stored yet where carbon keeps the limit it ships.

    It is never told what carbon did; by counting it is known what cannot be.
    """

    per_minute: float = SHIPPED
    # Names take as much memory as all that is kept of most keys: while no table shrinks, counting them is enough.
    _known: set[str] | None = None
    _waiting: float = 0.0
    _tokens: float = attrs.field(init=False)
    _last: float | None = None
    _sizes: tuple[int, ...] = ()

    def __attrs_post_init__(self) -> None:
        self._tokens = self.per_minute

    def note(self, tables: Sequence[Mapping[str, object]], now: float) -> int:
        """Series were sent at ``now`` (s); how many of all so far wait."""
        if self._last is not None and now > self._last:
            self._tokens = min(self.per_minute, self._tokens + (now - self._last) * self.per_minute / 60)
        self._last = now
        # Only a table that has grown or shrunk is looked through: at a hundred thousand names that is most of the cost.
        sizes = tuple(map(len, tables))
        if sizes != self._sizes:
            self._waiting += self._new(tables, sizes)
            self._sizes = sizes
        created = min(self._waiting, self._tokens // 1)
        self._waiting -= created
        self._tokens -= created
        return int(self._waiting)

    def _new(self, tables: Sequence[Mapping[str, object]], sizes: tuple[int, ...]) -> int:
        """How many names were not sent before. Of those that went before any table shrank it is not known."""
        has_shrunk = any(now < before for now, before in zip(sizes, self._sizes, strict=False))
        if self._known is None and not has_shrunk:
            return sum(sizes) - sum(self._sizes)
        if self._known is None:
            self._known = set().union(*tables)
            return 0
        before = len(self._known)
        self._known.update(*tables)
        return len(self._known) - before

    @property
    def seconds_left(self) -> float:
        """Until the last of them may be stored, if nothing new comes."""
        return self._waiting * 60 / self.per_minute
