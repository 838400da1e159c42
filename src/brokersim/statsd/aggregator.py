"""The aggregator: packets in, one flush per interval out, in one dialect.

Knows nothing of sockets, clocks or outputs: times are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import length_hint
from typing import TYPE_CHECKING

import attrs

from brokersim.statsd.batch import Batch
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.cardinality import Cardinality
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.creates import CreateLimit
from brokersim.statsd.dialects import open_dialect
from brokersim.statsd.dialects.base import Dialect, Interval
from brokersim.statsd.dialects.strict import Strict
from brokersim.statsd.flushed import BadLine, Flush, Health, KeyInfo
from brokersim.statsd.forms import Forms
from brokersim.statsd.health import BadLineRing, Intake
from brokersim.statsd.held import Held
from brokersim.statsd.keyed import BEST, Keyed, dict_of
from brokersim.statsd.names import join_name
from brokersim.statsd.numbers import Number
from brokersim.statsd.plain import Packet, PlainLines, joined_lines, packets_of_lines, plain_lines
from brokersim.statsd.sample import COUNTERS, GAUGES, KINDS, SETS, TIMERS, Sample
from brokersim.statsd.shown import Shown
from brokersim.statsd.stored.store import Store

if TYPE_CHECKING:
    from brokersim.native._lines import Datagrams, Reader

# Bytes of `42|c` that are known to be 42. Bounded, because a sender chooses what is in it.
_MEMO_LIMIT = 4096
# Samples between two looks for timers over their cap; a key may be over it by as many, and by one packed line.
_FOLD_EVERY = 20_000
_DIGITS_AND_DOT = b"0123456789."
# More digits than this go the slow way, where their size is judged.
_PLAIN_DIGITS = 18
_LETTER_G, _LETTER_C, _BAR = b"gc|"
# Bytes whose lines are read as columns at a time: more no longer stay in a processor's cache.
_COLUMN_BYTES = 24_000
# Bytes from which on that is cheaper than line by line.
_WORTH_COLUMNS = 4000

# What a dialect that takes lines plainly reads in types of plain lines.
_PLAIN_KINDS = {b"c": COUNTERS, b"g": GAUGES, b"ms": TIMERS}

SenderOf = Callable[[int], str | None]
OfLine = Callable[[bytes, int], None]


class Aggregator:
    """Adds up statsd lines and shows them as `dialect` would. No bytes make it raise.

    A bad line is counted by reason, kept in a ring and spoils nothing else. ``keyed`` makes its tables. Raises
    UnknownDialectError.
    """

    def __init__(
        self,
        dialect: str | Dialect = "strict",
        config: AggregatorConfig | None = None,
        *,
        keyed: Keyed = BEST,
    ) -> None:
        if isinstance(dialect, Dialect):
            config = dialect.config
        self.config = config or AggregatorConfig()
        self.dialect = dialect if isinstance(dialect, Dialect) else open_dialect(dialect, self.config)
        self._lines_of = self.dialect.lines
        self._packet_limit = self.dialect.packet_limit
        self._store = Store(dialect=self.dialect, config=self.config, keyed=keyed)
        self._reader = self._store.reader
        self._intake = Intake()
        self._ring = BadLineRing(size=self.config.bad_ring)
        creates = self.config.max_creates_per_minute
        self._creates = CreateLimit(per_minute=creates) if creates is not None else None
        self._memo: dict[bytes, int] = {}
        self._forms = Forms(self.dialect.without_forms, self._reader)
        self._until_fold = _FOLD_EVERY
        self._flushes = 0
        self._approx = 0
        self._dropped_creates = 0

    # In

    def feed(self, datagram: bytes, sender: str | None = None, t: float = 0.0) -> None:
        """Takes in one packet: lines separated by LF. `sender` and `t` (s) are only kept with bad lines."""
        if self._reader is not None or len(datagram) > _WORTH_COLUMNS:
            self.feed_all((datagram,), lambda _: sender, t)
            return
        intake = self._intake
        intake.packets += 1
        intake.bytes += len(datagram)
        intake.last_packet_t = t
        self._feed_lines(self._lines_of(datagram), sender, t)

    def feed_all(self, packets: Sequence[Packet], sender_of: SenderOf, t: float = 0.0) -> None:
        """Takes in packets as if one by one; `sender_of` tells who sent the one at an index, if it must be known."""
        size = sum(map(len, packets))
        intake = self._intake
        intake.packets += len(packets)
        intake.bytes += size
        intake.last_packet_t = t
        if self._reader is not None:
            asked = self._asked(sender_of, t)
            cut = self._cut(self._reader, packets.__getitem__, asked)
            self._note_lines(self._reader.take(packets, *asked, cut))
            return
        step = max(1, len(packets) * _COLUMN_BYTES // max(1, size))
        for start in range(0, len(packets), step):
            self._feed_some(packets[start : start + step], start, sender_of, t)

    @property
    def takes_datagrams(self) -> bool:
        """Whether `feed_datagrams` may be called: lines are read by compiled code."""
        return self._reader is not None

    def feed_datagrams(self, datagrams: Datagrams, sender_of: SenderOf, t: float = 0.0) -> None:
        """As `feed_all`, for what a socket received and no object was made of."""
        assert self._reader is not None
        self._intake.packets += datagrams.count
        self._intake.bytes += datagrams.size()
        self._intake.last_packet_t = t
        asked = self._asked(sender_of, t)
        cut = self._cut(self._reader, datagrams.packet, asked)
        self._note_lines(self._reader.take_datagrams(datagrams, *asked, cut))

    def _asked(self, sender_of: SenderOf, t: float) -> tuple[OfLine, OfLine, SenderOf]:
        """What compiled code asks: for lines that are not plain, for those of a name too many, and for senders."""

        def judge(line: bytes, index: int) -> None:
            self._slow(line, sender_of, index, t)

        def refused(line: bytes, index: int) -> None:
            self._store.refused += 1
            self._note_bad("too_many_keys", line, sender_of(index), t)

        return judge, refused, sender_of

    def _cut(
        self, reader: Reader, packet_at: Callable[[int], Packet], asked: tuple[OfLine, OfLine, SenderOf]
    ) -> Callable[[int], int]:
        """What compiled code asks for packets that are cut: how many lines they have."""
        judge, refused, sender_of = asked

        def cut(index: int) -> int:
            packet, limit = packet_at(index), self._packet_limit
            self._intake.cut_packets += len(packet) > limit
            lines = self._lines_of(bytes(packet[:limit]))
            reader.take_each(
                lines, lambda line, _: judge(line, index), lambda line, _: refused(line, index),
                lambda _: sender_of(index),
            )  # fmt: skip
            return len(lines)

        return cut

    def _feed_some(self, packets: Sequence[Packet], start: int, all_senders: SenderOf, t: float) -> None:
        def sender_of(index: int) -> str | None:
            return all_senders(start + index)

        text = joined_lines(packets)
        is_within = len(text) <= self._packet_limit or max(map(len, packets)) <= self._packet_limit
        plain = plain_lines(text) if is_within else None
        if plain is None or not (self.dialect.plain_decimals or plain.has_whole_values()):
            self._feed_one_by_one(packets, sender_of, t)
        else:
            packet_of = packets_of_lines(packets)
            self._feed_plain(plain, lambda line: sender_of(packet_of(line)), t)

    def _feed_one_by_one(self, packets: Sequence[Packet], sender_of: SenderOf, t: float) -> None:
        limit = self._packet_limit
        for index, packet in enumerate(packets):
            if len(packet) > limit:
                self._intake.cut_packets += 1
            self._feed_lines(self._lines_of(bytes(packet[:limit])), sender_of(index), t)

    def _feed_plain(self, plain: PlainLines, sender_of: SenderOf, t: float) -> None:
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
        self._note_lines(len(types))

    def _take_other(self, plain: PlainLines, at: int, sender_of: SenderOf, t: float) -> None:
        """A line of a column that the loop does not know. A new name most often needs no judgement: 15 µs less."""
        key, kind = plain.keys[at], _PLAIN_KINDS.get(plain.types[at])
        if kind is not None and self.dialect.takes_plainly(key):
            sender = sender_of(at)
            if reason := self._store.apply_plain(Sample(kind, key, plain.numbers[at]), sender):
                self._note_bad(reason, plain.line(at), sender, t)
            return
        self._slow(plain.line(at), sender_of, at, t)

    def _take_gauges(self, plain: PlainLines) -> bool:
        """Of nothing but known gauges, as Flux's modules send them, the last value of each is all that matters."""
        gauges = self._store.gauges.values
        if plain.types.count(b"g") != len(plain.types):
            return False
        latest = dict(zip(plain.keys, plain.numbers, strict=True))
        if not latest.keys() <= gauges.keys():
            return False
        gauges.update(latest)
        self._note_lines(len(plain.types))
        return True

    def _feed_lines(self, lines: list[bytes], sender: str | None, t: float) -> None:
        """One loop on purpose: a call per line would double its cost.

        Only plain numbers of known keys are taken here, where all dialects agree; the rest is judged in `_slow`.
        """

        def sender_of(_: int) -> str | None:
            return sender

        store = self._store
        counts, gauges, timings = store.counters.counts, store.gauges.values, store.timers.samples.by_key
        memo = self._memo
        for line in lines:
            try:
                key, field = line.split(b":")
                letter = field[-1]
            except (ValueError, IndexError):
                self._slow(line, sender_of, 0, t)
                continue
            if letter == _LETTER_G:
                digits = field[:-2]
                if key in gauges and digits.isdigit() and field[-2] == _BAR and len(digits) < _PLAIN_DIGITS:
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
                    and len(digits) < _PLAIN_DIGITS
                ):
                    try:
                        timings[key].append(float(digits))
                        continue
                    except ValueError:
                        pass
            self._slow(line, sender_of, 0, t)
        self._note_lines(len(lines))

    def _note_lines(self, count: int) -> None:
        self._intake.lines += count
        self._until_fold -= count
        self._fold_if_due()

    def _fold_if_due(self) -> None:
        if self._until_fold < 0:
            self._store.timers.fold_long()
            # Looking through many keys must not cost more than what they were sent.
            self._until_fold = max(_FOLD_EVERY, len(self._store.timers.samples))

    def feed_lines(self, lines: list[bytes], sender: str | None = None, t: float = 0.0) -> None:
        """Takes in lines that came by a stream: no packet is counted."""
        size = sum(map(len, lines))
        self._intake.bytes += size
        if self._reader is not None:
            self._reader.take_each(lines, *self._asked(lambda _: sender, t))
            self._note_lines(len(lines))
            return
        plain = plain_lines(b"\n".join(lines)) if size > _WORTH_COLUMNS else None
        if plain is None or not (self.dialect.plain_decimals or plain.has_whole_values()):
            self._feed_lines(lines, sender, t)
        else:
            self._feed_plain(plain, lambda _: sender, t)

    def _slow(self, line: bytes, sender_of: SenderOf, index: int, t: float) -> None:
        # Who sent it is only asked when it matters: finding out costs as much as some lines.
        if not self._take_form(line):
            self._judge(line, sender_of(index), t)

    def _take_form(self, line: bytes) -> bool:
        """Takes in a line whose form was judged before; False if this one must be."""
        name, _, rest = line.partition(b":")
        field, _, suffix = rest.partition(b"|")
        form = self._forms.find((name, suffix))
        taken = 0 if form is None else self._store.take_known[form.kind](form.key, form.weight, field)
        self._until_fold -= taken
        return taken > 0

    def _judge(self, line: bytes, sender: str | None, t: float) -> None:
        judgement = self.dialect.judge(line)
        if not line and not judgement.bad:
            self._intake.lines -= 1
            return
        self._remember(line)
        if self.dialect.has_forms:
            self._forms.remember(line, judgement)
        self._until_fold -= len(judgement.samples)
        reasons = judgement.bad
        if judgement.samples and (reason := self._store.apply(judgement.samples, sender)):
            reasons = (*reasons, reason)
        for reason in reasons:
            self._note_bad(reason, line, sender, t)

    def _remember(self, line: bytes) -> None:
        """Keeps `42|c`, which is 42 in every dialect, so that the fast path takes it next time."""
        field = line.rpartition(b":")[2]
        digits = field[:-2]
        if (
            field[-2:] == b"|c"
            and digits.isdigit()
            and len(digits) < _PLAIN_DIGITS
            and len(self._memo) < _MEMO_LIMIT
        ):
            self._memo[field] = int(digits)

    def _note_bad(self, reason: str, line: bytes, sender: str | None, t: float) -> None:
        self._intake.bad_lines += 1
        self._intake.bad_by_reason[reason] += 1
        self._intake.last_bad_t = t
        self._ring.add(reason, line, sender, t)

    def take(self, batch: Batch, sender: str | None = None, t: float = 0.0) -> None:
        """Takes in a client's tables as they are, with the effect the client's own lines would have had."""
        direct = self.dialect.name == batch.dialect == Strict.name
        for entry in batch.entries:
            key = join_name(batch.prefix, entry.name).encode()
            if direct and self._store.take(entry, key):
                self._intake.lines += 1
                self._until_fold -= len(entry.values)
                self._fold_if_due()
                continue
            for line in attrs.evolve(batch, entries=(entry,)).lines():
                self.feed_lines([line], sender, t)

    # Out

    def flush(self, now: float) -> Flush:
        """Ends the interval at `now` (s) and starts the next one. Rates are per nominal interval."""
        store, shown = self._store, self._store.register.shown
        store.close_interval()
        packets, lines, bad_lines, reasons = self._intake.mark()
        metrics = lines if self.dialect.counts_bad_lines else lines - bad_lines
        interval = Interval(
            seconds=self.config.flush,
            counters=store.counters.interval(shown(COUNTERS)),
            gauges=store.gauges.interval(shown(GAUGES)),
            timers=store.timers.interval(shown(TIMERS)),
            sets=store.sets.interval(shown(SETS)),
            packets=packets,
            metrics=metrics,
            bad_lines=bad_lines,
            bad_by_reason=reasons,
        )
        flush = self._rendered(interval, now)
        store.open_interval()
        self._flushes += 1
        self._approx += len(flush.buckets)
        return flush

    def _rendered(self, interval: Interval, now: float) -> Flush:
        text = self.dialect.text
        values: Mapping[str, Number] = self.dialect.render(interval)
        before, values = len(values), self.admitted(values, now)
        dropped = before - len(values)
        timers = [(text(key), timer) for key, timer in interval.timers.items()]
        reported = self.dialect.reported(interval)
        return Flush(
            t=now,
            interval=interval.seconds,
            dialect=self.dialect.name,
            path_prefix=self.dialect.path_prefix,
            values=values,
            self_values=self.dialect.render_self(interval),
            counters=Shown(interval.counters, text),
            totals=Shown(self._store.keyed.copied(self._store.counters.sums), text),
            gauges=Shown(interval.gauges, text),
            sets=Shown(interval.sets, text),
            samples={name: each.values for name, each in timers if each.values},
            buckets={name: each.fold for name, each in timers if isinstance(each.fold, LogBuckets)},
            timer_counts={name: each.count for name, each in timers},
            timed=self._timed(),
            packets=reported.packets,
            metrics=reported.metrics,
            bad_lines=reported.bad_lines,
            dropped_creates=dropped,
        )

    def admitted(self, values: Mapping[str, Number], now: float) -> Mapping[str, Number]:
        """Those whose series exists or may be created at `now` (s); all, without a limit on new series."""
        if self._creates is None:
            return values
        admitted = self._creates.admit(values, now)
        self._dropped_creates += len(values) - len(admitted)
        return admitted

    def _timed(self) -> dict[int, Mapping[str, Number]]:
        """Values that came with a time of their own, as they are shown, by that time."""
        tables: dict[int, dict[str, dict[bytes, Number]]] = {}
        for (t, kind, key), value in self._store.timed.items():
            tables.setdefault(t, {COUNTERS: {}, GAUGES: {}})[kind][key] = value
        seconds = self.config.flush
        return {
            t: self.dialect.render(Interval.only(seconds, counters=each[COUNTERS], gauges=each[GAUGES]))
            for t, each in tables.items()
        }

    # From one life to the next

    def held(self) -> Held:
        """What a later aggregator may take up: gauges, and counters' totals since the start."""
        store = self._store
        gauges = store.gauges.held(store.register.known[GAUGES])
        return Held(dialect=self.dialect.name, gauges=gauges, totals=dict_of(store.counters.sums))

    def take_up(self, held: Held) -> int:
        """Goes on from what an earlier one held; how many series that were. 0, and nothing, of another dialect's."""
        if held.dialect != self.dialect.name:
            return 0
        return self._store.take_up(held.gauges, held.totals)

    # Health and administration

    def statistics(self) -> Health:
        intake = self._intake
        return Health(
            packets=intake.packets,
            bytes=intake.bytes,
            lines=intake.lines,
            metrics=intake.lines - intake.bad_lines,
            bad_lines=intake.bad_lines,
            bad_by_reason=dict(intake.bad_by_reason),
            cut_packets=intake.cut_packets,
            keys={kind: len(self._store.register.known[kind]) for kind in KINDS},
            expired_keys=self._store.expired,
            refused_keys=self._store.refused,
            flushes=self._flushes,
            approx_timers=self._approx,
            dropped_creates=self._dropped_creates,
            last_packet_t=intake.last_packet_t,
            last_bad_t=intake.last_bad_t,
        )

    def cardinality(self) -> Cardinality:
        """Who makes the series. Looks at every key: 0.6 s for a million where it is compiled."""
        return self._store.register.cardinality()

    def bad_lines(self) -> tuple[BadLine, ...]:
        """The last bad lines, oldest first."""
        return self._ring.snapshot()

    def never_created(self) -> frozenset[str]:
        """Names of the values that the limit on new series has kept out so far."""
        return self._creates.held_back if self._creates is not None else frozenset()

    def table(self, kind: str) -> dict[str, Number | list[float]]:
        """What every key of `counters`, `gauges`, `timers` or `sets` holds in the running interval."""
        store, text = self._store, self.dialect.text
        return {text(key): store.current(kind, key) for key in list(store.register.known[kind])}

    def lookup(self, key: str) -> KeyInfo | None:
        """What is known of one key, or None."""
        raw = self._store.register.key_of(key)
        kinds = tuple(kind for kind in KINDS if self._store.register.knows(kind, raw))
        if not kinds:
            return None
        return KeyInfo(
            key=key,
            kinds=kinds,
            values={kind: self._store.current(kind, raw) for kind in kinds},
            first_sender=self._store.register.first_sender(raw),
            is_disabled=self._store.register.is_disabled(raw),
        )

    def delete(self, kind: str, pattern: str) -> list[str]:
        """Deletes a key, or with `prefix.*` all that begin with `prefix.`; the names that went."""
        wanted = pattern[:-1] if pattern.endswith(".*") else None
        text = self.dialect.text
        names = {text(key): key for key in self._store.register.known[kind]}
        gone = [name for name in names if (name.startswith(wanted) if wanted else name == pattern)]
        for name in gone:
            self._store.delete(kind, names[name])
        return gone

    def disable(self, key: str) -> bool:
        """The key is not shown until it is written again; it keeps its value. False if there is no such key."""
        raw = self._store.register.key_of(key)
        return sum(self._store.disable(kind, raw) for kind in KINDS) > 0
