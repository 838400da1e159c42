"""Knows how an experiment's result is printed; not how experiments are run or kept (lab)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brokersim.cli.session import Session

if TYPE_CHECKING:
    from brokersim.lab.experiments.experiment import Experiment
    from brokersim.lab.keep.baseline import Difference
    from brokersim.lab.order import Outcome
    from brokersim.lab.result import Beside, Check, Result

FORMATS = ("html", "svg", "png", "none")


def print_outcome(
    session: Session, experiment: Experiment[Any], outcome: Outcome, baseline: Path | None
) -> None:
    """Figures, other tables, the journal's table, what should agree, what it ran on, what changed."""
    _print_result(session, experiment, outcome.result)
    print_kept(session, outcome.files)
    print_differences(session, outcome.differences, baseline)


def _print_result(session: Session, experiment: Experiment[Any], found: Result) -> None:
    shown = experiment.columns
    session.table([one.title for one in shown], [[one.cell(row) for one in shown] for row in found.runs])
    for table in experiment.tables(found):
        session.out(f"\n{table.title}")
        rows = [[one.cell(row) for one in table.columns] for row in table.rows]
        session.table([one.title for one in table.columns], rows)
    print_beside(session, found.beside)
    session.out("")
    for line in check_lines(session, found.checks):
        session.out(line)
    session.say(f"\n{ran_on(found.meta)}")


def print_kept(session: Session, files: Sequence[Path]) -> None:
    """Where the result lies now."""
    if files:
        session.say("kept: " + ", ".join(map(str, files)))


def ran_on(meta: Mapping[str, Any]) -> str:
    """The line without which no figure of ours stands."""
    return (
        f"brokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, {meta['clock']} clock, "
        f"seed {meta['seed']}, not Flux: compare order and ratios, not numbers"
    )


def print_beside(session: Session, rows: Sequence[Beside]) -> None:
    """The journal's table beside ours: ✓ or ✗, and why a difference is meant to be."""
    if rows:
        session.out("")
        session.table(
            ("", "beside the journal", "ours", "journal", "why it differs"),
            [(mark(session, row.ok), row.what, row.ours, row.journal, row.why) for row in rows],
        )


def mark(session: Session, ok: bool) -> str:
    return session.style("✓", "green") if ok else session.style("✗", "red")


def check_lines(session: Session, checks: Sequence[Check]) -> list[str]:
    """✓ or ✗, the id, the sentence; under it our figures and the journal's."""
    lines = []
    for check in checks:
        lines.append(f"{mark(session, check.ok)} {check.id}: {check.sentence}")
        journal = f"   journal: {check.journal}" if check.journal else ""
        lines.append(f"    ours: {check.ours}{journal}")
        if not check.ok and check.why:
            lines.append(f"    why: {check.why}")
    return lines


def print_differences(session: Session, differences: Sequence[Difference] | None, base: Path | None) -> None:
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
                (mark(session, not one.is_worse), one.where, one.what, one.before, one.now)
                for one in differences
            ],
        )


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
