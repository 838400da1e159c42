"""Knows the tables in a result: figures, checks, counters, settings, curves by name; not how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brokersim.lab.result import Result, Row
from brokersim.protocol.decoded import JsonView

#: Said about where figures come from, in this order.
RAN_ON = (
    ("engine", "{}"), ("brokersim", "brokersim {}"), ("writer", "{}"), ("python", "CPython {}"), ("cores", "{} cores"),
    ("clock", "{} clock"), ("costs", "costs {}"), ("seed", "seed {}"),
)  # fmt: skip
NOTE = "These are figures of brokersim, not of Flux: compare order and ratios, not numbers."


def note(results: Sequence[Result]) -> str:
    """Whose figures these are."""
    engines = sorted({str(found.meta.get("engine") or "") for found in results})
    if "" in engines or not engines:
        return NOTE
    return f"These are figures of {', '.join(engines)}, hooked by brokersim: compare order and ratios, not numbers."


def ran_on(meta: JsonView) -> str:
    """``brokersim 0.1.0 · CPython 3.11.2 · 2 cores · virtual clock · seed 0``, as far as it is known."""
    said = [told.format(meta[key]) for key, told in RAN_ON if meta.get(key) is not None]
    plan = meta.get("plan")
    if isinstance(plan, Mapping) and plan.get("seeds") and "seed" not in meta:
        said.append(f"seeds {text(plan['seeds'])}")
    return " · ".join(said)


def tables(found: Result) -> list[tuple[str, list[Row]]]:
    """All tables with rows, by name: figures first, then every other list of rows there is."""
    named: list[tuple[str, list[Row]]] = [("figures", found.runs)]
    named += [
        (_TITLES.get(key, key), list(part))
        for key, part in found.parts.items()
        if key not in ("runs", "rows") and _is_table(part)
    ]
    for rest, hooks in (found.parts.get("tables") or {}).items():
        for hook, modules in hooks.items():
            rows: list[Row] = [{"module": name, **counts} for name, counts in modules.items()]
            named.append((f"counters, {rest}, {hook}", rows))
    for timer, rows in (found.parts.get("histograms") or {}).items():
        named.append((f"timer {timer} (ms)", rows))
    return [(name, rows) for name, rows in named if rows]


#: What a part that is a table is called by people, where that is not its name.
_TITLES = {
    "beside": "beside the journal",
    "beside_flux": "beside real Fluxes",
    "table": "every home",
    "unlike": "what is not Flux's, by more than the noise",
}


def _is_table(part: object) -> bool:
    return isinstance(part, list | tuple) and bool(part) and all(isinstance(row, Mapping) for row in part)


def curve_parts(found: Result) -> list[str]:
    """The parts of a result that are curves, at whatever depth."""
    return [
        key
        for key, part in found.parts.items()
        if key not in _NO_CURVES and next(curves(part), None) is not None
    ]


#: Lists of numbers in these are something else.
_NO_CURVES = {
    "front",
    "advice",
    "runs",
    "rows",
    "tables",
    "modules",
    "histograms",
    "close_up",
}


def columns(rows: Sequence[Row]) -> list[str]:
    """The columns of a table for people: those without lists and objects in them, but for lists of words."""
    names = dict.fromkeys(key for row in rows for key in row)
    return [name for name in names if all(_is_plain(row.get(name)) for row in rows)]


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return len(value) < 4 and all(isinstance(one, str) for one in value)
    return not isinstance(value, Mapping)


def settings(found: Result) -> list[tuple[str, Any]]:
    """What was run and on what: the plan's settings, then the rest."""
    meta = found.meta
    plan = meta.get("plan")
    planned = plan.items() if isinstance(plan, Mapping) else ()
    return [*planned, *((key, value) for key, value in meta.items() if key not in ("plan", "result"))]


def curves(part: object, name: str = "") -> Iterator[tuple[str, Sequence[Sequence[float]]]]:
    """(name, points) of everything in a nest of curves, names joined by dots; bare lists are by the second."""
    if isinstance(part, Mapping):
        for key, inner in part.items():
            yield from curves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(part, Sequence) and part and not isinstance(part, str):
        if isinstance(part[0], Sequence) and len(part[0]) == 2 and not isinstance(part[0], str):
            yield name, part
        elif isinstance(part[0], int | float):
            yield name, list(enumerate(part))


def key_columns(rows: Sequence[Row]) -> list[str]:
    """What tells a row from the others: its words, then as many of its numbers as it takes."""
    if not rows:
        return []
    words = [key for key, value in rows[0].items() if isinstance(value, str | bool)]
    numbers = [key for key in rows[0] if key not in words]
    for more in range(len(numbers) + 1):
        keys = [key for key in rows[0] if key in words or key in numbers[:more]]
        if len({tuple(text(row.get(key)) for key in keys) for row in rows}) == len(rows):
            return keys
    return words


def text(value: object) -> str:
    """A value for people: four digits of what is no whole number."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if type(value) is int else str(value)
