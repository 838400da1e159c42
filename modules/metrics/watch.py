"""Knows how a rank watches a stat's threshold as it counts: what each observation adds to the value, and when to tell.

The arithmetic of what may wait is in `slack`; here is where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .cells import Cell
from .slack import RankSlack
from .stat import Row, Stat, Stream
from .table import Table, Tap

#: Results whose growth is known from the observation alone.
_LINEAR = ("sum", "n")
#: Told of a key with what it grew by; None for a stat whose value can fall after all.
Report = Callable[[str, float | None], object]


def holds(stat: Stat) -> bool:
    """Do the values of ranks add up? Those of maxima and constants do not."""
    return stat.value is not None and any(result != "max" for _, result in stat.value.terms)


class Watch:
    """One stat's threshold on this rank."""

    def __init__(self, stat: Stat, table: Table, members: int, report: Report) -> None:
        assert stat.value is not None and stat.definition.threshold is not None
        self._stat = stat
        self._table = table
        self._report = report
        self._slack = RankSlack(stat.levels[0], members, holds(stat), stat.definition.threshold.grain)
        self._values: dict[str, float] = {}
        linear = all(result in _LINEAR for _, result in stat.value.terms) and not self._value_of({})
        for tap in table.taps:
            tap.watched_by(self._added(tap) if linear else partial(self._changed, tap))

    def _value_of(self, ones: dict[tuple[str, str], float]) -> float:
        assert self._stat.value is not None
        return self._stat.value.value(lambda stream, result: ones.get((stream, result), 0.0)) or 0.0

    def _added(self, tap: Tap) -> Callable[[str, Cell, Any], object]:
        """For sums and numbers of observations: what one adds does not depend on those before it."""
        a_sum, a_count = (self._value_of({(tap.stream.name, result): 1.0}) for result in _LINEAR)

        def observed(key: str, cell: Cell, value: Any) -> None:
            if value < 0 and a_sum and self._slack.is_on:
                self._off(key)
            else:
                self._grew(key, a_sum * value + a_count)

        return observed

    def _changed(self, tap: Tap, key: str, cell: Cell, value: Any) -> None:
        """For all others: the value is worked out anew. A sum that falls ends the watch for this epoch."""
        if not self._slack.is_on:
            return
        if value < 0 and _sums(tap.stream):
            self._off(key)
            return
        now = self._stat.measure(self._table.peek(key)[0])
        before = self._values.get(key, 0.0)
        if now is not None and now > before:
            self._values[key] = now
        self._grew(key, max(0.0, (now or 0.0) - before))

    def _grew(self, key: str, by: float) -> None:
        if self._slack.is_on and (by > 0 or self._slack.awaits_any(key)):
            self._tell(key, self._slack.grew(key, by))

    def _tell(self, key: str, due: float | None) -> None:
        if due is not None:
            self._report(key, due)

    def _off(self, key: str) -> None:
        self._slack.is_on = False
        self._report(key, None)

    def off(self) -> None:
        """Somewhere the value can fall: for this epoch it is judged at the end."""
        self._slack.is_on = False

    def carried(self, rows: Sequence[Row]) -> None:
        """Rows that count in this epoch from its start."""
        for row in rows:
            self._grew(row[0], self._stat.measure(row) or 0.0)

    def looked_at(self, key: str) -> None:
        """The key's row is being told whole."""
        self._slack.looked_at(key)

    def told(self, key: str, slack: float, level: float) -> None:
        """Rank 0 shares out anew."""
        self._tell(key, self._slack.told(key, slack, level))

    def reset(self) -> None:
        """A new epoch."""
        self._slack.reset()
        self._values.clear()


def _sums(stream: Stream) -> bool:
    return "sum" in stream.results
