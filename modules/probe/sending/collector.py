"""Knows how readings become samples in the queues of sinks, by each measurement's reporting; not how they are sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from ..contract import Field, Reading, Value
from ..counts import Counts
from ..plan import Measurement, Reporting
from .outqueue import OutQueue, size_of
from .series import Sample, Series, sendable, to_series

#: Bytes of all queues of a rank together.
MEMORY_LIMIT: Final = 16 << 20
#: Above this share of it the longest queue drops its oldest.
HIGH: Final = 0.8


@attrs.define(eq=False, weakref_slot=False)
class Source:
    """A measurement as the collector sees it: its series, and what waits for its next report."""

    measurement: Measurement
    fields: Mapping[str, Field]
    #: What a flat answer is about.
    here: str
    #: By metric those of it, by subject and metric all others.
    series: dict[str | tuple[str, str], Series] = attrs.field(factory=dict)
    #: Samples not reported yet, and since when (s).
    held: tuple[Sample, ...] | list[Sample] = ()
    held_since: float | None = None
    runs: int = 0
    counts: Counts = attrs.field(factory=Counts)
    #: Metrics that its probe does not declare; subjects of the last run that read any.
    unknown: frozenset[str] = frozenset()
    subjects: tuple[str, ...] | str = ()

    @property
    def reporting(self) -> Reporting:
        return self.measurement.reporting

    @property
    def is_direct(self) -> bool:
        """Every run is reported."""
        return self.reporting.every_n == 1


class Collector:
    """Queues by sink; ``insert`` takes a run's readings. Which queues have something new is in ``fresh``."""

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self.queues: dict[str, OutQueue] = {}
        self.memory_limit = memory_limit
        self.fresh: set[str] = set()
        self._seqs: Counter[str] = Counter()
        self._names: dict[str, Series] = {}

    def add_sink(self, queue: OutQueue) -> None:
        """From now on measurements may report to it."""
        self.queues[queue.name] = queue

    def recover(self, queue: OutQueue) -> None:
        """An earlier life has left samples of it: their series go on with the next numbers."""
        assert queue.spool is not None
        for mid, seq in queue.spool.last.items():
            self._seqs[mid] = max(self._seqs[mid], seq)
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
        if source.runs % source.reporting.every_n == 0:
            self.report(source)
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
        self._seqs[series.mid] = seq = self._seqs[series.mid] + 1
        sample = Sample(series, round(ts * 1e9), seq, sent, reading.ts is not None)
        if source.is_direct:
            self._queue(source, sample)
        else:
            if not isinstance(source.held, list):
                source.held = []
            source.held.append(sample)
            if source.held_since is None:
                source.held_since = now
        return 1

    def _new(self, source: Source, reading: Reading, metric: str) -> Series:
        field = source.fields.get(metric) or reading.fields.get(metric)
        if field is None:
            source.unknown |= {metric}
        name, form = source.measurement.name, source.reporting.counters
        series = to_series(name, reading, metric, field, source.here, form)
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
        age = source.reporting.max_age
        return None if age is None or source.held_since is None else source.held_since + age

    def change(self, source: Source, measurement: Measurement) -> None:
        """Another plan for what is measured: series go on, but samples that wait are sent as they were meant."""
        old, new = source.reporting, measurement.reporting
        form = new.counters
        if (form, new.sinks) != (old.counters, old.sinks):
            self.report(source)
        if form != old.counters:
            source.series = {key: attrs.evolve(one, form=form) for key, one in source.series.items()}
        source.measurement = measurement

    def stop(self, source: Source) -> None:
        """It ends: what it held is reported, if it says so, and its names are free."""
        if source.reporting.on_stop:
            self.report(source)
        for series in source.series.values():
            self._names.pop(series.name, None)
        source.series.clear()

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
        for key in [key for key, one in source.series.items() if one.subject == subject]:
            self._names.pop(source.series.pop(key).name, None)
