"""Knows how ascending streams of rows become one: each key once, as soon as every live source has passed it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from .stat import Row

#: The rank's own rows among the sources.
OWN = -1


def key_of(row: Row) -> str:
    """A row's key, by which rows are ordered."""
    key: str = row[0]
    return key


class Source:
    """One ascending stream: what came and was not taken yet, how far it is, whether more will come."""

    __slots__ = ("is_over", "rows", "shown")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.shown: str | None = None
        self.is_over = False


class Merge:
    """Merges the own rows and those of each child, in that order and then by rank: same tree, same bytes."""

    def __init__(self, merge: Callable[[Row, Row], Row]) -> None:
        self._merge = merge
        self._sources: dict[int, Source] = {OWN: Source()}

    def add(self, rank: int) -> None:
        """One more source; before anything was taken."""
        self._sources[rank] = Source()
        self._sources = dict(sorted(self._sources.items()))

    def give(self, rank: int, rows: list[Row]) -> None:
        """The next rows of a source, above all it gave before. Raises ValueError, and takes none, if they are not."""
        source = self._sources[rank]
        shown = source.shown
        for row in rows:
            if shown is not None and row[0] <= shown:
                raise ValueError(f"rank {rank} sent key {row[0]} behind {shown}: rows ascend")
            shown = row[0]
        source.shown = shown
        source.rows += rows

    def end(self, rank: int) -> None:
        """No more comes of a source."""
        self._sources[rank].is_over = True

    def shown(self, rank: int) -> str | None:
        """The last key a source gave."""
        return self._sources[rank].shown

    def has_left(self, rank: int) -> bool:
        """There are rows of a source that were not taken."""
        return bool(self._sources[rank].rows)

    @property
    def is_over(self) -> bool:
        """All sources have ended, all rows are taken."""
        return all(source.is_over and not source.rows for source in self._sources.values())

    def take(self) -> list[Row]:
        """The merged rows that no source can add to any more, ascending."""
        live = [source.shown for source in self._sources.values() if not source.is_over]
        if None in live:
            return []
        bound = min((shown for shown in live if shown is not None), default=None)
        found: dict[str, Row] = {}
        for source in self._sources.values():
            for row in _up_to(source, bound):
                known = found.get(row[0])
                found[row[0]] = row if known is None else self._merge(known, row)
        return sorted(found.values(), key=key_of)

    def drain(self) -> list[Row]:
        """All rows not taken, in no order: nobody waits for them any more."""
        rows = [row for source in self._sources.values() for row in source.rows]
        for source in self._sources.values():
            source.rows = []
        return rows


def _up_to(source: Source, bound: str | None) -> list[Row]:
    rows = source.rows
    if bound is None:
        source.rows = []
        return rows
    end = bisect_right(rows, bound, key=key_of)
    taken, source.rows = rows[:end], rows[end:]
    return taken
