"""The aggregating client of mid-2021, its mistakes included, for experiments that need them.

Knows nothing of timers or sockets. Source: the client of Flux's stats journal, week 7, read and replayed.
"""

from __future__ import annotations

from collections.abc import Iterator

from brokersim.statsd.batch import DELTA, GAUGE, INC, SET, TIMING, TOTAL, Entry, Group
from brokersim.statsd.names import join_name
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.tables import Tables

NAME = "fripp-2021"
# Its line buffer has 128 bytes, one of them for C's end of string.
LONGEST_LINE = 127
LONGEST_PREFIX = 127

_LETTERS = {INC: "c", TOTAL: "C", GAUGE: "g", DELTA: "g", TIMING: "ms", SET: "s"}


class Fripp2021Tables(Tables):
    """One slot per name, whatever its type: (kind of the last call, value).

    Of timings and totals the last one is kept. An increment adds to whatever gauge value waits, and the sum goes out
    as an increment, even if it had been set.
    """

    __slots__ = ("slots",)

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[str, tuple[str, Number | str]] = {}

    def __len__(self) -> int:
        return len(self.slots)

    def add_inc(self, name: str, n: Number) -> None:
        self.slots[name] = (INC, self._held(name, INC) + n)

    def add_total(self, name: str, total: Number) -> None:
        self.slots[name] = (TOTAL, total)

    add_restart = add_total

    def set_base(self, name: str, value: Number) -> None:
        self.slots[name] = (GAUGE, value)

    def add_delta(self, name: str, delta: Number) -> None:
        self.slots[name] = (DELTA, self._held(name, GAUGE, DELTA) + delta)

    def add_timing(self, name: str, ms: float) -> None:
        self.slots[name] = (TIMING, ms)

    def add_member(self, name: str, member: str) -> None:
        self.slots[name] = (SET, member)

    def _held(self, name: str, *kinds: str) -> Number:
        kind, value = self.slots.get(name, ("", 0))
        return value if kind in kinds and not isinstance(value, str) else 0

    def drain(self) -> Iterator[Entry]:
        for name, (kind, value) in self.slots.items():
            yield Entry(kind, name, (value,))

    def restore(self, entry: Entry) -> int:
        """It looked at no error of `sendto`: what was refused is lost."""
        return len(entry.values)


def fripp_groups(entries: Iterator[Entry], prefix: str) -> Iterator[Group | None]:
    """A line per entry, each with its own LF; None for one that is too long, which is dropped.

    The `+` is printed for increments above 0 only, so increments that cancel out are written as a gauge *set* to 0,
    and an absolute value below 0 reads as a decrement.
    """
    for entry in entries:
        value = entry.values[0]
        text = value if isinstance(value, str) else format_number(value)
        if entry.kind == DELTA and not isinstance(value, str) and value > 0:
            text = f"+{text}"
        line = f"{join_name(prefix, entry.name)}:{text}|{_LETTERS[entry.kind]}\n".encode()
        yield Group(line[:-1], entry) if len(line) <= LONGEST_LINE else None
