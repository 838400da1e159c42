"""Knows how what processes used is drawn over how many messages were counted, if a run database has both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from brokersim.lab.result import Result
from brokersim.lab.show.chart import COLOURS, TIME, Chart, Curve, Panel, Points

#: A process's share of a core, as the probe `process` has it: the broker's, or of a module with its own process.
_COST: Final = re.compile(r"flux\.[^.]+\.(?P<rank>\d+)\.[^.]+(\.(?P<what>(module|process)\.[^.]+))?\.cpu")
#: A module's message counter, as an instance sends it and as the probe `module` reads it.
_SENT: Final = re.compile(r"flux\.(?P<module>[^.]+)\.(?P<rank>\d+)\.(request|response|event|keepalive)_[rt]x")
_READ: Final = re.compile(
    r"flux\.[^.]+\.(?P<rank>\d+)\.(?P<measurement>[^.]+)\.module\.(?P<module>[^.]+)"
    r"\.[rt]x_(request|response|event|control)"
)
#: Curves of a panel: as many as there are colours to tell apart.
_MOST: Final = len(COLOURS) - 1


def cost_chart(found: Result) -> Iterator[Chart]:
    """Cost above, messages a second below, over one axis of time; nothing if either was not recorded."""
    costs = {_process(match): points for match, points in _matching(_COST, found)}
    rates = _rates(found)
    if costs and rates:
        yield Chart(
            name="run-cost",
            title="What the messages cost",
            panels=(
                _panel("processor time, since the sample before", "share of a core", costs),
                _panel("messages counted, since the sample before", "messages/s", rates),
            ),
            one_time=True,
        )


def _matching(pattern: re.Pattern[str], found: Result) -> Iterator[tuple[re.Match[str], Points]]:
    for name, points in found.series.items():
        if points and (match := pattern.fullmatch(name)):
            yield match, points


def _process(match: re.Match[str]) -> str:
    what = (match["what"] or "broker").removeprefix("module.").replace(".", " ")
    return f"{what}, rank {match['rank']}"


def _rates(found: Result) -> dict[str, Points]:
    """All messages a module counted, sent and received, a second. Where both were recorded a probe's own stand."""
    modules: dict[str, dict[float, float]] = {}
    for match, points in _matching(_READ, found):
        # The sink says of a measurement if its counters are not raw.
        form = str(found.meta.get(f"counters of {match['measurement']}", "raw"))
        _add(modules, match, rate(points, form))
    read = set(modules)
    for match, points in _matching(_SENT, found):
        if _module(match) not in read:
            _add(modules, match, rate(points))
    return {name: sorted(table.items()) for name, table in modules.items() if table}


def _module(match: re.Match[str]) -> str:
    return f"{match['module']}, rank {match['rank']}"


def _add(modules: dict[str, dict[float, float]], match: re.Match[str], points: Points) -> None:
    table = modules.setdefault(_module(match), {})
    for t, value in points:
        table[t] = table.get(t, 0.0) + value


def rate(points: Points, form: str = "raw") -> list[tuple[float, float]]:
    """How fast a counter grew up to each sample, 1/s; ``form`` is raw, delta or rate.

    A raw counter that fell was reset: up to that sample nothing is known.
    """
    if form == "rate":
        return [(t, v) for t, v in points]
    return [
        (t, (v if form == "delta" else v - v_before) / (t - before))
        for (before, v_before), (t, v) in pairwise(points)
        if t > before and (form == "delta" or v >= v_before)
    ]


def _panel(title: str, y: str, curves: Mapping[str, Points]) -> Panel:
    """Those with the highest peaks, the highest first."""
    ordered = sorted(curves.items(), key=lambda one: (-max(v for _, v in one[1]), one[0]))
    left = len(ordered) - _MOST
    return Panel(
        title=title,
        x=TIME,
        y=y,
        curves=tuple(
            Curve(label=name, points=points, colour=COLOURS[at], step=False, marker=True)
            for at, (name, points) in enumerate(ordered[:_MOST])
        ),
        note=f"{left} lower ones left out" if left > 0 else "",
    )
