"""Knows how ascending streams of rows become one: each key once, as soon as every live source has passed it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import ge, itemgetter
from typing import Any

from brokersim.brokermod import sums

from .stat import Row, Rows

#: The rank's own rows among the sources.
OWN = -1


_KEY: Callable[[Row], Any] = itemgetter(0)


def key_of(row: Row) -> str:
    """A row's key, by which rows are ordered."""
    key: str = row[0]
    return key


def joined(a: Rows, b: Rows) -> Rows:
    """Rows behind rows, as they are kept where that can be."""
    if not a:
        return b
    if sums.is_sums(a) and sums.is_sums(b):
        return a + b
    return [*a, *b]


class Source:
    """One ascending stream: what came and was not taken yet, how far it is, whether more will come."""

    __slots__ = ("_at", "_keys", "_rows", "is_over", "shown")

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._rows: Rows = []
        #: Taken of both: own rows are many, and to cut them off at every take would be quadratic.
        self._at = 0
        self.shown: str | None = None
        self.is_over = False

    def give(self, rows: Rows, keys: list[str]) -> None:
        """The next rows, with their keys."""
        if not keys:
            return
        if self.has_left:
            self._keys = self._keys[self._at :] + keys
            self._rows = joined(self._rows[self._at :], rows)
        else:
            self._keys, self._rows = keys, rows
        self._at = 0
        self.shown = keys[-1]

    @property
    def has_left(self) -> bool:
        return self._at < len(self._keys)

    def nth(self, most: int) -> str | None:
        """The key of so manieth row that is left; None if there are fewer."""
        at = self._at + most - 1
        return self._keys[at] if at < len(self._keys) else None

    def first(self, most: int) -> Rows:
        """So many rows, or what is left."""
        begin, self._at = self._at, min(self._at + most, len(self._keys))
        return self._rows[begin : self._at]

    def take(self, bound: str | None) -> tuple[list[str], Rows]:
        """The rows with keys up to the bound, all without one, and those keys."""
        begin, most = self._at, len(self._keys)
        end = most if bound is None else bisect_right(self._keys, bound, begin)
        self._at = end
        return self._keys[begin:end], self._rows[begin:end]


class Merge:
    """Merges the own rows and those of each child, in that order and then by rank: same tree, same bytes."""

    def __init__(self, merge: Callable[[Sequence[Row]], Row]) -> None:
        self._merge = merge
        self._own = Source()
        self._sources: dict[int, Source] = {OWN: self._own}
        #: Sources that have not ended; of these, those that gave nothing yet. Asked at each frame of each child.
        self._live = self._silent = 1

    def add(self, rank: int) -> None:
        """One more source; before anything was taken."""
        self._sources[rank] = Source()
        self._live += 1
        self._silent += 1
        self._sources = dict(sorted(self._sources.items()))

    def give(self, rank: int, rows: Rows, keys: list[str] | None = None) -> None:
        """The next rows of a source, above all it gave before. Raises ValueError, and takes none, if they are not.

        Who has their keys, ascending, gives them along, so that the rows need not be looked at yet.
        """
        source = self._sources[rank]
        is_ascending = keys is not None
        if keys is None:
            keys = list(map(_KEY, rows))
        if keys:
            given = keys[:1] if is_ascending else keys
            shown = given if source.shown is None else [source.shown, *given]
            if any(map(ge, shown, shown[1:])):
                before, key = next((a, b) for a, b in pairwise(shown) if a >= b)
                raise ValueError(f"rank {rank} sent key {key} behind {before}: rows ascend")
            if source.shown is None and not source.is_over:
                self._silent -= 1
        source.give(rows, keys)

    def end(self, rank: int) -> None:
        """No more comes of a source."""
        source = self._sources[rank]
        if not source.is_over:
            source.is_over = True
            self._live -= 1
            self._silent -= source.shown is None

    def shown(self, rank: int) -> str | None:
        """The last key a source gave."""
        return self._sources[rank].shown

    def has_left(self, rank: int) -> bool:
        """There are rows of a source that were not taken."""
        return self._sources[rank].has_left

    @property
    def is_over(self) -> bool:
        """All sources have ended, all rows are taken."""
        return not self._live and not any(source.has_left for source in self._sources.values())

    def take(self, most: int) -> Rows:
        """Merged rows that no source can add to any more, ascending, ``most`` of each source; none when all are out."""
        if len(self._sources) == 1 and self._own.is_over:  # a leaf, as most ranks are
            return self._own.first(most)
        if self._silent:
            return []
        live = [source.shown for source in self._sources.values() if not source.is_over]
        filled = [source for source in self._sources.values() if source.has_left]
        ends = [*live, *(source.nth(most) for source in filled)]
        bound = min((end for end in ends if end is not None), default=None)
        taken = [source.take(bound) for source in filled]
        parts = [part for part in taken if part[0]]
        if len(parts) < 2:
            return parts[0][1] if parts else []
        if (merged := _merged_sums([rows for _, rows in parts])) is not None:
            return merged
        first = parts[0][0]
        if all(keys == first for keys, _ in parts):  # what ranks count alike comes in step: no look-ups
            return list(map(self._merge, zip(*(rows for _, rows in parts), strict=True)))
        return self._mixed(parts)

    def _mixed(self, parts: list[tuple[list[str], Rows]]) -> list[Row]:
        found: dict[str, list[Row]] = {}
        for keys, rows in parts:
            for key, row in zip(keys, rows, strict=True):
                if (known := found.get(key)) is None:
                    found[key] = [row]
                else:
                    known.append(row)
        merge = self._merge
        return [merge(rows) if len(rows := found[key]) > 1 else rows[0] for key in sorted(found)]

    def drain(self) -> list[Row]:
        """All rows not taken, in no order: nobody waits for them any more."""
        return [row for source in self._sources.values() for row in source.take(None)[1]]


def _merged_sums(parts: list[Rows]) -> Rows | None:
    """What C keeps is merged there, if all of it is, and no number becomes too large."""
    if not sums.is_compiled:
        return None
    kept = [part for part in parts if sums.is_sums(part)]
    return sums.Sums.merged(kept) if len(kept) == len(parts) else None
