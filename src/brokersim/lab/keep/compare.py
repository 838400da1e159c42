"""Knows what differs between two results: settings, figures, checks, curves; not how it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import attrs
import msgspec

from brokersim.lab.result import Result, Row
from brokersim.lab.show.chart import AnyPanel, Chart, Curve, Panel
from brokersim.lab.show.charts import charts
from brokersim.lab.show.tables import key_columns, settings, text
from brokersim.protocol.decoded import JsonObject

#: Names of a run rather than settings of it.
_NAMES = ("database", "command", "note", "writer")
DOTS = "1 3"


@attrs.frozen(kw_only=True)
class Difference:
    """One figure in both results; ``ratio`` is this / base, None where the base is 0."""

    row: str
    figure: str
    base: float
    this: float

    @property
    def difference(self) -> float:
        return self.this - self.base

    @property
    def ratio(self) -> float | None:
        return self.this / self.base if self.base else None

    @property
    def distance(self) -> float:
        """The difference as a share of the larger of the two."""
        most = max(abs(self.this), abs(self.base))
        return abs(self.difference) / most if most else 0.0

    def exceeds(self, tolerance: float) -> bool:
        """It differs by more than this share of the base."""
        return not math.isclose(self.this, self.base, rel_tol=0, abs_tol=tolerance * abs(self.base) + 1e-12)

    def to_row(self) -> JsonObject:
        return {
            "row": self.row,
            "figure": self.figure,
            "base": self.base,
            "this": self.this,
            "difference": self.difference,
            "ratio": self.ratio,
        }


@attrs.frozen(kw_only=True)
class Comparison:
    """Two results side by side. ``only`` are rows, with the side that has them: ``this`` or ``base``."""

    base: Result
    this: Result
    figures: tuple[Difference, ...]
    settings: tuple[tuple[str, Any, Any], ...]
    checks: tuple[tuple[str, bool, bool], ...]
    only: tuple[tuple[str, str], ...]

    def beyond(self, tolerance: float) -> list[Difference]:
        return [one for one in self.figures if one.exceeds(tolerance)]

    def farthest(self) -> list[Difference]:
        """The figures that differ, the farthest apart first, whichever of the two is the larger."""
        return sorted(self.beyond(0.0), key=lambda one: (-one.distance, one.row, one.figure))

    def is_within(self, tolerance: float) -> bool:
        """No figure beyond the tolerance, no check that was fine and is not, no row missing on either side."""
        return not (
            self.beyond(tolerance) or self.only or any(was and not now for _, was, now in self.checks)
        )

    def to_json(self) -> JsonObject:
        return {
            "settings": [{"setting": key, "base": was, "this": now} for key, was, now in self.settings],
            "figures": [one.to_row() for one in self.figures],
            "checks": [{"id": name, "base": was, "this": now} for name, was, now in self.checks],
            "only": [{"row": row, "in": side} for row, side in self.only],
        }


def compare(this: Result, base: Result) -> Comparison:
    """What differs. Raises ValueError for results of two experiments."""
    kinds = [found.experiment for found in (this, base)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"'{kinds[0]}' and '{kinds[1]}' cannot be compared: give two results of one experiment"
        )
    keys = key_columns(this.runs)
    ours, theirs = ({_name(row, keys): row for row in found.runs} for found in (this, base))
    return Comparison(
        base=base,
        this=this,
        figures=tuple(_differences(ours, theirs, keys)),
        settings=tuple(_settings(this, base)),
        checks=tuple(_checks(this, base)),
        only=(
            *((key, "this") for key in ours if key not in theirs),
            *((key, "base") for key in theirs if key not in ours),
        ),
    )


def _name(row: Row, keys: Sequence[str]) -> str:
    return ", ".join(text(row.get(key)) for key in keys if row.get(key) not in (None, "")) or "all"


def _differences(
    ours: Mapping[str, Row], theirs: Mapping[str, Row], keys: Sequence[str]
) -> Iterator[Difference]:
    for key, row in ours.items():
        for name, value in row.items():
            other = theirs.get(key, {}).get(name)
            if name not in keys and _is_number(value) and _is_number(other):
                yield Difference(row=key, figure=name, base=other, this=value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _settings(this: Result, base: Result) -> Iterator[tuple[str, Any, Any]]:
    now, was = dict(settings(this)), dict(settings(base))
    for key in dict.fromkeys((*now, *was)):
        if key not in _NAMES and _plain(now.get(key)) != _plain(was.get(key)):
            yield key, was.get(key), now.get(key)


def _plain(value: object) -> bytes:
    """A result from a file has lists where one in memory has tuples."""
    return msgspec.json.encode(value)


def _checks(this: Result, base: Result) -> Iterator[tuple[str, bool, bool]]:
    was = {check.id: check.ok for check in base.checks}
    for check in this.checks:
        if was.get(check.id, check.ok) != check.ok:
            yield check.id, was[check.id], check.ok


# -- curves


def overlaid(this: Result, base: Result) -> list[Chart]:
    """The charts of ``this`` with the base's curves in them, dotted, in the same colours."""
    known = {(chart.name, panel.title): panel for chart in charts(base) for panel in chart.curve_panels}
    return [
        attrs.evolve(
            chart,
            panels=tuple(_with_base(panel, known.get((chart.name, panel.title))) for panel in chart.panels),
        )
        for chart in charts(this)
    ]


def _with_base(panel: AnyPanel, base: Panel | None) -> AnyPanel:
    if base is None or not isinstance(panel, Panel):
        return panel
    colours = {curve.label: curve.colour for curve in panel.curves}
    dotted = [
        attrs.evolve(
            curve,
            label=f"{curve.label} (base)",
            dash=DOTS,
            area=False,
            colour=colours.get(curve.label, curve.colour),
        )
        for curve in base.curves
    ]
    return attrs.evolve(panel, curves=(*panel.curves, *filter(_has_points, dotted)))


def _has_points(curve: Curve) -> bool:
    return bool(curve.points)
