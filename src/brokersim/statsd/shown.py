"""Tables of a flush that are made when somebody looks into them: most flushes only pass by.

Knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from brokersim.statsd.numbers import Number

if TYPE_CHECKING:
    from brokersim.native import _lines

V = TypeVar("V")


class _Lazy(Mapping[str, V], Generic[V]):
    """What both kinds share: a dict that is made at the first look."""

    __slots__ = ("_table",)

    def __init__(self) -> None:
        self._table: dict[str, V] | None = None

    def _pairs(self) -> Iterator[tuple[str, V]]:
        raise NotImplementedError

    def _made(self) -> dict[str, V]:
        if self._table is None:
            self._table = dict(self._pairs())
        return self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __getitem__(self, key: str) -> V:
        return self._made()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._made()

    def __repr__(self) -> str:
        return repr(self._made())

    def items(self) -> ItemsView[str, V]:
        return self._made().items()

    def values(self) -> ValuesView[V]:
        return self._made().values()

    def keys(self) -> KeysView[str]:
        return self._made().keys()


class Shown(_Lazy[V]):
    """A table by what is shown of its keys."""

    __slots__ = ("_by_key", "_text")

    def __init__(self, by_key: Mapping[bytes, V], text: Callable[[bytes], str]) -> None:
        """``by_key`` must not change any more, and no two of its keys be shown alike."""
        super().__init__()
        self._by_key = by_key
        self._text = text

    def _pairs(self) -> Iterator[tuple[str, V]]:
        return zip(map(self._text, self._by_key), self._by_key.values(), strict=True)

    def __len__(self) -> int:
        return len(self._by_key)

    def located(self) -> Iterator[tuple[str, bytes]]:
        """What is shown of each key, and where `at` finds its value: no table is made for a few of many."""
        return zip(map(self._text, self._by_key), self._by_key, strict=True)

    def at(self, key: bytes) -> V | None:
        return self._by_key.get(key)


class Columns(_Lazy[V]):
    """Names and numbers side by side, as they are written out; neither may change any more."""

    __slots__ = ("names", "numbers")

    def __init__(self, names: list[str], numbers: list[V]) -> None:
        super().__init__()
        self.names = names
        self.numbers = numbers

    def _pairs(self) -> Iterator[tuple[str, V]]:
        return zip(self.names, self.numbers, strict=True)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def pieces(self) -> Sequence[Columns[Any] | Keyed]:
        """What it is put together of, in this order."""
        return (self,)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Columns[Any]:
        """The table itself if it is one."""
        return table if isinstance(table, Columns) else cls(list(table), list(table.values()))


@attrs.frozen(kw_only=True)
class Keyed:
    """A compiled table that writes its lines itself: a name is `before`, the key and `behind`.

    ``name_of`` tells the names of keys that have other bytes than `[A-Za-z0-9_.=-]`, and all names to who asks.
    Numbers are divided by ``divisor``, if there is one.
    """

    table: _lines.Numbers
    before: str
    behind: str
    name_of: Callable[[bytes], str]
    divisor: float | None = None

    @property
    def names(self) -> list[str]:
        return list(map(self.name_of, self.table))

    @property
    def numbers(self) -> list[Number]:
        values: list[Number] = list(self.table.values())
        return values if self.divisor is None else [value / self.divisor for value in values]

    def __len__(self) -> int:
        return len(self.table)


class Pieces(Columns[Number]):
    """Columns one behind the other. Whoever writes all lines needs no name of a table that writes its own."""

    __slots__ = ("_names", "_numbers", "_pieces")

    def __init__(self, pieces: Sequence[Columns[Any] | Keyed]) -> None:
        self._table = None
        self._pieces = pieces
        self._names: list[str] | None = None
        self._numbers: list[Number] | None = None

    @property
    def pieces(self) -> Sequence[Columns[Any] | Keyed]:
        return self._pieces

    @property
    def names(self) -> list[str]:  # type: ignore[override]
        if self._names is None:
            self._names = [name for piece in self._pieces for name in piece.names]
        return self._names

    @property
    def numbers(self) -> list[Number]:  # type: ignore[override]
        if self._numbers is None:
            self._numbers = [number for piece in self._pieces for number in piece.numbers]
        return self._numbers

    def __len__(self) -> int:
        return sum(map(len, self._pieces))
