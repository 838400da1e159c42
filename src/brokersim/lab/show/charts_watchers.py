"""Knows the pictures of the hooks' experiment: what each costs and brings, and its metrics over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from brokersim.lab.result import Result
from brokersim.lab.show.chart import TIME, Bars, BarSet, Chart, Curve, Panel, hook_colour, last_time, named
from brokersim.protocol.decoded import JsonView


def charts(found: Result) -> Iterable[Chart]:
    """Bars of all hooks, and a panel a hook."""
    if found.runs:
        yield _bars(found.runs)
    yield from _curves(found)


def _bars(runs: Sequence[JsonView]) -> Chart:
    """What each hook costs and what it brings; a ratio has one scale from 1 to 100."""
    groups, colours = tuple(row["hook"] for row in runs), tuple(hook_colour(row["hook"]) for row in runs)
    wall = BarSet(
        label="",
        values=tuple(None if row["overhead"] is None else 1 + row["overhead"] for row in runs),
        colours=colours,
        texts=tuple(map(_added, runs)),
    )
    peak = BarSet(label="", values=tuple(row["metrics_per_s_peak"] or None for row in runs), colours=colours)
    panels = (
        Bars(
            title="wall time", y="times that of none (log)", groups=groups, sets=(wall,), log=True, base=1.0
        ),
        Bars(title="metrics at their peak", y="metrics/s", groups=groups, sets=(peak,)),
    )
    return Chart(name="watchers", title="Each hook under load", panels=panels, columns=2, height=3.0)


def _added(row: JsonView) -> str:
    """``+4.3%``, ``×31``: what is more than twice as much is no percentage any more."""
    share = row["overhead"]
    if share is None or row["hook"] == "none":
        return ""
    return f"{share:+.1%}" if share < 1 else f"×{1 + share:.0f}"


def _curves(found: Result) -> Iterable[Chart]:
    """A panel a hook: curves that are nearly the same would hide each other."""
    series = {
        hook: (Curve(label="metrics/s", points=points, colour=hook_colour(hook)),)
        for hook, points in found.series.items()
    }
    yield from _by_pace("watchers-metrics", "Metrics per second", "metrics/s (log)", series, log=True)
    counters = {hook: named(curves) for hook, curves in (found.parts.get("kvs") or {}).items() if curves}
    yield from _by_pace("watchers-kvs", "kvs: counters over time", "messages", counters)


def _by_pace(
    name: str, title: str, unit: str, curves: Mapping[str, tuple[Curve, ...]], *, log: bool = False
) -> Iterable[Chart]:
    """Panels of a chart share their time: hooks that spin would squeeze the others into a corner."""
    for hooks in filter(None, _paces(curves)):
        panels = tuple(Panel(title=hook, x=TIME, y=unit, curves=curves[hook], log=log) for hook in hooks)
        is_first = next(iter(curves)) in hooks
        yield Chart(
            name=name if is_first else f"{name}-{hooks[0].partition(':')[0]}",
            title=title + ("" if is_first else f", {' and '.join(hooks)}"),
            panels=panels,
            columns=2,
            height=2.1,
        )


def _paces(curves: Mapping[str, tuple[Curve, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hooks whose runs took up to three times as long as the shortest, and the others."""
    took = {hook: last_time({one.label: one.points for one in each}) for hook, each in curves.items()}
    limit = 3 * min(took.values(), default=0.0)
    return tuple(hook for hook in took if took[hook] <= limit), tuple(h for h in took if took[h] > limit)
