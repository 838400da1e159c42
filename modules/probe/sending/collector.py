"""Knows how readings become samples in the queues of sinks, by each measurement's reporting; not how they are sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from ..contract import Reading, Value
from ..plan import Measurement
from .outqueue import OutQueue, size_of
from .reporting import Reporting
from .series import Sample, Series, sendable, to_series
from .source import Held, Source

#: Bytes of all queues of a rank together.
MEMORY_LIMIT: Final = 16 << 20
#: Above this share of it the longest queue drops its oldest.
HIGH: Final = 0.8


class Collector:
    """Queues by sink; ``insert`` takes a run's readings. Which queues have something new is in ``fresh``."""

    def __init__(
        self, memory_limit: int = MEMORY_LIMIT, undeclared: Callable[[Source, str], object] | None = None
    ) -> None:
        """``undeclared`` is told of the first metric of a measurement that nobody declares."""
        self._undeclared = undeclared
        self.queues: dict[str, OutQueue] = {}
        self.memory_limit = memory_limit
        self.fresh: set[str] = set()
        self._seqs: Counter[str] = Counter()
        #: Numbers that an earlier life has given, by series.
        self._numbered: dict[str, int] = {}
        self._names: dict[str, Series] = {}

    def add_sink(self, queue: OutQueue) -> None:
        """From now on measurements may report to it."""
        self.queues[queue.name] = queue

    def recover(self, queue: OutQueue) -> None:
        """An earlier life has left samples of it: their series go on with the next numbers."""
        assert queue.spool is not None
        for mid, seq in queue.spool.last.items():
            self._seqs[mid] = max(self._seqs[mid], seq)
            self._numbered[mid] = max(self._numbered.get(mid, 0), seq)
        self.fresh.add(queue.name)

    @property
    def size(self) -> int:
        """Bytes in all queues."""
        return sum(queue.size for queue in self.queues.values())

    # -- in

    def insert(self, source: Source, found: Sequence[Reading], now: float) -> int:
        """A run's readings, read at ``now`` (s since the epoch); how many samples came of them."""
        source.runs += 1
        if source.held and source.is_direct:  # an edit made it so: none may overtake what is held
            self.report(source)
        count = 0
        for reading in found:
            ts = now if reading.ts is None else reading.ts
            if reading.partial:
                source.counts["partial"] += 1
            for metric, value in reading.metrics.items():
                count += self._one(source, reading, metric, value, ts, now)
        held = source.held
        if held and (
            source.runs % source.reporting.every_n == 0
            or (isinstance(held, Held) and held.size >= source.reporting.max_bytes)
        ):
            self.report(source)
        for one in source.others:
            self.insert(one, found, now)
        return count

    def _one(self, source: Source, reading: Reading, metric: str, value: Value, ts: float, now: float) -> int:
        key = metric if reading.subject == source.here else (reading.subject, metric)
        series = source.series.get(key)
        if series is None:
            series = source.series[key] = self._new(source, reading, metric)
        sent, was_reset = sendable(series, reading, value, now, source.reporting)
        if was_reset:
            source.counts["reset"] += 1
        if sent is None:
            return 0
        key = source.key(series.mid) if source.number else series.mid
        self._seqs[key] = seq = self._seqs[key] + 1
        sample = Sample(series, round(ts * 1e9), seq, sent, reading.ts is not None)
        if source.is_direct:
            self._queue(source, sample)
        else:
            if not isinstance(source.held, Held):
                source.held = Held()
            source.held.append(sample)
            source.held.size += size_of(sample)
            if source.held_since is None:
                source.held_since = now
        return 1

    def _new(self, source: Source, reading: Reading, metric: str) -> Series:
        field = source.fields.get(metric) or reading.fields.get(metric)
        if field is None:
            if not source.unknown and not source.number and self._undeclared is not None:
                self._undeclared(source, metric)
            source.unknown |= {metric}
        name, form = source.measurement.name, source.reporting.counters
        series = to_series(name, reading, metric, field, source.here, form)
        if source.number:  # what an earlier life has numbered stays so
            self._seqs.setdefault(source.key(series.mid), self._numbered.get(series.mid, 0))
        other = self._names.setdefault(series.name, series)
        if (other.mid, other.measurement) != (series.mid, name):
            raise ValueError(f"{series.full} and {other.full} would both be named {series.name}")
        return series

    def _queue(self, source: Source, sample: Sample) -> None:
        for name in source.reporting.sinks:
            queue = self.queues[name]
            if queue.suppresses(sample):
                source.counts["untimed" if sample.is_timed else "suppressed"] += 1
            elif self._has_room(sample):
                queue.insert(sample)
                self.fresh.add(name)
            else:
                queue.refuse(sample, "limit")

    def _has_room(self, sample: Sample) -> bool:
        size = self.size + size_of(sample)
        if size > HIGH * self.memory_limit:
            longest = max(self.queues.values(), key=lambda queue: queue.size)
            if longest.queued:
                longest.drop_oldest("memory")
        return size <= self.memory_limit

    # -- reports

    def report(self, source: Source) -> None:
        """What was held of a measurement goes to the queues of its sinks."""
        for sample in source.held:
            self._queue(source, sample)
        source.held = ()
        source.held_since = None

    def overdue(self, source: Source) -> float | None:
        """When (s) its oldest held sample comes of age; None if nothing has to."""
        ages = (
            one.held_since + one.reporting.max_age
            for one in source.whole
            if one.held_since is not None and one.reporting.max_age is not None
        )
        return min(ages, default=None)

    def report_aged(self, source: Source, now: float) -> None:
        """What has come of age by now is reported, with all that is held beside it."""
        for one in source.whole:
            age = one.reporting.max_age
            if one.held_since is not None and age is not None and now >= one.held_since + age - 1e-6:
                self.report(one)

    def change(self, source: Source, measurement: Measurement) -> None:
        """Another plan for what is measured: series go on, but samples that wait are sent as they were meant."""
        for one in source.others[len(measurement.reporting.also) :]:
            self.report(one)
        for one, new in zip(source.whole, measurement.reporting.all, strict=False):
            self._adapt(one, new)
            one.measurement = measurement
        if source.others or measurement.reporting.also:
            source.others = source.also()

    def _adapt(self, source: Source, new: Reporting) -> None:
        old, form = source.reporting, new.counters
        if (form, new.sinks) != (old.counters, old.sinks):
            self.report(source)
        if form != old.counters:
            source.series = {key: attrs.evolve(one, form=form) for key, one in source.series.items()}

    def stop(self, source: Source) -> None:
        """It ends: what it held is reported, if it says so, and its names are free."""
        for one in source.whole:
            if one.reporting.on_stop:
                self.report(one)
            for series in one.series.values():
                self._names.pop(series.name, None)
            one.series.clear()

    def follow(self, source: Source, found: Sequence[Reading]) -> list[Reading]:
        """A run's subjects before it is inserted: those no longer there end their series. Returns who is gone."""
        if found and (len(found) > 1 or source.subjects != found[0].subject):
            self._compare(source, tuple([reading.subject for reading in found]))
        return [reading for reading in found if reading.metrics.get("state") == "gone"]

    def _compare(self, source: Source, subjects: tuple[str, ...]) -> None:
        before = (source.subjects,) if isinstance(source.subjects, str) else source.subjects
        if subjects != before:
            for subject in set(before).difference(subjects):
                self._close(source, subject)
            # A tuple for one text would be half a hundred bytes a measurement.
            source.subjects = subjects[0] if len(subjects) == 1 else subjects

    def _close(self, source: Source, subject: str) -> None:
        """What comes back under its name begins anew."""
        for part in source.whole:
            for key in [key for key, one in part.series.items() if one.subject == subject]:
                self._names.pop(part.series.pop(key).name, None)
