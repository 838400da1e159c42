"""A client's tables of one period: what each kind of call adds up to.

Knows nothing of names' legality, of lines or of when to send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import groupby

from brokersim.statsd.batch import DELTA, GAUGE, INC, SET, TIMING, TOTAL, Entry
from brokersim.statsd.numbers import LARGEST, LARGEST_TIMING, Number

# Samples of one name that are kept for a server that takes nothing; about a megabyte.
MAX_HELD = 20_000


class Tables:
    """One period of one group of names. A gauge is in `bases` (a value to set) or in `deltas`, never in both.

    The rules for gauges: set makes the base and forgets the delta; an increment goes to the base if there is one.
    The dicts are open to the client's fast path, which may change a value that is already there.
    """

    __slots__ = ("bases", "deltas", "dropped", "incs", "peaks", "sets", "timings", "totals")

    def __init__(self) -> None:
        self.incs: dict[str, Number] = {}
        self.totals: dict[str, Number] = {}
        # Per restart within the period the total before it and the one after: the steps are counted between these.
        self.peaks: dict[str, list[Number]] = {}
        self.bases: dict[str, Number] = {}
        self.deltas: dict[str, Number] = {}
        self.timings: dict[str, list[float]] = {}
        self.sets: dict[str, dict[str, None]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        tables: tuple[Sized, ...] = (
            self.incs, self.totals, self.bases, self.deltas, self.timings, self.sets,
        )  # fmt: skip
        return sum(len(table) for table in tables)

    def add_inc(self, name: str, n: Number) -> None:
        self.incs[name] = self.incs.get(name, 0) + n

    def add_total(self, name: str, total: Number) -> None:
        if total < self.totals.get(name, 0):
            self.peaks.setdefault(name, []).extend((self.totals[name], total))
        self.totals[name] = total

    def add_restart(self, name: str, total: Number) -> None:
        """A total below the last one that was sent: it is kept even if larger ones follow in the period."""
        if name not in self.totals:
            self.peaks.setdefault(name, []).append(total)
        self.add_total(name, total)

    def set_base(self, name: str, value: Number) -> None:
        self.deltas.pop(name, None)
        self.bases[name] = value

    def add_delta(self, name: str, delta: Number) -> None:
        table = self.bases if name in self.bases else self.deltas
        table[name] = table.get(name, 0) + delta

    def add_timing(self, name: str, ms: float) -> None:
        self.timings.setdefault(name, []).append(ms)

    def add_member(self, name: str, member: str) -> None:
        self.sets.setdefault(name, {})[member] = None

    def hand_over(self, name: str, to: Tables) -> None:
        """Gives what is queued of one name to tables that have nothing of it."""
        for field in ("incs", "totals", "peaks", "bases", "deltas", "timings", "sets"):
            table, other = getattr(self, field), getattr(to, field)
            if name in table:
                other[name] = table.pop(name)

    def drain(self) -> Iterator[Entry]:
        """All there is to send, as entries. What no server could read (NaN, infinity, a time below 0) is dropped."""
        for kind, table in ((INC, self.incs), (GAUGE, self.bases), (DELTA, self.deltas)):
            for name, value in table.items():
                # False for NaN too.
                if not -LARGEST <= value <= LARGEST:
                    self.dropped += 1
                # Written without a sign a delta of 0 would set the gauge to 0; with one it says nothing.
                elif value or kind != DELTA:
                    yield Entry(kind, name, (value,))
        for name, total in self.totals.items():
            # Equal neighbours say nothing twice.
            told = [each for each, _ in groupby((*self.peaks.get(name, ()), total))]
            if all(value <= LARGEST for value in told):
                yield Entry(TOTAL, name, tuple(told))
            else:
                self.dropped += 1
        for name, samples in self.timings.items():
            good = [ms for ms in samples if 0 <= ms <= LARGEST_TIMING]
            self.dropped += len(samples) - len(good)
            if good:
                yield Entry(TIMING, name, tuple(good))
        for name, members in self.sets.items():
            yield Entry(SET, name, tuple(members))

    def restore(self, entry: Entry) -> int:
        """Puts back what could not be sent, *behind* what came since; how many values found no room."""
        name, values = entry.name, entry.values
        if entry.kind == SET:
            for member in values:
                self.add_member(name, str(member))
            return 0
        numbers = [value for value in values if not isinstance(value, str)]
        if entry.kind == TIMING:
            return self._restore_timings(name, numbers)
        if entry.kind == INC:
            self.add_inc(name, numbers[0])
        elif entry.kind == TOTAL:
            self._restore_totals(name, numbers)
        elif entry.kind == DELTA:
            self._restore_delta(name, numbers[0])
        else:
            self._restore_base(name, numbers[0])
        return 0

    def _restore_timings(self, name: str, samples: list[Number]) -> int:
        held = self.timings.get(name, [])
        room = max(0, MAX_HELD - len(held))
        self.timings[name] = [*map(float, samples[:room]), *held]
        return max(0, len(samples) - room)

    def _restore_totals(self, name: str, totals: list[Number]) -> None:
        later = [*self.peaks.pop(name, ()), *([self.totals[name]] if name in self.totals else ())]
        told = [*totals, *later]
        # The first may be where a restart began; a server that takes nothing must not make the list grow.
        self.peaks[name] = _steps(told)
        self.totals[name] = told[-1]

    def _restore_delta(self, name: str, delta: Number) -> None:
        # A base that came since was set later than the delta was made: the delta is history.
        if name not in self.bases:
            self.add_delta(name, delta)

    def _restore_base(self, name: str, base: Number) -> None:
        if name not in self.bases:
            self.bases[name] = base + self.deltas.pop(name, 0)


def _steps(values: list[Number]) -> list[Number]:
    """The first and the last of each rise: in between nothing is lost. Each fall is a restart and counts by itself."""
    points: list[Number] = []
    for value in values:
        if len(points) > 1 and points[-2] <= points[-1] <= value:
            points[-1] = value
        else:
            points.append(value)
    return points
