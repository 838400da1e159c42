"""Knows large directories that change by a little at a time: each version shares what is unchanged with the last.

A directory of n entries is stored anew at each commit that touches it, and its name is the hash of all its bytes. Made
from scratch that is n at every commit, n squared over a workload that adds entries. Here the entries lie in runs, each
already encoded, and the state of the hash in front of each run is kept: a change costs its run and those behind it,
which for names that grow, as job ids do, is the last one. Nothing here knows where objects are stored.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha1
from typing import Any, Final

from brokersim.brokermod import blobref, treeobj

#: Entries above which a directory is kept this way; below, encoding it whole costs less.
LARGE: Final = 64
#: Entries of a full run: one of them is encoded, hashed and joined anew at each change, so as few as may be; but each
#: run costs every later version a pointer and a hash's state.
_FULL: Final = 64
_CUT: Final = 48
_HEAD: Final = b'{"data":{'
_TAIL: Final = b'},"type":"dir","ver":1}'
_Change = tuple[str, Any]


class _Run:
    """Entries that follow one another: names in order, the same number of entries and of their encoded forms."""

    __slots__ = ("names", "parts", "raw", "values")

    def __init__(self, names: list[str], values: list[treeobj.TreeObj], parts: list[bytes]) -> None:
        self.names = names
        self.values = values
        self.parts = parts
        self.raw = b",".join(parts)

    def find(self, name: str) -> treeobj.TreeObj | None:
        at = bisect_left(self.names, name)
        return self.values[at] if at < len(self.names) and self.names[at] == name else None

    def changed(self, changes: Iterable[_Change]) -> list[_Run]:
        """What stands in its place: one run, two if it has become too long, none if it is empty."""
        names, values, parts = self.names.copy(), self.values.copy(), self.parts.copy()
        for name, value in changes:
            at = bisect_left(names, name)
            end = at + (at < len(names) and names[at] == name)
            new = [] if value is None else [name]
            names[at:end] = new
            values[at:end] = [value] * len(new)
            parts[at:end] = [_part(name, value) for _ in new]
        return _runs(names, values, parts)


class Directory:
    """One version of a large directory; never changes. ``blob`` is its stored form, ``ref`` that one's name."""

    __slots__ = ("_firsts", "_length", "_marks", "_runs", "blob", "ref")

    def __init__(
        self, runs: Sequence[_Run], base: Directory | None = None, first: int = 0, behind: int = 0
    ) -> None:
        """``base`` has the same runs before ``first``, and the same last ``behind``."""
        self._runs = runs
        end = len(runs) - behind
        #: First name of each run, and entries in all. Made of the base's, since at 10,000 jobs there are 200 runs:
        #: to look at each of them at every change would be 2 % of the time of a job.
        self._firsts = [run.names[0] for run in runs[first:end]]
        self._length = _entries(runs[first:end])
        if base:
            base_end = len(base._runs) - behind
            self._firsts = [*base._firsts[:first], *self._firsts, *base._firsts[base_end:]]
            self._length += base._length - _entries(base._runs[first:base_end])
        #: In front of each run: the hash of all before it, and where it begins.
        self._marks: list[tuple[Any, int]] = base._marks[:first] if base else []
        digest, size = self._hash(base, first)
        patch = base._patch(self, first, behind) if base else None
        self.blob = blobref.Blob(digest, size, partial(_bytes, runs), patch)  # not its method: no cycle
        self.ref = blobref.from_digest(digest)

    @classmethod
    def of(cls, entries: Mapping[str, treeobj.TreeObj]) -> Directory:
        """A directory of these entries, of which there must be one."""
        names = sorted(entries)
        return cls(_runs(names, [entries[name] for name in names], [_part(n, entries[n]) for n in names]))

    def changed(self, changes: Mapping[str, treeobj.TreeObj | None]) -> Directory | dict[str, Any]:
        """The next version, None standing for an entry that goes; a plain dict once it is large no more."""
        if not changes:
            return self
        by_run: dict[int, list[_Change]] = {}
        for change in changes.items():
            by_run.setdefault(self._at(change[0]), []).append(change)
        first, last = min(by_run), max(by_run)
        middle = [
            new
            for at in range(first, last + 1)
            for new in (self._runs[at].changed(by_run[at]) if at in by_run else (self._runs[at],))
        ]
        runs = [*self._runs[:first], *middle, *self._runs[last + 1 :]]
        if self._length - _entries(self._runs[first : last + 1]) + _entries(middle) <= LARGE:
            return {name: value for run in runs for name, value in zip(run.names, run.values, strict=True)}
        if not middle:  # then commas change too, which a patch of the runs' bytes would miss
            return Directory(runs)
        return Directory(runs, self, first, len(self._runs) - 1 - last)

    def _at(self, name: str) -> int:
        """Which run a name is in, or would be."""
        return max(0, bisect_right(self._firsts, name) - 1)

    def _hash(self, base: Directory | None, first: int) -> tuple[bytes, int]:
        """Marks of the runs from ``first`` on; digest and size of the whole."""
        if base is not None and first < len(base._marks):
            state, at = base._marks[first]
            state = state.copy()
        else:
            first, state, at = 0, sha1(_HEAD), len(_HEAD)
            self._marks = []
        last = len(self._runs) - 1
        for number in range(first, last + 1):
            raw = self._runs[number].raw
            self._marks.append((state.copy(), at))
            state.update(raw)
            at += len(raw)
            if number < last:
                state.update(b",")
                at += 1
        state.update(_TAIL)
        return state.digest(), at + len(_TAIL)

    def _patch(self, new: Directory, first: int, behind: int) -> blobref.Patch:
        """What makes the next version's bytes of these, given which runs are the same."""
        old = b",".join(run.raw for run in self._runs[first : len(self._runs) - behind])
        now = b",".join(run.raw for run in new._runs[first : len(new._runs) - behind])
        same = _common(old, now)
        tail = _common(old[same:][::-1], now[same:][::-1])
        return blobref.Patch(
            self.blob.digest,
            self._marks[first][1] + same,
            len(old) - same - tail,
            now[same : len(now) - tail],
        )

    # -- as a mapping

    def get(self, name: str) -> treeobj.TreeObj | None:
        """The entry, or None."""
        return self._runs[self._at(name)].find(name)

    def __len__(self) -> int:
        return self._length

    def to_dict(self) -> dict[str, treeobj.TreeObj]:
        """The same as a dict of its own, in the order of the names."""
        return {name: value for run in self._runs for name, value in zip(run.names, run.values, strict=True)}


