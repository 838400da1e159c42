"""Knows which charts of a result are drawn, and those of a run database; not with what.

An experiment describes its own charts; they are drawn by matplotlib for slides (plots) and by the page's script for
reports (page/*.js).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from brokersim.lab.experiments.registry import ALL, experiment
from brokersim.lab.result import Result, agreement
from brokersim.lab.show.chart import BANDS, COLOURS, Chart, Curve, Panel, Points, truth_curve
from brokersim.lab.show.charts_cost import cost_chart
from brokersim.protocol.plurals import counted

#: Panels of one picture of a run database; a page has the others under a fold.
PANELS = 30
#: Results that are no experiment's of the registry.
OTHERS = ("run", "sweep")


def charts(found: Result) -> list[Chart]:
    """The charts of a result, the main one first; none of a result that nobody knows."""
    name = found.experiment
    if name in ALL:
        return list(experiment(name).charts(found))
    return [*cost_chart(found), *_run(found), *_timers(found)] if name == "run" else []


def verdict(found: Result) -> str:
    """What was found, in plain words; empty where nobody can say."""
    try:
        return _verdict(found)
    except (
        KeyError,
        IndexError,
    ):  # a part that a kept result of an older version, or a shorter plan, does not have
        return agreement(found.checks) if found.checks else ""


def _verdict(found: Result) -> str:
    name = found.experiment
    if name in ALL:
        return experiment(name).verdict(found)
    if name == "run":
        return f"Recorded: {counted(len(found.series), 'series')}, {counted(_samples(found), 'sample')}."
    return agreement(found.checks) if found.checks else ""


def _samples(found: Result) -> int:
    return sum(len(points) for points in found.series.values())


# -- a run database


def _run(found: Result) -> Iterable[Chart]:
    """A panel for the series that share a name up to the last dot."""
    groups: dict[str, dict[str, Points]] = {}
    for name, points in found.series.items():
        stem, _, last = name.rpartition(".")
        groups.setdefault(stem or name, {})[last] = points
    truth = found.truth
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


def _timers(found: Result) -> Iterable[Chart]:
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
        for timer, rows in (found.parts.get("histograms") or {}).items()
    )
    if panels:
        yield Chart(
            name="run-timers", title="Percentiles of each flush", panels=panels, columns=3, height=1.9
        )


#: More than eight curves in one panel: the colours come again, in other dashes.
_DASHES = ("", "6 2", "2 2", "8 2 2 2")
