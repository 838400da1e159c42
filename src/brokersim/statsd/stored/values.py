"""What each counter, gauge and set holds, a table a type; that of timers is longer, and beside.

Knows nothing of which keys there are: who asks for an interval says which are shown in it. All have the same verbs:
``add`` a sample, ``take`` the value of a line whose form is known (how many samples it was, 0 if its line must be
judged), what a key is now, the ``interval``, ``drop`` and ``hide``: a hidden key keeps what it holds, and is out of the
fast path's sight, so that the next write comes by the register.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import attrs

from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.forms import plain_value
from brokersim.statsd.keyed import Keyed, Numbers, dict_of
from brokersim.statsd.numbers import Number
from brokersim.statsd.sample import COUNTERS, GAUGES, TOTALS, Sample


@attrs.define(eq=False)
class CounterTable:
    """Sums of an interval, and of all so far. A total is a counter told in another way."""

    dialect: Dialect
    keyed: Keyed
    #: Of the interval. Open to the fast path, which may add to a key that is in it, and nothing else.
    counts: Any = attrs.field(init=False)
    #: Since the start.
    sums: Any = attrs.field(init=False)
    _differences: dict[bytes, Number] = attrs.field(factory=dict)
    _last_totals: dict[bytes, Number] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.counts, self.sums = self.keyed.numbers(), self.keyed.numbers()

    def add(self, sample: Sample) -> None:
        self.counts[sample.key] = self.counts.get(sample.key, 0) + sample.weighted

    def add_total(self, sample: Sample) -> None:
        key = sample.key
        # A rate is about the total, as brubeck has it; other dialects know of no total with one.
        total = sample.weighted
        difference = self.dialect.difference(self._last_totals.get(key), total)
        self._last_totals[key] = total
        self._differences[key] = self._differences.get(key, 0) + difference

    def add_past(self, key: bytes, value: Number) -> None:
        """What was counted at another time is in the total alone."""
        self.counts.setdefault(key, 0)
        self.sums[key] = self.sums.get(key, 0) + value

    def take(self, key: bytes, weight: Number, field: bytes) -> int:
        value = plain_value(COUNTERS, field)
        if value is None or key not in self.counts:
            return 0
        self.counts[key] += value if weight == 1 else value * weight
        return 1

    def plain_total(self, key: bytes, field: bytes) -> Number | None:
        """The total that a line says of a key with an earlier one; None if the line must be judged."""
        return plain_value(TOTALS, field) if key in self._last_totals else None

    def current(self, key: bytes) -> Number:
        count: Number = self.counts.get(key, 0)
        return count + self._differences.get(key, 0)

    def interval(self, shown: Collection[bytes]) -> Mapping[bytes, Number]:
        # Most often every counter was or could have been written: then the table is the interval's own.
        table: Numbers = self.counts
        if len(table) != len(shown):
            table = {key: table.get(key, 0) for key in shown}
        for key, difference in self._differences.items():
            table[key] = table.get(key, 0) + difference
        self.keyed.add_all(self.sums, table)
        return table

    def open_interval(self, keeps_keys: bool) -> None:
        self.counts = self.keyed.zeroed(self.counts) if keeps_keys else self.keyed.numbers()
        self._differences = {}

    def drop(self, key: bytes) -> None:
        for table in (self.counts, self._differences, self._last_totals, self.sums):
            table.pop(key, None)

    def hide(self, key: bytes) -> None:
        self.counts.pop(key, None)


@attrs.define(eq=False)
class GaugeTable:
    """Values that stay until they are written again."""

    keyed: Keyed
    #: Open to the fast path, which may change a key that is in it, and nothing else. In dicts a value may stand as its
    #: digits, read when somebody needs the number.
    values: Any = attrs.field(init=False)
    # Of keys that are out of the fast path's sight.
    _settled: dict[bytes, Number] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.values = self.keyed.numbers()

    def add(self, sample: Sample) -> None:
        value = sample.value
        self.values[sample.key] = self.current(sample.key) + value if sample.signed else value

    def take(self, key: bytes, weight: Number, field: bytes) -> int:
        value = plain_value(GAUGES, field)
        if value is None or key not in self.values:
            return 0
        self.values[key] = self.current(key) + value if field[:1] in (b"+", b"-") else value
        return 1

    def current(self, key: bytes) -> Number:
        """0 if there is none."""
        value = self.values.get(key)
        if value is None:
            return self._settled.get(key, 0)
        return int(value) if isinstance(value, bytes) else value

    def interval(self, shown: Collection[bytes]) -> Mapping[bytes, Number]:
        values = self.values
        if isinstance(values, dict) and bytes in set(map(type, values.values())):
            values.update([(key, int(value)) for key, value in values.items() if type(value) is bytes])
        if len(shown) == len(values):
            return cast("Mapping[bytes, Number]", self.keyed.copied(values))
        return {key: self.current(key) for key in shown}

    def held(self, known: Collection[bytes]) -> dict[bytes, Number]:
        """Of all keys, as a dict."""
        # A million one by one take two seconds: most often what is there is all.
        if len(self.values) == len(known) and not isinstance(self.values, dict):
            return dict_of(self.values)
        return {key: self.current(key) for key in known}

    def open_interval(self, keeps_keys: bool) -> None:
        """All stay; keys that can expire must be touched again by the slow path."""
        if not keeps_keys:
            self._settled.update((key, self.current(key)) for key in list(self.values))
            self.values = self.keyed.numbers()

    def drop(self, key: bytes) -> None:
        self.values.pop(key, None)
        self._settled.pop(key, None)

    def hide(self, key: bytes) -> None:
        self._settled[key] = self.current(key)
        self.values.pop(key, None)


@attrs.define(eq=False)
class SetTable:
    """Elements of an interval."""

    _members: dict[bytes, set[bytes]] = attrs.field(factory=dict)

    def add(self, sample: Sample) -> None:
        self._members.setdefault(sample.key, set()).add(sample.element)

    def take(self, key: bytes, weight: Number, field: bytes) -> int:
        members = self._members.get(key)
        if members is None or not field or b":" in field or b"\0" in field:
            return 0
        members.add(field)
        return 1

    def current(self, key: bytes) -> int:
        """How many."""
        return len(self._members.get(key, ()))

    def interval(self, shown: Collection[bytes]) -> dict[bytes, int]:
        return {key: self.current(key) for key in shown}

    def open_interval(self) -> None:
        self._members = {}

    def drop(self, key: bytes) -> None:
        self._members.pop(key, None)

    hide = drop
