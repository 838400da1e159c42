"""Knows what a chart is: panels with units and colours, of curves, bars, boxes, dots or cells; not how they are drawn.

Everything drawn is described by these values: the page's script draws them in a browser, plots draws them for slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

#: Okabe and Ito's colours, which people with any colour vision tell apart; the truth is black and dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B", "#000000")
#: The same hook has the same colour in every picture.
HOOKS = {
    "none": "#000000", "timer": COLOURS[6], "timer:1s": COLOURS[6], "check": COLOURS[2], "prepare": COLOURS[0],
    "idle": COLOURS[1],
}  # fmt: skip
DASH = "5 3"
TIME = "time (s)"
#: From the widest band to the median, light to dark.
BANDS = ("#D6E6F2", "#B3D1E8", "#85B5D8", "#4C93C2", "#00507D")
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
    """One pair of axes with curves; ``zero`` keeps 0 in sight, ``log`` is for y, ``note`` is said beside the curves.

    On a logarithmic axis what is 0 lies on its floor.
    """

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
class BarSet:
    """A bar in each group, or nothing where the value is None; one colour for all, or one for each group.

    ``texts`` stand at the bars, ``low`` and ``high`` are the ends of intervals. ``is_mark`` draws short lines instead,
    across the bars of the others: somebody else's values.
    """

    label: str
    values: tuple[float | None, ...]
    colours: tuple[str, ...]
    texts: tuple[str, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    is_mark: bool = False


@attrs.frozen(kw_only=True)
class Bars:
    """Bars by group. ``log`` is for y, and they grow from ``base``: 1 where a ratio is shown."""

    title: str
    y: str
    groups: tuple[str, ...]
    sets: tuple[BarSet, ...]
    x: str = ""
    log: bool = False
    base: float = 0.0
    note: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(one.label for one in self.sets if one.label)


@attrs.frozen(kw_only=True)
class Boxes:
    """Boxes from the first to the third quarter with a line at the median and whiskers at the 5th and 95th percent."""

    title: str
    y: str
    groups: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float, float], ...]
    colours: tuple[str, ...]
    x: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Cells:
    """A table as colours: dark is much, and each cell has its number, so the colour is never the only carrier."""

    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    #: By row, then column; None where there is none.
    values: tuple[tuple[float | None, ...], ...]
    #: The value that is darkest; panels of a chart share it.
    most: float
    note: str = ""
    labels: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Dot:
    """A point, and what is said when it is pointed at; ``key`` names the panel shown when it is chosen.

    ``low`` and ``high`` are the ends of a bar through it.
    """

    x: float
    y: float
    name: str
    key: str = ""
    low: float | None = None
    high: float | None = None


@attrs.frozen(kw_only=True)
class Level:
    """A line across a panel at one y, with its name; from y to ``to`` it is a band."""

    label: str
    y: float
    to: float | None = None


@attrs.frozen(kw_only=True)
class DotSet:
    """Points of one kind; ``shape`` is a key of the page's SHAPES, a ``line`` goes through them in order."""

    label: str
    dots: tuple[Dot, ...]
    colour: str
    shape: str = "circle"
    line: bool = False
    #: Their names are written beside them.
    is_named: bool = False


@attrs.frozen(kw_only=True)
class Dots:
    """Points over two figures. ``curves`` are panels by key: what is shown below when a point is chosen.

    ``levels`` are lines and bands across it. With ``right_times`` a second axis to the right, in units of ``right``,
    has so many times what y is.
    """

    title: str
    x: str
    y: str
    sets: tuple[DotSet, ...]
    log_x: bool = False
    log: bool = False
    note: str = ""
    curves: Mapping[str, Panel] = attrs.field(factory=dict)
    levels: tuple[Level, ...] = ()
    right: str = ""
    right_times: float = 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(one.label for one in self.sets)


AnyPanel = Panel | Bars | Boxes | Cells | Dots


@attrs.frozen(kw_only=True)
class Chart:
    """Panels that belong together and are zoomed together; a ``fold`` is closed at first and in no picture.

    With ``one_time`` all panels of a picture have the same axis of time; on a page they always have.
    """

    name: str
    title: str
    panels: tuple[AnyPanel, ...]
    columns: int = 1
    height: float = 2.3
    fold: bool = False
    one_time: bool = False

    @property
    def has_one_legend(self) -> bool:
        """All panels show the same things."""
        return len({panel.labels for panel in self.panels}) == 1

    @property
    def curve_panels(self) -> tuple[Panel, ...]:
        return tuple(panel for panel in self.panels if isinstance(panel, Panel))


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


def named(curves: Mapping[str, Points], *, step: bool = True) -> tuple[Curve, ...]:
    """Curves by name, a colour each in order."""
    return tuple(
        # Answers are as many as requests: dashed, both are seen.
        Curve(
            label=name,
            points=points,
            colour=COLOURS[at % 8],
            dash="6 4" if name.startswith("response") else "",
            step=step,
            marker=not step,
        )
        for at, (name, points) in enumerate(curves.items())
    )


def hook_colour(hook: str) -> str:
    """A hook's colour, with or without its period."""
    return HOOKS.get(hook, HOOKS.get(hook.partition(":")[0], COLOURS[3]))


def quarters(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """What a box shows of values: the 5th, 25th, 50th, 75th and 95th percent, between neighbours."""
    ordered = sorted(values)
    found = [_at(ordered, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    return (found[0], found[1], found[2], found[3], found[4])


def _at(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
