"""Knows rows that nothing beats in both error and price, and how one combination's rows on many runs become one.

Doesn't know which of the best to recommend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from brokersim.protocol.decoded import JsonObject, JsonView

#: What makes rows of different workloads and seeds one combination.
KEYS = ("emission", "period", "style", "flush", "retention", "dialect", "loss")
#: The two prices a front is drawn against.
PRICES = ("packets_per_s", "writes_per_s")
Row = JsonObject

_MEANS = (
    "error_drawn",
    "max_error",
    "bias",
    "gap",
    "visits_missed",
    "packets",
    "packets_per_s",
    "bytes_per_s",
)
_WORST: dict[str, Callable[[Iterable[float]], float]] = {
    "negatives": sum,
    "lowest": min,
    "sum_error": max,
    "missed_longest_s": max,
    "final_error": max,
    "error_worst": max,
}
_PERHAPS = ("states_error", "counters_error", "lag_s", "lag_error", "law_error", "law_lag_s")


def combine(rows: Sequence[Row]) -> list[Row]:
    """One row a combination, in the order they first come: errors averaged over workloads and seeds, faults the worst.

    ``errors`` has one mean error a draw of the phases.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return [_combined(group) for group in groups.values()]


def _combined(group: list[Row]) -> Row:
    row: Row = {key: group[0][key] for key in KEYS}
    row |= {
        "runs": [
            {"workload": each["workload"], "seed": each["seed"], "error": each["error"]} for each in group
        ]
    }
    row |= {"error": fmean(each["error"] for each in group)}
    row |= {"errors": [fmean(draw) for draw in zip(*(each["errors"] for each in group), strict=True)]}
    row |= {name: fmean(each[name] for each in group) for name in _MEANS}
    row |= {name: worst(each[name] for each in group) for name, worst in _WORST.items()}
    row |= {name: _mean([each[name] for each in group]) for name in _PERHAPS}
    row |= {"missed": list(dict.fromkeys(name for each in group for name in each["missed"]))}
    row |= {
        "series": {name: _mean([each["series"].get(name) for each in group]) for name in group[0]["series"]},
        "timers": _timers(group),
    }
    return row


def _timers(group: list[Row]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(key for each in group for key in each["timers"])
    found = {}
    for name in names:
        shares = [each["timers"][name] for each in group if name in each["timers"]]
        found[name] = {figure: fmean(one[figure] for one in shares) for figure in shares[0]}
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def front(rows: Sequence[Row], price: str, error: str = "off_s") -> list[int]:
    """Indexes of the rows that no other beats or equals in both figures and beats in one; cheapest first."""
    order = sorted(range(len(rows)), key=lambda at: (rows[at][price], rows[at][error]))
    found: list[int] = []
    for at in order:
        row = rows[at]
        if not found or row[error] < rows[found[-1]][error] or _is_twin(row, rows[found[-1]], price, error):
            found.append(at)
    return found


def _is_twin(row: Row, other: Row, price: str, error: str) -> bool:
    return bool(row[price] == other[price] and row[error] == other[error])


def is_same(row: JsonView, wanted: JsonView) -> bool:
    """The row has all the settings wanted."""
    return all(row[key] == value for key, value in wanted.items())
