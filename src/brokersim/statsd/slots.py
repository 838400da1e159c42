"""A retention that is kept: what is stored of flushes that come faster than its step, and how long.

Knows nothing of files or connections. A slot is labelled as whisper labels it: `t − t mod step`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from itertools import pairwise
from typing import TypeVar

import attrs

from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects import open_dialect
from brokersim.statsd.dialects.base import Dialect, Interval, TimerInterval
from brokersim.statsd.flushed import Flush
from brokersim.statsd.numbers import Number
from brokersim.statsd.retention import seconds_of

_V = TypeVar("_V")
# Times are compared as whole microseconds: 0.3 / 0.1 is not 3.
_MICRO = 1_000_000


@attrs.frozen(kw_only=True)
class Keep:
    """Points `step` apart are kept for `length`; both in microseconds."""

    step: int
    length: int

    def slot(self, t: float) -> int:
        """The slot of a time in s, in microseconds."""
        micros = round(t * _MICRO)
        return micros - micros % self.step


class RetentionError(ValueError):
    """A retention that cannot be kept; says why."""


def parse_retention(text: str) -> tuple[Keep, ...]:
    """`STEP:LENGTH`, several with commas, finest first. Steps may be below a second. Raises RetentionError."""
    keeps = sorted((_keep(part.strip()) for part in text.split(",")), key=lambda keep: keep.step)
    for fine, coarse in pairwise(keeps):
        if coarse.step % fine.step or coarse.step == fine.step:
            raise RetentionError(
                f"retention {text}: a step of {coarse.step / _MICRO:g} s behind one of {fine.step / _MICRO:g} s;"
                " it must be a multiple of it"
            )
        if coarse.length <= fine.length:
            raise RetentionError(
                f"retention {text}: points of {coarse.step / _MICRO:g} s are kept no longer than those of"
                f" {fine.step / _MICRO:g} s before them"
            )
    return tuple(keeps)


def _keep(part: str) -> Keep:
    step_text, colon, length_text = part.partition(":")
    step, length = seconds_of(step_text), seconds_of(length_text)
    if not colon or step is None or length is None:
        raise RetentionError(f"{part!r} is no retention; give STEP:LENGTH, such as 1s:1d or 0.1s:1h,10s:7d")
    if length_text.strip().isdigit():
        # A bare number behind the colon is a number of points, as in Graphite.
        length *= step
    keep = Keep(step=round(step * _MICRO), length=round(length * _MICRO))
    if not keep.step:
        raise RetentionError(f"{part}: {step_text} is no step; the smallest is 0.000001s")
    if keep.length < keep.step:
        raise RetentionError(f"{part}: {length_text} is shorter than one step")
    return keep


class Slots:
    """Gathers the flushes of a slot into one, as if the aggregator had flushed once for all of it.

    Of a slot: counters are the sum and their rates the average, gauges the last value, timers the statistics of all
    samples, sets the largest size; the server's own metrics are the last ones. Samples beyond `timer_cap` go into log
    buckets and the key into `approx`, as within an interval.
    """

    def __init__(self, step_us: int, dialect: str, config: AggregatorConfig) -> None:
        self._keep = Keep(step=step_us, length=step_us)
        self._known: set[str] = set()
        # Its own: a dialect may remember running totals.
        self._dialect: Dialect = open_dialect(dialect, config)
        self._slot: int | None = None
        self._flushes: list[Flush] = []

    def add(self, flush: Flush) -> Flush | None:
        """Takes in a flush; the slot before, if this one begins another."""
        slot = self._keep.slot(flush.t)
        done = self.end() if slot != self._slot else None
        self._slot = slot
        self._flushes.append(flush)
        return done

    def end(self) -> Flush | None:
        """What there is of the slot that has not ended; None if there is nothing."""
        if self._slot is None:
            return None
        flushes, self._flushes = self._flushes, []
        t, self._slot = self._slot / _MICRO, None
        return self._merged(flushes, t)

    def _merged(self, flushes: Sequence[Flush], t: float) -> Flush:
        last = flushes[-1]
        if last.interval * _MICRO >= self._keep.step:
            # Never more than one a slot: it is what it is.
            return attrs.evolve(last, t=t)
        seconds = sum(flush.interval for flush in flushes)
        timers = {key: self._timer(key, flushes) for key in _keys(flush.timer_counts for flush in flushes)}
        counters = _sums(flush.counters for flush in flushes)
        sets = {
            key: max(flush.sets.get(key, 0) for flush in flushes)
            for key in _keys(flush.sets for flush in flushes)
        }
        self._forget_all_but({*counters, *last.gauges, *timers, *sets})
        interval = Interval.only(
            seconds,
            counters=_encoded(counters),
            gauges=_encoded(last.gauges),
            timers=_encoded(timers),
            sets={_bytes(key): int(size) for key, size in sets.items()},
        )
        return attrs.evolve(
            last,
            t=t,
            interval=seconds,
            values=self._dialect.render(interval),
            counters=counters,
            sets=sets,
            samples={key: each.values for key, each in timers.items() if each.values},
            buckets={key: each.fold for key, each in timers.items() if isinstance(each.fold, LogBuckets)},
            timer_counts={key: each.count for key, each in timers.items()},
            packets=sum(flush.packets for flush in flushes),
            metrics=sum(flush.metrics for flush in flushes),
            bad_lines=sum(flush.bad_lines for flush in flushes),
            dropped_creates=sum(flush.dropped_creates for flush in flushes),
            timed=_timed(flushes),
        )

    def _forget_all_but(self, keys: set[str]) -> None:
        for key in self._known - keys:
            self._dialect.forget(_bytes(key))
        self._known = keys

    def _timer(self, key: str, flushes: Sequence[Flush]) -> TimerInterval:
        count = sum(flush.timer_counts.get(key, 0) for flush in flushes)
        parts = [flush.samples[key] for flush in flushes if key in flush.samples]
        folds = [flush.buckets[key] for flush in flushes if key in flush.buckets]
        if not folds and sum(map(len, parts)) <= self._dialect.timer_cap:
            return TimerInterval(values=list(merge(*parts)), count=count)
        fold = self._dialect.new_fold()
        for part in parts:
            fold.add_many(part)
        if isinstance(fold, LogBuckets):
            for each in folds:
                fold.merge(each)
        return TimerInterval(values=[], count=count, fold=fold)


def _keys(tables: Iterable[Mapping[str, object]]) -> dict[str, None]:
    return {key: None for table in tables for key in table}


def _timed(flushes: Sequence[Flush]) -> dict[int, dict[str, Number]]:
    timed: dict[int, dict[str, Number]] = {}
    for flush in flushes:
        for t, values in flush.timed.items():
            timed.setdefault(t, {}).update(values)
    return timed


def _sums(tables: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    sums: dict[str, Number] = {}
    for table in tables:
        for key, value in table.items():
            sums[key] = sums.get(key, 0) + value
    return sums


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _encoded(table: Mapping[str, _V]) -> dict[bytes, _V]:
    return {_bytes(key): value for key, value in table.items()}
