"""Knows the curves of the journal's larger experiments: hooks under load, the chain of intervals, the flood's traps.

Doesn't know what they mean. A part of a result that is not there has no chart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from brokersim.lab.show.chart import (
    COLOURS,
    Chart,
    Curve,
    Found,
    Panel,
    held_until,
    hook_colour,
    last_time,
    truth_curve,
)
from brokersim.protocol.duration import format_duration

TIME = "time (s)"


# -- watchers


def _watchers(found: Found) -> Iterable[Chart]:
    series = found.get("series") or {}
    quick, slow = _paces(series)
    if series:
        yield _metrics("watchers-metrics", "Metrics per second by hook", series)
    if quick and slow:
        title = f"Metrics per second without {' and '.join(slow)}"
        yield _metrics("watchers-metrics-quick", title, {hook: series[hook] for hook in quick})
    counters = {hook: curves for hook, curves in (found.get("kvs") or {}).items() if curves}
    for hooks in filter(None, _paces(counters)):
        # Panels of a chart share their time: spinning hooks would squeeze the others into a corner.
        panels = tuple(
            Panel(title=hook, x=TIME, y="messages", curves=_named(counters[hook])) for hook in hooks
        )
        is_first = next(iter(counters)) in hooks
        name = "watchers-kvs" if is_first else f"watchers-kvs-{hooks[0].partition(':')[0]}"
        title = "kvs: counters over time" + ("" if is_first else f", {' and '.join(hooks)}")
        yield Chart(name=name, title=title, panels=panels, columns=2, height=2.1)


def _metrics(name: str, title: str, series: Mapping[str, Any]) -> Chart:
    curves = tuple(
        Curve(label=hook, points=points, colour=hook_colour(hook)) for hook, points in series.items()
    )
    panel = Panel(title="until all are done", x=TIME, y="metrics/s (log)", curves=curves, log=True)
    return Chart(name=name, title=title, panels=(panel,), height=3.2)


def _paces(runs: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hooks whose runs took up to three times as long as the shortest, and the others."""
    took = {
        hook: last_time(found if isinstance(found, Mapping) else {hook: found})
        for hook, found in runs.items()
    }
    limit = 3 * min(took.values(), default=0.0)
    return tuple(hook for hook in took if took[hook] <= limit), tuple(h for h in took if took[h] > limit)


def _named(curves: Mapping[str, Any], *, step: bool = True) -> tuple[Curve, ...]:
    """A colour a name, in order."""
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


# -- resolution


def _resolution(found: Found) -> Iterable[Chart]:
    for name, states in (("inactive-sched", ("INACTIVE", "SCHED")), ("run-cleanup", ("RUN", "CLEANUP"))):
        title = f"{' and '.join(states)} behind each chain of intervals"
        yield Chart(
            name=f"resolution-{name}",
            title=title,
            panels=tuple(_chains(found, states)),
            columns=2,
            height=1.6,
        )
    yield from _slots(found)
    yield from _retention(found)
    yield from _cache(found)


def _chains(found: Found, states: Iterable[str]) -> Iterable[Panel]:
    rows = list(dict.fromkeys((row["flush_s"], row["retention_s"]) for row in found["runs"]))
    timers = list(dict.fromkeys(row["timer_s"] for row in found["runs"]))
    for flush, retention in rows:
        for state in states:
            curves = tuple(
                Curve(
                    label=f"timer {format_duration(timer)}",
                    points=held_until(_stored(found, timer, flush, retention, state), found["horizon"]),
                    colour=COLOURS[at % 8],
                )
                for at, timer in enumerate(timers)
            )
            title = f"{state}, flush {format_duration(flush)}, retention {format_duration(retention)}"
            truth = truth_curve(found["truth"][state], found["horizon"])
            yield Panel(title=title, x=TIME, y="jobs", curves=(truth, *curves))


def _stored(found: Found, timer: float, flush: float, retention: float, state: str) -> Any:
    parts = (("timer", timer), ("flush", flush), ("retention", retention))
    return found["series"][", ".join(f"{name} {format_duration(length)}" for name, length in parts)][state]


