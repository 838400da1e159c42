"""Knows which curves of a result are drawn: in which panels, with which units and colours; not with what.

A chart is drawn by matplotlib for slides (plots) and by the page's script for reports (page/curves.js).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from brokersim.lab.show import charts_journal
from brokersim.lab.show.chart import (
    BANDS,
    COLOURS,
    Chart,
    Curve,
    Found,
    Panel,
    Points,
    held_until,
    hook_colour,
    last_time,
    truth_curve,
)

#: Panels of one picture of a run database; a page has the others under a fold.
PANELS = 30


def charts(found: Found) -> list[Chart]:
    """The charts of a result; none for an experiment without curves."""
    return [chart for make in _CHARTS.get(str(found["meta"].get("experiment")), ()) for chart in make(found)]


# -- experiments


def _states(found: Found) -> Iterable[Chart]:
    fixed = found["series"]["fixed"]
    end = last_time(fixed)
    panels = tuple(
        Panel(
            title=state,
            x="time (s)",
            y="jobs",
            curves=(
                truth_curve(points, end),
                Curve(label="gauges, with job.new", points=fixed[state], colour=COLOURS[0]),
            ),
        )
        for state, points in found["truth"].items()
    )
    yield Chart(name="states", title="Jobs in each state", panels=panels, columns=2, height=1.7)


def _new(found: Found) -> Iterable[Chart]:
    series = found["series"]
    end = last_time(series["fixed"])
    looks = (
        ("before: −n is a decrement to the server", "without job.new", "journal", COLOURS[1]),
        ("after", "with job.new", "fixed", COLOURS[0]),
    )
    panels = tuple(
        Panel(
            title=title,
            x="time (s)",
            y="NEW (jobs)",
            curves=(
                Curve(label=label, points=series[form]["NEW"], colour=colour),
                truth_curve(found["truth"]["NEW"], end),
            ),
        )
        for title, label, form, colour in looks
    )
    title = "NEW before and after the plugin heard of job.new"
    yield Chart(name="states-new", title=title, panels=panels, columns=2, height=2.8)


def _period(found: Found) -> Iterable[Chart]:
    panels = []
    for client, shown in found["series"].items():
        for state in ("RUN", "CLEANUP"):
            is_broken = min((v for _, v in shown[state]), default=0) < 0
            curves = (
                truth_curve(found["truth"][state]),
                Curve(label="server", points=shown[state], colour=COLOURS[0]),
            )
            title = (
                f"{state}, client period {client.replace(', ', ', fix ')}{': below 0' if is_broken else ''}"
            )
            panels.append(Panel(title=title, x="time (s)", y="jobs", curves=curves))
    title = "Increments through an aggregating client"
    yield Chart(name="period", title=title, panels=tuple(panels), columns=2, height=1.6)


def _net_zero(found: Found) -> Iterable[Chart]:
    """What was sent, what the server made of it and what was true, on one time axis."""
    seen = found.get("close_up")
    if not seen:
        return
    lines = (
        Curve(label="increment", points=seen["sent"], colour=COLOURS[0], step=False, dots=True),
        Curve(label="0: sets the gauge", points=seen["zeros"], colour=COLOURS[1], step=False, dots=True),
    )
    end = max(points[-1][0] for points in (seen["sent"], seen["zeros"], seen["server"]) if points)
    values = (
        truth_curve(seen["truth"], end),
        Curve(label="server", points=held_until(seen["server"], end), colour=COLOURS[0]),
    )
    panels = (
        Panel(title="lines sent for RUN", x="time (s)", y="increment (jobs)", curves=lines),
        Panel(title="RUN", x="time (s)", y="jobs", curves=values),
    )
    title = f"Net zero: client period {seen['client'].replace(', ', ', fix ')}"
    yield Chart(name="period-net-zero", title=title, panels=panels, height=2.4)


def _idle(found: Found) -> Iterable[Chart]:
    for name, rest in zip(("idle-rest", "idle-chatty"), found["panels"], strict=False):
        hooks = found["panels"][rest]
        panels = tuple(
            Panel(
                title=module,
                x="time (s)",
                y="metrics/s",
                curves=tuple(
                    Curve(label=hook, points=list(enumerate(panel[module])), colour=hook_colour(hook))
                    for hook, panel in hooks.items()
                ),
            )
            for module in next(iter(hooks.values()))
        )
        title = f"Metrics of each module, {rest}"
        yield Chart(name=name, title=title, panels=panels, columns=3, height=1.7)


def _latency(found: Found) -> Iterable[Chart]:
    curves = next(iter(found["series"].values()))
    yield Chart(
        name="latency-percentiles",
        title="Content cache: percentiles",
        panels=tuple(_band(kind, curves[kind]) for kind in ("load", "store")),
        columns=2,
        height=3.0,
    )
    looks = (
        ("mean and median", ("mean", "median"), "ms (log)", True),
        ("operations per second", ("count_ps",), "1/s", False),
        ("longest", ("max",), "ms (log)", True),
        ("shortest", ("min",), "ms", False),
    )
    panels = tuple(
        Panel(title=title, x="time (s)", y=unit, curves=_timings(curves, names), log=log)
        for title, names, unit, log in looks
    )
    title = "Content cache: figures of each flush"
    yield Chart(name="latency-figures", title=title, panels=panels, columns=2)


def _band(kind: str, curves: Mapping[str, Points]) -> Panel:
    names = ("percentile.99", "percentile.98", "percentile.95", "percentile.75", "median")
    shown = tuple(
        Curve(
            label=name.replace("percentile.", "p"), points=curves[name], colour=colour, step=False, area=True
        )
        for name, colour in zip(names, BANDS, strict=True)
    )
    return Panel(title=kind, x="time (s)", y="duration (ms)", curves=shown)


def _timings(curves: Mapping[str, Mapping[str, Points]], names: Sequence[str]) -> tuple[Curve, ...]:
    return tuple(
        Curve(
            label=f"{kind}, {name}" if len(names) > 1 else kind,
            points=curves[kind][name],
            colour=COLOURS[at],
            dash="2 2" if name == "median" else "",
            step=False,
            marker=True,
        )
        for at, kind in enumerate(("load", "store"))
        for name in names
    )


def _modules(found: Found) -> Iterable[Chart]:
    panels = tuple(
        Panel(
            title=module,
            x="time (s)",
            y="metrics/s",
            curves=(Curve(label="metrics/s", points=points[:-1], colour=COLOURS[0]),),
        )
        for module, points in found["series"].items()
    )
    yield Chart(
        name="modules", title="Metrics of each module under load", panels=panels, columns=3, height=1.7
    )


def _overhead(found: Found) -> Iterable[Chart]:
    """Curves over time exist in virtual time only."""
    if not found.get("series"):
        return
    curves = tuple(
        Curve(label=hook, points=points, colour=hook_colour(hook)) for hook, points in found["series"].items()
    )
    title = "serial jobs until all are done: a slower hook takes longer"
    panel = Panel(title=title, x="time (s)", y="metrics/s (log)", curves=curves, log=True)
    yield Chart(name="overhead-metrics", title="Metrics per second by hook", panels=(panel,), height=3.4)


def _decay(found: Found) -> Iterable[Chart]:
    models: dict[str, list[Found]] = {}
    for row in found["runs"]:
        models.setdefault(row["model"], []).append(row)
    looks = (("job rate", "jobs_per_s", "jobs/s"), ("metrics", "metrics_per_s", "metrics/s"))
    panels = tuple(
        Panel(
            title=title,
            x="jobs done",
            y=unit,
            curves=tuple(
                Curve(
                    label=f"model {model}",
                    points=[
                        (sum(row["jobs"] for row in rows[: block + 1]), rows[block][key])
                        for block in range(len(rows))
                    ],
                    colour=COLOURS[at],
                    step=False,
                    marker=True,
                )
                for at, (model, rows) in enumerate(models.items())
            ),
        )
        for title, key, unit in looks
    )
    title = "Does it slow down as jobs pile up?"
    yield Chart(name="decay", title=title, panels=panels, columns=2, height=2.8)


# -- a run database


def _run(found: Found) -> Iterable[Chart]:
    """A panel for the series that share a name up to the last dot."""
    groups: dict[str, dict[str, Points]] = {}
    for name, points in found["series"].items():
        stem, _, last = name.rpartition(".")
        groups.setdefault(stem or name, {})[last] = points
    truth = found.get("truth") or {}
    own = {stem for stem in groups if _OWN.match(stem)}
    panels = [_group(stem, series, truth) for stem, series in groups.items() if stem not in own]
    left = len(panels) - PANELS
    title = "Recorded series" + (f", {PANELS} of {len(panels)} groups" if left > 0 else "")
    if panels:
        yield Chart(name="run-series", title=title, panels=tuple(panels[:PANELS]), columns=3, height=1.9)
    for at in range(PANELS, len(panels), PANELS):
        more = tuple(panels[at : at + PANELS])
        title = f"{more[0].title} to {more[-1].title}"
        yield Chart(name=f"run-series-{at}", title=title, panels=more, columns=3, fold=True)
    if own:
        more = tuple(_group(stem, groups[stem], truth) for stem in groups if stem in own)
        yield Chart(name="run-own", title="The aggregator's own figures", panels=more, columns=3, fold=True)


#: What an aggregator says about itself, in the names of the dialects.
_OWN = re.compile(r"((stats|counters|gauges|timers)\.)*(statsd|brubeck|collectd)(\.|$)")


def _group(stem: str, series: Mapping[str, Points], truth: Mapping[str, Points]) -> Panel:
    curves = []
    for at, (last, points) in enumerate(series.items()):
        colour = COLOURS[at % (len(COLOURS) - 1)]
        curves.append(Curve(label=last, points=points, colour=colour, dash=_DASHES[at // 8 % len(_DASHES)]))
        known = truth.get(f"{stem}.{last}" if stem != last else last)
        if known:
            curves.append(truth_curve(known, points[-1][0] if points else 0.0))
    return Panel(title=stem, x="time (s)", y=_unit(stem, series), curves=tuple(curves), zero=False)


def _unit(stem: str, names: Iterable[str]) -> str:
    """What brokersim's own series count; of others a recording does not tell."""
    if stem.endswith("job-states"):
        return "jobs"
    return "messages" if all(name.endswith(("_tx", "_rx")) for name in names) else "value"


