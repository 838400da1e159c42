"""Knows how charts are drawn for slides: as SVG that is the same to the byte each time, or PNG; not what they mean.

Every kind of panel (lab/show/chart.py) is drawn by one function.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokersim import files
from brokersim.lab.experiments.registry import ALL
from brokersim.lab.keep.compare import overlaid
from brokersim.lab.load.bulk import thinned
from brokersim.lab.result import Result
from brokersim.lab.show.chart import AnyPanel, Bars, BarSet, Boxes, Cells, Chart, Dots, DotSet, Level, Panel
from brokersim.lab.show.charts import OTHERS, charts
from brokersim.protocol.decoded import JsonView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": ["DejaVu Sans", "sans-serif"], "axes.titlesize": 10, "axes.grid": True,
    "grid.color": "#e4e4e4", "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.3, "figure.dpi": 110,
    "axes.formatter.limits": (-4, 9),
    # Ids in the file come from this salt, not from a clock or a random source.
    "svg.hashsalt": "brokersim", "svg.fonttype": "path", "path.simplify": True,
}  # fmt: skip
#: Up to this many points each gets a dot.
MARKERS = 60
#: Points of one curve in a picture: more than a slide can show.
MOST_POINTS = 2400
#: So many names of a legend fit beside a title.
_IN_A_LINE = 5
#: Dots to the inch of a PNG: 9 inches are 1,440 pixels, which fill a slide.
DPI = 160


class PlotError(ValueError):
    """A result that cannot be drawn, or nothing to draw it with."""


def draw(found: Result, base: Result | None = None) -> list[tuple[str, Figure]]:
    """All charts of a result as figures, each with its name, with a base's curves in them.

    Raises PlotError; ValueError for a base of another experiment.
    """
    if found.experiment not in (*ALL, *OTHERS):
        raise PlotError(f"no pictures of this result; there are some of {', '.join((*ALL, *OTHERS))}")
    drawn = charts(found) if base is None else overlaid(found, base)
    with _style():
        return [(chart.name, draw_chart(found, chart)) for chart in drawn if not chart.fold]


def to_svg(figure: Figure) -> str:
    """The same figure gives the same bytes."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def write_plots(
    found: Result, folder: Path, kind: str, base: Result | None = None, dpi: int = DPI
) -> list[Path]:
    """Write every picture as ``NAME.svg`` or, with ``dpi``, ``NAME.png``; their paths. Raises PlotError, OSError."""
    paths = []
    for name, figure in draw(found, base):
        path = folder / f"{name}.{kind}"
        if kind == "svg":
            files.write_file(path, to_svg(figure))
        else:
            with _style():
                files.replace_file(
                    path, partial(figure.savefig, format=kind, dpi=dpi, metadata={"Software": None})
                )
        paths.append(path)
    return paths


def _style() -> AbstractContextManager[None]:
    try:
        import matplotlib as mpl
    except ImportError:
        raise PlotError("pictures need matplotlib: pip install 'brokersim[plot]'") from None
    context: AbstractContextManager[None] = mpl.rc_context(STYLE)
    return context


