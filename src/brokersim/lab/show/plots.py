"""Knows how an experiment's result is drawn, as SVG that is the same to the byte each time, or PNG; not what it means.

Curves are described elsewhere (charts) and drawn here by one function; every other picture has a function of its own,
in a table by experiment. Long because there are many, each a straight story.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokersim.lab.keep.compare import overlaid
from brokersim.lab.load.bulk import thinned
from brokersim.lab.show.chart import COLOURS, HOOKS, Chart, Panel, hook_colour
from brokersim.lab.show.charts import charts
from brokersim.protocol.duration import parse_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "HOOKS", "PlotError", "draw", "draw_chart", "pictures", "to_svg", "write_plots"]
TRUTH: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0, "label": "truth"}
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
Found = Mapping[str, Any]


class PlotError(ValueError):
    """A result that cannot be drawn, or nothing to draw it with."""


def draw(found: Found, base: Found | None = None) -> list[tuple[str, Figure]]:
    """All pictures of a result, each with its name: its curves, with a base's in them, then the others.

    Raises PlotError; ValueError for a base of another experiment.
    """
    others = pictures(found)
    drawn = charts(found) if base is None else overlaid(found, base)
    with _style():
        curves = [(chart.name, draw_chart(found, chart)) for chart in drawn if not chart.fold]
    return curves + others


def pictures(found: Found) -> list[tuple[str, Figure]]:
    """The pictures of a result that are no curves over time. Raises PlotError."""
    # Late: it is made of the parts below.
    from brokersim.lab.show.plots_journal import PICTURES

    known = {**_PICTURES, **PICTURES}
    try:
        wanted = known[found["meta"]["experiment"]]
    except (KeyError, TypeError):
        raise PlotError(f"no pictures of this result; there are some of {', '.join(known)}") from None
    if not wanted:
        return []
    # What is described as a chart is drawn from that.
    described = {chart.name for chart in charts(found)}
    with _style():
        return [(name, picture(found)) for name, picture in wanted if name not in described]


def to_svg(figure: Figure) -> str:
    """The same figure gives the same bytes."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def write_plots(found: Found, folder: Path, kind: str, base: Found | None = None) -> list[Path]:
    """Write every picture as ``NAME.svg`` or ``NAME.png``; their paths. Raises PlotError, OSError."""
    paths = []
    for name, figure in draw(found, base):
        path = folder / f"{name}.{kind}"
        if kind == "svg":
            path.write_text(to_svg(figure), encoding="utf-8")
        else:
            with _style():
                figure.savefig(path, format=kind, metadata={"Software": None})
        paths.append(path)
    return paths


def _style() -> AbstractContextManager[None]:
    try:
        import matplotlib as mpl
    except ImportError:
        raise PlotError("plots need matplotlib: pip install 'brokersim[plot]'") from None
    context: AbstractContextManager[None] = mpl.rc_context(STYLE)
    return context


# -- curves


def draw_chart(found: Found, chart: Chart) -> Figure:
    """A chart as a figure: its panels in rows, one legend if all panels show the same things."""
    columns = min(chart.columns, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    figure, axes = _figure(found, chart.title, rows, columns, chart.height)
    for one, panel in zip(axes, chart.panels, strict=False):
        _panel(one, panel, columns)
        if not chart.has_one_legend:
            _own_legend(one, panel)
    _blank(axes[len(chart.panels) :])
    if chart.has_one_legend and len(chart.panels[0].labels) > 1:
        _legend(figure, axes[0], 5)
    return figure


def _panel(axes: Axes, panel: Panel, columns: int) -> None:
    """A panel's curves; its title is cut at the front to what fits."""
    for curve in panel.curves:
        points = thinned([(t, v) for t, v in curve.points if not panel.log or v > 0], MOST_POINTS)
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
    width = 150 // columns
    title = panel.title if len(panel.title) <= width else f"…{panel.title[1 - width :]}"
    _label(axes, title, panel.x, panel.y)
    if panel.note:
        axes.text(0.98, 0.95, panel.note, transform=axes.transAxes, ha="right", va="top", fontsize=8)
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


def _own_legend(axes: Axes, panel: Panel) -> None:
    """Below the curves' place, for it must not cover them."""
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.28), fontsize=6.5, ncols=4, borderaxespad=0)


