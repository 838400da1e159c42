"""Knows how results become one HTML page that opens from a file: curves, pictures, checks, tables.

Doesn't know how they are drawn. The page holds everything it shows and fetches nothing; the same results give the
same bytes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import msgspec

from brokersim import files
from brokersim.lab.keep.compare import Comparison, compare, overlaid
from brokersim.lab.keep.rundb_reader import read_database
from brokersim.lab.result import Check, Result, Row
from brokersim.lab.show.chart import Chart
from brokersim.lab.show.charts import charts, verdict
from brokersim.lab.show.page import script, style
from brokersim.lab.show.page_data import PageData
from brokersim.lab.show.tables import columns, note, ran_on, settings, tables, text
from brokersim.protocol.plurals import counted

#: Rows shown of one table: more is for `runs export`.
MOST_ROWS = 2000
#: Figures shown of a comparison before the fold.
MOST_DIFFERENCES = 25


class ReportError(ValueError):
    """A file that cannot be reported on: which, why, what would be right."""


def read_result(path: Path) -> Result:
    """A run: a result (JSON), a run database, or the folder ``--out`` wrote. Raises ReportError, OSError."""
    if path.is_dir():
        path /= "result.json"
        if not path.is_file():
            raise ReportError(
                f"{path.parent} has no result.json; make one with: brokersim bench states --out DIR"
            )
    text = files.read_unless(path, files.SQLITE)
    if text is None:
        return read_database(path)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is neither a run database nor JSON: {error}") from None
    meta = found.get("meta") if isinstance(found, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("experiment"), str):
        raise ReportError(
            f"{path} is no result of an experiment; make one with: brokersim bench states --out DIR"
        )
    return Result.from_json(found)


def write_report(results: Sequence[Result], path: Path, base: Result | None = None) -> Path:
    """Write the page of one or more results; its path. Raises ValueError (two experiments compared), OSError."""
    files.write_file(path, page(results, base))
    return path


def page(results: Sequence[Result], base: Result | None = None) -> str:
    """The page as text; with a base each result is compared to it. Raises ValueError for another experiment's."""
    title = "brokersim: " + ", ".join(found.experiment for found in results)
    if base is not None:
        title += ", compared"
    data = PageData()
    sections = "\n".join(_section(found, number, data, base) for number, found in enumerate(results))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon: else a browser asks for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style()}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n"
        f'<p class="quiet">{html.escape(note(results))}</p>\n'
        f"{_contents(results)}{sections}\n{_help(data)}"
        f'<script type="application/json" id="data">{data.to_json()}</script>\n'
        f"<script>\n{script()}</script>\n</body>\n</html>\n"
    )


def _contents(results: Sequence[Result]) -> str:
    if len(results) < 2:
        return ""
    lines = "".join(
        f'<li><a href="#s{at}">{html.escape(found.experiment)}</a></li>' for at, found in enumerate(results)
    )
    return f"<nav><ul>{lines}</ul></nav>\n"


def _help(data: PageData) -> str:
    thinned = f" {data.thinned}" if data.thinned else ""
    return (
        "<details><summary>how to read this page</summary>"
        '<p class="quiet">Drag over a curve to zoom in, with two fingers on a touch screen; double-click or '
        "“all” shows everything. Point at a curve for its values, at a bar or a point for what it is; the legend "
        "hides and shows. Where several samples "
        "fall on one column of pixels, its first, lowest, highest and last are drawn."
        f"{html.escape(thinned)}</p></details>\n"
        "<noscript><p>Curves need scripts; everything else on this page does not.</p></noscript>\n"
    )


def _section(found: Result, number: int, data: PageData, base: Result | None) -> str:
    """The answer and one picture; what it cannot say alone is below, and folded."""
    meta = found.meta
    parts = [f'<h2 id="s{number}">{html.escape(found.experiment)}</h2>']
    if told := verdict(found):
        parts.append(f'<p class="verdict">{html.escape(told)}</p>')
    if base is not None:
        parts.append(_compared(compare(found, base)))
    drawn = charts(found) if base is None else overlaid(found, base)
    parts += [_chart(chart, data.add(chart, f"c{number}-{chart.name}")) for chart in drawn]
    if found.checks:
        parts.append(_checks(found.checks))
    parts += [_fold(title, rows) for title, rows in tables(found)]
    parts.append(
        _fold("what was run", [{"setting": key, "value": text(value)} for key, value in settings(found)])
    )
    if meta.get("command"):
        parts.append(f"<p><code>{html.escape(str(meta['command']))}</code></p>")
    parts.append(f'<p class="quiet">{html.escape(ran_on(meta))}</p>')
    return "\n".join(parts)


