"""Knows which rows to recommend, and how to say it in a few sentences. Not how the rows came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from brokersim.lab.sweep.front import Row, is_same
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.duration import format_duration, parse_duration

#: Rows whose error is at most so much larger than the least tie: then the price decides.
NEAR = 0.05
#: Prices that differ by less are one price: what is sent depends on the jobs' seed by as much.
ALIKE = 0.1
#: Styles by what a lost packet does to them, for rows that are equal in all else: snapshots and totals heal.
STURDIEST = ("absolute", "totals", "increments-nonzero", "increments")
#: A loss of throughput below it is nothing anybody could measure.
MEASURABLE = 0.001


@attrs.frozen(kw_only=True)
class Rule:
    """One thing a recommended row must not do."""

    name: str
    holds: Callable[[Row, float], bool]


RULES = (
    Rule(name="increments that drift", holds=lambda row, _: row["style"] != "increments"),
    Rule(
        name="increments that lost packets shift",
        holds=lambda row, _: not (row["loss"] and row["style"].startswith("increments")),
    ),
    Rule(name="overhead above the budget", holds=lambda row, budget: row["overhead"] <= budget),
)


def advise(rows: Sequence[Row], max_loss: float, journal: JsonView, facts: JsonView) -> JsonObject:
    """``{"row", "cheap_store", "ties", "journal", "hidden", "excluded", "sentence"}``; ids of rows.

    Of the admissible rows those within 5 % of the least error tie. ``row`` sends least of them, ``cheap_store`` has the
    store write least. Errors are the law's, so nothing of it depends on a seed. Without an admissible row ``row`` is
    None and the sentence says what excluded them.
    """
    excluded = {rule.name: sum(not rule.holds(row, max_loss) for row in rows) for rule in RULES}
    allowed = [row for row in rows if all(rule.holds(row, max_loss) for rule in RULES)]
    marked = next((row for row in rows if is_same(row, journal)), None)
    found: JsonObject = {
        "row": None, "cheap_store": None, "ties": [], "hidden": [], "journal": marked and marked["id"],
        "excluded": excluded,
    }  # fmt: skip
    if not allowed:
        reasons = ", ".join(f"{count} for {name}" for name, count in excluded.items() if count)
        return found | {"sentence": f"No combination qualifies: of {len(rows)}, {reasons or 'none'}."}
    least = min(row["off_s"] for row in allowed)
    ties = [row for row in allowed if row["off_s"] <= least * (1 + NEAR)]
    best, other = (
        cheapest(ties, "packets_per_s", "writes_per_s"),
        cheapest(ties, "writes_per_s", "packets_per_s"),
    )
    hidden = [state for state, stay in facts["stays"].items() if stay < best["off_s"]]
    return found | {
        "row": best["id"],
        "cheap_store": other["id"],
        "ties": [row["id"] for row in ties],
        "hidden": hidden,
        "sentence": " ".join(_sentences(best, other, marked, len(ties), hidden, facts)),
    }


def cheapest(rows: Sequence[Row], first: str, then: str) -> Row:
    """The least of one price, of those alike the least of the other; then who wakes up least, the sturdiest style."""
    least = min(row[first] for row in rows)
    alike = [row for row in rows if row[first] <= least * (1 + ALIKE)]
    return min(
        alike,
        key=lambda row: (
            _rank(row["emission"]),
            row[then],
            STURDIEST.index(row["style"]),
            row["off_s"],
            row["id"],
        ),
    )


def _rank(emission: str) -> tuple[int, float]:
    """Slow timers before fast ones, and timers before hooks, which run in every turn of the loop."""
    kind, _, period = emission.partition(":")
    return (0, -parse_duration(period)) if period else (("prepare", "check", "idle").index(kind) + 1, 0.0)


def _sentences(
    best: Row, other: Row, journal: Row | None, ties: int, hidden: Sequence[str], facts: JsonView
) -> list[str]:
    keep = format_duration(best["retention"])
    told = [
        f"Keep a point every {keep}, and timer + client + flush within about as much: curves are then "
        f"{best['off_s']:.2g} s off (5 to 95 %: {best['p5_s']:+.1f} to {best['p95_s']:+.1f} s; the worst phase "
        f"{best['worst_s']:.2g} s), whatever the workload{_jobs(best, facts)}.",
        f"Sends least: {settings(best)}: {best['packets_per_s']:.1f} packets/s, overhead {overhead(best)}.",
    ]
    if other is not best:
        told.append(
            f"Stores least: {settings(other)}: {other['writes_per_s']:.2g} writes/s a series, "
            f"{other['packets_per_s']:.1f} packets/s."
        )
    told.append(f"{ties - 1} others tie within {NEAR:.0%}." if ties > 1 else "No other ties.")
    if journal is not None and journal is not best:
        told.append(
            f"The journal's {settings(journal)} is {journal['off_s']:.3g} s off "
            f"(x{journal['off_s'] / best['off_s']:.0f})."
        )
    if hidden:
        states = " and ".join(filter(None, (", ".join(map(str.upper, hidden[:-1])), hidden[-1].upper())))
        told.append(f"{states} last{'s' if len(hidden) == 1 else ''} less than that: count entries instead.")
    return told


def _jobs(best: Row, facts: JsonView) -> str:
    return f"; here {best['jobs_off']:.2g} jobs at {facts['rate']:.3g} jobs/s" if facts["rate"] else ""


def overhead(row: Row) -> str:
    """A share of throughput, or that it cannot be told from nothing."""
    is_nothing = row["overhead_low"] <= 0 if row["overhead_kind"] == "real" else row["overhead"] < MEASURABLE
    if is_nothing:
        return "not measurable"
    interval = (
        f" [{row['overhead_low']:.1%} to {row['overhead_high']:.1%}]"
        if row["overhead_kind"] == "real"
        else ""
    )
    return f"{row['overhead']:.1%}{interval} ({row['overhead_kind']})"


def settings(row: Mapping[str, Any]) -> str:
    """A combination in words: ``timer 100ms, client 1s, totals, flush 100ms, retention 1s``."""
    words = [row["emission"].replace(":", " ")]
    if row["period"]:
        words.append(f"client {format_duration(row['period'])}")
    words += [
        row["style"],
        f"flush {format_duration(row['flush'])}",
        f"retention {format_duration(row['retention'])}",
    ]
    if row["dialect"] != "strict":
        words.append(row["dialect"])
    if row["loss"]:
        words.append(f"{row['loss']:.3g} of packets lost")
    if row["retention"] < 1:
        words.append("in the run database, since whisper keeps whole seconds")
    return ", ".join(words)
