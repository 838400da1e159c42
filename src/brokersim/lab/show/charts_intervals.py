"""Knows the charts of the open question: what a second of error costs, and the errors of all combinations.

Doesn't know the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from brokersim.lab.result import Result, Row
from brokersim.lab.show.chart import (
    COLOURS,
    TIME,
    Cells,
    Chart,
    Curve,
    Dot,
    Dots,
    DotSet,
    Level,
    Panel,
    truth_curve,
)
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.duration import format_duration, parse_duration

#: From the shortest on: retentions have colours, flushes shapes.
_SHAPES = ("circle", "square", "triangle")
_RETENTIONS = (COLOURS[2], COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[4])
#: A state that stays longer or shorter is no line in the picture: what is seen of it, or is not, is clear.
_SHORTEST, _LONGEST = 0.05, 20.0
#: Curves shown when a point is chosen.
_STATES = (("inactive", COLOURS[0]), ("run", COLOURS[1]))


def charts(found: Result) -> Iterable[Chart]:
    """What an error costs first: it is the answer."""
    if found.runs and found.parts.get("front") and "off_s" in found.runs[0]:
        yield _costs(found)
        yield from _compared(found)
        yield _errors(found)


def _costs(found: Result) -> Chart:
    rows = {row["id"]: row for row in found.runs}
    advice: JsonView = found.parts.get("advice") or {}
    sets = [*_kinds(found.runs)]
    for key, name, shape, colour in (
        ("row", "sends least", "star", "#000000"),
        ("cheap_store", "stores least", "star", COLOURS[3]),
        ("journal", "the journal's", "diamond", "#000000"),
    ):
        if advice.get(key) in rows:
            dot = _dot(rows[advice[key]], name)
            sets.append(DotSet(label=name, dots=(dot,), colour=colour, shape=shape, is_named=True))
    ties = [rows[at]["off_s"] for at in advice.get("ties") or () if at in rows]
    levels = [Level(label=f"{len(ties)} tie", y=min(ties), to=max(ties))] if ties else []
    levels += _stays(found.parts.get("facts") or {})
    panel = Dots(
        title="retention / flush",
        x="packets/s (log)",
        y="seconds off (log)",
        right="jobs off",
        right_times=(found.parts.get("facts") or {}).get("rate") or 0.0,
        sets=tuple(sets),
        log_x=True,
        log=True,
        curves=_panels(found),
        levels=tuple(levels),
    )
    title = "How far curves are off, and what that costs; bars: 9 of 10 installations, by their phases"
    return Chart(name="intervals-costs", title=title, panels=(panel,), height=4.6)


def _kinds(rows: Sequence[Row]) -> Iterable[DotSet]:
    retentions, flushes = (sorted({row[name] for row in rows}) for name in ("retention", "flush"))
    for at, retention in enumerate(retentions):
        for of, flush in enumerate(flushes):
            dots = tuple(_dot(row) for row in rows if (row["retention"], row["flush"]) == (retention, flush))
            if dots:
                yield DotSet(
                    label=f"{format_duration(retention)} / {format_duration(flush)}", dots=dots,
                    colour=_RETENTIONS[at % len(_RETENTIONS)], shape=_SHAPES[of % len(_SHAPES)],
                )  # fmt: skip


def _dot(row: Row, name: str = "") -> Dot:
    low, high = (row.get("phase5_s"), row.get("phase95_s")) if name else (None, None)
    return Dot(
        x=row["packets_per_s"],
        y=row["off_s"],
        name=name or settings(row),
        key=str(row["id"]),
        low=low,
        high=high,
    )


def _stays(facts: JsonView) -> Iterable[Level]:
    """What lies above such a line hides the state."""
    for state, seconds in (facts.get("stays") or {}).items():
        if _SHORTEST < seconds < _LONGEST:
            yield Level(label=f"{state.upper()} lasts {seconds:.2g} s", y=seconds)


def _compared(found: Result) -> Iterable[Chart]:
    """The advised curve above the journal's."""
    advice, panels = found.parts.get("advice") or {}, _panels(found)
    named = (("row", "sends least"), ("journal", "the journal's"))
    shown = tuple(
        attrs.evolve(panels[str(advice[key])], title=name)
        for key, name in named
        if str(advice.get(key)) in panels
    )
    if shown:
        yield Chart(
            name="intervals-curves", title="As the store has it, beside the truth", panels=shown, columns=2
        )


def _panels(found: Result) -> dict[str, Panel]:
    """The curve of each combination as its store would have it, beside the truth."""
    curves = found.parts.get("curves") or {}
    true = curves.get("truth") or {}
    told = {str(row["id"]): settings(row) for row in found.runs}
    panels = {}
    end = max((points[-1][0] for points in true.values() if points), default=0.0)
    for key, stored in (curves.get("stored") or {}).items():
        drawn = [
            one
            for state, colour in _STATES
            for one in (
                Curve(label=f"{state} as stored", points=_plotted(stored[state], end), colour=colour),
                attrs.evolve(truth_curve(true[state]), label=f"{state}, truth"),
            )
        ]
        panels[key] = Panel(title="", x=TIME, y="jobs", curves=tuple(drawn), note=told.get(key, ""))
    return panels


def _plotted(points: Sequence[Sequence[float]], end: float) -> list[tuple[float, float]]:
    """From 0 to the truth's end at least: a slot that is labelled before the start holds there what it holds later."""
    before = [value for t, value in points if t <= 0]
    kept = [(t, value) for t, value in points if t > 0]
    kept = [(0.0, before[-1]), *kept] if before else kept
    return [*kept, (end, kept[-1][1])] if kept and kept[-1][0] < end else kept


def settings(row: Row) -> str:
    """A combination in words: ``prepare, client 1s, flush 10s, retention 1m``."""
    told = [str(row.get("emission", ""))]
    if row.get("period"):
        told.append(f"client {format_duration(row['period'])}")
    told += [f"{stage} {format_duration(row[stage])}" for stage in ("flush", "retention") if stage in row]
    return ", ".join(filter(None, told))


def _errors(found: Result) -> Chart:
    """Of each emission and flush the least error of any client, a panel a retention."""
    least: dict[float, dict[tuple[str, float], float]] = {}
    for row in found.runs:
        cells = least.setdefault(row["retention"], {})
        key = (row["emission"], row["flush"])
        cells[key] = min(row["off_s"], cells.get(key, float("inf")))
    emissions = sorted({name for cells in least.values() for name, _ in cells}, key=_by_period)
    flushes = sorted({flush for cells in least.values() for _, flush in cells}, reverse=True)
    most = max(error for cells in least.values() for error in cells.values())
    panels = tuple(
        Cells(
            title=f"retention {format_duration(retention)}", x="flush", y="emission",
            columns=tuple(map(format_duration, flushes)), rows=tuple(emissions), most=most or 1.0,
            values=tuple(tuple(least[retention].get((name, flush)) for flush in flushes) for name in emissions),
        )
        for retention in sorted(least, reverse=True)
    )  # fmt: skip
    title = "Seconds off by emission, flush and retention, with the best client"
    height = 0.42 * len(emissions) + 1.0
    return Chart(name="intervals-errors", title=title, panels=panels, columns=len(panels), height=height)


def _by_period(emission: str) -> tuple[int, float, str]:
    """Hooks first, then timers from the slowest to the fastest."""
    kind, _, period = emission.partition(":")
    return (0, 0.0, kind) if not period else (1, -parse_duration(period), kind)
