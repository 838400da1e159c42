"""Knows how an experiment's result is printed; not how experiments are run or kept (lab)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from brokersim.cli.session import Session
from brokersim.lab.result import CLOCKS, merged
from brokersim.lab.show.tables import text
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.plurals import counted

if TYPE_CHECKING:
    from brokersim.lab.experiments.experiment import Column, Experiment
    from brokersim.lab.keep.baseline import Difference
    from brokersim.lab.order import Outcome
    from brokersim.lab.result import Beside, Check, Result, Row

WIDTH = 80
FORMATS = ("html", "svg", "png", "none")


def print_outcome(
    session: Session, experiment: Experiment[Any], outcome: Outcome, baseline: Path | None
) -> None:
    """Figures, other tables, the journal's table, what should agree, what it ran on, what changed."""
    _print_result(session, experiment, outcome.result)
    if outcome.done_before:
        session.say(f"went on: {outcome.done_before} of its parts had been done before it was broken off")
    print_kept(session, outcome.files)
    print_differences(session, outcome.differences, baseline)


def _print_result(session: Session, experiment: Experiment[object], found: Result) -> None:
    """The answer, one table, one line on what should agree; ``-v`` has the rest."""
    session.out(f"{fold(experiment.verdict(found))}\n")
    for line in experiment.picture(found):
        session.out(line)
    print_table(session, experiment.columns, experiment.rows(found))
    for line in experiment.notes(found):
        session.say(fold(line))
    if session.verbose:
        for table in experiment.tables(found):
            session.out(f"\n{table.title}")
            print_table(session, table.columns, table.rows)
        print_beside(session, found.beside)
    if found.checks:
        lines = check_lines(session, found.checks) if session.verbose else [fold(agreement(found.checks))]
        session.out("\n" + "\n".join(lines))
    session.say(f"\n{ran_on(found.meta)}")
    if len(experiment.clocks) > 1:
        session.say(
            fold(f"{found.clock} clock: {CLOCKS['flux' if found.meta.get('engine') else found.clock]}")
        )


def print_table(session: Session, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Rows under titles."""
    session.table([one.title for one in columns], [[one.cell(row) for one in columns] for row in rows])


def fold(text: str) -> str:
    """No wider than a terminal of 80."""
    return "\n".join(wrap(text, WIDTH, break_on_hyphens=False))


def print_kept(session: Session, files: Sequence[Path]) -> None:
    """Where the result lies now."""
    if files:
        session.say("kept: " + ", ".join(map(str, files)))


def ran_on(meta: JsonView) -> str:
    """The line without which no figure of ours stands."""
    if meta.get("engine"):
        return (
            f"{meta['engine']} with hooks from brokersim {meta['brokersim']}, {meta['cores']} cores, jobs simulated: "
            "compare order and ratios, not numbers"
        )
    costs = f" (costs {meta['costs']})" if meta.get("costs") else ""
    seed = f", seed {text(meta['seed'])}" if meta.get("seed") is not None else ""
    return (
        f"brokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, "
        f"{meta['clock']} clock{costs}{seed}, not Flux: compare order and ratios, not numbers"
    )


def print_beside(session: Session, rows: Sequence[Beside]) -> None:
    """The journal's table beside ours: ✓ or ✗; – where we say ourselves why a difference is meant to be."""
    if rows:
        session.out("")
        session.table(
            ("", "beside the journal", "ours", "journal", "why it differs"),
            [
                (
                    "–" if row.ok and row.why else mark(session, row.ok),
                    row.what,
                    row.ours,
                    row.journal,
                    row.why,
                )
                for row in rows
            ],
        )


def mark(session: Session, ok: bool) -> str:
    return session.style("✓", "green") if ok else session.style("✗", "red")


def agreement(checks: Sequence[Check]) -> str:
    """``15 of 17 checks agree, 2 differ: J5, L7 (-v says what and why)``."""
    each = merged(checks)
    apart = [check.id for check in each if not check.ok]
    agree = f"{len(each) - len(apart)} of {counted(len(each), 'check')} agree{'s' if len(each) == 1 else ''}"
    if not apart:
        return f"{agree} (-v lists them)"
    return f"{agree}, {len(apart)} differ{'s' if len(apart) == 1 else ''}: {', '.join(apart)} (-v says what and why)"


def check_lines(session: Session, checks: Sequence[Check]) -> list[str]:
    """✓ or ✗, the id, the sentence, each once; under it our figures and the journal's."""
    lines = []
    for check in merged(checks):
        first, *rest = _indented(f"  {check.id}: {check.sentence}", "  ")
        lines += [f"{mark(session, check.ok)}{first[1:]}", *rest]
        told = {"ours": check.ours, "journal": check.journal, "why": "" if check.ok else check.why}
        for word, said in told.items():
            lines += _indented(f"    {word}: {said}", " " * 8) if said else []
    return lines


def _indented(text: str, further: str) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent=further, break_on_hyphens=False)


def print_differences(session: Session, differences: Sequence[Difference] | None, base: Path | None) -> None:
    """What changed since the baseline, worse ones first."""
    if differences is None:
        return
    session.out(
        f"\nagainst {base}: "
        + (f"{counted(len(differences), 'difference')}" if differences else "no difference")
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


class _Board:
    """Some lines at the bottom of a terminal, written over by the next ones."""

    def __init__(self) -> None:
        self._above = 0

    def show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        lines = [line[:width] for line in text.split("\n")]
        up = f"\x1b[{self._above}A" if self._above else ""
        self._above = len(lines) - 1
        print(f"\r{up}\x1b[J" + "\n".join(lines), end="", file=sys.stderr, flush=True)


def progress(session: Session) -> Callable[[str], object]:
    """Lines on a terminal's stderr, written over; nothing where nobody looks. An empty text takes them away."""
    return _Board().show if progress_is_shown(session) else lambda _: None
