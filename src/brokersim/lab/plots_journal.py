"""Knows the pictures of the chain of intervals, the flood and the missing series; not what they mean.

They are drawn with the parts of `plots`, which has the pictures of the other experiments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brokersim.lab.plots import (
    COLOURS,
    HOOKS,
    TRUTH,
    Found,
    Picture,
    _curve,
    _figure,
    _label,
    _legend,
    _line,
    _nothing,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The journal's panels of states.
IS, CR = ("INACTIVE", "SCHED"), ("RUN", "CLEANUP")


# -- resolution


def _small_multiples(found: Found, states: tuple[str, str], title: str) -> Figure:
    """A row a flush and retention, a column a state; the timers laid over each other, the truth dashed."""
    rows = list(dict.fromkeys((row["flush_s"], row["retention_s"]) for row in found["runs"]))
    timers = list(dict.fromkeys(row["timer_s"] for row in found["runs"]))
    figure, axes = _figure(found, title, len(rows), 2, 1.6)
    for at, (flush, retention) in enumerate(rows):
        for one, state in zip(axes[2 * at :], states, strict=False):
            _curve(one, found["truth"][state], until=found["horizon"], **TRUTH)
            for colour, timer in zip(COLOURS, timers, strict=False):
                points = found["series"][_name(timer, flush, retention)][state]
                _curve(
                    one,
                    points,
                    until=found["horizon"],
                    color=colour,
                    label=f"timer {_short(timer)}",
                    alpha=0.85,
                )
            last = at == len(rows) - 1
            _label(
                one,
                f"{state}, flush {_short(flush)}, retention {_short(retention)}",
                "time (s)" if last else "",
                "jobs",
            )
            one.set_ylim(bottom=0)
    _legend(figure, axes[0], len(timers) + 1)
    return figure


def _name(timer: float, flush: float, retention: float) -> str:
    return f"timer {_short(timer)}, flush {_short(flush)}, retention {_short(retention)}"


def _short(seconds: float) -> str:
    from brokersim.protocol.duration import format_duration

    return format_duration(seconds)


def _inactive_sched(found: Found) -> Figure:
    return _small_multiples(found, IS, "INACTIVE and SCHED behind each chain of intervals")


def _run_cleanup(found: Found) -> Figure:
    return _small_multiples(found, CR, "RUN and CLEANUP behind each chain of intervals")


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
        one.set_xticks(range(len(flushes)), [_short(each) for each in flushes])
        one.set_yticks(range(len(timers)), [_short(each) for each in timers])
        one.grid(visible=False)
        _label(one, f"retention {_short(retention)}", "flush (s)", "timer (s)")
    return figure


def _error(rows: Sequence[Mapping[str, Any]], timer: float, flush: float, retention: float) -> float:
    errors: dict[tuple[float, float, float], float] = {
        (row["timer_s"], row["flush_s"], row["retention_s"]): row["error"] for row in rows
    }
    return errors[timer, flush, retention]


def _slots(found: Found) -> Figure:
    plan = found["meta"]["plan"]
    figure, axes = _figure(found, f"Slots in use, {plan['size']} brokers", 1, 1, 3.0)
    labels = {"allocated": "held (alloc to free)", "running": "jobs that run (start to finish)"}
    for colour, (name, points) in zip(COLOURS, found["slots"].items(), strict=False):
        _curve(axes[0], points, color=colour, label=labels[name])
    axes[0].axhline(
        plan["size"] * plan["cores"], color="black", linestyle=":", linewidth=1, label="slots there are"
    )
    _label(axes[0], "", "time (s)", "slots (cores)")
    axes[0].set_ylim(bottom=0)
    _legend(figure, axes[0], 3)
    return figure


def _retention_steps(found: Found) -> Figure:
    """The coarsest and the finest retention of the same packets, each point held until the next."""
    rows = found["runs"]
    timer, flush = (min(row[key] for row in rows) for key in ("timer_s", "flush_s"))
    retentions = sorted({row["retention_s"] for row in rows}, reverse=True)
    shown = dict.fromkeys((retentions[0], retentions[-1]))
    figure, axes = _figure(
        found, f"What a retention of {' and of '.join(map(_short, shown))} draws", 1, 2, 2.8
    )
    for one, state in zip(axes, ("SCHED", "INACTIVE"), strict=True):
        _curve(one, found["truth"][state], until=found["horizon"], **TRUTH)
        for colour, retention in zip((COLOURS[1], COLOURS[0]), shown, strict=False):
            points = found["series"][_name(timer, flush, retention)][state]
            _curve(one, points, until=found["horizon"], color=colour, label=f"{_short(retention)} slots")
        _label(one, state, "time (s)", "jobs")
        one.set_ylim(bottom=0)
    for one in found["refused"]:
        axes[0].text(
            0.98, 0.95, one["reason"].partition("(")[0], transform=axes[0].transAxes, ha="right", fontsize=8
        )
    _legend(figure, axes[0], 3)
    return figure


def _cache(found: Found) -> Figure:
    """Mean and median of loads and stores as each flush shows them."""
    cache = found["cache"]
    figure, axes = _figure(found, "Content cache: mean and median behind each flush", len(cache), 2, 1.9)
    for row, (flush, kinds) in enumerate(cache.items()):
        for one, name in zip(axes[2 * row :], ("mean", "median"), strict=False):
            for colour, (kind, curves) in zip(COLOURS, kinds.items(), strict=False):
                _line(one, curves[name], color=colour, marker=".", label=kind)
            if not any(curves[name] for curves in kinds.values()):
                _nothing(one, "no samples")
            _label(one, f"{name}, {flush}", "time (s)" if row == len(cache) - 1 else "", "duration (ms)")
            one.set_ylim(bottom=0)
    _legend(figure, axes[0], 2)
    return figure


# -- watchers


def _metrics(found: Found) -> Figure:
    """Metrics a second by hook, on a logarithmic scale: idle is an order below the others."""
    figure, axes = _figure(found, "Metrics per second by hook", 1, 1, 3.2)
    for hook, points in found["series"].items():
        _curve(axes[0], [(t, v) for t, v in points if v > 0], color=HOOKS.get(hook, COLOURS[6]), label=hook)
    axes[0].set_yscale("log")
    _label(axes[0], "serial jobs until all are done", "time (s)", "metrics/s (log)")
    _legend(figure, axes[0], 4)
    return figure


def _kvs(found: Found) -> Figure:
    """kvs's counters as its packets say, a panel a hook."""
    hooks = {hook: curves for hook, curves in found["kvs"].items() if curves}
    figure, axes = _figure(found, "kvs: counters over time", -(-len(hooks) // 2) or 1, 2, 2.1)
    for one, (hook, curves) in zip(axes, hooks.items(), strict=False):
        for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
            _curve(one, points, color=colour, label=name)
        _label(one, hook, "time (s)", "messages")
    _legend(figure, axes[0], 3)
    for one in axes[len(hooks) :]:
        one.set_axis_off()
    return figure


# -- aggregator


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


def _rates(found: Found) -> Figure:
    """The journal's line: the counter, flush by flush."""
    figure, axes = _figure(found, "foo.bar, flush by flush", 1, 1, 2.8)
    for colour, (name, points) in zip(COLOURS, found["rates"].items(), strict=False):
        _line(axes[0], points, color=colour, marker=".", label=name)
    _label(axes[0], "", "time (s)", "received (lines/s)")
    axes[0].set_ylim(bottom=0)
    _legend(figure, axes[0], 4)
    return figure


def _creates(found: Found) -> Figure:
    """Series that exist, a panel with the limit and one without."""
    limits = found["creates"]
    figure, axes = _figure(found, "Series of each module that reached the store", 1, len(limits), 2.9)
    for one, (limit, modules) in zip(axes, limits.items(), strict=True):
        for colour, (module, points) in zip((*COLOURS, *COLOURS), modules.items(), strict=False):
            _line(one, points, color=colour, marker=".", label=module, alpha=0.8)
        _label(one, f"new series: {limit}", "time (s)", "series of 8 (count)")
        one.set_ylim(-0.3, 8.6)
    axes[0].legend(loc="lower right", ncols=2, fontsize=7)
    return figure


def _signed(found: Found) -> Figure:
    """As the journal sent it, and cured: on one scale, which shows what is at stake."""
    figure, axes = _figure(found, "A count of -10,000 sent each second", 1, 1, 2.9)
    for style, (form, dialects) in zip(("-", "--"), found["signed"].items(), strict=True):
        for at, (dialect, points) in enumerate(dialects.items()):
            _line(axes[0], points, color=COLOURS[at], linestyle=style, linewidth=3 - at, alpha=0.8,
                  label=f"{dialect}, {form}")  # fmt: skip
    _label(axes[0], "", "time (s)", "flux.job-states.new (jobs)")
    _legend(figure, axes[0], 3)
    return figure


PICTURES: dict[str, tuple[tuple[str, Picture], ...]] = {
    "watchers": (("watchers-metrics", _metrics), ("watchers-kvs", _kvs)),
    "resolution": (
        ("resolution-inactive-sched", _inactive_sched),
        ("resolution-run-cleanup", _run_cleanup),
        ("resolution-error", _heat),
        ("resolution-slots", _slots),
        ("resolution-retention", _retention_steps),
        ("resolution-cache", _cache),
    ),
    "aggregator": (
        ("aggregator-flood", _flood),
        ("aggregator-rates", _rates),
        ("aggregator-creates", _creates),
        ("aggregator-signed", _signed),
    ),
}