# -- parts


def _figure(
    found: Found,
    title: str,
    rows: int,
    columns: int,
    height: float = 2.3,
    ratios: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height * rows + 1.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=ratios)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    meta = found["meta"]
    figure.supxlabel(
        _ran_on(meta),
        fontsize=7.5, color="#555555", x=0.01, ha="left",
    )  # fmt: skip
    return figure, list(axes.flat)


def _ran_on(meta: Found) -> str:
    known = (("clock", "{} clock"), ("seed", "seed {}"), ("python", "CPython {}"), ("cores", "{} cores"))
    said = [text.format(meta[key]) for key, text in known if meta.get(key) is not None]
    return " · ".join([f"brokersim {meta.get('brokersim', '')}".rstrip() + ", not Flux", *said])


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


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Beside the title, where it covers no curve."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=columns)


def _end(curves: Mapping[str, Iterable[Sequence[float]]]) -> float:
    """The last time of any of the curves, in s."""
    return max((t for points in curves.values() for t, _ in points), default=0.0)


def _blank(axes: Iterable[Axes]) -> None:
    for one in axes:
        one.set_axis_off()


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#777777")


def _ticks(axes: Axes, at: Sequence[float], values: Sequence[float | None], width: float, label: str) -> None:
    """The journal's values: short lines across the bars, not targets."""
    known = [(x, value) for x, value in zip(at, values, strict=True) if value is not None]
    if known:
        axes.hlines(
            [value for _, value in known], [x - width for x, _ in known], [x + width for x, _ in known],
            color="black", linewidth=2, label=label,
        )  # fmt: skip


# -- idle


def _boxes(found: Found) -> Figure:
    rests = list(found["panels"])
    figure, axes = _figure(found, "Metrics per second at rest", 1, len(rests), 2.9)
    for one, rest in zip(axes, rests, strict=True):
        hooks = found["panels"][rest]
        sums = [[sum(values) for values in zip(*panel.values(), strict=True)] for panel in hooks.values()]
        one.boxplot(
            sums, tick_labels=list(hooks), medianprops={"color": COLOURS[1]}, flierprops={"markersize": 3}
        )
        _label(one, rest, "hook", "metrics/s, all modules")
        one.set_ylim(bottom=0)
    return figure


# -- latency


def _slots(found: Found) -> Figure:
    figure, axes = _figure(found, "A start per entry, and one slot for all", 1, 2, 2.9)
    shares = ("p50", "p75", "p95", "p98", "p99", "max")
    for one, kind in zip(axes, ("load", "store"), strict=True):
        rows = [row for row in found["runs"] if row["operation"] == kind]
        for at, row in enumerate(rows):
            places = [x + 0.4 * (at - 0.5 * (len(rows) - 1)) for x in range(len(shares))]
            one.bar(
                places, [row[share] for share in shares], 0.38, color=COLOURS[2 + at], label=row["timing"]
            )
            windows = [row.get(f"{share}_windows") for share in shares]
            _ticks(one, places, windows, 0.19, "averaged over flushes" if not at else "_")
        one.set_xticks(range(len(shares)), shares)
        _label(one, f"{kind}, all samples", "", "duration (ms)")
        one.legend(loc="upper left")
    return figure


# -- modules, overhead, decay


def _per_job(found: Found) -> Figure:
    figure, axes = _figure(found, "kvs: messages per serial job, and the laws", 2, 1, 2.0, ratios=(3, 1))
    kvs = next(row for row in found["runs"] if row["module"] == "kvs")
    names = list(next(iter(found["journal"].values())))
    axes[0].bar(range(len(names)), [kvs[name] for name in names], 0.6, color=COLOURS[0], label="brokersim")
    for (source, values), style in zip(found["journal"].items(), ("-", ":"), strict=False):
        axes[0].hlines([values[name] for name in names], [at - 0.38 for at in range(len(names))],
                       [at + 0.38 for at in range(len(names))], color="black", linewidth=1.8, linestyle=style,
                       label=source)  # fmt: skip
    axes[0].set_xticks(range(len(names)), names)
    _label(axes[0], "", "", "messages per job")
    axes[0].legend(loc="upper left")
    _laws(axes[1], found["checks"])
    return figure


