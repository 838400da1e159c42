"""The aggregator: packets in, one flush per interval out, in one dialect.

Knows nothing of sockets, clocks or outputs: times are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from brokersim.statsd.health import BadLineRing, Intake
from brokersim.statsd.held import Held
from brokersim.statsd.keyed import BEST, Keyed, dict_of
from brokersim.statsd.names import join_name
from brokersim.statsd.numbers import Number
from brokersim.statsd.plain import Packet
from brokersim.statsd.reading.by_python import WORTH_COLUMNS, PythonLines
from brokersim.statsd.reading.compiled import CompiledLines
from brokersim.statsd.reading.judged import Judged, SenderOf
from brokersim.statsd.sample import COUNTERS, GAUGES, KINDS, SETS, TIMERS
from brokersim.statsd.shown import Shown
from brokersim.statsd.stored.store import Store

if TYPE_CHECKING:
    from brokersim.native._lines import Datagrams


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
        self._store = store = Store(dialect=self.dialect, config=self.config, keyed=keyed)
        self._intake = intake = Intake()
        self._ring = BadLineRing(size=self.config.bad_ring)
        self._judged = judged = Judged(self.dialect, store, intake, self._ring)
        self._python = PythonLines(self.dialect, store, intake, judged)
        self._compiled: CompiledLines | None = None
        if store.reader is not None:
            self._compiled = CompiledLines(store.reader, self.dialect, store, intake, judged)
        self._lines = self._compiled or self._python
        creates = self.config.max_creates_per_minute
        self._creates = CreateLimit(per_minute=creates) if creates is not None else None
        self._flushes = 0
        self._approx = 0
        self._dropped_creates = 0

    # In

    def feed(self, datagram: bytes, sender: str | None = None, t: float = 0.0) -> None:
        """Takes in one packet: lines separated by LF. `sender` and `t` (s) are only kept with bad lines."""
        if self._compiled is not None or len(datagram) > WORTH_COLUMNS:
            self.feed_all((datagram,), lambda _: sender, t)
            return
        intake = self._intake
        intake.packets += 1
        intake.bytes += len(datagram)
        intake.last_packet_t = t
        self._python.take_few(self.dialect.lines(datagram), sender, t)

    def feed_all(self, packets: Sequence[Packet], sender_of: SenderOf, t: float = 0.0) -> None:
        """Takes in packets as if one by one; `sender_of` tells who sent the one at an index, if it must be known."""
        size = sum(map(len, packets))
        intake = self._intake
        intake.packets += len(packets)
        intake.bytes += size
        intake.last_packet_t = t
        self._lines.take_packets(packets, size, sender_of, t)

    @property
    def takes_datagrams(self) -> bool:
        """Whether `feed_datagrams` may be called: lines are read by compiled code."""
        return self._compiled is not None

    def feed_datagrams(self, datagrams: Datagrams, sender_of: SenderOf, t: float = 0.0) -> None:
        """As `feed_all`, for what a socket received and no object was made of."""
        assert self._compiled is not None
        self._intake.packets += datagrams.count
        self._intake.bytes += datagrams.size()
        self._intake.last_packet_t = t
        self._compiled.take_datagrams(datagrams, sender_of, t)

    def feed_lines(self, lines: list[bytes], sender: str | None = None, t: float = 0.0) -> None:
        """Takes in lines that came by a stream: no packet is counted."""
        size = sum(map(len, lines))
        self._intake.bytes += size
        self._lines.take_lines(lines, size, sender, t)

    def take(self, batch: Batch, sender: str | None = None, t: float = 0.0) -> None:
        """Takes in a client's tables as they are, with the effect the client's own lines would have had."""
        direct = self.dialect.name == batch.dialect == Strict.name
        for entry in batch.entries:
            key = join_name(batch.prefix, entry.name).encode()
            if direct and self._store.take(entry, key):
                self._judged.note(1, len(entry.values))
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