class Changes:
    """A large directory being changed: what a transaction does to a dict, over a version that stays as it is."""

    __slots__ = ("_base", "_changes")

    def __init__(self, base: Directory) -> None:
        self._base = base
        self._changes: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """The entry, or None."""
        return self._changes[name] if name in self._changes else self._base.get(name)

    def __setitem__(self, name: str, entry: Any) -> None:
        self._changes[name] = entry

    def pop(self, name: str, _default: None) -> None:
        """The entry is gone, if it was there."""
        self._changes[name] = None

    def made(self) -> Directory | dict[str, Any]:
        """The version that has the changes."""
        return self._base.changed(self._changes)


def _bytes(runs: Sequence[_Run]) -> bytes:
    return b"".join((_HEAD, b",".join(run.raw for run in runs), _TAIL))


def _part(name: str, value: treeobj.TreeObj) -> bytes:
    return treeobj.encode({name: value})[1:-1]


def _entries(runs: Sequence[_Run]) -> int:
    return sum(len(run.names) for run in runs)


def _runs(names: list[str], values: list[treeobj.TreeObj], parts: list[bytes]) -> list[_Run]:
    """One run, or if that were too long several, each with room for more."""
    cuts = range(0, len(names), _CUT if len(names) > _FULL else _FULL)
    return [_Run(names[at:end], values[at:end], parts[at:end]) for at in cuts for end in (at + cuts.step,)]


def _common(one: bytes, other: bytes) -> int:
    """How many bytes at the start of two are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
