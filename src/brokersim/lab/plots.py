"""Knows how an experiment's result is drawn, as SVG that is the same to the byte each time, or PNG; not what it means.

One function a kind of picture, in a table by experiment; long because there are many pictures, each a straight story.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which people with any colour vision tell apart; the truth is black and dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B", "#000000")
HOOKS = {"timer:1s": COLOURS[6], "check": COLOURS[2], "prepare": COLOURS[0], "idle": COLOURS[1]}
TRUTH: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0, "label": "truth"}
STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": ["DejaVu Sans", "sans-serif"], "axes.titlesize": 10, "axes.grid": True,
    "grid.color": "#e4e4e4", "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.3, "figure.dpi": 110,
    "axes.formatter.limits": (-4, 9),
    # Ids in the file come from this salt, not from a clock or a random source.
    "svg.hashsalt": "brokersim", "svg.fonttype": "path", "path.simplify": True,
}  # fmt: skip
#: Panels of one picture of a run database.
PANELS = 30
Found = Mapping[str, Any]


class PlotError(ValueError):
    """A result that cannot be drawn, or nothing to draw it with."""


def draw(found: Found) -> list[tuple[str, Figure]]:
    """All pictures of a result, each with its name. Raises PlotError."""
    # Late: it is made of the parts below.
    from brokersim.lab.plots_journal import PICTURES

    known = {**_PICTURES, **PICTURES, "watchers": _PICTURES["watchers"] + PICTURES["watchers"]}
    try:
        pictures = known[found["meta"]["experiment"]]
    except (KeyError, TypeError):
        raise PlotError(f"no pictures of this result; there are some of {', '.join(known)}") from None
    with _style():
        return [(name, picture(found)) for name, picture in pictures if _has(found, name)]


def _has(found: Found, name: str) -> bool:
    """Curves over time exist in virtual time only."""
    return name != "overhead-metrics" or bool(found.get("series"))


def to_svg(figure: Figure) -> str:
    """The same figure gives the same bytes."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def write_plots(found: Found, folder: Path, kind: str) -> list[Path]:
    """Write every picture as ``NAME.svg`` or ``NAME.png``; their paths. Raises PlotError, OSError."""
    paths = []
    for name, figure in draw(found):
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


# -- parts


