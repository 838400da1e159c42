"""What sums by key in C offer: see sums.py, and modules/metrics, whose twin they are."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final, overload

class Cell:
    """One key's sum while it is counted; a class of Python's below it says what it does. Times in ns."""

    n: int
    begin: int
    end: int
    #: The sum of the integers, of any size.
    whole: int
    floats: list[float] | None
    def __init__(self, now: int, n: int = 0, whole: int = 0) -> None: ...

@final
class Counter:
    """Called with each observation of a tap of sums: one of a known key, and a whole number, is counted at once.

    All others are what ``slowly(key, value)`` is called with. ``known`` has texts by keys as given, of which a new cell
    may be made while there are fewer than ``most``.
    """

    is_watched: bool
    cells: dict[str, Any]
    def __init__(
        self,
        reactor: object,
        by_given: dict[Any, Any],
        known: dict[str, str],
        cells: dict[str, Any],
        slowly: Callable[..., object],
        kind: type,
        most: int,
    ) -> None: ...
    def __call__(self, key: object, value: object = 1, /) -> None: ...

@final
class Taps:
    """Called with each observation: hands it to the tap of its stream, if there is one."""

    def __init__(self, found: dict[str, Callable[[Any, Any], object]], /) -> None: ...
    def __call__(self, stream: str, key: object, value: object = 1) -> None: ...

def unobserved(stream: str, key: object, value: object = 1) -> None:
    """Does nothing."""

@final
class Sums(Sequence[list[Any]]):
    """Rows ``[key, [[n, begin, end, [sum]]]]``, ascending by key; each is made when it is asked for.

    Parts of it share its memory. Equal to a list of the same rows.
    """

    @staticmethod
    def of(keys: list[str], cells: dict[str, Any], epoch: int, /) -> Sums | None:
        """The rows of cells in the order of keys, ``epoch`` (ns) added to their times.

        None if one is not a whole number below 2^62.
        """

    @staticmethod
    def read(rows: object, /) -> Sums | None:
        """Rows that came as JSON; None if they are none of these, or do not ascend."""

    @staticmethod
    def merged(parts: list[Sums], /) -> Sums | None:
        """Each key once; None if a number becomes too large."""

    @property
    def keys(self) -> list[str]:
        """The keys of the rows; not to be changed."""

    @property
    def observed(self) -> int:
        """How many observations are in the rows."""

    def fit(self, most: int, /) -> tuple[int, int]:
        """How many of the first rows fit into so many bytes as a list of JSON, at least one, and the bytes.

        Where not all fit, it is a byte more: the comma.
        """

    def __json__(self) -> list[list[Any]]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[list[Any]]: ...
    @overload
    def __getitem__(self, at: int) -> list[Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Sums: ...
    def __add__(self, other: Sums, /) -> Sums: ...
