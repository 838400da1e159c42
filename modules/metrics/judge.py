"""Knows when a stat's threshold is crossed, on rank 0: in the epoch by what ranks report, at its end by the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import keys
from .slack import MUTE, RootSlack
from .stat import Row, Rows, Stat
from .watch import holds

#: Ask for the row of a key over all ranks.
Look = Callable[[str], object]
#: Tell ranks a key's slack and level, or (key "") that the value can fall and is not watched.
Share = Callable[[str, float, float], object]


class Judge:
    """One stat's thresholds, epoch after epoch."""

    def __init__(self, stat: Stat, members: int, look: Look, share: Share) -> None:
        assert stat.definition.threshold is not None
        self._stat = stat
        self._members = members
        self._look = look
        self._share = share
        self._hysteresis = stat.definition.threshold.hysteresis
        self._slack = self._new()
        #: That of the epoch that is being collected, and the values of keys in it that have crossed.
        self._closing: RootSlack | None = None
        self._final: dict[str, float] = {}
        self.was_off = False

    def _new(self) -> RootSlack:
        assert self._stat.definition.threshold is not None
        grain = self._stat.definition.threshold.grain
        return RootSlack(self._stat.levels, self._members, holds(self._stat), grain)

    # -- during the epoch

    def reported(self, key: str, delta: float | None) -> None:
        """A rank tells what a key grew by there, or that the value can fall."""
        if not self._slack.is_on:
            return
        if delta is None:
            self._slack.is_on = False
            self._share("", MUTE, MUTE)
        elif self._waits:
            self._slack.note(key, delta)
        elif self._slack.reported(key, delta):
            self._look(key)

    @property
    def _waits(self) -> bool:
        """With a hysteresis nobody knows what may be told of a key until the rows of the last epoch have come."""
        return self._closing is not None and self._hysteresis is not None

    def looked(self, key: str, row: Row | None, is_whole: bool) -> dict[str, Any] | None:
        """The row of a key has come; the crossing there is, if there is one."""
        value = None if row is None else self._stat.measure(row)
        if value is None or row is None:
            return None
        slack = self._slack
        level = slack.seen(key, value, is_whole)
        if self._stat.is_watched and slack.is_on:
            self._share(key, *slack.slack(key))
            if slack.looks_again(key):
                self._look(key)
        return None if level is None else self._crossing(row, value, level)

    # -- at its end

    def close(self) -> None:
        """The epoch is being collected; a new one has begun."""
        self._closing, self._slack = self._slack, self._new()
        self.was_off = not self._closing.is_on
        self._final = {}

    def judge(self, rows: Rows) -> list[dict[str, Any]]:
        """The crossings that these rows of the epoch that ends are, and that were not seen before."""
        assert self._closing is not None
        found = []
        for row in rows:
            value = self._stat.measure(row)
            if value is None:
                continue
            level = self._closing.seen(row[0], value)
            self._final[row[0]] = value
            if level is not None:
                found.append(self._crossing(row, value, level))
        return found

    def over(self) -> None:
        """The epoch is over. With a hysteresis, what has not fallen below it is not told again."""
        if self._closing is not None and self._hysteresis is not None:
            low = self._hysteresis
            self._closing.reset(lambda key: self._final.get(key, low - 1) >= low)
            self._slack.inherit(self._closing)
            for key in self._slack.near():
                self._look(key)
        self._closing = None

    def _crossing(self, row: Row, value: float, level: float) -> dict[str, Any]:
        return {
            "name": self._stat.name,
            "key": keys.parsed(row[0]),
            "value": value,
            "level": level,
            "row": self._stat.finish(row),
        }
