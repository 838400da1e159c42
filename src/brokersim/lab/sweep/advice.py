"""Knows which row to recommend, how sure that is, and how to say it. Not how the rows came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from brokersim.lab.measure.price import Price, bootstrap
from brokersim.lab.sweep.front import KEYS, PRICES, Row, behind, front, is_same
from brokersim.protocol.duration import format_duration

#: Rows whose error is at most so much larger than the least count as equal: then the fewest packets win.
NEAR = 0.05
#: Styles by what a lost packet does to them, for rows that are equal in all else: snapshots and totals heal.
STURDIEST = ("absolute", "totals", "increments-nonzero", "increments")
#: A confirmed choice is on each front or at most so much behind it.
CONFIRMED_WITHIN = 0.10


#: An emission, and whether a client with a period stands behind it.
Prices = Mapping[tuple[str, bool], Price]


def priced(rows: Sequence[Row], prices: Prices, seed: int) -> list[Row]:
    """The rows with their price, an ``id``, the interval of their error, and whether they are on each front."""
    found = []
    for at, row in enumerate(rows):
        price = prices[row["emission"], row["period"] > 0]
        low, high = bootstrap(row["errors"], f"{seed}/error")
        found.append(
            {
                "id": at,
                **row,
                "error_low": low,
                "error_high": high,
                "overhead": price.loss,
                "overhead_low": price.low,
                "overhead_high": price.high,
                "overhead_kind": price.kind,
                "cpu": price.cpu,
            }
        )
    fronts = {price: set(front(found, price)) for price in PRICES}
    for row in found:
        row["on_front"] = [price for price in PRICES if row["id"] in fronts[price]]
    return found


@attrs.frozen(kw_only=True)
class Rule:
    """One thing a recommended row must not do."""

    name: str
    holds: Callable[[Row, float], bool]


RULES = (
    Rule(name="values below 0", holds=lambda row, _: row["negatives"] == 0),
    Rule(name="states that do not sum up to the jobs", holds=lambda row, _: row["sum_error"] == 0),
    Rule(
        name="a missed visit longer than the retention",
        holds=lambda row, _: row["missed_longest_s"] <= row["retention"],
    ),
    Rule(name="overhead above the budget", holds=lambda row, budget: row["overhead"] <= budget),
)


def advise(rows: Sequence[Row], max_loss: float, journal: Mapping[str, Any], about: str) -> dict[str, Any]:
    """The recommendation among priced rows: ``{"row", "sentence", "confidence", "runners_up", "journal", "excluded"}``.

    Of the admissible rows on a front the least error; within 5 % of it, the fewest packets. ``about`` is what the
    figures are of. Without an admissible row ``row`` is None and the sentence says what excluded them.
    """
    excluded = {rule.name: sum(not rule.holds(row, max_loss) for row in rows) for rule in RULES}
    allowed = [row for row in rows if all(rule.holds(row, max_loss) for rule in RULES)]
    marked = next((row for row in rows if is_same(row, journal)), None)
    found: dict[str, Any] = {
        "row": None, "confidence": "none", "runners_up": [], "journal": marked and marked["id"], "excluded": excluded
    }  # fmt: skip
    if not allowed:
        reasons = ", ".join(f"{count} for {name}" for name, count in excluded.items() if count)
        return found | {
            "sentence": f"no combination of {about} qualifies: of {len(rows)}, {reasons or 'none'}"
        }
    best = _choose(allowed)
    others = sorted((row for row in allowed if row is not best), key=lambda row: (row["error"], row["id"]))[
        :3
    ]
    confidence = _confidence(best, others)
    return found | {
        "row": best["id"],
        "confidence": confidence,
        "runners_up": [{"id": row["id"], "difference": _difference(best, row)} for row in others],
        "sentence": _sentence(best, others, marked, confidence, about),
    }


def _choose(allowed: Sequence[Row]) -> Row:
    on_front = {at for price in PRICES for at in front(allowed, price)}
    rows = [allowed[at] for at in sorted(on_front)]
    least = min(row["error"] for row in rows)
    near = [row for row in rows if row["error"] <= least * (1 + NEAR)]
    return min(
        near, key=lambda row: (row["packets_per_s"], row["error"], STURDIEST.index(row["style"]), row["id"])
    )


def _overlap(one: Row, other: Row) -> bool:
    return bool(one["error_low"] <= other["error_high"] and other["error_low"] <= one["error_high"])


def _difference(best: Row, other: Row) -> str:
    if _overlap(best, other):
        return "no difference shown"
    return "worse" if other["error"] > best["error"] else "better, at more packets"


def _confidence(best: Row, others: Sequence[Row]) -> str:
    if len(best["errors"]) < 2:
        return "none: one draw of the phases has no interval"
    alike = sum(_overlap(best, row) for row in others)
    if alike:
        return f"no difference shown to {alike} of the next {len(others)}"
    return "intervals apart from all others" if others else "the only one that qualifies"


def _sentence(best: Row, others: Sequence[Row], journal: Row | None, confidence: str, about: str) -> str:
    parts = [
        f"for {about} use {settings(best)}: error {_percent(best['error'])} "
        f"[{_percent(best['error_low'])} … {_percent(best['error_high'])}], overhead {_percent(best['overhead'])}"
    ]
    if best["overhead_kind"] == "real":
        parts[0] += f" [{_percent(best['overhead_low'])} … {_percent(best['overhead_high'])}]"
    parts[0] += f" ({best['overhead_kind']}), {best['packets_per_s']:.1f} packets/s"
    parts.append(f"confidence: {confidence}")
    if others:
        parts.append(f"next: {settings(others[0])}, error {_percent(others[0]['error'])}")
    if journal is not None and journal is not best:
        parts.append(f"the journal's settings: error {_percent(journal['error'])}")
    return "; ".join(parts)


def settings(row: Mapping[str, Any]) -> str:
    """A combination in words."""
    words = [
        row["emission"].replace(":", " "),
        f"client period {format_duration(row['period'])}",
        row["style"],
        f"flush {format_duration(row['flush'])}",
        f"retention {format_duration(row['retention'])}",
    ]
    if row["dialect"] != "strict":
        words.append(row["dialect"])
    if row["loss"]:
        words.append(f"{_percent(row['loss'])} packets lost")
    if row["retention"] < 1:
        words.append("in the run database, since whisper keeps whole seconds")
    return ", ".join(words)


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.1f} %"


def confirm(chosen: Row, rows_by_workload: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """How far behind each front the chosen settings are on workloads they were not chosen on; ``ok``: near both."""
    wanted = {key: chosen[key] for key in KEYS}
    found = []
    for workload, rows in rows_by_workload.items():
        row = next(row for row in rows if is_same(row, wanted))
        shares = {price: behind(row, rows, price) for price in PRICES}
        ok = all(share <= CONFIRMED_WITHIN for share in shares.values())
        found.append({"workload": workload, "error": row["error"], "behind": shares, "ok": ok})
    return found
