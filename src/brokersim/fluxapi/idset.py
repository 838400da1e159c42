"""Knows sets of ids as Flux's Python code has them (RFC 22): ``IDset("0-3,7")``; not what the ids stand for."""

from __future__ import annotations

import errno
import numbers
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from brokersim.protocol.ranks import bits, format_ranks

IDSET_FLAG_BRACKETS: Final = 2
IDSET_FLAG_RANGE: Final = 4
#: What ``first``, ``last`` and ``next`` say where there is none: UINT_MAX - 1.
IDSET_INVALID_ID: Final = 4294967294
#: A set is a number with a bit an id: an id beyond this is a mistake, or an attack on memory (2 MiB).
_ID_MAX: Final = 1 << 24
_SPAN: Final = re.compile(r"(0|[1-9][0-9]{0,9})(?:-(0|[1-9][0-9]{0,9}))?")


class IDset:
    """A set of numbers from 0 on, made from text, numbers or another set. Raises ValueError, TypeError."""

    __slots__ = ("_mask", "default_flags")

    def __init__(self, arg: Any = "", flags: int = IDSET_FLAG_RANGE, handle: Any = None) -> None:
        self.default_flags = flags
        self._mask: int = _mask(arg) if handle is None else handle

    # -- text

    def encode(self, flags: int | None = None) -> str:
        """``0-3,7``, or as the flags say: with brackets around more than one, without ranges."""
        flags = self.default_flags if flags is None else flags
        text = format_ranks(self) if flags & IDSET_FLAG_RANGE else ",".join(map(str, self))
        return f"[{text}]" if flags & IDSET_FLAG_BRACKETS and len(self) > 1 else text

    def set_flags(self, flags: int) -> None:
        """Flags of ``encode`` and ``str``."""
        self.default_flags = flags

    __str__ = encode

    def __repr__(self) -> str:
        return f"IDset('{self.encode(IDSET_FLAG_RANGE)}')"

    # -- what is in it

    def __len__(self) -> int:
        return self._mask.bit_count()

    count = __len__

    def __iter__(self) -> Iterator[int]:
        return bits(self._mask)

    def expand(self) -> list[int]:
        return list(self)

    def test(self, i: int) -> bool:
        return bool(self._mask >> _index(i, "test") & 1)

    __contains__ = __getitem__ = test

    def first(self) -> int:
        return self._from(0)

    def next(self, i: int) -> int:
        """The next id behind ``i``."""
        return self._from(_index(i, "next") + 1)

    def _from(self, least: int) -> int:
        rest = self._mask >> least
        return least + (rest & -rest).bit_length() - 1 if rest else IDSET_INVALID_ID

    def last(self) -> int:
        return self._mask.bit_length() - 1 if self._mask else IDSET_INVALID_ID

    def equal(self, idset: IDset) -> bool:
        """Raises TypeError if it is no IDset, as ``==`` does."""
        if not isinstance(idset, IDset):
            raise TypeError(f"an IDset is compared with an IDset, not with {type(idset)}")
        return self._mask == idset._mask

    __eq__ = equal  # type: ignore[assignment]  # as Flux's: nothing else is compared with a set
    __hash__ = None  # type: ignore[assignment]  # as Flux's: it can be changed

    # -- changes

    def __setitem__(self, i: int, value: object) -> None:
        if value not in (0, 1):
            raise TypeError(f"IDset setitem must be bool or 0,1 not {type(value)}")
        self.set(i) if value else self.clear(i)

    def set(self, start: int, end: int | None = None) -> IDset:
        self._mask |= _range(start, end, "set")
        return self

    def clear(self, start: int, end: int | None = None) -> IDset:
        self._mask &= ~_range(start, end, "clear")
        return self

    def add(self, arg: Any) -> IDset:
        self._mask |= _mask(arg)
        return self

    def subtract(self, arg: object) -> IDset:
        self._mask &= ~_mask(arg)
        return self

    __iadd__ = add
    __isub__ = subtract

    # -- new sets

    def copy(self) -> IDset:
        return IDset(handle=self._mask)

    def union(self, *args: Any) -> IDset:
        found = self._mask
        for arg in args:
            found |= _mask(arg)
        return IDset(handle=found)

    def intersect(self, *args: Any) -> IDset:
        found = self._mask
        for arg in args:
            found &= _mask(arg)
        return IDset(handle=found)

    def difference(self, *args: object) -> IDset:
        found = self._mask
        for arg in args:
            found &= ~_mask(arg)
        return IDset(handle=found)

    __add__ = __or__ = union
    __and__ = intersect
    __sub__ = difference


def decode(string: str) -> IDset:
    """The set a text means. Raises ValueError."""
    return IDset(string)


def _mask(arg: object) -> int:
    if isinstance(arg, IDset):
        return arg._mask
    if isinstance(arg, str):
        return _decoded(arg)
    if isinstance(arg, numbers.Integral):
        return _range(int(arg), None, "set")
    if isinstance(arg, Iterable):
        found = 0
        for one in arg:
            found |= _range(one, None, "set")
        return found
    raise TypeError(f"IDset() expected an idset string or iterable, got {type(arg)}")


def _decoded(text: str) -> int:
    """Parts ascend and do not overlap, as RFC 22 has it."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    found, least = 0, 0
    for part in filter(None, inner.split(",")):
        span = _SPAN.fullmatch(part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (0, -1)
        if span is None or first < least or last > _ID_MAX or (span[2] and last <= first):
            raise ValueError(f"IDset(): Invalid argument: {text:.60}")
        found |= (1 << last + 1) - (1 << first)
        least = last + 1
    return found


def _range(start: int, end: int | None, name: str) -> int:
    first = _index(start, name)
    last = first if end is None else _index(end, name)
    if last < first:
        raise ValueError(f"can't set range with {start} > {end}")
    if last > _ID_MAX:
        raise OSError(errno.EINVAL, f"ids beyond {_ID_MAX} are not taken")
    return (1 << last + 1) - (1 << first)


def _index(i: object, name: str) -> int:
    if not isinstance(i, numbers.Integral):
        raise TypeError(f"IDset.{name} supports integers, not {type(i)}")
    if i < 0:
        raise ValueError(f"negative index passed to IDset.{name}")
    return int(i)
