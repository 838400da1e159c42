"""Forms of lines that were judged good before: the name, and all behind the value. Only the value is new.

Knows nothing of tables; a value it is not sure of is nobody's, and its line is judged in full.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from brokersim.statsd.numbers import EXACT_DIGITS, Number
from brokersim.statsd.sample import COUNTERS, GAUGES, TIMERS, Judgement

if TYPE_CHECKING:
    from brokersim.native._lines import Reader

# Bounded, because senders choose what is in it; a thousand hosts with eight metrics each fit.
_LIMIT = 8192
# A weight beyond it could make a count overflow that is judged one by one.
_LARGEST_WEIGHT = 1e9
#: More digits than this go the slow way, where their size is judged.
PLAIN_DIGITS = 18
# What compiled code takes of a form, by its own numbers.
_COMPILED = {COUNTERS: 0, GAUGES: 1, TIMERS: 2}
_DIGITS_AND_DOT, _SIGNS = b"0123456789.", (b"+", b"-")


class Form(NamedTuple):
    """What lines of one form say of their value: of `m:5|c|@0.1|#a:b` that is 10 times 5 to counter `m;a=b`."""

    kind: str
    key: bytes
    weight: Number


class Forms:
    """The forms seen. Lines are cut into name, value and suffix at the first `:` and then the first `|`."""

    def __init__(self, without: Container[bytes] = (), reader: Reader | None = None) -> None:
        """``without``: keys whose lines are judged each time, because what they say depends on the value's sign.

        ``reader`` takes in lines of forms, too, and is told of those it can.
        """
        self._without = without
        self._reader = reader
        self._forms: dict[tuple[bytes, bytes], Form] = {}
        self.find = self._forms.get

    def __len__(self) -> int:
        return len(self._forms)

    def remember(self, line: bytes, judgement: Judgement) -> None:
        """Keeps the form of a line without fault whose values all mean the same: one, or packed timings."""
        name, _, rest = line.partition(b":")
        field, bar, suffix = rest.partition(b"|")
        if judgement.bad or not bar or b"|" in name or len(judgement.samples) != field.count(b":") + 1:
            return
        if any(each.t is not None for each in judgement.samples):
            return  # each has a time of its own: no other line is of that form
        forms = {Form(each.kind, each.key, each.weight) for each in judgement.samples}
        form = forms.pop()
        if forms or (b":" in field and form.kind != TIMERS) or not 1 <= form.weight <= _LARGEST_WEIGHT:
            return
        if form.key in self._without:
            return
        if len(self._forms) >= _LIMIT:
            self._forms.clear()
        self._forms[name, suffix] = form
        if (
            self._reader is not None
            and form.kind in _COMPILED
            and (form.kind == COUNTERS or form.weight == 1)
        ):
            self._reader.remember(name, suffix, _COMPILED[form.kind], form.key, form.weight)


def plain_value(kind: str, field: bytes) -> Number | None:
    """The number, if every dialect of ours reads it so; None for everything that needs a closer look."""
    digits = field
    if kind != TIMERS and field[:1] in _SIGNS:
        if kind not in (COUNTERS, GAUGES):
            return None
        digits = field[1:]
    if len(digits) > PLAIN_DIGITS:
        return None
    if digits.isdigit():
        return int(field) if kind == TIMERS or len(digits) <= EXACT_DIGITS else None
    if digits.translate(None, _DIGITS_AND_DOT):
        return None
    try:
        return float(field)
    except ValueError:
        return None


def plain_timings(field: bytes) -> list[float] | None:
    """The same for `1:2.5:3`, which is many timings in one line."""
    if field.translate(None, _DIGITS_AND_DOT + b":"):
        return None
    fields = field.split(b":")
    if len(field) > PLAIN_DIGITS and max(map(len, fields)) > PLAIN_DIGITS:
        return None
    try:
        return [float(each) for each in fields]
    except ValueError:
        return None
