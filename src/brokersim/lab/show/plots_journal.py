"""Knows the pictures of the chain of intervals and of the flood that are no curves; not what they mean.

They are drawn with the parts of `plots`, which has the pictures of the other experiments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brokersim.lab.show.plots import COLOURS, Found, Picture, _figure, _label, _legend
from brokersim.protocol.duration import format_duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _heat(found: Found) -> Figure:
    """Mean error, timer by flush, a panel a retention; the number in each cell, since colours are read badly."""
    rows = found["runs"]
    retentions = list(dict.fromkeys(row["retention_s"] for row in rows))
    timers, flushes = (sorted({row[key] for row in rows}) for key in ("timer_s", "flush_s"))
    figure, axes = _figure(found, "Mean error of the states", 1, len(retentions), 2.6)
    top = max(row["error"] for row in rows) or 1.0
    for one, retention in zip(axes, retentions, strict=True):
        cells = [[_error(rows, timer, flush, retention) for flush in flushes] for timer in timers]
        one.imshow(cells, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        for y, line in enumerate(cells):
            for x, error in enumerate(line):
                one.text(
                    x,
                    y,
                    f"{error:.1%}",
                    ha="center",
                    va="center",
                    color="white" if error > 0.6 * top else "black",
                )
        one.set_xticks(range(len(flushes)), [format_duration(each) for each in flushes])
        one.set_yticks(range(len(timers)), [format_duration(each) for each in timers])
        one.grid(visible=False)
        _label(one, f"retention {format_duration(retention)}", "flush (s)", "timer (s)")
    return figure


def _error(rows: Sequence[Mapping[str, Any]], timer: float, flush: float, retention: float) -> float:
    errors: dict[tuple[float, float, float], float] = {
        (row["timer_s"], row["flush_s"], row["retention_s"]): row["error"] for row in rows
    }
    return errors[timer, flush, retention]


def _flood(found: Found) -> Figure:
    """Offered, received and dropped, a panel a sender."""
    senders = list(dict.fromkeys(row["sender"] for row in found["runs"]))
    figure, axes = _figure(found, "A flood of foo.bar:1|c on loopback", 1, len(senders), 2.9)
    figures = (("offered", COLOURS[6]), ("received", COLOURS[0]), ("dropped", COLOURS[1]))
    for one, sender in zip(axes, senders, strict=True):
        rows = [row for row in found["runs"] if row["sender"] == sender]
        for at, (key, colour) in enumerate(figures):
            places = [x + 0.27 * (at - 1) for x in range(len(rows))]
            one.bar(places, [row[key] or 0 for row in rows], 0.25, color=colour, label=key)
        one.set_xticks(range(len(rows)), [row["dialect"] for row in rows])
        _label(
            one,
            f"{sender} sender, buffer {rows[0]['buffer_bytes'] // 1024:,} KiB",
            "dialect",
            "packets (lines)",
        )
    _legend(figure, axes[0], 3)
    return figure


PICTURES: dict[str, tuple[tuple[str, Picture], ...]] = {
    "resolution": (("resolution-error", _heat),),
    "aggregator": (("aggregator-flood", _flood),),
}
