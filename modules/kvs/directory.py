"""Knows large directories that change by a little at a time: each version shares what is unchanged with the last.

A directory of n entries is stored anew at each commit that touches it, and its name is the hash of all its bytes. Made
from scratch that is n at every commit, n squared over a workload that adds entries. Here the entries lie in runs, each
already encoded, and runs in groups; the state of the hash in front of each group is kept, and in front of the runs of
the group that changed last, to a little behind the change. A change copies its run, its group and the list of groups,
and hashes what stands behind it: for names that grow, as job ids do, the last run, so a million entries cost about what
a thousand do. A name in the midst costs the hash of what is behind, which nobody can save: it is one hash over all
bytes. Nothing here knows where objects are stored.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha1
from itertools import chain, islice
from typing import Any, Final

import msgspec

from brokersim.brokermod import blobref, treeobj

#: Entries above which a directory is kept this way; below, encoding it whole costs less.
LARGE: Final = 64
#: Entries of a full run, and of one that was cut from a longer: one of them is copied and hashed anew at each change,
#: so as few as may be; but each run costs its group a pointer and a name.
_FULL_RUN, _CUT_RUN = 64, 48
#: The same for the runs of a group. A version copies one group and the list of all: at a million entries these are
#: about as long as each other.
_FULL_GROUP, _CUT_GROUP = 128, 96
#: Runs behind the one that changed whose hash state is kept: the next change is near, and a state costs as much as to
#: hash half a kilobyte and is kept with the version.
_NEAR: Final = 4
_HEAD: Final = b'{"data":{'
_TAIL: Final = b'},"type":"dir","ver":1}'
_Change = tuple[str, treeobj.TreeObj | None]
#: Where a run or a group begins: the hash of all bytes before it, and how many they are.
_Mark = tuple[Any, int]
_decode = msgspec.json.Decoder().decode
#: Bytes of an encoded entry that is kept decoded: a subdirectory's takes a hundred, a log's of a thousand lines 50 kB.
_SHORT: Final = 256


class _Run:
    """Entries that follow one another: their names in order, and their encoded forms in one piece."""

    __slots__ = ("names", "raw", "starts")

    def __init__(self, names: list[str], raw: bytes, starts: array[int]) -> None:
        self.names = names
        self.raw = raw
        #: Where each entry's encoded form begins; a comma ends it.
        self.starts = starts

    @classmethod
    def of(cls, names: list[str], parts: list[bytes]) -> _Run:
        """A run of these names and their encoded forms."""
        starts, at = array("I"), 0
        for part in parts:
            starts.append(at)
            at += len(part) + 1
        return cls(names, b",".join(parts), starts)

    def part(self, at: int) -> bytes:
        """The encoded form of one entry, ``"name":{...}``."""
        starts = self.starts
        return self.raw[starts[at] : starts[at + 1] - 1] if at + 1 < len(starts) else self.raw[starts[at] :]

    def find(self, name: str) -> treeobj.TreeObj | None:
        """The entry of a name, or None."""
        at = bisect_left(self.names, name)
        if at == len(self.names) or self.names[at] != name:
            return None
        part = self.part(at)
        return _entry(part) if len(part) <= _SHORT else _decoded(part)

    def changed(self, changes: Sequence[_Change]) -> list[_Run]:
        """What stands in its place: one run, more if it has become too long, none if it is empty."""
        parts = {name: self.part(at) for at, name in enumerate(self.names)}
        for name, value in changes:
            if value is None:
                parts.pop(name, None)
            else:
                parts[name] = _part(name, value)
        names = sorted(parts)
        return _runs(names, [parts[name] for name in names])

    def put(self, name: str, value: treeobj.TreeObj) -> tuple[_Run, blobref.Hunk] | None:
        """The usual change in short, and what it is: an entry gets a value as long as its own, or one comes last.

        None if it is another.
        """
        names, starts, raw = self.names, self.starts, self.raw
        at = bisect_left(names, name)
        if at == len(names):
            if at >= _FULL_RUN:
                return None
            added = array("I", starts)
            added.append(len(raw) + 1)
            new = b"," + _part(name, value)
            return _Run([*names, name], raw + new, added), (len(raw), 0, new)
        if names[at] != name:
            return None
        new, old, start = _part(name, value), self.part(at), starts[at]
        if len(new) != len(old):
            return None
        run = _Run(names, b"%b%b%b" % (raw[:start], new, raw[start + len(old) :]), starts)
        # Bits that differ say where it begins and ends, at a tenth of a search's cost.
        bits = int.from_bytes(old, "big") ^ int.from_bytes(new, "big")
        same = len(old) - (bits.bit_length() + 7) // 8
        tail = ((bits & -bits).bit_length() - 1) // 8 if bits else 0
        return run, (start + same, len(old) - same - tail, new[same : len(new) - tail])


class _Group:
    """Runs that follow one another, the first name of each, and their entries and bytes in all (commas between)."""

    __slots__ = ("firsts", "length", "runs", "size")

    def __init__(self, runs: list[_Run], known: tuple[list[str], int, int] | None = None) -> None:
        self.runs = runs
        if known is None:
            known = [run.names[0] for run in runs], _entries(runs), _size(runs)
        self.firsts, self.length, self.size = known

    def at(self, name: str) -> int:
        """Which run a name is in, or would be."""
        return max(0, bisect_right(self.firsts, name) - 1)

    def put(self, at: int, run: _Run) -> _Group:
        """The same with another run in the place of one, whose first name it has."""
        before, runs = self.runs[at], self.runs.copy()
        runs[at] = run
        length = self.length + len(run.names) - len(before.names)
        return _Group(runs, (self.firsts, length, self.size + len(run.raw) - len(before.raw)))


class _Span:
    """What lies between two versions: from a run of a group on, some runs became others.

    ``hunk`` says it in bytes, from where the first of the runs begins, if that is known already.
    """

    __slots__ = ("group", "hunk", "new", "old", "run")

    def __init__(
        self, group: int, run: int, old: list[_Run], new: list[_Run], hunk: blobref.Hunk | None = None
    ) -> None:
        self.group = group
        self.run = run
        self.old = old
        self.new = new
        self.hunk = hunk or _hunk(old, new)


class Directory:
    """One version of a large directory; never changes. ``blob`` is its stored form, ``ref`` that one's name."""

    __slots__ = ("_firsts", "_groups", "_length", "_marks", "_near", "blob", "ref")

    def __init__(
        self, groups: list[_Group], length: int, base: Directory | None = None, spans: Sequence[_Span] = ()
    ) -> None:
        """``base`` differs by ``spans``, of which there must be one, and only by those."""
        self._groups = groups
        self._firsts = [group.firsts[0] for group in groups]
        self._length = length
        #: In front of each group; and of a group's number, in front of its runs.
        self._marks: list[_Mark] = []
        self._near: tuple[int, list[_Mark]] = 0, []
        digest, size = self._hash(base, spans)
        patch = base._patch(spans) if base else None
        self.blob = blobref.Blob(
            digest, size, partial(_bytes, groups), patch, True
        )  # not its method: no cycle
        self.ref = blobref.from_digest(digest)

    @classmethod
    def of(cls, entries: Mapping[str, treeobj.TreeObj]) -> Directory:
        """A directory of these entries, of which there must be one."""
        names = sorted(entries)
        return cls(_groups(_runs(names, [_part(name, entries[name]) for name in names])), len(names))

    def changed(self, changes: Mapping[str, treeobj.TreeObj | None]) -> Directory | dict[str, Any]:
        """The next version, None standing for an entry that goes; a plain dict once it is large no more."""
        if not changes:
            return self
        if len(changes) == 1 and (made_of_one := self._put(*next(iter(changes.items())))) is not None:
            return made_of_one
        touched: dict[int, dict[int, list[_Change]]] = {}
        for change in changes.items():
            number = self._at(change[0])
            runs = touched.setdefault(number, {})
            runs.setdefault(self._groups[number].at(change[0]), []).append(change)
        made = {
            number: {at: self._groups[number].runs[at].changed(some) for at, some in runs.items()}
            for number, runs in touched.items()
        }
        length, groups, behind = self._length, [], 0
        for number in sorted(made):
            after = self._after(number, made[number])
            length += _entries(after) - self._groups[number].length
            groups += self._groups[behind:number]
            groups += _groups(after)
            behind = number + 1
        groups += self._groups[behind:]
        if length <= LARGE:
            return _to_dict(groups)
        return Directory(groups, length, self, self._spans(touched, made))

    def _put(self, name: str, value: treeobj.TreeObj | None) -> Directory | None:
        """The next version after the usual change; None if it is another."""
        if value is None:
            return None
        number = self._at(name)
        group = self._groups[number]
        at = group.at(name)
        run = group.runs[at]
        found = run.put(name, value)
        if found is None:
            return None
        new, hunk = found
        groups = self._groups.copy()
        groups[number] = group.put(at, new)
        length = self._length + len(new.names) - len(run.names)
        return Directory(groups, length, self, [_Span(number, at, [run], [new], hunk)])

    def _spans(
        self, touched: Mapping[int, Mapping[int, object]], made: Mapping[int, Mapping[int, list[_Run]]]
    ) -> list[_Span]:
        """What lies between this version and the next: a span a run, or one over all if a run has nothing left."""
        runs = [(number, at) for number in sorted(touched) for at in sorted(touched[number])]
        if all(made[number][at] for number, at in runs):
            return [
                _Span(number, at, [self._groups[number].runs[at]], made[number][at]) for number, at in runs
            ]
        return [self._span(*runs[0], *runs[-1], made)]

    def _after(self, number: int, made: Mapping[int, list[_Run]]) -> list[_Run]:
        """The runs of a group, with what was made of some in their places."""
        runs = self._groups[number].runs
        return [new for at, run in enumerate(runs) for new in made.get(at, (run,))]

    def _span(
        self, first: int, head: int, last: int, tail: int, made: Mapping[int, Mapping[int, list[_Run]]]
    ) -> _Span:
        """The runs from ``head`` of group ``first`` to ``tail`` of group ``last``, and what became of them."""
        old: list[_Run] = []
        new: list[_Run] = []
        for number in range(first, last + 1):
            before = self._groups[number].runs
            after = self._after(number, made[number]) if number in made else before
            begin = head if number == first else 0
            behind = len(before) - 1 - tail if number == last else 0
            old += before[begin : len(before) - behind]
            new += after[begin : len(after) - behind]
        if new:
            return _Span(first, head, old, new)
        # Nothing is left there, so a comma goes too: it is put down to a neighbour.
        if head or first:
            if head:
                head -= 1
            else:
                first -= 1
                head = len(self._groups[first].runs) - 1
            beside = self._groups[first].runs[head]
            return _Span(first, head, [beside, *old], [beside])
        rest = chain.from_iterable(group.runs for group in self._groups[last:])
        beside = next(islice(rest, tail + 1, None))
        return _Span(0, 0, [*old, beside], [beside])

    def _at(self, name: str) -> int:
        """Which group a name is in, or would be."""
        return max(0, bisect_right(self._firsts, name) - 1)

    def _offset(self, group: int, run: int) -> int:
        """Where a run begins."""
        number, near = self._near
        if number == group and run < len(near):
            return near[run][1]
        return self._marks[group][1] + sum([len(one.raw) + 1 for one in self._groups[group].runs[:run]])

    def _hash(self, base: Directory | None, spans: Sequence[_Span]) -> tuple[bytes, int]:
        """Marks of what is not the base's; digest and size of the whole."""
        groups = self._groups
        group = run = changed = 0
        near: list[_Mark] = []
        if base is not None:
            group, changed = spans[0].group, spans[0].run
            self._marks = base._marks[: group + 1]
            number, known = base._near
            if number == group:
                run = min(changed, len(known) - 1, len(groups[group].runs) - 1)
                near = known[: run + 1]
        else:
            self._marks = [(sha1(_HEAD), len(_HEAD))]
        state, at = near.pop() if near else self._marks[group]
        state = state.copy()
        last = len(groups[group].runs) - 1
        for number, one in enumerate(groups[group].runs[run:], run):
            if number <= changed + _NEAR:
                near.append((state.copy(), at))
            state.update(one.raw)
            at += len(one.raw)
            if number < last:
                state.update(b",")
                at += 1
        for each in groups[group + 1 :]:
            state.update(b",")
            at += 1
            self._marks.append((state.copy(), at))
            state.update(b",".join([one.raw for one in each.runs]))
            at += each.size
        self._near = group, near
        state.update(_TAIL)
        return state.digest(), at + len(_TAIL)

    def _patch(self, spans: Sequence[_Span]) -> blobref.Patch:
        """What makes the next version's bytes of these."""
        return blobref.Patch.of(self.blob.digest, [self._placed(span) for span in spans])

    def _placed(self, span: _Span) -> blobref.Hunk:
        at, removed, new = span.hunk
        return self._offset(span.group, span.run) + at, removed, new

    # -- as a mapping

    def get(self, name: str) -> treeobj.TreeObj | None:
        """The entry, or None."""
        group = self._groups[self._at(name)]
        return group.runs[group.at(name)].find(name)

    def __len__(self) -> int:
        return self._length

    def to_dict(self) -> dict[str, treeobj.TreeObj]:
        """The same as a dict of its own, in the order of the names."""
        return _to_dict(self._groups)


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