def _laws(axes: Axes, checks: Sequence[Mapping[str, Any]]) -> None:
    """✓ or ✗, the id and the sentence of each check, as text."""
    axes.set_axis_off()
    for at, check in enumerate(checks):
        mark, colour = ("✓", "#00694b") if check["ok"] else ("✗", "#b03a00")
        y = 1 - (at + 1) / (len(checks) + 1)
        axes.text(0.0, y, mark, transform=axes.transAxes, color=colour, weight="bold")
        axes.text(0.03, y, f"{check['id']}: {check['sentence']}", transform=axes.transAxes, fontsize=8)


def _overhead(found: Found) -> Figure:
    rows = [row for row in found["runs"] if row["masks"] == "on"]
    figure, axes = _figure(found, "Wall time added by each hook, masks on", 1, 1, 3.2)
    shares = [100 * row["overhead"] for row in rows]
    places = list(range(len(rows)))
    axes[0].bar(places, shares, 0.55, color=[hook_colour(row["hook"]) for row in rows])
    journal = [None if row["journal"] is None else 100 * row["journal"] for row in rows]
    _ticks(axes[0], places, journal, 0.36, "journal (2021, 12 cores)")
    bounded = [(at, row) for at, row in enumerate(rows) if row["low"] is not None]
    if bounded:
        axes[0].vlines([at for at, _ in bounded], [100 * row["low"] for _, row in bounded],
                       [100 * row["high"] for _, row in bounded], color="#444444", label="95 % interval")  # fmt: skip
    for at, share in zip(places, shares, strict=True):
        axes[0].annotate(f"{share:+.1f} %", (at, share), ha="center", va="bottom", xytext=(0, 6),
                         textcoords="offset points", fontsize=8)  # fmt: skip
    axes[0].set_xticks(places, [row["hook"] for row in rows])
    axes[0].set_yscale("symlog", linthresh=20)
    axes[0].set_ylim(top=max([*shares, 20]) * 2)
    axes[0].set_yticks(*_percent(max([*shares, 20])))
    _label(axes[0], "against the run without metrics", "", "overhead (%, linear to 20)")
    axes[0].legend(loc="upper left")
    return figure


