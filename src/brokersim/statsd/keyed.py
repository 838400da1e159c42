"""Tables by key: numbers, and the timings of an interval. In Python they are dicts; in C, native/_lines.c, alike.

Knows nothing of kinds of metrics, of lines or of dialects. Python is the oracle and what runs where C was not compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from itertools import chain
from typing import Any, Final, Protocol, TypeGuard

from brokersim.native import look
from brokersim.statsd.cardinality import counted
from brokersim.statsd.numbers import Number

try:
    look("_lines")
    from brokersim.native import _lines

    _is_compiled = True
except ImportError:
    _is_compiled = False

#: Numbers by key, in the order of the keys.
Numbers = MutableMapping[bytes, Number]


class Samples(Protocol):
    """Samples by key, in the order of the keys."""

    def __contains__(self, key: object, /) -> bool: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def extend(self, key: bytes, values: list[float], /) -> int:
        """Adds to a key's, new or not; how many it has now."""

    def of(self, key: bytes, /) -> list[float]:
        """A key's samples as they came, for whoever asks to keep; none of a key that is not there."""

    def empty(self, key: bytes, /) -> None:
        """A key has no samples any more; it stays."""

    def clear_samples(self) -> None:
        """No key has samples any more; they stay."""

    def longer(self, than: int, /) -> list[bytes]:
        """The keys that have more samples than so many."""

    def pop(self, key: bytes, other: object, /) -> Any:
        """As a dict's."""


class Lists(Samples):
    """Samples in lists. `by_key` is open to fast paths, which may append to a list that is there."""

    __slots__ = ("by_key",)

    def __init__(self) -> None:
        self.by_key: dict[bytes, list[float]] = {}

    def __contains__(self, key: object, /) -> bool:
        return key in self.by_key

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.by_key)

    def extend(self, key: bytes, values: list[float], /) -> int:
        samples = self.by_key.get(key)
        if samples is None:
            samples = self.by_key[key] = []
        samples += values
        return len(samples)

    def of(self, key: bytes, /) -> list[float]:
        return self.by_key.get(key, [])

    def empty(self, key: bytes, /) -> None:
        if key in self.by_key:
            self.by_key[key] = []

    def clear_samples(self) -> None:
        """Lists that were given away stay as they are."""
        self.by_key = {key: [] for key in self.by_key}

    def longer(self, than: int, /) -> list[bytes]:
        return [key for key, samples in self.by_key.items() if len(samples) > than]

    def pop(self, key: bytes, other: object, /) -> Any:
        return self.by_key.pop(key, other)


class Keyed(Protocol):
    """What makes tables, and what is done with a whole one at once."""

    def numbers(self) -> Any:
        """An empty table of numbers; strings and None may be in one, too."""

    def samples(self) -> Any: ...

    def zeroed(self, table: Any) -> Any:
        """A table of the same keys, each with 0."""

    def copied(self, table: Any) -> Any:
        """A table that does not change with the other."""

    def add_all(self, table: Any, others: Mapping[bytes, Number]) -> None:
        """Adds what is not 0 to what the table has."""

    def makers(self, tables: tuple[Any, ...], top: int) -> tuple[list[tuple[bytes, int]], Mapping[str, int]]:
        """Of tables of who sent each key first, what `cardinality.counted` tells of them."""

    def reader(
        self, counts: object, gauges: object, timings: object, has_decimals: bool, packs: bool, limit: int
    ) -> _lines.Reader | None:
        """What takes plain lines into these tables; None where Python does. Packets above ``limit`` are Python's."""


class PythonKeyed(Keyed):
    """dicts."""

    def numbers(self) -> dict[bytes, Any]:
        return {}

    def samples(self) -> Lists:
        return Lists()

    def zeroed(self, table: dict[bytes, Number]) -> dict[bytes, Number]:
        return dict.fromkeys(table, 0)

    def copied(self, table: dict[bytes, Number]) -> dict[bytes, Number]:
        return table.copy()

    def add_all(self, table: Numbers, others: Mapping[bytes, Number]) -> None:
        for key, value in others.items():
            if value:
                table[key] = table.get(key, 0) + value

    def makers(
        self, tables: tuple[dict[bytes, str | None], ...], top: int
    ) -> tuple[list[tuple[bytes, int]], Mapping[str, int]]:
        return counted(chain.from_iterable(table.items() for table in tables), top)

    def reader(
        self, counts: object, gauges: object, timings: object, has_decimals: bool, packs: bool, limit: int
    ) -> None:
        return None


class CompiledKeyed(Keyed):
    """The tables of native/_lines.c."""

    def numbers(self) -> _lines.Numbers:
        return _lines.Numbers()

    def samples(self) -> _lines.Samples:
        return _lines.Samples()

    def zeroed(self, table: _lines.Numbers) -> _lines.Numbers:
        return table.zeroed()

    def copied(self, table: _lines.Numbers) -> _lines.Numbers:
        return table.copy()

    def add_all(self, table: Any, others: Mapping[bytes, Number]) -> None:
        if writes_lines(others):
            table.add_all(others)
        else:
            PYTHON.add_all(table, others)

    def makers(
        self, tables: tuple[_lines.Numbers, ...], top: int
    ) -> tuple[list[tuple[bytes, int]], Mapping[str, int]]:
        return _lines.makers(tables, top)

    def reader(
        self, counts: Any, gauges: Any, timings: Any, has_decimals: bool, packs: bool, limit: int
    ) -> _lines.Reader:
        return _lines.Reader(counts, gauges, timings, has_decimals, packs, limit)


def dict_of(table: Numbers) -> dict[bytes, Number]:
    """A dict of its own. By columns: a million pairs would only be made for the garbage collector to look at."""
    return dict(zip(table.keys(), table.values(), strict=True))


def add_lines(into: bytearray, paths: list[bytes], numbers: list[Number], ending: bytes) -> int:
    """Adds path, number and ending of each, without NaN and infinity; how many. Only where `BEST` is compiled."""
    return _lines.lines(into, paths, numbers, ending)


def writes_lines(table: object) -> TypeGuard[_lines.Numbers]:
    """Whether a table writes the lines of all its keys itself."""
    return _is_compiled and isinstance(table, _lines.Numbers)


PYTHON: Final = PythonKeyed()
#: What is quickest here.
BEST: Final[Keyed] = CompiledKeyed() if _is_compiled else PYTHON