def _bytes(groups: Sequence[_Group]) -> bytes:
    return b"".join((_HEAD, b",".join([run.raw for group in groups for run in group.runs]), _TAIL))


def _to_dict(groups: Sequence[_Group]) -> dict[str, treeobj.TreeObj]:
    entries: dict[str, treeobj.TreeObj] = _decode(_bytes(groups))["data"]
    return entries


def _decoded(part: bytes) -> treeobj.TreeObj:
    """The entry of its encoded form, ``"name":{...}``."""
    [found] = _decode(b"{%b}" % part).values()
    entry: treeobj.TreeObj = found
    return entry


#: A job's record is looked up some ten times while it runs, and nobody changes what he gets.
_entry = lru_cache(1024)(_decoded)


def _part(name: str, value: treeobj.TreeObj) -> bytes:
    return treeobj.encode({name: value})[1:-1]


def _entries(runs: Iterable[_Run]) -> int:
    return sum([len(run.names) for run in runs])


def _size(runs: Sequence[_Run]) -> int:
    """Bytes of runs that follow one another, commas between them."""
    return sum([len(run.raw) for run in runs]) + len(runs) - 1


def _pieces(count: int, full: int, cut: int) -> Iterator[slice]:
    """One piece of so many things, or if that were too long several, each with room for more."""
    step = cut if count > full else full
    return (slice(at, at + step) for at in range(0, count, step))


def _runs(names: list[str], parts: list[bytes]) -> list[_Run]:
    return [_Run.of(names[piece], parts[piece]) for piece in _pieces(len(names), _FULL_RUN, _CUT_RUN)]


def _groups(runs: list[_Run]) -> list[_Group]:
    return [_Group(runs[piece]) for piece in _pieces(len(runs), _FULL_GROUP, _CUT_GROUP)]


def _hunk(old: Sequence[_Run], new: Sequence[_Run]) -> blobref.Hunk:
    """What makes the bytes of some runs those of others."""
    before = b",".join([run.raw for run in old])
    now = b",".join([run.raw for run in new])
    same = _common(before, now)
    tail = _common_end(before, now, min(len(before), len(now)) - same)
    return same, len(before) - same - tail, now[same : len(now) - tail]


def _common_end(one: bytes, other: bytes, most: int) -> int:
    """How many bytes at the end of two are the same, of so many at most."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low


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
