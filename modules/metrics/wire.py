"""Knows what ranks tell each other of a collection: the request that goes down, the frames that come up."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any

import attrs
import msgspec

from brokersim.brokermod import ranks

#: Bytes of rows in a frame; a larger row goes alone.
FRAME_MAX = 1 << 16
#: Frames a child may send before its parent asks for more. With it memory is bounded, and a hop's wait is hidden.
CREDIT = 4
#: The shortest time, in seconds, between signs of life, whatever a parent asks for.
LIFE_MIN = 0.001
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Order(msgspec.Struct, omit_defaults=True):
    """Payload of metrics.collect. ``budget`` and ``life`` in seconds: time left, and the longest silence wanted.

    With ``key`` it is a look at one key, which resets nothing.
    """

    uid: str
    name: str
    hash: str
    epoch: int
    requested: float
    budget: Seconds
    members: str
    credit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = CREDIT
    life: Seconds = 0.0
    key: str | None = None


@attrs.define
class Tally:
    """Who is in the rows and who is not, of a subtree or of all."""

    ok: set[int] = attrs.field(factory=set)
    missing: set[int] = attrs.field(factory=set)
    departed: set[int] = attrs.field(factory=set)
    stale: set[int] = attrs.field(factory=set)
    #: Whose table is younger than the epoch.
    fresh: set[int] = attrs.field(factory=set)
    #: (ranks, last key of theirs that is in): what they had behind it is not.
    truncated: list[tuple[list[int], str]] = attrs.field(factory=list)
    #: First and last time of a cut, in seconds since the Unix epoch.
    cut: list[float] = attrs.field(factory=list)
    #: Rows of an earlier epoch in these, and frames that came late, twice, from nowhere.
    carried: int = 0
    late: int = 0
    dup: int = 0
    foreign: int = 0

    def add(self, other: Tally) -> None:
        """Those of a child's subtree."""
        for name in _SETS:
            if more := getattr(other, name):
                getattr(self, name).update(more)
        self.truncated += other.truncated
        cut = [*self.cut, *other.cut]
        self.cut = [min(cut), max(cut)] if cut else []
        for name in _COUNTS:
            if count := getattr(other, name):
                setattr(self, name, getattr(self, name) + count)

    def to_dict(self) -> dict[str, Any]:
        """Only what there is: a frame of a healthy tree stays short."""
        told: dict[str, Any] = {name: to_text(found) for name in _SETS if (found := getattr(self, name))}
        if self.truncated:
            told["truncated"] = [[ranks.format_ranks(who), key] for who, key in self.truncated]
        return told | {name: found for name in ("cut", *_COUNTS) if (found := getattr(self, name))}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Tally:
        """What ``to_dict`` told. Raises ValueError, TypeError or KeyError for what it cannot have."""
        found = cls()
        for name in _SETS:
            if name in told:
                setattr(found, name, set(to_set(told[name])))
        found.truncated = [(sorted(to_set(who)), str(key)) for who, key in told.get("truncated", ())]
        found.cut = [float(time) for time in told.get("cut", ())]
        for name in _COUNTS:
            if name in told:
                setattr(found, name, int(told[name]))
        return found


_SETS = ("ok", "missing", "departed", "stale", "fresh")
_COUNTS = ("carried", "late", "dup", "foreign")
#: Ranks an instance may have, for the reading of sets that peers send.
_MANY = 1 << 20
#: A number of fewer digits is below it.
_DIGITS = 7


#: Sets that were read, and written: each epoch has those of the last again. What is large is not kept.
_READ: dict[str, frozenset[int]] = {}
_WRITTEN: dict[frozenset[int], str] = {}
_READ_MAX, _KEPT_MAX = 256, 5000


def to_text(found: Set[int]) -> str:
    """The idset of some ranks, at least one."""
    if len(found) == 1:
        return str(next(iter(found)))
    found = frozenset(found)
    text = _WRITTEN.get(found)
    if text is None:
        text = ranks.format_ranks(found)
        if len(found) <= _KEPT_MAX:
            if len(_WRITTEN) >= _READ_MAX:
                _WRITTEN.clear()
            _WRITTEN[found] = text
    return text


def to_set(text: str) -> frozenset[int]:
    """The ranks of an idset, ``""`` for none. Raises ValueError."""
    found = _READ.get(text)
    if found is None:
        if len(text) < _DIGITS and text.isascii() and text.isdigit():
            return frozenset((int(text),))  # a leaf of the tree, as most ranks are: not one to remember
        found = frozenset(ranks.parse_ranks(text, _MANY)) if text else frozenset()
        if len(found) <= _KEPT_MAX:
            if len(_READ) >= _READ_MAX:
                _READ.clear()
            _READ[text] = found
    return found


class Frame(msgspec.Struct):
    """One answer to metrics.collect. ``seq`` -1 is a sign of life; ``tally`` comes with ``done``."""

    uid: str
    rank: int
    seq: int
    #: Rows are looked at when they are merged: checking each here would cost as much as merging it.
    rows: Any = ()
    done: bool = False
    #: It cannot take part: ask those below it yourself.
    refused: bool = False
    tally: dict[str, Any] = {}
    #: Bytes of its rows as JSON: who has merged them has measured them, too.
    size: Annotated[int, msgspec.Meta(ge=0)] = 0

    def to_dict(self) -> dict[str, Any]:
        """What goes over the wire; the rows are not copied."""
        told: dict[str, Any] = {"uid": self.uid, "rank": self.rank, "seq": self.seq, "rows": self.rows}
        if self.size:
            told["size"] = self.size
        if self.done:
            told["done"], told["tally"] = True, self.tally
        if self.refused:
            told["refused"] = True
        return told
