"""Plain lines of known keys, taken in by Python: as columns where there are many, else in one loop.

What is not plain is judged. Knows nothing of compiled tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import length_hint

from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.forms import PLAIN_DIGITS
from brokersim.statsd.health import Intake
from brokersim.statsd.numbers import EXACT_DIGITS
from brokersim.statsd.plain import Packet, PlainLines, joined_lines, packets_of_lines, plain_lines
from brokersim.statsd.reading.judged import Judged, SenderOf
from brokersim.statsd.sample import COUNTERS, GAUGES, TIMERS, Sample
from brokersim.statsd.stored.store import Store

_DIGITS_AND_DOT = b"0123456789."
_LETTER_G, _LETTER_C, _BAR = b"gc|"
# Bytes whose lines are read as columns at a time: more no longer stay in a processor's cache.
_COLUMN_BYTES = 24_000
#: Bytes from which on that is cheaper than line by line.
WORTH_COLUMNS = 4000

# What a dialect that takes lines plainly reads in types of plain lines.
_PLAIN_KINDS = {b"c": COUNTERS, b"g": GAUGES, b"ms": TIMERS}


class PythonLines:
    """The way into a store whose tables are dicts."""

    def __init__(self, dialect: Dialect, store: Store, intake: Intake, judged: Judged) -> None:
        self._dialect = dialect
        self._lines_of = dialect.lines
        self._packet_limit = dialect.packet_limit
        self._store = store
        self._intake = intake
        self._judged = judged

    def take_packets(self, packets: Sequence[Packet], size: int, sender_of: SenderOf, t: float) -> None:
        """Takes in packets of ``size`` bytes."""
        step = max(1, len(packets) * _COLUMN_BYTES // max(1, size))
        for start in range(0, len(packets), step):
            self._take_some(packets[start : start + step], start, sender_of, t)

    def take_lines(self, lines: list[bytes], size: int, sender: str | None, t: float) -> None:
        """Takes in lines of ``size`` bytes that came by a stream."""
        plain = plain_lines(b"\n".join(lines)) if size > WORTH_COLUMNS else None
        if plain is None or not (self._dialect.plain_decimals or plain.has_whole_values()):
            self.take_few(lines, sender, t)
        else:
            self._take_plain(plain, lambda _: sender, t)

    def _take_some(self, packets: Sequence[Packet], start: int, all_senders: SenderOf, t: float) -> None:
        def sender_of(index: int) -> str | None:
            return all_senders(start + index)

        text = joined_lines(packets)
        is_within = len(text) <= self._packet_limit or max(map(len, packets)) <= self._packet_limit
        plain = plain_lines(text) if is_within else None
        if plain is None or not (self._dialect.plain_decimals or plain.has_whole_values()):
            self._take_one_by_one(packets, sender_of, t)
        else:
            packet_of = packets_of_lines(packets)
            self._take_plain(plain, lambda line: sender_of(packet_of(line)), t)

    def _take_one_by_one(self, packets: Sequence[Packet], sender_of: SenderOf, t: float) -> None:
        limit = self._packet_limit
        for index, packet in enumerate(packets):
            if len(packet) > limit:
                self._intake.cut_packets += 1
            self.take_few(self._lines_of(bytes(packet[:limit])), sender_of(index), t)

    def _take_plain(self, plain: PlainLines, sender_of: SenderOf, t: float) -> None:
        """One loop on purpose: a call per line would double its cost. Takes in what is about known keys."""
        store = self._store
        counts, gauges, timings = store.counters.counts, store.gauges.values, store.timers.samples.by_key
        keys, _, numbers, types = plain
        if types[0] == types[-1] == b"g" and self._take_gauges(plain):
            return
        left = iter(types)
        for key, number, kind in zip(keys, numbers, left, strict=True):
            if kind == b"g":
                if key in gauges:
                    gauges[key] = number
                    continue
            elif kind == b"c":
                if key in counts:
                    counts[key] += number
                    continue
            elif kind == b"ms" and key in timings:
                # A timing is a float however it was written.
                timings[key].append(number + 0.0)
                continue
            at = len(types) - length_hint(left) - 1  # counted from what is left: known lines cost no count
            self._take_other(plain, at, sender_of, t)
        self._judged.note(len(types), len(types))

    def _take_other(self, plain: PlainLines, at: int, sender_of: SenderOf, t: float) -> None:
        """A line of a column that the loop does not know. A new name most often needs no judgement: 15 µs less."""
        key, kind = plain.keys[at], _PLAIN_KINDS.get(plain.types[at])
        if kind is not None and self._dialect.takes_plainly(key):
            sender = sender_of(at)
            if reason := self._store.apply_plain(Sample(kind, key, plain.numbers[at]), sender):
                self._judged.note_bad(reason, plain.line(at), sender, t)
            return
        self._judged.take(plain.line(at), sender_of, at, t)

    def _take_gauges(self, plain: PlainLines) -> bool:
        """Of nothing but known gauges, as Flux's modules send them, the last value of each is all that matters."""
        gauges = self._store.gauges.values
        if plain.types.count(b"g") != len(plain.types):
            return False
        latest = dict(zip(plain.keys, plain.numbers, strict=True))
        if not latest.keys() <= gauges.keys():
            return False
        gauges.update(latest)
        self._judged.note(len(plain.types), len(plain.types))
        return True

    def take_few(self, lines: list[bytes], sender: str | None, t: float) -> None:
        """One loop on purpose: a call per line would double its cost.

        Only plain numbers of known keys are taken here, where all dialects agree; the rest is judged in full.
        """

        def sender_of(_: int) -> str | None:
            return sender

        store = self._store
        counts, gauges, timings = store.counters.counts, store.gauges.values, store.timers.samples.by_key
        memo = self._judged.memo
        for line in lines:
            try:
                key, field = line.split(b":")
                letter = field[-1]
            except (ValueError, IndexError):
                self._judged.take(line, sender_of, 0, t)
                continue
            if letter == _LETTER_G:
                digits = field[:-2]
                if key in gauges and digits.isdigit() and field[-2] == _BAR and len(digits) <= EXACT_DIGITS:
                    gauges[key] = digits  # read as a number when it is shown: most are written again before
                    continue
            elif letter == _LETTER_C:
                if field in memo and key in counts:
                    counts[key] += memo[field]
                    continue
            elif field[-3:] == b"|ms":
                digits = field[:-3]
                if (
                    key in timings
                    and not digits.translate(None, _DIGITS_AND_DOT)
                    and len(digits) <= PLAIN_DIGITS
                ):
                    try:
                        timings[key].append(float(digits))
                        continue
                    except ValueError:
                        pass
            self._judged.take(line, sender_of, 0, t)
        self._judged.note(len(lines), len(lines))