def _figure(
    found: Found, title: str, rows: int, columns: int, height: float = 2.3
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height * rows + 1.1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
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


# -- states


def _states(found: Found) -> Figure:
    states = list(found["truth"])
    end = _end(found["series"]["fixed"])
    figure, axes = _figure(found, "Jobs in each state", 4, 2, 1.7)
    for one, state in zip(axes, states, strict=False):
        _curve(one, found["truth"][state], until=end, **TRUTH)
        _curve(one, found["series"]["fixed"][state], color=COLOURS[0], label="gauges, with job.new")
        _label(one, state, "time (s)", "jobs")
        one.set_ylim(0, max(1.0, one.get_ylim()[1]))
    _legend(figure, axes[0], 2)
    _blank(axes[len(states) :])
    return figure


def _new(found: Found) -> Figure:
    figure, axes = _figure(found, "NEW before and after the plugin heard of job.new", 1, 2, 2.8)
    _curve(axes[0], found["series"]["journal"]["NEW"], color=COLOURS[1], label="without job.new")
    _label(axes[0], "before: −n is a decrement to the server", "time (s)", "NEW (jobs)")
    _curve(axes[1], found["series"]["fixed"]["NEW"], color=COLOURS[0], label="with job.new")
    _label(axes[1], "after", "time (s)", "NEW (jobs)")
    for one in axes:
        _curve(one, found["truth"]["NEW"], until=_end(found["series"]["fixed"]), **TRUTH)
        one.legend(loc="center right")
    return figure


# -- period


def _period(found: Found) -> Figure:
    clients = list(found["series"])
    figure, axes = _figure(found, "Increments through an aggregating client", len(clients), 2, 1.6)
    for row, client in enumerate(clients):
        for one, state in zip(axes[2 * row :], ("RUN", "CLEANUP"), strict=False):
            shown = found["series"][client][state]
            broken = min((v for _, v in shown), default=0) < 0
            _curve(one, found["truth"][state], **TRUTH | {"alpha": 0.4})
            _curve(one, shown, color=COLOURS[1 if broken else 0], label="server")
            one.axhline(0, color="#999999", linewidth=0.8)
            title = f"{state}, client period {client.replace(', ', ', fix ')}"
            _label(one, title, "time (s)" if client == clients[-1] else "", "jobs")
    _legend(figure, axes[0], 2)
    return figure


# -- idle


def _rest(found: Found, rest: str) -> Figure:
    hooks = found["panels"][rest]
    modules = list(next(iter(hooks.values())))
    figure, axes = _figure(found, f"Metrics of each module, {rest}", -(-len(modules) // 3), 3, 1.7)
    top = max((max(rates) for panel in hooks.values() for rates in panel.values()), default=0) or 1
    for at, module in enumerate(modules):
        for hook, panel in hooks.items():
            _curve(axes[at], enumerate(panel[module]), color=HOOKS.get(hook), label=hook, alpha=0.8)
        _label(axes[at], module, "time (s)", "metrics/s")
        axes[at].set_ylim(0, top * 1.05)
    _legend(figure, axes[0], 3)
    _blank(axes[len(modules) :])
    return figure


def _at_rest(found: Found) -> Figure:
    return _rest(found, next(iter(found["panels"])))


def _chatty(found: Found) -> Figure:
    return _rest(found, list(found["panels"])[-1])


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


def _bands(found: Found) -> Figure:
    figure, axes = _figure(found, "Content cache: percentiles", 1, 2, 3.0)
    curves = next(iter(found["series"].values()))
    names = ("percentile.99", "percentile.98", "percentile.95", "percentile.75", "median")
    for one, kind in zip(axes, ("load", "store"), strict=True):
        below: list[float] | None = None
        for at, name in reversed(list(enumerate(names))):
            points = curves[kind][name]
            times, values = [t for t, _ in points], [v for _, v in points]
            if values:
                shade = 0.85 - 0.15 * (4 - at)
                one.fill_between(times, below or [0.0] * len(values), values, color=COLOURS[0], alpha=shade,
                                 label=name.replace("percentile.", "p"), linewidth=0)  # fmt: skip
            below = values
        if not below:
            _nothing(one, f"no {kind}s")
        _label(one, kind, "time (s)", "duration (ms)")
        one.set_ylim(bottom=0)
    _legend(figure, axes[1], 5)
    return figure


def _timings(found: Found) -> Figure:
    figure, axes = _figure(found, "Content cache: figures of each flush", 2, 2, 2.3)
    curves = next(iter(found["series"].values()))
    panels = (("mean", "median"), ("count_ps",), ("max",), ("min",))
    titles = ("mean and median", "operations per second", "longest", "shortest")
    for one, names, title in zip(axes, panels, titles, strict=True):
        for at, kind in enumerate(("load", "store")):
            for name in names:
                style = ":" if name == "median" else "-"
                _line(one, curves[kind][name], color=COLOURS[at], linestyle=style, marker=".",
                      label=f"{kind}, {name}" if len(names) > 1 else kind)  # fmt: skip
        _label(one, title, "time (s)", "1/s" if names == ("count_ps",) else "ms")
        if names == ("min",):
            one.set_ylim(0, 1.2 * max((v for kind in curves.values() for _, v in kind["min"]), default=1.0))
        else:
            one.set_yscale("symlog", linthresh=0.1)
    _legend(figure, axes[0], 2)
    return figure


def _slots(found: Found) -> Figure:
    figure, axes = _figure(found, "A start per entry, and one slot for all", 1, 2, 2.9)
    shares = ("p50", "p75", "p95", "p98", "p99", "max")
    for one, kind in zip(axes, ("load", "store"), strict=True):
        rows = [row for row in found["runs"] if row["operation"] == kind]
        for at, row in enumerate(rows):
            places = [x + 0.4 * (at - 0.5 * (len(rows) - 1)) for x in range(len(shares))]
            one.bar(places, [row[share] for share in shares], 0.38, color=COLOURS[at], label=row["timing"])
            windows = [row.get(f"{share}_windows") for share in shares]
            _ticks(one, places, windows, 0.19, "averaged over flushes" if not at else "_")
        one.set_xticks(range(len(shares)), shares)
        _label(one, f"{kind}, all samples", "", "duration (ms)")
        one.legend(loc="upper left")
    return figure


# -- modules, overhead, decay


def _modules(found: Found) -> Figure:
    series = found["series"]
    figure, axes = _figure(found, "Metrics of each module under load", -(-len(series) // 3), 3, 1.7)
    for one, (module, points) in zip(axes, series.items(), strict=False):
        _curve(one, points[:-1], color=COLOURS[0])
        _label(one, module, "time (s)", "metrics/s")
        one.set_ylim(bottom=0)
    _blank(axes[len(series) :])
    return figure


def _per_job(found: Found) -> Figure:
    figure, axes = _figure(found, "kvs: messages per serial job", 1, 1, 3.2)
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
    return figure


def _by_hook(found: Found) -> Figure:
    figure, axes = _figure(found, "Metrics per second by hook", 1, 1, 3.4)
    for hook, points in found["series"].items():
        _curve(axes[0], points, color=HOOKS.get(hook), label=hook)
    axes[0].set_yscale("log")
    _label(
        axes[0], "serial jobs until all are done: a slower hook takes longer", "time (s)", "metrics/s (log)"
    )
    _legend(figure, axes[0], 4)
    return figure


def _overhead(found: Found) -> Figure:
    rows = [row for row in found["runs"] if row["masks"] == "on"]
    figure, axes = _figure(found, "Wall time added by each hook, masks on", 1, 1, 3.2)
    shares = [100 * row["overhead"] for row in rows]
    places = list(range(len(rows)))
    axes[0].bar(places, shares, 0.55, color=[HOOKS.get(row["hook"], COLOURS[0]) for row in rows])
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


def _decay(found: Found) -> Figure:
    figure, axes = _figure(found, "Does it slow down as jobs pile up?", 1, 2, 2.8)
    models: dict[str, list[dict[str, Any]]] = {}
    for row in found["runs"]:
        models.setdefault(row["model"], []).append(row)
    for at, (model, rows) in enumerate(models.items()):
        done = [sum(row["jobs"] for row in rows[: block + 1]) for block in range(len(rows))]
        for one, key in zip(axes, ("jobs_per_s", "metrics_per_s"), strict=True):
            one.plot(done, [row[key] for row in rows], color=COLOURS[at], marker=".", label=f"model {model}")
    for one, title, y in zip(axes, ("job rate", "metrics"), ("jobs/s", "metrics/s"), strict=True):
        _label(one, title, "jobs done", y)
        one.set_ylim(bottom=0)
    axes[0].legend(loc="lower left")
    return figure


# -- watchers


def _watchers(found: Found) -> Figure:
    figure, axes = _figure(found, "Each hook under load", 1, 2, 3.0)
    rows = found["runs"]
    places = list(range(len(rows)))
    colours = [HOOKS.get(row["hook"], COLOURS[6]) for row in rows]
    shares = [100 * (row["overhead"] or 0.0) for row in rows]
    axes[0].bar(places, shares, 0.55, color=colours)
    axes[0].set_yscale("symlog", linthresh=20)
    axes[0].set_yticks(*_percent(max([*shares, 20])))
    _label(axes[0], "wall time added", "", "overhead (%, linear to 20)")
    axes[1].bar(places, [max(row["metrics_per_s_peak"], 1.0) for row in rows], 0.55, color=colours)
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
    marks = (("row", "advised", "*", COLOURS[1], 130), ("journal", "the journal's", "D", COLOURS[2], 42))
    for one, (price, label, scale) in zip(axes, prices, strict=True):
        one.scatter([scale * row[price] for row in rows.values()], [100 * row["error"] for row in rows.values()],
                    s=14, color="#b0b0b0", label="dominated")  # fmt: skip
        best = [rows[at] for at in found["front"][price]]
        one.plot([scale * row[price] for row in best], [100 * row["error"] for row in best], color=COLOURS[0],
                 marker="o", label="front")  # fmt: skip
        for key, name, marker, colour, size in marks:
            row = rows.get(found["advice"].get(key))
            if row is not None:
                one.scatter([scale * row[price]], [100 * row["error"]], s=size, marker=marker, color=colour,
                            zorder=5, label=name)  # fmt: skip
        one.set_ylim(bottom=0)
        _label(one, "", label, "mean error (%)")
    axes[1].set_xscale("log")
    _legend(figure, axes[0], 4)
    return figure


# -- a run database


def _run(found: Found) -> Figure:
    """A panel for the series that share a name up to the last dot; the first ones, if there are too many."""
    groups: dict[str, dict[str, Any]] = {}
    for name, points in found["series"].items():
        stem, _, last = name.rpartition(".")
        groups.setdefault(stem or name, {})[last] = points
    shown = dict(list(groups.items())[:PANELS])
    left = len(groups) - len(shown)
    title = "Recorded series" + (f", {PANELS} of {len(groups)} groups" if left else "")
    figure, axes = _figure(found, title, max(1, -(-len(shown) // 3)), 3, 1.9)
    for one, (stem, series) in zip(axes, shown.items(), strict=False):
        for at, (last, points) in enumerate(list(series.items())[: len(COLOURS)]):
            _curve(one, points, color=COLOURS[at], label=last)
        _label(one, stem if len(stem) < 34 else f"…{stem[-32:]}", "time (s)", "value")
        one.legend(loc="best", fontsize=6, ncols=2)
    _blank(axes[len(shown) :])
    return figure


Picture = Callable[[Found], "Figure"]
_PICTURES: dict[str, tuple[tuple[str, Picture], ...]] = {
    "states": (("states", _states), ("states-new", _new)),
    "period": (("period", _period),),
    "idle": (("idle-rest", _at_rest), ("idle-chatty", _chatty), ("idle-boxes", _boxes)),
    "latency": (("latency-percentiles", _bands), ("latency-figures", _timings), ("latency-slots", _slots)),
    "modules": (("modules", _modules), ("modules-per-job", _per_job)),
    "overhead": (("overhead", _overhead), ("overhead-metrics", _by_hook)),
    "decay": (("decay", _decay),),
    "watchers": (("watchers", _watchers),),
    "intervals": (("intervals-fronts", _fronts),),
    "run": (("run-series", _run),),
}
