"""What the compiled tables of the statsd aggregator offer: see brokersim/statsd/keyed.py, their twin."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, final

def lines(into: bytearray, paths: list[bytes], numbers: list[float], ending: bytes, /) -> int:
    """Adds path, number, as `format_number` writes it, and ending; how many: NaN and infinity are left out."""

def makers(tables: tuple[Numbers, ...], top: int, /) -> tuple[list[tuple[bytes, int]], dict[str, int]]:
    """Of tables of who sent each key first: the ``top`` beginnings of names with most keys, and keys by sender.

    As `brokersim.statsd.cardinality.counted`. Raises ValueError unless ``top`` is 1 to 100.
    """

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
        into: bytearray,
        before: bytes,
        behind: bytes,
        ending: bytes,
        divisor: float | None,
        path_of: Callable[[bytes], bytes],
        /,
    ) -> int:
        """Adds `before KEY behind NUMBER ending` of each key; of how many.

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
class Datagrams:
    """What waits in a UDP socket, up to 64 datagrams with one recvmmsg(2). Only where there is Linux.

    Reserves 4 MiB of addresses; memory is only used where datagrams longer than 2 KiB come.
    """

    #: How many were received last.
    count: int
    def __init__(self, fd: int, /) -> None: ...
    def receive(self) -> int:
        """Receives what waits; how many that are. Raises OSError where the call is refused."""

    def packet(self, index: int, /) -> bytes:
        """The bytes of one of them. Raises IndexError."""

    def name(self, index: int, /) -> bytes:
        """The socket address that sent it. Raises IndexError."""

    def size(self) -> int:
        """Bytes of all of them."""

@final
class Reader:
    """Takes plain lines, `name:digits|type` of a known name, into tables; gives Python the others, in their turn."""

    def __init__(
        self,
        counts: Numbers,
        gauges: Numbers,
        timings: Samples,
        has_decimals: bool,
        packs: bool,
        limit: int,
        /,
    ) -> None:
        """``has_decimals``: a counter or gauge may have some. ``packs``: `1:2|ms` is two. ``limit``: of a packet."""

    def remember(self, name: bytes, suffix: bytes, kind: int, key: bytes, weight: float, /) -> None:
        """Lines `name:VALUE|suffix` say VALUE times ``weight`` of a counter (0), gauge (1) or timing (2), ``key``.

        They are taken in from here on where VALUE is a number without doubt and the key is there; the weight is a
        counter's. Of 8192 forms the next makes all forgotten. Raises ValueError for another kind.
        """

    def point(self, counts: Numbers, gauges: Numbers, timings: Samples, /) -> None:
        """The tables that lines go to from here on."""

    def welcome(
        self,
        known: tuple[Numbers, Numbers, Numbers, Numbers],
        kinds: tuple[bool, bool, bool],
        most: int,
        longest: int,
        taken: dict[bytes, bytes],
        reserved: bytes,
        /,
    ) -> None:
        """From here on plain lines of new names are taken in, too, if the name has no byte but `[A-Za-z0-9_.=-]`.

        ``known`` are the keys of counters, gauges, timers and sets with their senders; ``kinds`` tells of which of the
        first three new ones are taken. There may be ``most`` keys, each ``longest`` bytes. Names that ``taken`` has or
        that begin with ``reserved`` are Python's to judge. Raises RuntimeError if this was said before.
        """

    def take(
        self,
        packets: Sequence[bytes | bytearray],
        other: Callable[[bytes, int], object],
        refused: Callable[[bytes, int], object],
        sender_of: Callable[[int], str | None],
        whole: Callable[[int], int],
        /,
    ) -> int:
        """Takes in packets, lines separated by LF; how many lines they had, empty ones but the last included.

        ``other`` gets each line that is not plain, ``refused`` each whose name is one too many, and the index of its
        packet; ``sender_of`` is asked once a packet that has new names. Packets that are longer than the
        limit or have a NUL are left to ``whole``, which tells how many lines it found.
        """

    def take_each(
        self,
        lines: Sequence[bytes],
        other: Callable[[bytes, int], object],
        refused: Callable[[bytes, int], object],
        sender_of: Callable[[int], str | None],
        /,
    ) -> None:
        """The same for lines that were taken apart before; each index is a line's."""

    def take_datagrams(
        self,
        datagrams: Datagrams,
        other: Callable[[bytes, int], object],
        refused: Callable[[bytes, int], object],
        sender_of: Callable[[int], str | None],
        whole: Callable[[int], int],
        /,
    ) -> int:
        """As `take`, for what a socket received."""
