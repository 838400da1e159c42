"""What leaves a stats client: running totals as their receiver understands them, and packets of a bounded size.

Knows nothing of tables, periods or timers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from brokersim.statsd import fripp2021
from brokersim.statsd.batch import INC, TOTAL, Batch, Entry, Group, pack_groups
from brokersim.statsd.numbers import Number
from brokersim.statsd.packet import MAX_PACKET

Send = Callable[[bytes], bool]


class Totals:
    """Of each running total what the receiver was told last."""

    def __init__(self, as_totals: bool, has_starts: bool) -> None:
        """``as_totals``: the receiver understands them. ``has_starts``: it has to hear of each where it starts from."""
        self._as_totals = as_totals
        self._has_starts = has_starts
        self._sent: dict[str, Number] = {}
        self._unprimed: set[str] = set()

    def is_restart(self, name: str, total: Number) -> bool:
        """Of the first total in a period: it is below the last one that was sent."""
        if name not in self._sent:
            # The receiver's counter starts from the first total, even if later ones replace it in this period.
            self._sent[name] = total
            self._unprimed.add(name)
        return total < self._sent[name]

    def told(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Totals as the receiver wants them, as they are or as the differences they make; all else as it is."""
        for entry in entries:
            if entry.kind != TOTAL:
                yield entry
            elif self._as_totals:
                yield self._primed(entry)
            elif difference := self._difference(entry):
                yield Entry(INC, entry.name, (difference,))

    def _primed(self, entry: Entry) -> Entry:
        last = self._sent[entry.name]
        if not self._has_starts or entry.name not in self._unprimed or last == entry.values[0]:
            return entry
        return entry._replace(values=(last, *entry.values))

    def _difference(self, entry: Entry) -> Number:
        total: Number = 0
        for value in entry.values:
            assert not isinstance(value, str)
            last = self._sent[entry.name]
            total += value - last if value >= last else value
            self._sent[entry.name] = value
        return total

    def note_sent(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.kind == TOTAL:
                last = entry.values[-1]
                assert not isinstance(last, str)
                self._sent[entry.name] = last
                self._unprimed.discard(entry.name)

    def forget_receiver(self) -> None:
        """The receiver knows none of them, as after a new prefix: it must hear where each starts from."""
        self._unprimed = set(self._sent)


class Packets:
    """Sends entries as lines, as many to a packet as have room, and counts."""

    def __init__(self, send: Send, note_sent: Callable[[list[Entry]], object], compat: bool) -> None:
        """``note_sent`` hears of what each packet that was taken carried. ``compat``: as in 2021."""
        self._send = send
        self._note_sent = note_sent
        self._compat = compat
        self.packets = self.bytes = self.lines = self.refused = 0
        #: Entries that are too long to be sent.
        self.dropped = 0

    def send(self, batch: Batch) -> list[Entry]:
        """Those that nobody took."""
        end, limit = (b"\n", MAX_PACKET - 1) if self._compat else (b"", MAX_PACKET)
        refused: list[Entry] = []
        for text, carried in pack_groups(self._groups(batch), limit):
            packet = text + end
            if self._send(packet):
                self.packets += 1
                self.bytes += len(packet)
                self.lines += text.count(b"\n") + 1
                self._note_sent(carried)
            else:
                self.refused += 1
                refused += carried
        return refused

    def _groups(self, batch: Batch) -> Iterator[Group]:
        if not self._compat:
            yield from batch.groups()
            return
        for group in fripp2021.fripp_groups(iter(batch.entries), batch.prefix):
            if group is None:
                self.dropped += 1
            else:
                yield group
