"""Knows the charts of the open question: what an error costs, and the errors of all combinations; not the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from brokersim.lab.result import Result, Row
from brokersim.lab.show.chart import COLOURS, Cells, Chart, Dot, Dots, DotSet
from brokersim.protocol.duration import format_duration, parse_duration

#: What the error is weighed against: the price, its axis, its unit in ours, whether the scale is logarithmic.
PRICES = (("overhead", "wall time added (%)", 100.0, False), ("packets_per_s", "packets/s (log)", 1.0, True))


def charts(found: Result) -> Iterable[Chart]:
    """The front first: it is the answer."""
    if found.runs and found.parts.get("front"):
        yield _fronts(found)
        yield _errors(found)


def _fronts(found: Result) -> Chart:
    panels = tuple(_front(found, *price) for price in PRICES)
    title = "What an error costs: every combination of intervals"
    return Chart(name="intervals-fronts", title=title, panels=panels, columns=2, height=3.6)


def _front(found: Result, price: str, label: str, scale: float, is_log: bool) -> Dots:
    rows = {row["id"]: row for row in found.runs}
    front = list(found.parts["front"].get(price) or ())

    def dots(ids: Iterable[int]) -> tuple[Dot, ...]:
        return tuple(
            Dot(x=scale * rows[at][price], y=100 * rows[at]["error"], name=settings(rows[at])) for at in ids
        )

    sets = [
        DotSet(label="dominated", dots=dots(at for at in rows if at not in front), colour="#b0b0b0"),
        DotSet(label="front", dots=dots(front), colour=COLOURS[0], line=True),
    ]
    advice: Mapping[str, Any] = found.parts.get("advice") or {}
    for key, name, shape, colour in (
        ("row", "advised", "star", COLOURS[1]),
        ("journal", "the journal's", "diamond", "#000000"),
    ):
        if advice.get(key) in rows:
            sets.append(
                DotSet(label=name, dots=dots([advice[key]]), colour=colour, shape=shape, is_named=True)
            )
    return Dots(title="", x=label, y="mean error (%)", sets=tuple(sets), log_x=is_log)


def settings(row: Row) -> str:
    """A combination in words: ``prepare, client 1s, flush 10s, retention 1m``."""
    told = [str(row.get("emission", ""))]
    if row.get("period"):
        told.append(f"client {format_duration(row['period'])}")
    told += [f"{stage} {format_duration(row[stage])}" for stage in ("flush", "retention") if stage in row]
    return ", ".join(filter(None, told))


def _errors(found: Result) -> Chart:
    """Of each emission × flush the least mean error of any client, a panel a retention."""
    least: dict[float, dict[tuple[str, float], float]] = {}
    for row in found.runs:
        cells = least.setdefault(row["retention"], {})
        key = (row["emission"], row["flush"])
        cells[key] = min(100 * row["error"], cells.get(key, float("inf")))
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
    title = "Mean error (%) by emission, flush and retention"
    height = 0.42 * len(emissions) + 1.0
    return Chart(name="intervals-errors", title=title, panels=panels, columns=len(panels), height=height)


def _by_period(emission: str) -> tuple[int, float, str]:
    """Hooks first, then timers from the slowest to the fastest."""
    kind, _, period = emission.partition(":")
    return (0, 0.0, kind) if not period else (1, -parse_duration(period), kind)
