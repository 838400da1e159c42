"""Knows a measurement as samples come of it: its series, what waits for its next report; not how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from ..contract import Field
from ..counts import Counts
from ..plan import Measurement
from .reporting import Reporting
from .series import Sample, Series


class Held(list[Sample]):
    """Samples that wait for a report, and the bytes they hold."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


@attrs.define(eq=False, weakref_slot=False)
class Source:
    """A measurement as the collector sees it, and the first of its reportings."""

    #: The how manyth of its measurement's reportings it is.
    number: ClassVar[int] = 0
    measurement: Measurement
    fields: Mapping[str, Field]
    #: What a flat answer is about.
    here: str
    #: By metric those of it, by subject and metric all others.
    series: dict[str | tuple[str, str], Series] = attrs.field(factory=dict)
    #: Samples not reported yet, and since when (s).
    held: tuple[Sample, ...] | Held = ()
    held_since: float | None = None
    runs: int = 0
    counts: Counts = attrs.field(factory=Counts)
    #: Metrics that its probe does not declare; subjects of the last run that read any.
    unknown: frozenset[str] = frozenset()
    subjects: tuple[str, ...] | str = ()
    #: Those of its measurement's other reportings, if it has several.
    others: tuple[Source, ...] = ()

    @property
    def reporting(self) -> Reporting:
        return self.measurement.reporting

    @property
    def is_direct(self) -> bool:
        """Every run is reported."""
        return self.reporting.every_n == 1

    @property
    def whole(self) -> tuple[Source, ...]:
        """Itself and the others."""
        return (self, *self.others)

    def key(self, mid: str) -> str:
        """Of what its samples are numbered by: what goes to another sink at other times has numbers of its own."""
        return f"{mid}/{self.number}" if self.number else mid

    def also(self) -> tuple[Source, ...]:
        """Sources for the other reportings of its measurement; those there are go on."""
        count = len(self.measurement.reporting.also)
        more = range(len(self.others), count)
        return self.others[:count] + tuple(
            Other(self.measurement, self.fields, self.here, which=number + 1) for number in more
        )


@attrs.define(eq=False, weakref_slot=False)
class Other(Source):
    """Another reporting of a measurement."""

    which: int = attrs.field(kw_only=True)

    @property
    def number(self) -> int:  # type: ignore[override]  # a class's for the many, an instance's for the few
        return self.which

    @property
    def reporting(self) -> Reporting:
        return self.measurement.reporting.also[self.which - 1]


def to_source(measurement: Measurement, fields: Mapping[str, Field], here: str) -> Source:
    """With the others, if it reports at several times."""
    source = Source(measurement, fields, here)
    if measurement.reporting.also:
        source.others = source.also()
    return source
