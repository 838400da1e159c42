"""Knows how a threshold is seen during an epoch with few messages: what a rank may hold back, what is to be looked at.

With R ranks, a level T and K known at rank 0, a rank holds back less than e = (T - K)/(2R) of each key. So what nobody
has told is below R e, and as long as K + R e <= T nothing can have crossed. Beyond it rank 0 looks at the key over the
tree, and what is left of the way is shared out anew. Each round eats at least half of it; where e would be less than
one observation (``grain``), each is told.

A series of levels moves by one step a look. Where a look finds the next level passed already, the step waits for the
next observation of that key, wherever it comes: all ranks then tell of each, also of one that adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

#: What a rank holds back of a key that nothing is awaited of any more, and of one that has passed the awaited level.
MUTE = math.inf
PASSED = -1.0


@attrs.define
class _Key:
    untold: float = 0.0
    own: float = 0.0
    slack: float | None = None
    level: float | None = None


class RankSlack:
    """One stat's thresholds on one rank; values only grow while it is on."""

    def __init__(self, level: float, members: int, holds: bool, grain: float = 1.0) -> None:
        """``holds``: the values of ranks add up. Otherwise (a maximum) only a value that reaches the level is told."""
        self._level = level
        self._slack = share_of(level, 0.0, members, grain) if holds else MUTE
        self._keys: dict[str, _Key] = {}
        self.is_on = True

    def reset(self) -> None:
        """A new epoch."""
        self._keys.clear()
        self.is_on = True

    def grew(self, key: str, by: float) -> float | None:
        """A key's value on this rank has grown: what is to be told now, None while it can wait."""
        one = self._keys.get(key)
        if one is None:
            one = self._keys[key] = _Key()
        one.own += by
        one.untold += by
        level = self._level if one.level is None else one.level
        slack = self._slack if one.slack is None else one.slack
        if one.untold >= slack or (one.own >= level and one.own - one.untold < level):
            told, one.untold = one.untold, 0.0
            return told
        return None

    def awaits_any(self, key: str) -> bool:
        """An observation of this key is told even if it adds nothing."""
        one = self._keys.get(key)
        return one is not None and one.slack == PASSED

    def looked_at(self, key: str) -> None:
        """The value of a key is being told whole: from here on only what comes on top of it counts as untold."""
        one = self._keys.get(key)
        if one is not None:
            one.untold = 0.0

    def told(self, key: str, slack: float, level: float) -> float | None:
        """Rank 0 shares out anew: the new slack of a key, and its level. What that makes due is told at once."""
        one = self._keys.setdefault(key, _Key())
        one.slack, one.level = slack, level
        if one.untold and (one.untold >= slack or one.own >= level):
            due, one.untold = one.untold, 0.0
            return due
        return None


def share_of(level: float, known: float, members: int, grain: float) -> float:
    """What each rank may hold back; 0 where that would be less than one observation."""
    share = (level - known) / (2 * max(members, 1))
    return share if share >= grain else 0.0


@attrs.define
class _Watched:
    known: float
    slack: float
    step: int = 0
    is_looked_at: bool = False
    #: Reports that came while it is looked at: may be in what is found, or not.
    again: bool = False


class RootSlack:
    """One stat's thresholds on rank 0: which keys are near a level, and which levels they have reached."""

    def __init__(self, levels: tuple[float, ...], members: int, holds: bool, grain: float = 1.0) -> None:
        self.levels = levels
        self._members = members
        self._holds = holds
        self._grain = grain
        self._keys: dict[str, _Watched] = {}
        self.is_on = True

    def reset(self, stays: Callable[[str], bool] = lambda key: False) -> None:
        """A new epoch; keys that ``stays`` are not told again until they have fallen."""
        kept = {key: one.step for key, one in self._keys.items() if one.step and stays(key)}
        self._keys = {key: _Watched(0.0, MUTE, step) for key, step in kept.items()}
        self.is_on = True

    def inherit(self, other: RootSlack) -> None:
        """Take over which levels keys have reached."""
        for key, one in other._keys.items():
            self._key(key).step = max(self._key(key).step, one.step)

    def reported(self, key: str, delta: float) -> bool:
        """A rank has told of a key; True if it is to be looked at now."""
        one = self._key(key)
        one.known += delta
        if one.is_looked_at:
            one.again = True
            return False
        if self._is_near(one):
            one.is_looked_at = True
            return True
        return False

    def note(self, key: str, delta: float) -> None:
        """A rank has told of a key, which cannot be looked at yet."""
        self._key(key).known += delta

    def near(self) -> list[str]:
        """The keys to be looked at after what was noted."""
        found = [key for key, one in self._keys.items() if self.is_on and one.known and self._is_near(one)]
        for key in found:
            self._keys[key].is_looked_at = True
        return found

    def _key(self, key: str) -> _Watched:
        one = self._keys.get(key)
        if one is None:
            slack = share_of(self.levels[0], 0.0, self._members, self._grain) if self._holds else MUTE
            one = self._keys[key] = _Watched(0.0, slack)
        return one

    def _is_near(self, one: _Watched) -> bool:
        if one.step >= len(self.levels):
            return False
        level = self.levels[one.step]
        hidden = self._members * one.slack if 0.0 < one.slack < MUTE else 0.0
        # The slack of a maximum hides nothing: what reaches the level is told at once.
        return one.known >= level or one.known + hidden > level or not self._holds

    def seen(self, key: str, value: float, is_whole: bool = True) -> float | None:
        """The value over all ranks (``is_whole``: none is missing); the level it has reached, None if none.

        One step a look.
        """
        one = self._key(key)
        one.is_looked_at = False
        one.known = value if is_whole else max(value, one.known)
        crossed = None
        if one.step < len(self.levels) and value >= self.levels[one.step]:
            crossed = self.levels[one.step]
            one.step += 1
        one.slack = MUTE
        if one.step < len(self.levels):
            level = self.levels[one.step]
            if value >= level:
                one.slack = PASSED
            elif self._holds:
                one.slack = share_of(level, value, self._members, self._grain)
        return crossed

    def looks_again(self, key: str) -> bool:
        """Something was told while it was looked at, which may be in what was found or not."""
        one = self._key(key)
        due = one.step < len(self.levels) and one.again
        one.again = False
        one.is_looked_at = due
        return due

    def slack(self, key: str) -> tuple[float, float]:
        """What ranks may hold back of a key, and the level awaited: both infinite if none is."""
        one = self._key(key)
        return one.slack, self.levels[one.step] if one.step < len(self.levels) else MUTE

    @property
    def crossed(self) -> list[str]:
        """Keys that have reached a level."""
        return [key for key, one in self._keys.items() if one.step]