# -- charts


def _chart(chart: Chart, key: str) -> str:
    title = html.escape(chart.title)
    figure = (
        f'<figure class="chart" id="{key}" tabindex="0" aria-label="{title}">'
        f"<figcaption>{title}</figcaption></figure>"
    )
    if not chart.fold:
        return figure
    return f"<details><summary>{title} ({len(chart.panels)} groups)</summary>{figure}</details>"


# -- checks, tables, comparison


def _checks(checks: Sequence[Check]) -> str:
    """Folded, but for what does not agree."""
    agree = sum(check.ok for check in checks)
    apart = "".join(_check(check) for check in checks if not check.ok)
    parts = [f'<ul class="checks">{apart}</ul>'] if apart else []
    every = "".join(map(_check, checks))
    parts.append(
        f"<details><summary>What should agree: {agree} of {len(checks)} do</summary>"
        f'<ul class="checks">{every}</ul></details>'
    )
    return "\n".join(parts)


def _check(check: Check) -> str:
    journal = f" · journal: {html.escape(check.journal)}" if check.journal else ""
    why = f" · why: {html.escape(check.why)}" if not check.ok and check.why else ""
    return (
        f"<li>{_mark(check.ok)} {html.escape(check.sentence)}"
        f"<small>{html.escape(check.id)} · ours: {html.escape(check.ours)}{journal}{why}</small></li>"
    )


def _compared(found: Comparison) -> str:
    parts = ["<h3>Compared with the base</h3>", f'<p class="quiet">base: {html.escape(_who(found.base))}</p>']
    parts += [f"<p>Only in {side}: {html.escape(row)}</p>" for row, side in found.only]
    parts += [f"<p>{html.escape(name)}: {_mark(was)} → {_mark(now)}</p>" for name, was, now in found.checks]
    if found.settings:
        rows = [{"setting": key, "base": text(was), "this": text(now)} for key, was, now in found.settings]
        parts.append(_table(rows))
    else:
        parts.append("<p>The settings are the same.</p>")
    return "\n".join([*parts, _figures(found)])


def _figures(found: Comparison) -> str:
    apart = found.farthest()
    same = len(found.figures) - len(apart)
    rows = [{**one.to_row(), "ratio": None if one.ratio is None else f"{one.ratio:.4g}"} for one in apart]
    parts = [
        f"<p>{counted(len(apart), 'figure')} differ{'s' if len(apart) == 1 else ''}, {same:,} are the same.</p>"
    ]
    if rows:
        parts.append(f'<div class="wide">{_bare(rows[:MOST_DIFFERENCES])}</div>')
    if len(rows) > MOST_DIFFERENCES:
        parts.append(_fold("all figures that differ", rows))
    return "\n".join(parts)


def _who(found: Result) -> str:
    meta = found.meta
    name = meta.get("command") or meta.get("database") or found.experiment
    return f"{name} · {ran_on(meta)}"


def _mark(ok: bool) -> str:
    return '<span class="ok">✓</span>' if ok else '<span class="bad">✗</span>'


def _fold(title: str, rows: Sequence[Row]) -> str:
    more = f"<p>{len(rows) - MOST_ROWS:,} more rows are in the result.</p>" if len(rows) > MOST_ROWS else ""
    return (
        f"<details><summary>{html.escape(title)} ({counted(len(rows), 'row')})</summary>"
        f"{_table(rows[:MOST_ROWS])}{more}</details>"
    )


def _table(rows: Sequence[Row]) -> str:
    return f'<div class="wide">{_bare(rows)}</div>'


def _bare(rows: Sequence[Row]) -> str:
    names = columns(rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(_cell(row.get(name)) for name in names) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    """Long text is wrapped, so that one setting does not make a table of a metre."""
    shown = text(value)
    kind = ' class="text"' if len(shown) > 40 else ""
    return f"<td{kind}>{html.escape(shown)}</td>"
