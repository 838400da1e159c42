"""What the compiled tables of the statsd aggregator offer: see brokersim/statsd/keyed.py, their twin."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, final

@final
class Numbers(MutableMapping[bytes, Any]):
    """Ints and floats by key, in the order of the keys; strings and None too. Raises TypeError for anything else."""

    def __init__(self) -> None: ...
    def __getitem__(self, key: bytes, /) -> Any: ...
    def __setitem__(self, key: bytes, value: float | str | None, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __len__(self) -> int: ...
    def copy(self) -> Numbers:
        """A table that shares nothing but the memory of the keys."""

    def zeroed(self) -> Numbers:
        """The same keys, each with 0."""

    def add_all(self, other: Numbers, /) -> None:
        """Adds what another table has that is not 0."""

    def lines(
        self,
        before: bytes,
        behind: bytes,
        ending: bytes,
        divisor: float | None,
        path_of: Callable[[bytes], bytes],
        /,
    ) -> tuple[bytes, int]:
        """`before KEY behind NUMBER ending` of each key, and of how many.

        Numbers are written as `format_number` does, divided by ``divisor`` first; NaN and infinity are left out.
        ``path_of`` tells what stands before the number where a key has other bytes than `[A-Za-z0-9_.=-]`.
        """

@final
class Samples:
    """Samples by key, in the order of the keys: what `brokersim.statsd.keyed.Lists` does."""

    def __init__(self) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def extend(self, key: bytes, values: list[float], /) -> int: ...
    def of(self, key: bytes, /) -> list[float]: ...
    def empty(self, key: bytes, /) -> None: ...
    def clear_samples(self) -> None: ...
    def longer(self, than: int, /) -> list[bytes]: ...
    def pop(self, key: bytes, other: Any, /) -> Any: ...

@final
class Reader:
    """Takes plain lines, `name:digits|type` of a known name, into tables; gives Python the others, in their turn."""

    def __init__(
        self,
        counts: Numbers,
        gauges: Numbers,
        timings: Samples,
        has_decimals: bool,
        limit: int,
        /,
    ) -> None: ...
    def point(self, counts: Numbers, gauges: Numbers, timings: Samples, /) -> None:
        """The tables that lines go to from here on."""

    def take(
        self,
        packets: Sequence[bytes | bytearray],
        other: Callable[[bytes, int], object],
        whole: Callable[[int], int],
        /,
    ) -> int:
        """Takes in packets, lines separated by LF; how many lines they had, empty ones but the last included.

        ``other`` gets each line that is not plain, and the index of its packet. Packets that are longer than the
        limit or have a NUL are left to ``whole``, which tells how many lines it found.
        """

    def take_each(self, lines: Sequence[bytes], other: Callable[[bytes, int], object], /) -> None:
        """The same for lines that were taken apart before; ``other`` gets a line's index."""
