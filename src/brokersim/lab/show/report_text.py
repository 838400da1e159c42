"""Knows a report as Markdown and as one JSON document; not how results are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from brokersim.lab.keep.compare import Comparison, compare
from brokersim.lab.result import Check, Result, Row
from brokersim.lab.show.charts import verdict
from brokersim.lab.show.tables import columns, curve_parts, note, ran_on, settings, tables, text
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

MOST_ROWS = 200
MOST_DIFFERENCES = 50


def to_json(results: Sequence[Result], base: Result | None = None) -> JsonObject:
    """``{"note", "runs"}``, each run without its curves; with a base also ``"compared"``. Raises ValueError."""
    document: JsonObject = {"note": note(results), "runs": [without_curves(found) for found in results]}
    if base is not None:
        document["base"] = base.meta
        document["compared"] = [compare(found, base).to_json() for found in results]
    return document


def without_curves(found: Result) -> JsonObject:
    """For curves and histograms there is `runs export`."""
    left = {*curve_parts(found), "histograms"}
    return {key: value for key, value in found.to_json().items() if key not in left}


def to_markdown(results: Sequence[Result], base: Result | None = None) -> str:
    """The figures, checks and differences as Markdown tables. Raises ValueError for results of two experiments."""
    return "\n".join(line for found in results for line in _section(found, base)) + "\n"


def _section(found: Result, base: Result | None) -> Iterator[str]:
    meta = found.meta
    yield from (f"# brokersim: {found.experiment}", "", *_told(verdict(found)), note([found]), "")
    if meta.get("command"):
        yield from (f"    {meta['command']}", "")
    yield from (ran_on(meta), "")
    if base is not None:
        yield from comparison(compare(found, base))
    if found.checks:
        yield from _checks(found.checks)
    for name, rows in tables(found):
        yield from (f"## {name}", "", *table(rows[:MOST_ROWS]), "")
        if len(rows) > MOST_ROWS:
            yield from (f"{counted(len(rows) - MOST_ROWS, 'more row')}: brokersim runs export", "")
    rows = [{"setting": key, "value": value} for key, value in settings(found)]
    yield from ("## what was run", "", *table(rows), "")


def _told(sentence: str) -> tuple[str, ...]:
    return (sentence, "") if sentence else ()


def _checks(checks: Sequence[Check]) -> Iterator[str]:
    yield from (f"## What should agree: {sum(one.ok for one in checks)} of {len(checks)} do", "")
    for check in checks:
        journal = f"; journal: {check.journal}" if check.journal else ""
        why = f" Why: {check.why}." if not check.ok and check.why else ""
        yield f"- {'✓' if check.ok else '✗'} {check.id}: {check.sentence} (ours: {check.ours}{journal}){why}"
    yield ""


def comparison(found: Comparison) -> Iterator[str]:
    """What differs, the farthest apart first."""
    yield from ("## Compared with the base", "", f"base: {ran_on(found.base.meta)}", "")
    for row, side in found.only:
        yield f"- only in {side}: {row}"
    for name, was, now in found.checks:
        yield f"- {name}: {'✓' if was else '✗'} → {'✓' if now else '✗'}"
    if found.settings:
        rows = [{"setting": key, "base": was, "this": now} for key, was, now in found.settings]
        yield from ("", *table(rows), "")
    apart = found.farthest()
    yield from (
        f"{counted(len(apart), 'figure')} differ{'s' if len(apart) == 1 else ''}, "
        f"{len(found.figures) - len(apart):,} are the same.",
        "",
    )
    if apart:
        yield from (*table([one.to_row() for one in apart[:MOST_DIFFERENCES]]), "")


def table(rows: Sequence[Row]) -> list[str]:
    """A Markdown table; numbers to the right."""
    names = columns(rows)
    numeric = {name for name in names if all(isinstance(row.get(name), int | float | None) for row in rows)}
    head = "| " + " | ".join(names) + " |"
    rule = "|" + "|".join("--:" if name in numeric else "--" for name in names) + "|"
    return [head, rule, *("| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows)]


def _cell(value: object) -> str:
    return text(value).replace("|", "\\|").replace("\n", " ")
