"""The strict grammar: every doubt is a bad line, with a reason, and a bad line changes nothing.

Knows nothing of other dialects' readings and keeps no state. Source: the statsd line as all peers agree on it, plus
brubeck's `C`, `h`, `d`, tags and packed values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from brokersim.statsd.keys import strict_key
from brokersim.statsd.numbers import LARGEST, LARGEST_TIMING, Number, strict_number
from brokersim.statsd.sample import COUNTERS, GAUGES, SETS, TIMERS, TOTALS, BadLineError, Sample

_EVENT, _SERVICE_CHECK = b"_e{", b"_sc|"
# DogStatsD's container, external data, cardinality, and what later versions add in the same way: a word and a colon.
_OTHER_SECTION = re.compile(rb"[A-Za-z][A-Za-z0-9_]*:.*", re.DOTALL)
_TIME_DIGITS = 12


def judge_strict(line: bytes, reserved: bytes = b"") -> tuple[Sample, ...]:
    """The samples of one line, all of them good. Raises BadLineError.

    `reserved` is a key prefix nobody may send (`b"statsd."`). A final CR is accepted.
    """
    if line.endswith(b"\r"):
        line = line[:-1]
    if b"\0" in line:
        raise BadLineError("nul")
    if line.startswith((_EVENT, _SERVICE_CHECK)):
        raise BadLineError("event" if line.startswith(_EVENT) else "service_check")
    line, tags = _cut_tags(line)
    name, colon, values = line.partition(b":")
    if not colon:
        raise BadLineError("no_value")
    return tuple(_samples(strict_key(name, tags, reserved), values))


def _cut_tags(line: bytes) -> tuple[bytes, bytes]:
    """The line without its `|#…` section, which may stand anywhere behind the value, and what is in it."""
    before, mark, rest = line.partition(b"|#")
    if not mark:
        return line, b""
    tags, bar, after = rest.partition(b"|")
    if b"|#" in bar + after:
        raise BadLineError("tags_twice")
    return before + bar + after, tags


class _Sections(NamedTuple):
    """What stands behind a value: the type, 1 / sample rate, and a time of its own (s), if it has one."""

    letter: bytes
    weight: Number
    t: int | None


def _samples(key: bytes, text: bytes) -> Iterator[Sample]:
    """`1|c:5|g` is two samples of two types; `1:2:3|ms` is three of one."""
    for values, letter, others in _parts(text):
        sections = _sections(letter, others)
        if sections.letter == b"s":
            yield Sample(SETS, key, 0, element=values or b"0")
        else:
            yield from [_sample(key, field, sections) for field in values.split(b":")]


def _parts(text: bytes) -> Iterator[tuple[bytes, bytes, list[bytes]]]:
    """Values, their type, and the sections behind it. A colon behind a type, a rate or a time begins the next values;
    within another section it is part of that."""
    values, *fields = text.split(b"|")
    letter: bytes | None = None
    others: list[bytes] = []
    for field in fields:
        if letter is not None and _OTHER_SECTION.fullmatch(field):
            continue
        head, colon, following = field.partition(b":")
        if letter is None:
            letter = head
        else:
            others.append(head)
        if colon:
            yield values, letter, others
            values, letter, others = following, None, []
    if letter is None:
        raise BadLineError("no_type")
    yield values, letter, others


def _sample(key: bytes, field: bytes, sections: _Sections) -> Sample:
    sample = _READERS[sections.letter](key, field, sections.weight)
    if sections.t is None or sample.kind not in (COUNTERS, GAUGES):
        return sample
    # A value of another time can be no change of the one now.
    return sample._replace(t=sections.t, signed=False)


def _sections(letter: bytes, others: list[bytes]) -> _Sections:
    letter = letter.strip(b" \t")
    if letter not in _READERS:
        raise BadLineError("unknown_type" if letter else "no_type")
    weight: Number | None = None
    t: int | None = None
    for section in others:
        if section.startswith(b"@") and weight is None:
            weight = _weight(section[1:], letter)
        elif section.startswith(b"T") and t is None:
            t = _time(section[1:])
        else:
            raise BadLineError("unknown_section")
    return _Sections(letter, 1 if weight is None else weight, t)


def _weight(field: bytes, letter: bytes) -> Number:
    rate = strict_number(field)
    # Below 1 / LARGEST the weight itself would overflow.
    if rate is None or not 1 / LARGEST <= rate <= 1:
        raise BadLineError("bad_rate")
    if letter == b"C" and rate != 1:
        raise BadLineError("sampled_total")
    return 1 / rate if rate != 1 else 1


def _time(digits: bytes) -> int:
    """Unix seconds; the year 9999 is the last that others can write."""
    if not digits.isdigit() or len(digits) > _TIME_DIGITS or not int(digits):
        raise BadLineError("bad_time")
    return int(digits)


def _number(field: bytes) -> Number:
    value = strict_number(field)
    if value is None:
        raise BadLineError("bad_number" if field.strip(b" \t") else "no_value")
    return value


def _counter(key: bytes, field: bytes, weight: Number) -> Sample:
    value = _number(field)
    if weight != 1 and abs(value) * weight > LARGEST:
        raise BadLineError("bad_rate")
    return Sample(COUNTERS, key, value, weight)


def _total(key: bytes, field: bytes, weight: Number) -> Sample:
    value = _number(field)
    if value < 0:
        raise BadLineError("negative_total")
    return Sample(TOTALS, key, value)


def _gauge(key: bytes, field: bytes, weight: Number) -> Sample:
    return Sample(GAUGES, key, _number(field), signed=field.lstrip(b" \t")[:1] in (b"+", b"-"))


def _timing(key: bytes, field: bytes, weight: Number) -> Sample:
    sample = _histogram(key, field, weight)
    if sample.value < 0:
        raise BadLineError("negative_timing")
    return sample


def _histogram(key: bytes, field: bytes, weight: Number) -> Sample:
    """Histograms and distributions are of anything, below 0 too; only a time cannot be."""
    value = _number(field)
    if abs(value) > LARGEST_TIMING:
        raise BadLineError("bad_number")
    return Sample(TIMERS, key, float(value), weight)


_READERS: dict[bytes, Callable[[bytes, bytes, Number], Sample]] = {
    b"c": _counter,
    b"C": _total,
    b"g": _gauge,
    b"ms": _timing,
    b"h": _histogram,
    b"d": _histogram,
    b"s": lambda key, field, weight: Sample(SETS, key, 0, element=field),
}
