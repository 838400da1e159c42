"""Knows how results become one HTML page that opens from a file: pictures, checks, tables; not how they are drawn.

The page holds everything it shows and fetches nothing; its script only zooms.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from brokersim.lab.plots import PlotError, draw, to_svg
from brokersim.lab.rundb_reader import MAGIC, read_run

Found = Mapping[str, Any]
#: Rows shown of one table: more is for the JSON beside the page.
MOST_ROWS = 2000
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 64rem; }
body { color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
.note { background: #fff6e0; border-left: 4px solid #e69f00; padding: .5rem .8rem; }
figure { margin: 1.2rem 0; overflow-x: auto; }
figure svg { cursor: crosshair; } .band { fill: #0072b233; stroke: #0072b2; }
figure svg { width: 100%; min-width: 36rem; height: auto; display: block; }
.checks { list-style: none; padding: 0; } .checks li { margin: .5rem 0; padding-left: 1.6rem; text-indent: -1.6rem; }
.checks small { display: block; text-indent: 0; color: #555; overflow-wrap: anywhere; }
.ok { color: #00694b; font-weight: bold; } .bad { color: #b03a00; font-weight: bold; }
details { margin: .6rem 0; } summary { cursor: pointer; padding: .3rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #e4e4e4; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { background: #f4f4f4; }
"""

#: Drag over a picture to zoom in, double click to see all of it; touch screens zoom by themselves.
_SCRIPT = """
for (const svg of document.querySelectorAll("figure svg")) {
  const whole = svg.getAttribute("viewBox");
  let from = null, band = null;
  const at = e => new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const box = (a, b) => [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.abs(a.x - b.x), Math.abs(a.y - b.y)];
  const end = () => { if (band) band.remove(); band = from = null; };
  svg.addEventListener("pointerdown", e => {
    if (e.pointerType !== "mouse" || e.button) return;
    from = at(e); svg.setPointerCapture(e.pointerId); e.preventDefault();
    band = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
    band.setAttribute("class", "band");
  });
  svg.addEventListener("pointermove", e => {
    if (!from) return;
    const [x, y, width, height] = box(from, at(e));
    for (const [name, value] of Object.entries({x, y, width, height})) band.setAttribute(name, value);
  });
  svg.addEventListener("pointerup", e => {
    if (!from) return;
    const zoomed = box(from, at(e));
    if (zoomed[2] > 5 && zoomed[3] > 5) svg.setAttribute("viewBox", zoomed.join(" "));
    end();
  });
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("dblclick", () => svg.setAttribute("viewBox", whole));
}
"""


class ReportError(ValueError):
    """A file that cannot be reported on: which, why, what would be right."""


def read_result(path: Path) -> dict[str, Any]:
    """A result written with ``--out`` or ``--json``, or a run database. Raises ReportError, OSError."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return read_run(path)
    try:
        found = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ReportError(f"{path} is neither a run database nor JSON: {error}") from None
    meta = found.get("meta") if isinstance(found, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("experiment"), str):
        raise ReportError(
            f"{path} is no result of an experiment; make one with: brokersim bench states --out DIR"
        )
    return dict(found)


def write_report(results: Sequence[Found], path: Path) -> Path:
    """Write the page of one or more results; its path. Raises PlotError, OSError."""
    path.write_text(page(results), encoding="utf-8")
    return path


def page(results: Sequence[Found]) -> str:
    """The page as text; the same results give the same bytes."""
    title = "brokersim: " + ", ".join(str(found["meta"]["experiment"]) for found in results)
    sections = "\n".join(_section(found, number) for number, found in enumerate(results))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon: else a browser asks for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n"
        '<p class="note">These are figures of brokersim, not of Flux: compare order and ratios, not numbers.</p>\n'
        "<p>Drag over a picture to zoom in, double-click to zoom out.</p>\n"
        f"{sections}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(found: Found, number: int) -> str:
    meta = found["meta"]
    parts = [f"<h2>{html.escape(str(meta['experiment']))}</h2>", f"<p>{html.escape(_ran_on(meta))}</p>"]
    if isinstance(found.get("advice"), dict) and found["advice"].get("sentence"):
        parts.append(f'<p class="note">{html.escape(found["advice"]["sentence"])}</p>')
    parts += _figures(found, number)
    if found.get("checks"):
        parts.append(_checks(found["checks"]))
    parts += [_fold(title, rows) for title, rows in _tables(found)]
    parts.append(
        _fold("what was run", [{"setting": key, "value": _text(value)} for key, value in _settings(meta)])
    )
    return "\n".join(parts)


def _ran_on(meta: Found) -> str:
    known = (("brokersim", "brokersim {}"), ("python", "CPython {}"), ("cores", "{} cores"), ("clock", "{} clock"),
             ("seed", "seed {}"))  # fmt: skip
    return " · ".join(text.format(meta[key]) for key, text in known if meta.get(key) is not None)


def _settings(meta: Found) -> list[tuple[str, Any]]:
    plan = meta.get("plan")
    return [
        *(plan.items() if isinstance(plan, dict) else ()),
        *((k, v) for k, v in meta.items() if k != "plan"),
    ]


def _figures(found: Found, number: int) -> list[str]:
    try:
        pictures = draw(found)
    except PlotError as error:
        return [f"<p>{html.escape(str(error))}</p>"]
    return [
        f'<figure role="img" aria-label="{html.escape(name)}">{_inline(to_svg(figure), f"f{number}-{name}-")}</figure>'
        for name, figure in pictures
    ]


def _inline(svg: str, prefix: str) -> str:
    """The svg element alone, its ids made unlike those of other pictures on the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}', body)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", body)


def _checks(checks: Iterable[Found]) -> str:
    lines = []
    for check in checks:
        mark = '<span class="ok">✓</span>' if check["ok"] else '<span class="bad">✗</span>'
        journal = f" · journal: {html.escape(check['journal'])}" if check["journal"] else ""
        lines.append(
            f"<li>{mark} {html.escape(check['sentence'])}"
            f"<small>{html.escape(check['id'])} · ours: {html.escape(check['ours'])}{journal}</small></li>"
        )
    agree = sum(bool(check["ok"]) for check in checks)
    return f'<h3>What should agree: {agree} of {len(lines)} do</h3>\n<ul class="checks">{"".join(lines)}</ul>'


def _tables(found: Found) -> list[tuple[str, list[Found]]]:
    tables = [("figures", found.get("runs") or found.get("rows") or [])]
    for rest, hooks in (found.get("tables") or {}).items():
        for hook, modules in hooks.items():
            rows = [{"module": name, **counts} for name, counts in modules.items()]
            tables.append((f"counters, {rest}, {hook}", rows))
    return [(title, list(rows)) for title, rows in tables if rows and isinstance(rows[0], dict)]


def _fold(title: str, rows: Sequence[Found]) -> str:
    names = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>{len(rows) - MOST_ROWS:,} more rows are in the result.</p>" if len(rows) > MOST_ROWS else ""
    return (
        f"<details><summary>{html.escape(title)} ({len(rows):,} rows)</summary>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}</details>'
    )


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if type(value) is int else str(value)
