"""The aggregator's timers: samples by key, what rates make of them, and what is folded away to bound memory.

Knows which samples a flush gets, not what is computed of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import attrs

from brokersim.statsd.dialects.base import Dialect, Fold, TimerInterval
from brokersim.statsd.forms import plain_timings
from brokersim.statsd.keyed import Keyed
from brokersim.statsd.numbers import LARGEST, Number
from brokersim.statsd.sample import Sample

# What a sample may stand for in percentiles: a sender chooses its rate, and a copy takes 8 bytes.
MAX_COPIES = 1000


@attrs.define(eq=False)
class TimerTable:
    """Samples of an interval by key.

    A sample with a rate stands for more than one: for as many copies as its weight has whole parts if the weights are
    wanted in what is computed (``is_weighted``), and the count always has the rest. Beyond the dialect's cap a key's
    samples are folded into what the dialect keeps of them, so that a flood of one timer takes bounded memory.
    """

    dialect: Dialect
    keyed: Keyed
    is_weighted: bool
    #: Open to the aggregator's fast path, which may add to a key that is in it, and nothing else.
    samples: Any = attrs.field(init=False)
    # What a key's count has beyond its samples, folded ones included.
    _extra_weight: dict[bytes, Number] = attrs.field(factory=dict)
    # Parts of a sample that rates left over, by key.
    _owed: dict[bytes, float] = attrs.field(factory=dict)
    _folds: dict[bytes, Fold] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.samples = self.keyed.samples()

    def add(self, sample: Sample) -> None:
        if sample.weight == 1:
            self.samples.extend(sample.key, [float(sample.value)])
        else:
            self._add_sampled(sample.key, float(sample.value), sample.weight)

    def take(self, key: bytes, weight: Number, field: bytes) -> int:
        """The values of a line whose form is known; how many, 0 if its line must be judged."""
        values = plain_timings(field) if key in self.samples else None
        if values is None or (len(values) > 1 and not self.dialect.packs_values):
            return 0
        if weight == 1:
            self.samples.extend(key, values)
        else:
            for value in values:
                self._add_sampled(key, value, weight)
        return len(values)

    def _add_sampled(self, key: bytes, value: float, weight: Number) -> None:
        """A timing that stands for `weight`: in the count it always does, in what is computed of values if wanted."""
        if self.dialect.counts_whole_timings:
            weight = float(math.floor(min(weight, LARGEST)))
        copies = self._copies(key, weight) if self.is_weighted else 1
        self._extra_weight[key] = self._extra_weight.get(key, 0) + (weight - copies)
        held = self.samples.extend(key, [value] * copies)
        if copies > 1 and held > self.dialect.timer_cap:
            self._fold_away(key)

    def _copies(self, key: bytes, weight: Number) -> int:
        """The whole part of the weight; what is left over goes to the key's next sample."""
        owed = min(weight, MAX_COPIES) + self._owed.get(key, 0.0)
        copies = max(1, math.floor(owed))
        self._owed[key] = owed - copies
        return copies

    def fold_long(self) -> None:
        """Bounds memory: keys with more samples than the cap fold them away now and not at the flush."""
        for key in self.samples.longer(self.dialect.timer_cap):
            self._fold_away(key)

    def _fold_away(self, key: bytes) -> None:
        self._fold(key, self.samples.of(key))
        self.samples.empty(key)

    def _fold(self, key: bytes, samples: list[float]) -> Fold:
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = self.dialect.new_fold()
        self._extra_weight[key] = self._extra_weight.get(key, 0) + len(samples)
        fold.add_many(samples)
        return fold

    def current(self, key: bytes) -> list[float]:
        """Samples as they came."""
        return list(self.samples.of(key))

    def interval(self, shown: Iterable[bytes]) -> dict[bytes, TimerInterval]:
        """What a flush gets of each key."""
        return {key: self._interval(key) for key in shown}

    def _interval(self, key: bytes) -> TimerInterval:
        samples = self.samples.of(key)
        fold = self._folds.get(key)
        if fold is not None or len(samples) > self.dialect.timer_cap:
            fold = self._fold(key, samples)
            samples = []
        samples.sort()
        return TimerInterval(values=samples, count=len(samples) + self._extra_weight.get(key, 0), fold=fold)

    def open_interval(self, keeps_keys: bool) -> None:
        """All samples go, and the keys in the fast path's sight as well if they have to be noted when written."""
        if keeps_keys:
            self.samples.clear_samples()
        else:
            self.samples = self.keyed.samples()
        self._extra_weight = {}
        self._owed = {}
        self._folds = {}

    def drop(self, key: bytes) -> None:
        for table in (self.samples, self._extra_weight, self._owed, self._folds):
            table.pop(key, None)

    def hide(self, key: bytes) -> None:
        """Out of the fast path's sight."""
        self.samples.pop(key, None)