def _percent(most: float) -> tuple[list[float], list[str]]:
    marks = [
        mark for mark in (0, 5, 10, 15, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if mark <= most * 2
    ]
    return [float(mark) for mark in marks], [f"{mark:,}" for mark in marks]


# -- watchers


def _watchers(found: Found) -> Figure:
    figure, axes = _figure(found, "Each hook under load", 1, 2, 3.0)
    rows = found["runs"]
    places = list(range(len(rows)))
    colours = [hook_colour(row["hook"]) for row in rows]
    shares = [100 * (row["overhead"] or 0.0) for row in rows]
    axes[0].bar(places, shares, 0.55, color=colours)
    axes[0].set_yscale("symlog", linthresh=20)
    axes[0].set_yticks(*_percent(max([*shares, 20])))
    _label(axes[0], "wall time added", "", "overhead (%, linear to 20)")
    axes[1].bar(places, [row["metrics_per_s_peak"] or float("nan") for row in rows], 0.55, color=colours)
    axes[1].set_yscale("log")
    _label(axes[1], "peak", "", "metrics/s (log)")
    for one in axes:
        one.set_xticks(places, [row["hook"] for row in rows])
    return figure


# -- intervals


def _fronts(found: Found) -> Figure:
    figure, axes = _figure(found, "What an error costs: every combination of intervals", 1, 2, 3.6)
    rows = {row["id"]: row for row in found["rows"]}
    prices = (("overhead", "wall time added (%)", 100.0), ("packets_per_s", "packets/s (log)", 1.0))
    marks = (("row", "advised", "*", COLOURS[1], 130), ("journal", "the journal's", "D", "#000000", 90))
    for one, (price, label, scale) in zip(axes, prices, strict=True):
        one.scatter([scale * row[price] for row in rows.values()], [100 * row["error"] for row in rows.values()],
                    s=14, color="#b0b0b0", label="dominated")  # fmt: skip
        best = [rows[at] for at in found["front"][price]]
        one.plot([scale * row[price] for row in best], [100 * row["error"] for row in best], color=COLOURS[0],
                 marker="o", label="front")  # fmt: skip
        for key, name, marker, colour, size in marks:
            row = rows.get(found["advice"].get(key))
            if row is not None:
                face = "none" if key == "journal" else colour  # hollow: both may be the same row
                one.scatter([scale * row[price]], [100 * row["error"]], s=size, marker=marker, facecolors=face,
                            edgecolors=colour, linewidths=1.8, zorder=5, label=name)  # fmt: skip
        one.set_ylim(bottom=0)
        _label(one, "", label, "mean error (%)")
    axes[1].set_xscale("log")
    _legend(figure, axes[0], 4)
    return figure


def _errors(found: Found) -> Figure:
    """Of each emission × flush the least mean error of any client, a panel a retention."""
    least: dict[float, dict[tuple[str, float], float]] = {}
    for row in found["rows"]:
        cells = least.setdefault(row["retention"], {})
        key = (row["emission"], row["flush"])
        cells[key] = min(100 * row["error"], cells.get(key, float("inf")))
    retentions = sorted(least, reverse=True)
    emissions = sorted({name for cells in least.values() for name, _ in cells}, key=_by_period)
    flushes = sorted({flush for cells in least.values() for _, flush in cells}, reverse=True)
    figure, axes = _figure(
        found,
        "Mean error (%) by emission, flush and retention",
        1,
        len(retentions),
        0.42 * len(emissions) + 1.0,
    )
    most = max(error for cells in least.values() for error in cells.values())
    for one, retention in zip(axes, retentions, strict=True):
        _heat(one, least[retention], emissions, flushes, most)
        _label(one, f"retention {retention:g} s", "flush (s)", "emission" if one is axes[0] else "")
    return figure


def _heat(
    axes: Axes,
    cells: Mapping[tuple[str, float], float],
    emissions: Sequence[str],
    flushes: Sequence[float],
    most: float,
) -> None:
    table = [[cells.get((name, flush), float("nan")) for flush in flushes] for name in emissions]
    # Light is right, dark is wrong, and each cell has its number: the colour is never the only carrier.
    axes.pcolormesh(table, cmap="cividis_r", vmin=0, vmax=most or 1, edgecolors="white", linewidth=1)
    axes.grid(False)
    axes.invert_yaxis()
    axes.set_xticks([at + 0.5 for at in range(len(flushes))], [f"{flush:g}" for flush in flushes])
    axes.set_yticks([at + 0.5 for at in range(len(emissions))], emissions)
    for y, row in enumerate(table):
        for x, error in enumerate(row):
            # What is no number is not above the half either: black on white.
            shade = "white" if error > 0.5 * most else "black"
            text = "–" if error != error else f"{error:.3g}"
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", color=shade, fontsize=8)


def _by_period(emission: str) -> tuple[int, float, str]:
    """Hooks first, then timers from the slowest to the fastest."""
    kind, _, period = emission.partition(":")
    return (0, 0.0, kind) if not period else (1, -parse_duration(period), kind)


Picture = Callable[[Found], "Figure"]
#: By experiment; one without any has curves only.
_PICTURES: dict[str, tuple[tuple[str, Picture], ...]] = {
    "states": (),
    "period": (),
    "idle": (("idle-boxes", _boxes),),
    "latency": (("latency-slots", _slots),),
    "modules": (("modules-per-job", _per_job),),
    "overhead": (("overhead", _overhead),),
    "decay": (),
    "watchers": (("watchers", _watchers),),
    "intervals": (("intervals-fronts", _fronts), ("intervals-errors", _errors)),
    "run": (),
}
