"""statsd as Etsy's node server reads it, its surprises included, its crashes not.

Knows nothing of names at the flush. Source: statsd 0.10.2 on node 20, as run.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

import attrs

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.base import Interval, Reported
from brokersim.statsd.dialects.graphite import GraphiteDialect
from brokersim.statsd.names import clean, join_name
from brokersim.statsd.numbers import JAVASCRIPT_BLANKS, Number, javascript_number
from brokersim.statsd.sample import (
    COUNTERS,
    GAUGES,
    NOTHING,
    SETS,
    TIMERS,
    BadLineError,
    Judgement,
    Sample,
    bad,
)
from brokersim.statsd.shown import Columns

_BLANKS = re.compile(f"[{JAVASCRIPT_BLANKS}]+")
_RATE = re.compile(r"@([\d.]+)", re.ASCII)
# Every JavaScript object has these: a table that is one finds them instead of the user's key.
_INHERITED = frozenset(
    b"constructor hasOwnProperty isPrototypeOf propertyIsEnumerable toLocaleString toString valueOf __proto__"
    b" __defineGetter__ __defineSetter__ __lookupGetter__ __lookupSetter__".split()
)
_PEER_WOULD_CRASH = "peer_would_crash"
_PEER_WOULD_GARBLE = "peer_would_garble"


class Etsy(GraphiteDialect):
    """Any type but `ms g s` is a counter; of packed values the last counts; `@2` halves, `@0` makes infinity."""

    name: ClassVar[str] = "etsy"
    has_forms: ClassVar[bool] = True
    without_forms: ClassVar[frozenset[bytes]] = _INHERITED

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__(config)
        self._has_flushed = False
        names = ("packets_received", "metrics_received", "bad_lines_seen")
        self._own = tuple(join_name(config.prefix_stats, name).encode() for name in names)

    def reported(self, interval: Interval) -> Reported:
        """The server's own counters are user counters: whoever sends `statsd.bad_lines_seen:5|c` adds to them."""
        intake = super().reported(interval)
        return Reported(
            *(own + interval.counters.get(key, 0) for own, key in zip(intake, self._own, strict=True))
        )

    def render(self, interval: Interval) -> Columns[Number]:
        if not any(key in interval.counters for key in self._own):
            return super().render(interval)
        users = {key: value for key, value in interval.counters.items() if key not in self._own}
        return super().render(attrs.evolve(interval, counters=users))

    def _own_gauges(self) -> int:
        """At its first flush it has no flush before it, and no `timestamp_lag`."""
        before, self._has_flushed = self._has_flushed, True
        return super()._own_gauges() if before else 0

    def judge(self, line: bytes) -> Judgement:
        if not line:
            return NOTHING
        # What stands behind a second mark is nobody's.
        line, *sections = line.split(b"|#")
        tags = sections[0] if sections else b""
        name, *values = line.split(b":")
        if tags:
            name += b";" + b";".join(
                tag.replace(b";", b"_", 1).replace(b":", b"=", 1) for tag in tags.split(b",")
            )
        key = clean(_with_blanks(name))
        samples: list[Sample] = []
        reasons: list[str] = []
        for value in values or [b"1"]:
            try:
                samples += _sample(key, value)
            except BadLineError as error:
                reasons.append(error.reason)
                if error.reason == _PEER_WOULD_CRASH:
                    return bad(error.reason)
        return Judgement(tuple(samples), tuple(reasons))


def _with_blanks(name: bytes) -> bytes:
    """The name with all that JavaScript takes for blanks as such: cleaning knows only those of ASCII."""
    if name.isascii():
        return name
    return _BLANKS.sub(" ", name.decode("utf-8", "replace")).encode()


def _sample(key: bytes, part: bytes) -> list[Sample]:
    fields = part.decode("utf-8", "replace").split("|")
    if len(fields) < 2:
        raise BadLineError("no_type")
    value, kind = fields[0], fields[1]
    _check_rate(fields[2:])
    number = javascript_number(value) if value else math.nan
    if kind != "s" and math.isnan(number):
        raise BadLineError("bad_number" if value else "no_value")
    if kind == "ms" and number < 0:
        raise BadLineError("negative_timing")
    weight = _weight(fields[2]) if len(fields) > 2 and fields[2] else 1.0
    # The type is trimmed only after it was checked, which is how a CR before the LF gets through.
    return _store(key, kind.strip(JAVASCRIPT_BLANKS), value, 0.0 if math.isnan(number) else number, weight)


def _check_rate(sections: list[str]) -> None:
    if not sections:
        return
    text = sections[0]
    if len(text) < 2 or text[0] != "@" or text[1] == "-" or math.isnan(javascript_number(text[1:])):
        raise BadLineError("bad_rate")


def _weight(section: str) -> float:
    """Checked as a number but read as digits and dots: `@1e-1` is 1, `@+0.5` finds none and kills the server."""
    match = _RATE.match(section)
    if match is None:
        raise BadLineError(_PEER_WOULD_CRASH)
    rate = javascript_number(match[1])
    return 1 / rate if rate else math.inf


def _store(key: bytes, kind: str, value: str, number: float, weight: float) -> list[Sample]:
    if key in _INHERITED:
        _inherited(key, kind, value)
        if key == b"__proto__":
            return []
    if kind == "ms":
        return [Sample(TIMERS, key, number, weight)]
    if kind == "g":
        return [Sample(GAUGES, key, number, signed=value[:1] in ("+", "-"))]
    if kind == "s":
        return [Sample(SETS, key, 0, element=value.encode() or b"0")]
    return [Sample(COUNTERS, key, number, weight)]


def _inherited(key: bytes, kind: str, value: str) -> None:
    """A list's or set's methods are missing on what is found: the server exits. A number is added to a function."""
    if kind in ("ms", "s"):
        raise BadLineError(_PEER_WOULD_CRASH)
    adds = kind != "g" or value[:1] in ("+", "-")
    if adds and key != b"__proto__":
        raise BadLineError(_PEER_WOULD_GARBLE)