def _timers(found: Found) -> Iterable[Chart]:
    """Percentiles of each timer, flush by flush."""
    shares = (("p99", BANDS[1]), ("p95", BANDS[2]), ("p50", BANDS[4]))
    panels = tuple(
        Panel(
            title=timer,
            x="time (s)",
            y="duration (ms)",
            curves=tuple(
                Curve(
                    label=share,
                    points=[(row["t_s"], row[share]) for row in rows],
                    colour=colour,
                    step=False,
                    area=True,
                )
                for share, colour in shares
            ),
        )
        for timer, rows in (found.get("histograms") or {}).items()
    )
    if panels:
        yield Chart(
            name="run-timers", title="Percentiles of each flush", panels=panels, columns=3, height=1.9
        )


#: More than eight curves in one panel: the colours come again, in other dashes.
_DASHES = ("", "6 2", "2 2", "8 2 2 2")

_CHARTS: dict[str, tuple[Callable[[Found], Iterable[Chart]], ...]] = {
    **charts_journal.CHARTS,
    "states": (_states, _new),
    "period": (_period, _net_zero),
    "idle": (_idle,),
    "latency": (_latency,),
    "modules": (_modules,),
    "overhead": (_overhead,),
    "decay": (_decay,),
    "run": (_run, _timers),
}
