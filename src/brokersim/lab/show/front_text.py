"""Knows how the answer to the open question looks in a terminal: bars of seconds off, and the rows that matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log10

from brokersim.lab.result import Result, Row
from brokersim.protocol.duration import format_duration

#: A bar of the picture, and the seconds at its ends.
_WIDTH, _FROM, _TO = 40, 0.1, 100.0


def picture(found: Result) -> Iterable[str]:
    """Seconds off by flush and retention, from the best emission and client to the worst, on a logarithmic scale."""
    yield from bars(found.runs)
    yield ""


def bars(rows: Sequence[Row]) -> list[str]:
    """A line a retention and flush, below a scale."""
    groups: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        groups.setdefault((row["retention"], row["flush"]), []).append(row["off_s"])
    lines = [f"{'keep':>6} {'flush':>6}  {_scale()}"]
    for (retention, flush), offs in sorted(groups.items()):
        first, last = _column(min(offs)), _column(max(offs))
        bar = (" " * first + "■" * (last - first + 1)).ljust(_WIDTH)
        stages = f"{format_duration(retention):>6} {format_duration(flush):>6}"
        lines.append(f"{stages}  {bar} {min(offs):.2g} to {max(offs):.2g} s")
    return lines


def _column(seconds: float) -> int:
    share = log10(max(seconds, _FROM) / _FROM) / log10(_TO / _FROM)
    return min(_WIDTH - 1, round(share * (_WIDTH - 1)))


def _scale() -> str:
    line = [" "] * (_WIDTH + 4)
    for seconds in (0.1, 1, 10, 100):
        text, at = f"{seconds:g}", _column(seconds)
        line[at : at + len(text)] = text
    return "".join(line).rstrip() + " s"


def chosen(found: Result) -> list[Row]:
    """The least wrong combination, the two that are advised and the journal's, as words; the best first."""
    rows, advice = found.runs, found.parts["advice"]
    marks = {advice["journal"]: "journal", advice["cheap_store"]: "stores", advice["row"]: "sends"}
    least = min(rows, key=lambda row: row["off_s"])
    shown = [row for row in rows if row["id"] in (*marks, least["id"])]
    return [
        {
            "mark": marks.get(row["id"], ""),
            "emission": row["emission"],
            **{stage: format_duration(row[stage]) for stage in ("period", "flush", "retention")},
            "off": f"{row['off_s']:.3g}",
            "known": f"{row['lag_s']:+.3g}",
            "left": f"{row['residual_s']:.3g}",
            "worst": f"{row['worst_s']:.3g}",
            "packets": f"{row['packets_per_s']:.1f}",
        }
        for row in sorted(shown, key=lambda row: row["off_s"])
    ]
