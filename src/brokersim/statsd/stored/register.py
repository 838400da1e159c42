"""The aggregator's register: which keys there are of each type, who sent each first, which of them are shown.

Knows no values. A key is in it from its first sample until it expires or is deleted; one that is disabled is in it and
not shown until it is written again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, MutableMapping

import attrs

from brokersim.statsd.cardinality import TOP, Cardinality, cardinality
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.keyed import Keyed
from brokersim.statsd.sample import COUNTERS, GAUGES, KINDS, SETS, TIMERS, Sample

#: Why a key must not come in: there are as many as are allowed, or outputs write another one alike.
TOO_MANY, SAME_NAME = "too_many_keys", "same_name"


def times_to_live(config: AggregatorConfig) -> dict[str, int]:
    """Flushes without a sample after which a key of each type expires; types whose keys stay for ever are not in it."""
    every = {
        COUNTERS: config.counter_ttl,
        GAUGES: config.gauge_ttl,
        TIMERS: config.timer_ttl,
        SETS: config.set_ttl,
    }
    return {kind: flushes for kind, flushes in every.items() if flushes}


@attrs.define(eq=False)
class Register:
    """Keys by type, in the order in which they came.

    ``known`` and ``forms_taken`` are open to compiled code, which may add a key that is new and looks like no other.
    """

    dialect: Dialect
    config: AggregatorConfig
    keyed: Keyed
    #: Each key with who sent it first. One string a sender, however many keys it has.
    known: dict[str, MutableMapping[bytes, str | None]] = attrs.field(init=False)
    #: Of keys that outputs write in another form: the form, and whose it is.
    forms_taken: dict[bytes, bytes] = attrs.field(factory=dict)
    _senders: dict[str, str] = attrs.field(factory=dict)
    # The first type of a key, where a dialect holds to it.
    _types: dict[bytes, str] = attrs.field(factory=dict)
    _disabled: dict[str, set[bytes]] = attrs.field(init=False)
    _time_to_live: dict[str, int] = attrs.field(init=False)
    # Of types that expire: number of the flush before which a key was last seen to be written.
    _last_flush: dict[str, dict[bytes, int]] = attrs.field(init=False)
    _flush_number: int = 1

    def __attrs_post_init__(self) -> None:
        self.known = {kind: self.keyed.numbers() for kind in KINDS}
        self._disabled = {kind: set() for kind in KINDS}
        self._time_to_live = times_to_live(self.config)
        self._last_flush = {kind: {} for kind in self._time_to_live}

    # -- what is in it

    def knows(self, kind: str, key: bytes) -> bool:
        return key in self.known[kind]

    def __len__(self) -> int:
        """Every key once for each of its types."""
        return sum(map(len, self.known.values()))

    def shown(self, kind: str) -> Collection[bytes]:
        """Those of a type that are not disabled."""
        disabled = self._disabled[kind]
        known = self.known[kind]
        return [key for key in known if key not in disabled] if disabled else known

    def is_disabled(self, key: bytes, kinds: Iterable[str] = KINDS) -> bool:
        """Of one of these types."""
        return any(key in self._disabled[kind] for kind in kinds)

    def first_sender(self, key: bytes) -> str | None:
        return next((known[key] for known in self.known.values() if key in known), None)

    def key_of(self, text: str) -> bytes:
        """The key that is shown as `text`."""
        raw = text.encode("utf-8", "surrogateescape")
        return self.forms_taken.get(self.dialect.stored(raw), raw)

    def cardinality(self) -> Cardinality:
        """Of every key once for each of its types, and who sent it first."""
        return cardinality(*self.keyed.makers(tuple(self.known.values()), TOP))

    # -- how keys come

    def refuses(self, new: Collection[tuple[str, bytes]]) -> str:
        """Why these (type, key), none of which is known, must not come in; empty if they may."""
        if len(self) + len(new) > self.config.max_keys:
            return TOO_MANY
        if any(self._looks_like_another(key) for key in {key for _, key in new}):
            return SAME_NAME
        return ""

    def _looks_like_another(self, key: bytes) -> bool:
        """Would an output write this key and one that is known as the same series? If not, the key has its form."""
        stored = self.dialect.stored(key)
        if stored == key:
            return key in self.forms_taken
        other = self.forms_taken.get(stored)
        if other is None and not any(stored in table for table in self.known.values()):
            self.forms_taken[stored] = other = key
        return other != key

    def with_first_type(self, sample: Sample) -> Sample:
        """As it counts: in some dialects a key stays of the type it had first."""
        if not self.dialect.one_type_per_key:
            return sample
        kind = self._types.get(sample.key, sample.kind)
        return sample if kind == sample.kind else sample._replace(kind=kind, value=float(sample.value))

    def touch(self, kind: str, key: bytes, sender: str | None, first_type: str) -> None:
        """A key is written, maybe for the first time: it is shown, and younger than it was."""
        known = self.known[kind]
        if key not in known:
            known[key] = None if sender is None else self._senders.setdefault(sender, sender)
            if self.dialect.one_type_per_key:
                self._types.setdefault(key, first_type)
        if kind in self._last_flush:
            self._last_flush[kind][key] = self._flush_number
        self._disabled[kind].discard(key)

    # -- how they go

    def written(self, kind: str, keys: Iterable[bytes]) -> None:
        """Keys were written in this interval by who left no note of it."""
        if kind in self._last_flush:
            self._last_flush[kind].update(dict.fromkeys(keys, self._flush_number))

    def too_old(self) -> Iterator[tuple[str, bytes]]:
        """(type, key) of what nobody has written for its time to live. Each may be dropped or disabled meanwhile."""
        for kind, flushes in self._time_to_live.items():
            for key, last in list(self._last_flush[kind].items()):
                if self._flush_number - last >= flushes:
                    yield kind, key

    def next_interval(self) -> None:
        self._flush_number += 1

    def disable(self, kind: str, key: bytes) -> None:
        """A known key is no longer shown, until it is written again."""
        self._disabled[kind].add(key)

    def drop(self, kind: str, key: bytes) -> bool:
        """False if it was not there."""
        if key not in self.known[kind]:
            return False
        del self.known[kind][key]
        self._last_flush.get(kind, {}).pop(key, None)
        self._disabled[kind].discard(key)
        if not any(key in table for table in self.known.values()):
            self._types.pop(key, None)
            if self.forms_taken.get(form := self.dialect.stored(key)) == key:
                del self.forms_taken[form]
            self.dialect.forget(key)
        return True
