"""Knows what a chart is: panels of curves with units and colours; not which there are, nor how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

#: Okabe and Ito's colours, which people with any colour vision tell apart; the truth is black and dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B", "#000000")
#: The same hook has the same colour in every picture.
HOOKS = {
    "none": "#000000", "timer": COLOURS[6], "timer:1s": COLOURS[6], "check": COLOURS[2], "prepare": COLOURS[0],
    "idle": COLOURS[1],
}  # fmt: skip
DASH = "5 3"
#: From the widest band to the median, light to dark.
BANDS = ("#D6E6F2", "#B3D1E8", "#85B5D8", "#4C93C2", "#00507D")
Found = Mapping[str, Any]
Points = Sequence[Sequence[float]]


@attrs.frozen(kw_only=True)
class Curve:
    """One curve: (x, y) in order. A ``step`` holds each value until the next; an ``area`` is filled to 0.

    With ``marker`` few points get a dot each; ``dots`` are all there is, with no line between.
    """

    label: str
    points: Points
    colour: str
    dash: str = ""
    step: bool = True
    area: bool = False
    marker: bool = False
    dots: bool = False


@attrs.frozen(kw_only=True)
class Panel:
    """One pair of axes; ``zero`` keeps 0 in sight, ``log`` is for y, ``note`` is said beside the curves."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    zero: bool = True
    log: bool = False
    note: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(curve.label for curve in self.curves)


@attrs.frozen(kw_only=True)
class Chart:
    """Panels that belong together and are zoomed together; a ``fold`` is closed at first and in no picture."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    columns: int = 1
    height: float = 2.3
    fold: bool = False

    @property
    def has_one_legend(self) -> bool:
        """All panels show the same things."""
        return len({panel.labels for panel in self.panels}) == 1


# -- parts


def truth_curve(points: Points, end: float = 0.0) -> Curve:
    """The truth, black and dashed wherever it is drawn."""
    return Curve(label="truth", points=held_until(points, end), colour="#000000", dash=DASH)


def held_until(points: Points, end: float) -> Points:
    """A step function's last value holds until ``end``."""
    kept = list(points)
    return [*kept, (end, kept[-1][1])] if kept and kept[-1][0] < end else kept


def last_time(curves: Mapping[str, Points]) -> float:
    """The last time of any of the curves, in s."""
    return max((points[-1][0] for points in curves.values() if points), default=0.0)


def hook_colour(hook: str) -> str:
    """A hook's colour, with or without its period."""
    return HOOKS.get(hook, HOOKS.get(hook.partition(":")[0], COLOURS[3]))