def draw_chart(found: Result, chart: Chart) -> Figure:
    """A chart as a figure: its panels in rows, one legend if all panels show the same things."""
    columns = min(chart.columns, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    figure, axes = _figure(found, chart, rows, columns)
    for one, panel in zip(axes, chart.panels, strict=False):
        _DRAW[type(panel)](one, panel)
        _label(one, panel, 150 // columns)
        if not chart.has_one_legend:
            _own_legend(one, panel, columns)
    _blank(axes[len(chart.panels) :])
    if chart.has_one_legend and len(chart.panels[0].labels) > 1:
        _legend(figure, axes[0])
    return figure


def _names_in_a_line(panel: AnyPanel, columns: int) -> int:
    """So many of a panel's names beside each other are no wider than it: what is wider makes all panels thin."""
    widest = max(map(len, panel.labels), default=0) + 8  # its line, and the space around it
    return max(1, min(4, 150 // columns // widest))


def _legend_height(chart: Chart, columns: int) -> float:
    """Inches that the panels' own legends need below them, at most."""
    if chart.has_one_legend:
        return 0.0
    lines = (-(-len(panel.labels) // _names_in_a_line(panel, columns)) for panel in chart.panels)
    return 0.13 * max(0, max(lines, default=0) - 1)


# -- curves


def _curves(axes: Axes, panel: Panel) -> None:
    floor = _floor(panel)
    for curve in panel.curves:
        # On a logarithmic axis nothing lies at its floor, so that a curve that is mostly 0 is still seen.
        points = thinned([(t, max(v, floor) if panel.log else v) for t, v in curve.points], MOST_POINTS)
        if curve.area:
            axes.fill_between([t for t, _ in points], [v for _, v in points], color=curve.colour, linewidth=0,
                              label=curve.label)  # fmt: skip
            continue
        options: dict[str, Any] = {"color": curve.colour, "label": curve.label}
        if curve.dash:
            options["linestyle"] = (0, [float(one) for one in curve.dash.split()])
        if curve.marker and len(points) <= MARKERS:
            options |= {"marker": ".", "markersize": 4}
        if curve.dots:
            options |= {"marker": "o", "markersize": 4, "linestyle": "none"}
        (_curve if curve.step else _line)(axes, points, **options)
    _scale(axes, panel)


def _scale(axes: Axes, panel: Panel) -> None:
    """Limits with room above the highest value, ticks as people write numbers; no ticks where nothing was recorded."""
    values = [v for curve in panel.curves for _, v in curve.points if not panel.log or v > 0]
    if not values:
        _nothing(axes, "nothing recorded")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if panel.log:
        _log(axes, max(values) / min(values))
        axes.set_ylim(bottom=_floor(panel))
    elif panel.zero:
        low, high = min(0.0, *values), max(0.0, *values)
        room = 0.05 * (high - low)
        axes.set_ylim(low - room if low else 0.0, high + room if high > low else low + 1.0)
    axes.yaxis.set_major_formatter(_number)


def _log(axes: Axes, ratio: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 30 else (1.0,)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _number(value: float, _position: object = None) -> str:
    """``20,000`` and ``0.25``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _own_legend(axes: Axes, panel: AnyPanel, columns: int) -> None:
    """Below the curves' place, for it must not cover them."""
    if panel.labels:
        ncols = _names_in_a_line(panel, columns)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.28), fontsize=6.5, ncols=ncols, borderaxespad=0)


def _floor(panel: Panel) -> float:
    """The lowest value a logarithmic axis shows: a step below the lowest there is."""
    values = [v for curve in panel.curves for _, v in curve.points if v > 0]
    return min(values, default=1.0) / 1.5


# -- bars, boxes, cells, dots


def _bars(axes: Axes, panel: Bars) -> None:
    bars = [one for one in panel.sets if not one.is_mark]
    width = 0.8 / max(1, len(bars))
    for at, one in enumerate(bars):
        _bar_set(
            axes,
            panel,
            one,
            [x + width * (at - 0.5 * (len(bars) - 1)) for x in range(len(panel.groups))],
            width,
        )
    for one in panel.sets:
        known = [(x, value) for x, value in enumerate(one.values) if one.is_mark and value is not None]
        if known:
            axes.hlines(
                [value for _, value in known], [x - 0.42 for x, _ in known], [x + 0.42 for x, _ in known],
                color=one.colours[0], linewidth=2, label=one.label,
            )  # fmt: skip
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    if panel.log:
        _log_bars(axes, panel)
    axes.yaxis.set_major_formatter(_number)


def _bar_set(axes: Axes, panel: Bars, one: BarSet, places: Sequence[float], width: float) -> None:
    values = [panel.base if value is None else value for value in one.values]
    colours = one.colours if len(one.colours) == len(values) else one.colours[:1] * len(values)
    axes.bar(
        places, [value - panel.base for value in values], width * 0.9, bottom=panel.base, color=colours,
        label=one.label or "_",
    )  # fmt: skip
    for x, low, high in zip(places, one.low, one.high, strict=False):
        if low is not None and high is not None:
            axes.vlines([x], [low], [high], color="#444444")
    for x, value, text in zip(places, values, one.texts, strict=False):
        axes.annotate(text, (x, max(value, panel.base)), ha="center", va="bottom", xytext=(0, 4),
                      textcoords="offset points", fontsize=8)  # fmt: skip


def _log_bars(axes: Axes, panel: Bars) -> None:
    values = [
        value for one in panel.sets for value in (*one.values, *one.high) if value is not None and value > 0
    ]
    base = panel.base or min(values, default=1.0) / 2
    most = max([*values, base * 2])
    _log(axes, most / base)
    axes.set_ylim(min([base, *values]), most * (most / base) ** 0.15)


def _boxes(axes: Axes, panel: Boxes) -> None:
    drawn = [
        {"whislo": low, "q1": first, "med": middle, "q3": third, "whishi": high, "fliers": []}
        for low, first, middle, third, high in panel.boxes
    ]
    axes.bxp(drawn, showfliers=False, medianprops={"color": "black", "linewidth": 2})
    axes.set_xticks(range(1, len(panel.groups) + 1), panel.groups)
    axes.set_ylim(bottom=0)


def _cells(axes: Axes, panel: Cells) -> None:
    table = [[float("nan") if value is None else value for value in row] for row in panel.values]
    axes.pcolormesh(table, cmap="Blues", vmin=0, vmax=panel.most or 1, edgecolors="white", linewidth=1)
    axes.grid(False)
    axes.invert_yaxis()
    axes.set_xticks([at + 0.5 for at in range(len(panel.columns))], panel.columns)
    axes.set_yticks([at + 0.5 for at in range(len(panel.rows))], panel.rows)
    for y, row in enumerate(panel.values):
        for x, value in enumerate(row):
            is_dark = value is not None and value > 0.6 * panel.most
            text = "–" if value is None else f"{value:.3g}"
            axes.text(
                x + 0.5,
                y + 0.5,
                text,
                ha="center",
                va="center",
                color="white" if is_dark else "black",
                fontsize=8,
            )


_SHAPES = {"circle": "o", "square": "s", "triangle": "^", "star": "*", "diamond": "D"}
#: Of what may be many, small.
_SMALL = ("circle", "square", "triangle")


def _dots(axes: Axes, panel: Dots) -> None:
    for level in panel.levels:
        _level(axes, level)
    for one in panel.sets:
        _dot_set(axes, one)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if times := panel.right_times:
        other = axes.secondary_yaxis("right", functions=(partial(mul, times), partial(mul, 1 / times)))
        other.set_ylabel(panel.right)


def _level(axes: Axes, level: Level) -> None:
    if level.to is None:
        axes.axhline(level.y, color="#555555", linewidth=0.8, linestyle=(0, (2, 3)))
    else:
        axes.axhspan(level.y, level.to, color="#888888", alpha=0.25, linewidth=0)
    axes.annotate(
        level.label, (1.0, level.to or level.y), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=7, color="#555555",
    )  # fmt: skip


def _dot_set(axes: Axes, one: DotSet) -> None:
    for dot in one.dots:
        if dot.low is not None and dot.high is not None:
            axes.plot([dot.x, dot.x], [dot.low, dot.high], color="#333333", linewidth=1.1, zorder=4)
    x, y = [dot.x for dot in one.dots], [dot.y for dot in one.dots]
    if one.line:
        axes.plot(x, y, color=one.colour, linewidth=1.3)
    is_hollow = one.shape == "diamond"  # it may lie on another
    axes.scatter(
        x, y, s=16 if one.shape in _SMALL else 110, marker=_SHAPES[one.shape], linewidths=1.6,
        facecolors="none" if is_hollow else one.colour, edgecolors=one.colour, label=one.label,
        zorder=2 if one.shape in _SMALL else 5,
    )  # fmt: skip
    for dot in one.dots if one.is_named else ():
        axes.annotate(dot.name, (dot.x, dot.y), xytext=(8, 6), textcoords="offset points", fontsize=7)


#: Draws a panel of each kind.
_DRAW: dict[type, Callable[[Axes, Any], None]] = {
    Panel: _curves, Bars: _bars, Boxes: _boxes, Cells: _cells, Dots: _dots,
}  # fmt: skip


# -- parts


def _figure(found: Result, chart: Chart, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(9.0, (chart.height + _legend_height(chart, columns)) * rows + 1.1), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False, sharex=chart.one_time)
    figure.suptitle(chart.title, fontsize=12, x=0.01, ha="left")
    figure.supxlabel(
        _ran_on(found.meta),
        fontsize=7.5, color="#555555", x=0.01, ha="left",
    )  # fmt: skip
    return figure, list(axes.flat)


def _ran_on(meta: JsonView) -> str:
    known = (("clock", "{} clock"), ("seed", "seed {}"), ("python", "CPython {}"), ("cores", "{} cores"))
    said = [text.format(meta[key]) for key, text in known if meta.get(key) is not None]
    whose = meta.get("engine") or f"brokersim {meta.get('brokersim', '')}".rstrip() + ", not Flux"
    return " · ".join([whose, *said])


def _curve(axes: Axes, points: Iterable[Sequence[float]], until: float = 0.0, **options: Any) -> None:
    """A step function: each value holds until the next, the last one ``until`` then."""
    pairs = list(points)
    if pairs:
        if pairs[-1][0] < until:
            pairs.append((until, pairs[-1][1]))
        axes.step([t for t, _ in pairs], [v for _, v in pairs], where="post", **options)


def _line(axes: Axes, points: Iterable[Sequence[float]], **options: Any) -> None:
    pairs = list(points)
    axes.plot([t for t, _ in pairs], [v for _, v in pairs], **options)


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the title, where it covers no curve; what would not fit there stands beside the picture."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > _IN_A_LINE:
        figure.legend(handles, labels, loc="outside right upper")
    else:
        figure.legend(handles, labels, loc="outside upper right", ncols=_IN_A_LINE)


def _blank(axes: Iterable[Axes]) -> None:
    for one in axes:
        one.set_axis_off()


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#777777")


def _label(axes: Axes, panel: AnyPanel, width: int) -> None:
    """Titles with units; the panel's own is cut at the front to what fits."""
    title = panel.title if len(panel.title) <= width else f"…{panel.title[1 - width :]}"
    axes.set_title(title, loc="left")
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if panel.note:
        axes.text(0.98, 0.95, panel.note, transform=axes.transAxes, ha="right", va="top", fontsize=8)