def _slots(found: Found) -> Iterable[Chart]:
    slots = found.get("slots")
    if not slots:
        return
    plan = found["meta"]["plan"]
    labels = {"allocated": "held (alloc to free)", "running": "jobs that run (start to finish)"}
    curves = _named({labels.get(name, name): points for name, points in slots.items()})
    end = max((points[-1][0] for points in slots.values() if points), default=0.0)
    there = plan["size"] * plan["cores"]
    limit = Curve(label="slots there are", points=[(0.0, there), (end, there)], colour="#000000", dash="1 3")
    panel = Panel(title="", x=TIME, y="slots (cores)", curves=(*curves, limit))
    yield Chart(
        name="resolution-slots", title=f"Slots in use, {plan['size']} brokers", panels=(panel,), height=3.0
    )


def _retention(found: Found) -> Iterable[Chart]:
    rows = found["runs"]
    timer, flush = (min(row[key] for row in rows) for key in ("timer_s", "flush_s"))
    lengths = sorted({row["retention_s"] for row in rows}, reverse=True)
    shown = list(dict.fromkeys((lengths[0], lengths[-1])))
    refused = "; ".join(one["reason"].partition("(")[0].strip() for one in found.get("refused") or ())
    panels = []
    for state in ("SCHED", "INACTIVE"):
        curves = tuple(
            Curve(
                label=f"{format_duration(length)} slots",
                points=held_until(_stored(found, timer, flush, length, state), found["horizon"]),
                colour=colour,
            )
            for colour, length in zip((COLOURS[1], COLOURS[0]), shown, strict=False)
        )
        truth = truth_curve(found["truth"][state], found["horizon"])
        panels.append(Panel(title=state, x=TIME, y="jobs", curves=(truth, *curves), note=refused))
    title = f"What a retention of {' and of '.join(map(format_duration, shown))} draws"
    for refused in found.get("refused") or ():
        title += f" (refused: {refused['reason'].partition(' (')[0]})"
    yield Chart(name="resolution-retention", title=title, panels=tuple(panels), columns=2, height=2.8)


def _cache(found: Found) -> Iterable[Chart]:
    panels = tuple(
        Panel(
            title=f"{name}, {flush}",
            x=TIME,
            y="duration (ms)",
            curves=_named({kind: curves[name] for kind, curves in kinds.items()}, step=False),
        )
        for flush, kinds in (found.get("cache") or {}).items()
        for name in ("mean", "median")
    )
    if panels:
        title = "Content cache: mean and median behind each flush"
        yield Chart(name="resolution-cache", title=title, panels=panels, columns=2, height=1.9)


# -- the flood and the traps


def _aggregator(found: Found) -> Iterable[Chart]:
    if rates := found.get("rates"):
        panel = Panel(title="foo.bar", x=TIME, y="received (lines/s)", curves=_named(rates, step=False))
        yield Chart(name="aggregator-rates", title="A flood, flush by flush", panels=(panel,), height=2.8)
    if limits := found.get("creates"):
        panels = tuple(
            Panel(title=f"new series: {limit}", x=TIME, y="series of 8 (count)", curves=_named(modules))
            for limit, modules in limits.items()
        )
        title = "Series of each module that reached the store"
        yield Chart(name="aggregator-creates", title=title, panels=panels, columns=2, height=2.9)
    if signed := found.get("signed"):
        # As it was sent and cured in one panel: one scale shows what is at stake.
        curves = tuple(
            Curve(
                label=f"{dialect}, {form}",
                points=points,
                colour=COLOURS[at],
                dash="" if form == next(iter(signed)) else "6 4",
                step=False,
            )
            for form, dialects in signed.items()
            for at, (dialect, points) in enumerate(dialects.items())
        )
        panel = Panel(title="", x=TIME, y="flux.job-states.new (jobs)", curves=curves)
        yield Chart(
            name="aggregator-signed", title="A count of -10,000 sent each second", panels=(panel,), height=2.9
        )


CHARTS: dict[str, tuple[Callable[[Found], Iterable[Chart]], ...]] = {
    "watchers": (_watchers,),
    "resolution": (_resolution,),
    "aggregator": (_aggregator,),
}
