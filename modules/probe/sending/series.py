"""Knows series and their samples: identity, names, what a counter is sent as, what a deadband keeps; no queues."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs

from ..contract import COUNTER, GAUGE, STATE, Field, Reading, Value
from ..counter import RESET, step
from ..plan import Reporting, content_hash

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]")


class Sample(NamedTuple):
    """One value of a series. ``is_timed``: the time came from the reading, not from our clock."""

    series: Series
    ts_ns: int
    seq: int
    value: Value
    is_timed: bool


@attrs.define(eq=False, kw_only=True)
class Series:
    """One metric of one subject of one measurement, described to each sink before its first sample."""

    mid: str
    measurement: str
    subject: str
    metric: str
    attributes: Mapping[str, str]
    event_type: str
    unit: str
    kind: str
    width: int
    max_rate: float = math.inf
    #: ``<measurement>[.<subject tail>].<metric>``, as statsd can take it.
    name: str
    #: Of a counter: raw, delta or rate.
    form: str = "raw"
    #: The last raw value of a counter, when (s) and who counted.
    raw: float | None = None
    when: float = 0.0
    identity: str = ""
    sent: Value | None = None
    sent_at: float = 0.0

    def describe(self) -> dict[str, Any]:
        """What a sink is told of it once."""
        keys = ("mid", "measurement", "subject", "metric", "attributes", "unit", "kind", "name")
        shown = {key: getattr(self, key) for key in keys}
        if self.form != "raw":
            shown["form"] = self.form
        return shown | ({"eventType": self.event_type} if self.event_type else {})


def part(text: str) -> str:
    """A part of a statsd name: whatever could break a line or a part becomes ``_``."""
    return _FOREIGN.sub("_", text)


def to_series(
    measurement: str, reading: Reading, metric: str, field: Field | None, rank: int, form: str
) -> Series:
    """A series as its first reading shows it; an undeclared metric is a gauge under its own name."""
    known = field or Field(kind=STATE if isinstance(reading.metrics[metric], str) else GAUGE)
    name, attributes = known.otel or metric, dict(known.attributes)
    if not known.otel:
        # What no convention names means what its measurement makes of it: two commands' `n` are two things.
        attributes["measurement"] = measurement
    tail = reading.subject.removeprefix(f"node/{rank}").strip("/")
    parts = [measurement, *filter(None, tail.split("/")), metric]
    identity = {"attributes": attributes, "metric": name, "subject": reading.subject}
    return Series(
        mid=content_hash(identity),
        measurement=measurement,
        subject=reading.subject,
        metric=name,
        attributes=attributes,
        event_type=known.event_type,
        unit=known.unit,
        kind=known.kind,
        width=known.width,
        max_rate=known.max_rate,
        form=form,
        name=".".join(map(part, parts)),
    )


def counted(
    series: Series, reading: Reading, value: float, now: float, form: str
) -> tuple[float | None, bool]:
    """What a counter is sent as: raw, or what it grew by, or that a second; and whether it was reset."""
    old, before = series.raw, series.when
    same = series.identity == reading.identity
    when = now if reading.ts is None else reading.ts
    series.raw, series.when, series.identity = value, when, reading.identity
    if old is None:
        return (value if form == "raw" else None), False
    elapsed = when - before
    # Unknown times bound nothing.
    most = series.max_rate * elapsed if elapsed > 0 else math.inf
    moved = step(old, value, width=series.width, same=same, most=most)
    if form == "raw":
        return value, moved.how == RESET
    if form == "delta" or moved.delta is None:
        return moved.delta, moved.delta is None
    return (moved.delta / elapsed if elapsed > 0 else None), False


def has_moved(series: Series, value: Value, now: float, reporting: Reporting) -> bool:
    """Whether a value is far enough from the one sent last, or that one too old."""
    band, last = reporting.on_change, series.sent
    if band is None or last is None:
        return True
    if reporting.max_age is not None and now - series.sent_at >= reporting.max_age:
        return True
    if isinstance(value, str) or isinstance(last, str):
        return value != last
    return abs(value - last) > (band * abs(last) if reporting.is_relative else band)


def sendable(
    series: Series, reading: Reading, value: Value, now: float, reporting: Reporting
) -> tuple[Value | None, bool]:
    """The value to send, None for none; and whether a counter was reset."""
    was_reset = False
    if series.kind == COUNTER and not isinstance(value, str):
        found, was_reset = counted(series, reading, value, now, reporting.counters)
        if found is None:
            return None, was_reset
        value = found
    if not has_moved(series, value, now, reporting):
        return None, was_reset
    series.sent, series.sent_at = value, now
    return value, was_reset
