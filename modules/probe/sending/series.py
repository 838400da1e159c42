"""Knows series and their samples: identity, names, what a counter is sent as, what a deadband keeps; no queues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs

from ..contract import COUNTER, GAUGE, STATE, Field, Reading, Value
from ..counter import RESET, step
from ..plan import content_hash, part
from .reporting import Reporting


class Sample(NamedTuple):
    """One value of a series. ``is_timed``: the time came from the reading, not from our clock."""

    series: Series
    ts_ns: int
    seq: int
    value: Value
    is_timed: bool


@attrs.define(eq=False, kw_only=True, weakref_slot=False)
class Series:
    """One metric of one subject of one measurement, described to each sink before its first sample."""

    mid: str
    measurement: str
    subject: str
    metric: str
    field: Field
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

    @property
    def attributes(self) -> Mapping[str, str]:
        return attributes_of(self.field, self.measurement)

    @property
    def kind(self) -> str:
        return self.field.kind

    @property
    def full(self) -> str:
        """Who measures what, for a person."""
        return f"{self.measurement}: {self.subject} {self.metric}"

    def describe(self) -> dict[str, Any]:
        """What a sink is told of it once."""
        keys = ("mid", "measurement", "subject", "metric", "attributes", "unit", "kind", "name")
        stored = self.to_stored()
        shown = {key: stored[key] for key in keys}
        if self.form != "raw":
            shown["form"] = self.form
        return shown | ({"eventType": self.field.event_type} if self.field.event_type else {})

    def to_stored(self) -> dict[str, Any]:
        """All that its samples need when they are sent in another life."""
        field = self.field
        own = {key: getattr(self, key) for key in ("mid", "measurement", "subject", "metric", "name", "form")}
        known = {key: getattr(field, key) for key in ("event_type", "unit", "kind", "width")}
        return {**own, **known, "attributes": dict(self.attributes)}


def from_stored(given: Mapping[str, Any]) -> Series:
    """A series of an earlier life. Raises KeyError, TypeError for what is none."""
    known = {key: given[key] for key in ("event_type", "unit", "kind", "width")}
    # Its attributes are whole, as those of a conventional name are.
    field = Field(otel=given["metric"], attributes=dict(given["attributes"]), **known)
    own = {key: given[key] for key in ("mid", "measurement", "subject", "metric", "name", "form")}
    return Series(field=field, **own)


#: What nobody declares.
_UNKNOWN: Final = {kind: Field(kind=kind) for kind in (GAUGE, STATE)}


def attributes_of(field: Field, measurement: str) -> Mapping[str, str]:
    """What no convention names means what its measurement makes of it: two commands' ``n`` are two things."""
    return field.attributes if field.otel else {**field.attributes, "measurement": measurement}


def mid_of(field: Field, measurement: str, subject: str, metric: str) -> str:
    """The id of a series: the hash of its subject, metric and attributes."""
    attributes = dict(attributes_of(field, measurement))
    return content_hash({"attributes": attributes, "metric": field.otel or metric, "subject": subject})


def to_series(
    measurement: str, reading: Reading, metric: str, field: Field | None, here: str, form: str
) -> Series:
    """A series as its first reading shows it; an undeclared metric is a gauge under its own name."""
    known = field or _UNKNOWN[STATE if isinstance(reading.metrics[metric], str) else GAUGE]
    is_here = reading.subject == here or reading.subject.startswith(f"{here}/")
    tail = reading.subject.removeprefix(here if is_here else "").strip("/")
    parts = [measurement, *filter(None, tail.split("/")), metric]
    return Series(
        mid=mid_of(known, measurement, reading.subject, metric),
        measurement=measurement,
        subject=reading.subject,
        metric=known.otel or metric,
        field=known,
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
    most = series.field.max_rate * elapsed if elapsed > 0 else math.inf
    moved = step(old, value, width=series.field.width, same=same, most=most)
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
    if series.field.kind == COUNTER and not isinstance(value, str):
        found, was_reset = counted(series, reading, value, now, reporting.counters)
        if found is None:
            return None, was_reset
        value = found
    if not has_moved(series, value, now, reporting):
        return None, was_reset
    if reporting.on_change is not None:
        series.sent, series.sent_at = value, now
    return value, was_reset
