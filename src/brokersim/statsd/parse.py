"""The strict grammar: every doubt is a bad line, with a reason, and a bad line changes nothing.

Knows nothing of other dialects' readings and keeps no state. Source: the statsd line as all peers agree on it, plus
brubeck's `C`, `h`, `d`, tags and packed values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from brokersim.statsd.names import MAX_KEY, clean, graphite_tags, with_tags
from brokersim.statsd.numbers import LARGEST, LARGEST_TIMING, Number, strict_number
from brokersim.statsd.sample import COUNTERS, GAUGES, SETS, TIMERS, TOTALS, BadLineError, Sample

_EVENT, _SERVICE_CHECK = b"_e{", b"_sc|"


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
    return tuple(_samples(_key(name, tags, reserved), values))


def _cut_tags(line: bytes) -> tuple[bytes, list[bytes]]:
    """The line without its `|#…` section, which may stand anywhere behind the value, and the tags in it."""
    before, mark, rest = line.partition(b"|#")
    if not mark:
        return line, []
    tags, bar, after = rest.partition(b"|")
    if b"|#" in bar + after:
        raise BadLineError("tags_twice")
    return before + bar + after, graphite_tags(tags)


def _key(name: bytes, tags: list[bytes], reserved: bytes) -> bytes:
    key = clean(name)
    if tags or b";" in key:
        key = with_tags(key, tags)
    if not key:
        raise BadLineError("no_name")
    if len(key) > MAX_KEY:
        raise BadLineError("name_too_long")
    if reserved and key.startswith(reserved):
        raise BadLineError("reserved_name")
    return key


def _samples(key: bytes, values: bytes) -> Iterator[Sample]:
    """`1|c:5|g` is two samples of two types; `1:2:3|ms` is three of one."""
    packed: list[bytes] = []
    for part in values.split(b":"):
        value, bar, sections = part.partition(b"|")
        packed.append(value)
        if not bar:
            continue
        letter, weight = _sections(sections)
        if letter == b"s":
            yield Sample(SETS, key, 0, element=b":".join(packed) or b"0")
        else:
            read = _READERS[letter]
            yield from [read(key, field, weight) for field in packed]
        packed = []
    if packed:
        raise BadLineError("no_type")


def _sections(sections: bytes) -> tuple[bytes, Number]:
    letter, *others = sections.split(b"|")
    letter = letter.strip(b" \t")
    if letter not in _READERS:
        raise BadLineError("unknown_type" if letter else "no_type")
    if not others:
        return letter, 1
    if len(others) > 1 or not others[0].startswith(b"@"):
        raise BadLineError("unknown_section")
    rate = strict_number(others[0][1:])
    # Below 1 / LARGEST the weight itself would overflow.
    if rate is None or not 1 / LARGEST <= rate <= 1:
        raise BadLineError("bad_rate")
    if letter == b"C" and rate != 1:
        raise BadLineError("sampled_total")
    return letter, 1 / rate if rate != 1 else 1


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
    value = _number(field)
    if value < 0:
        raise BadLineError("negative_timing")
    if value > LARGEST_TIMING:
        raise BadLineError("bad_number")
    return Sample(TIMERS, key, float(value), weight)


_READERS: dict[bytes, Callable[[bytes, bytes, Number], Sample]] = {
    b"c": _counter,
    b"C": _total,
    b"g": _gauge,
    b"ms": _timing,
    b"h": _timing,
    b"d": _timing,
    b"s": lambda key, field, weight: Sample(SETS, key, 0, element=field),
}
