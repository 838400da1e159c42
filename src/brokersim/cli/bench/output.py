"""Knows how an experiment's result is printed and where its files are kept; not how experiments are run (lab)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from brokersim.cli.errors import FAILED, CommandError
from brokersim.cli.session import Session

#: A column: its title, the key of the row, how its value is written.
Column = tuple[str, str, str]
#: Prints what else an experiment shows.
Below = Callable[[Session, dict[str, Any]], None]
FORMATS = ("html", "svg", "png", "none")


def print_result(
    session: Session, found: dict[str, Any], columns: Sequence[Column], below: Below | None = None
) -> None:
    """Figures, what else an experiment has ``below``, the journal's table, what should agree, what it ran on."""
    session.table([title for title, _, _ in columns], [_cells(row, columns) for row in found["runs"]])
    if below is not None:
        below(session, found)
    print_beside(session, found.get("beside", ()))
    session.out("")
    for line in check_lines(session, found["checks"]):
        session.out(line)
    session.say(f"\n{ran_on(found['meta'])}")


def ran_on(meta: dict[str, Any]) -> str:
    """The line without which no figure of ours stands."""
    return (
        f"brokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, {meta['clock']} clock, "
        f"seed {meta['seed']}, not Flux: compare order and ratios, not numbers"
    )


def _cells(row: dict[str, Any], columns: Sequence[Column]) -> list[str]:
    return ["-" if row.get(key) is None else format(row[key], how) for _, key, how in columns]


def print_beside(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """The journal's table beside ours: ✓ or ✗, and why a difference is meant to be."""
    if rows:
        session.out("")
        session.table(
            ("", "beside the journal", "ours", "journal", "why it differs"),
            [
                (mark(session, row["ok"]), row["what"], row["ours"], row["journal"], row["why"])
                for row in rows
            ],
        )


def mark(session: Session, ok: bool) -> str:
    return session.style("✓", "green") if ok else session.style("✗", "red")


def check_lines(session: Session, checks: Sequence[dict[str, Any]]) -> list[str]:
    """✓ or ✗, the id, the sentence; under it our figures and the journal's."""
    lines = []
    for check in checks:
        lines.append(f"{mark(session, check['ok'])} {check['id']}: {check['sentence']}")
        journal = f"   journal: {check['journal']}" if check["journal"] else ""
        lines.append(f"    ours: {check['ours']}{journal}")
        if not check["ok"] and check.get("why"):
            lines.append(f"    why: {check['why']}")
    return lines


def print_differences(
    session: Session, differences: Sequence[dict[str, Any]] | None, base: Path | None
) -> None:
    """What changed since the baseline, worse ones first."""
    if differences is None:
        return
    session.out(
        f"\nagainst {base}: " + (f"{len(differences)} differences" if differences else "no difference")
    )
    if differences:
        session.table(
            ("", "where", "what", "before", "now"),
            [
                (mark(session, not one["is_worse"]), one["where"], one["what"], one["before"], one["now"])
                for one in differences
            ],
        )


def keep_files(session: Session, results: Sequence[dict[str, Any]], out: Path, plot: str) -> None:
    """result.json (of several, NAME.json each), and the plots or the one page beside it."""
    from brokersim.lab.show.plots import PlotError, write_plots
    from brokersim.lab.show.report import write_report

    names = ["result"] if len(results) == 1 else [str(found["meta"]["experiment"]) for found in results]
    kept: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, found in zip(names, results, strict=True):
            (out / f"{name}.json").write_bytes(msgspec.json.encode(found) + b"\n")
            kept.append(out / f"{name}.json")
        if plot == "html":
            kept.append(write_report(results, out / "index.html"))
        elif plot != "none":
            kept += [path for found in results for path in write_plots(found, out, plot)]
    except (PlotError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
    session.say("kept: " + ", ".join(map(str, kept)))


def progress_is_shown(session: Session) -> bool:
    """Somebody looks at stderr."""
    return not session.quiet and sys.stderr.isatty()


def progress(session: Session) -> Callable[[str], object]:
    """One line on a terminal's stderr, overwritten; nothing where nobody looks."""
    if not progress_is_shown(session):
        return lambda _: None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def clear_progress(session: Session) -> None:
    """The line is gone when it is done."""
    if progress_is_shown(session):
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
