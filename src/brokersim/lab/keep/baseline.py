"""Knows how a result is held against an earlier one of the same experiment: agreement, order and ratios of its rows.

Doesn't know how results are made or kept. Seconds of two runs in real time are never compared, only their ratios
within each run; under the virtual clock the same plan gives exact figures, so there they are compared themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import attrs

from brokersim.lab.result import Result, Row

#: What makes rows of two results the same one.
KEYS = (
    "hook", "masks", "rest", "form", "fix", "timing", "operation", "module", "model", "block", "dialect", "sender",
    "period_s", "timer_s", "flush_s", "retention_s", "emission", "period", "style", "flush", "retention", "loss",
)  # fmt: skip
#: Figures of rows: True if more of it is worse.
FIGURES = {
    "wall_s": True, "jobs_per_s": False, "cpu_s": True, "messages": True, "packets": True,
    "packets_per_message": True, "error": True, "off_s": True, "packets_per_s": True,
}  # fmt: skip
#: By how much a figure or ratio may grow: exact in virtual time but for a changed float; real runs scatter.
TOLERANCE = {"virtual": 0.01, "real": 0.25}


@attrs.frozen(kw_only=True)
class Difference:
    """One thing that changed: where, what, from which figure to which; ``is_worse`` if it is not for the better."""

    where: str
    what: str
    before: str
    now: str
    is_worse: bool


class BaselineError(ValueError):
    """Two results that cannot be compared: why."""


def compare(now: Result, before: Result) -> list[Difference]:
    """All differences beyond tolerance, worse ones first. Raises BaselineError for another experiment's result."""
    names = [each.experiment for each in (now, before)]
    if names[0] != names[1]:
        raise BaselineError(f"the baseline is of {names[1]}, not of {names[0]}")
    clocks = {each.meta.get("clock") for each in (now, before)}
    if len(clocks) > 1:
        raise BaselineError(f"the baseline's clock is {before.clock}, this run's {now.clock}")
    is_exact = clocks == {"virtual"} and _plan(now) == _plan(before)
    tolerance = TOLERANCE["virtual" if is_exact else "real"]
    rows, others = _rows(now), _rows(before)
    found = [*_agreement(now, before), *_missing(rows, others)]
    for figure, more_is_worse in FIGURES.items():
        pairs = {
            name: (float(rows[name][figure]), float(others[name][figure]))
            for name in rows
            if name in others and _is_number(rows[name].get(figure)) and _is_number(others[name].get(figure))
        }
        found += (
            _values(figure, pairs, more_is_worse, tolerance)
            if is_exact
            else _ratios(figure, pairs, more_is_worse)
        )
        found += _order(figure, pairs, tolerance)
    return sorted(found, key=lambda one: not one.is_worse)


def _plan(found: Result) -> Any:
    return found.meta.get("plan") or {
        key: found.meta.get(key) for key in ("jobs", "reps", "size", "seed", "run_time_s")
    }


def _rows(found: Result) -> dict[str, Row]:
    return {name_of(row): row for row in found.runs}


def name_of(row: Row) -> str:
    """A row's settings in words."""
    words = [
        f"{key.removesuffix('_s')} {row[key]}" if _is_number(row[key]) else str(row[key])
        for key in KEYS
        if key in row
    ]
    return ", ".join(words) or "all"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _agreement(now: Result, before: Result) -> Iterator[Difference]:
    agreed = {check.id: check for check in before.checks}
    for check in now.checks:
        earlier = agreed.get(check.id)
        if earlier is not None and earlier.ok != check.ok:
            yield Difference(
                where=check.id, what=check.sentence, before=earlier.ours, now=check.ours, is_worse=not check.ok,
            )  # fmt: skip


def _missing(rows: Mapping[str, Row], others: Mapping[str, Row]) -> Iterator[Difference]:
    for name in others:
        if name not in rows:
            yield Difference(where=name, what="row", before="there", now="missing", is_worse=True)


def _values(
    figure: str, pairs: Mapping[str, tuple[float, float]], more_is_worse: bool, tolerance: float
) -> Iterator[Difference]:
    for name, (now, before) in pairs.items():
        yield from _changed(name, figure, now, before, more_is_worse, tolerance)


def _ratios(
    figure: str, pairs: Mapping[str, tuple[float, float]], more_is_worse: bool
) -> Iterator[Difference]:
    """Each row against the first one with a figure, in either run."""
    base = next(((now, before) for now, before in pairs.values() if now and before), None)
    if base is None:
        return
    for name, (now, before) in pairs.items():
        what = f"{figure}, share of the first row's"
        yield from _changed(name, what, now / base[0], before / base[1], more_is_worse, TOLERANCE["real"])


def _changed(
    where: str, what: str, now: float, before: float, more_is_worse: bool, tolerance: float
) -> Iterator[Difference]:
    size = max(abs(now), abs(before))
    if size and abs(now - before) > tolerance * size:
        yield Difference(
            where=where,
            what=what,
            before=f"{before:.6g}",
            now=f"{now:.6g}",
            is_worse=(now > before) == more_is_worse,
        )


def _order(figure: str, pairs: Mapping[str, tuple[float, float]], tolerance: float) -> Iterator[Difference]:
    """Pairs of rows that stood clearly apart in both runs, the other way round."""
    for (one, (a, a_before)), (other, (b, b_before)) in combinations(pairs.items(), 2):
        apart = all(abs(x - y) > tolerance * max(abs(x), abs(y)) for x, y in ((a, b), (a_before, b_before)))
        if apart and (a > b) != (a_before > b_before):
            signs = [">" if x > y else "<" for x, y in ((a_before, b_before), (a, b))]
            yield Difference(
                where=f"{one} and {other}",
                what=f"order of {figure}",
                before=signs[0],
                now=signs[1],
                is_worse=True,
            )


def worse(differences: Sequence[Difference]) -> list[Difference]:
    """Those that are not for the better."""
    return [one for one in differences if one.is_worse]
