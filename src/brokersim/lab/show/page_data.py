"""Knows how the points of curves are written into a page: once per time axis, rounded, thinned only if they must be.

Doesn't know what is drawn of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import msgspec

from brokersim.lab.load.bulk import thinned
from brokersim.lab.show.chart import AnyPanel, Chart, Curve, Dots, Panel
from brokersim.protocol.decoded import JsonObject

#: Bytes of data in one page; with everything else a page stays below 8 MB.
BUDGET = 6_500_000
#: Points kept of a curve, tried one after the other until the data fits; None keeps all.
_MOST = (None, 20_000, 8_000, 4_000, 2_000, 1_000, 400, 100, 20)
_PANEL = ("title", "x", "y", "zero", "log", "note")
Points = Sequence[Sequence[float]]


class PageData:
    """The curves of a page: ``add`` each chart, then ``to_json``."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._charts: dict[str, Chart] = {}
        self._known: tuple[str, int, int] | None = None

    def add(self, chart: Chart, key: str) -> str:
        """Keeps a chart under a key that no other has; the key."""
        self._charts[key] = chart
        return key

    @property
    def thinned(self) -> str:
        """A sentence on what was left out, empty if nothing was."""
        whole, kept = self._written()[1:]
        if whole == kept:
            return ""
        return (
            f"This page holds {kept:,} of {whole:,} samples, of each stretch of a curve the first, lowest, highest and "
            "last: the envelope is exact. All are in the run; see brokersim runs export."
        )

    def to_json(self) -> str:
        """The data as it stands inside a script element. The same charts give the same bytes."""
        return self._written()[0]

    def _written(self) -> tuple[str, int, int]:
        """(JSON, samples there are, samples in it)."""
        if self._known is None:
            self._known = self._write()
        return self._known

    def _write(self) -> tuple[str, int, int]:
        whole = sum(len(curve.points) for curve in self._curves())
        for most in _MOST:
            encoded, kept = self._encode(most)
            if len(encoded) <= self._budget:
                break
        # A tag or a comment inside text would end the script element, or hide its end.
        return encoded.decode().replace("<", "\\u003c"), whole, kept

    def _curves(self) -> list[Curve]:
        panels = [panel for chart in self._charts.values() for panel in chart.panels]
        chosen = [one for panel in panels if isinstance(panel, Dots) for one in panel.curves.values()]
        shown = [panel for panel in panels if isinstance(panel, Panel)]
        return [curve for panel in (*shown, *chosen) for curve in panel.curves]

    def _encode(self, most: int | None) -> tuple[bytes, int]:
        axes = _Axes()
        kept = [0]
        drawn = {key: self._chart(chart, axes, most, kept) for key, chart in self._charts.items()}
        return msgspec.json.encode({"axes": axes.found, "charts": drawn}), kept[0]

    def _chart(self, chart: Chart, axes: _Axes, most: int | None, kept: list[int]) -> JsonObject:
        panels = [self._panel(panel, axes, most, kept) for panel in chart.panels]
        return {"title": chart.title, "columns": chart.columns, "panels": panels}

    def _panel(self, panel: AnyPanel, axes: _Axes, most: int | None, kept: list[int]) -> JsonObject:
        if isinstance(panel, Panel):
            return {"kind": "curves", **self._curve_panel(panel, axes, most, kept)}
        written: JsonObject = {"kind": type(panel).__name__.lower(), **attrs.asdict(panel)}
        if isinstance(panel, Dots):
            written["curves"] = {
                key: {"kind": "curves", **self._curve_panel(one, axes, most, kept)}
                for key, one in panel.curves.items()
            }
        return written

    def _curve_panel(self, panel: Panel, axes: _Axes, most: int | None, kept: list[int]) -> JsonObject:
        curves = []
        for curve in panel.curves:
            points = curve.points if most is None else thinned(((t, v) for t, v in curve.points), most)
            kept[0] += len(points)
            curves.append(_curve(curve, points, axes))
        written = {name: getattr(panel, name) for name in _PANEL}
        return {**written, "curves": curves}


class _Axes:
    """Time axes, each kept once: series of one aggregator are sampled at the same times."""

    def __init__(self) -> None:
        self.found: list[tuple[float | None, ...]] = []
        self._at: dict[tuple[float | None, ...], int] = {}

    def add(self, times: tuple[float | None, ...]) -> int:
        at = self._at.setdefault(times, len(self.found))
        if at == len(self.found):
            self.found.append(times)
        return at


def _curve(curve: Curve, points: Points, axes: _Axes) -> JsonObject:
    found: JsonObject = {
        "n": curve.label,
        "c": curve.colour,
        "t": axes.add(tuple(_short(t, 6) for t, _ in points)),
        "v": [_short(v, 7) for _, v in points],
    }
    if curve.step:
        found["step"] = True
    if curve.area:
        found["area"] = True
    if curve.dots:
        found["dots"] = True
    if curve.dash:
        found["dash"] = curve.dash
    return found


def _short(value: float, digits: int) -> float | int | None:
    """Times to the microsecond, values to as many decimals: what is drawn cannot tell, and the page is smaller."""
    if not math.isfinite(value):
        return None
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 2**53 else rounded
