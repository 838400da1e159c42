"""Knows the commands that list, show, export and remove runs; not what is in them (lab)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brokersim import files
from brokersim.cli.command import Command, Group, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FILE
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.plurals import counted

if TYPE_CHECKING:
    from brokersim.lab.result import Result

#: Where runs are looked for: this folder, else the current one.
VARIABLE = "BROKERSIM_RUNS"
_FORMATS = ("csv", "jsonl", "parquet")


def runs_folder(given: Path | None = None) -> Path:
    """The folder of runs: ``--dir``, ``BROKERSIM_RUNS``, the current one."""
    return given or Path(os.environ.get(VARIABLE) or ".")


def complete_run(_context: click.Context, _param: click.Parameter, start: str) -> list[str]:
    """Ids that begin so."""
    from brokersim.lab.keep.runs import find_runs

    return [run.id for run in find_runs(runs_folder()) if run.id.startswith(start)]


_DIR = click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help=f"where runs lie  [${VARIABLE}, else .]",
)  # fmt: skip
_ID = click.argument("name", metavar="ID", shell_complete=complete_run)


@click.group("runs", cls=Group)
def runs() -> None:
    """Runs: results of experiments (--out, --db) and recordings (stats serve --db)."""


@runs.command(
    "list",
    cls=Command,
    **examples(
        ("brokersim runs list", "all below this folder, the newest first"),
        ("brokersim runs list --dir runs --json", "as JSON"),
    ),
)
@_DIR
@list_options
@pass_session
def list_(session: Session, folder: Path | None) -> None:
    """List runs; an id is a path, and can be given to report, show and export."""
    from brokersim.lab.keep.runs import find_arrays, find_runs

    where = runs_folder(folder)
    if not where.is_dir():
        raise usage_error(f"{where} is no folder", attempt="brokersim runs list --dir DIR")
    found, waiting = find_runs(where), find_arrays(where)
    if session.json:
        session.emit([*(one.to_json() for one in waiting), *(run.to_json() for run in found)])
        return
    if waiting:
        rows = [(one.id, one.experiment, one.state, one.standing) for one in waiting]
        session.table(("Array job", "Experiment", "State", "Standing"), rows)
        session.out("")
    titles = ("ID", "Experiment", "Clock", "Seed", "Rows", "Agree", "Bytes", "Written")
    session.table(
        titles,
        [
            (
                run.id,
                run.experiment,
                run.clock,
                run.seed,
                f"{run.rows:,}",
                run.agree,
                f"{run.bytes:,}",
                run.written,
            )
            for run in found
        ],
        drop=("Bytes", "Clock", "Rows", "Seed"),
    )
    if not found and not waiting:
        session.say(f"no runs in {where}; make one with: brokersim bench states --out runs/states")


@runs.command(
    "show",
    cls=Command,
    **examples(
        ("brokersim runs show runs/states", "settings, figures, what should agree"),
        ("brokersim runs show run.db --json", "without the curves"),
    ),
)
@_DIR
@_ID
@list_options
@pass_session
def show(session: Session, folder: Path | None, name: str) -> None:
    """Show a run: what was run, its figures, what should agree."""
    from brokersim.cli.bench.output import check_lines, fold
    from brokersim.lab.show.charts import verdict
    from brokersim.lab.show.report_text import without_curves
    from brokersim.lab.show.tables import NOTE, ran_on, settings

    _, found = _read(name, folder)
    if session.json:
        session.emit(without_curves(found))
        return
    if not session.tsv:
        for key, value in settings(found):
            session.out(fold(f"{key}: {_short(value)}"))
        session.out("")
    _table(session, found.runs)
    if told := verdict(found):
        session.out(f"\n{fold(told)}")
    if found.checks and not session.tsv:
        session.out("")
        for line in check_lines(session, found.checks):
            session.out(line)
    session.say(f"\n{ran_on(found.meta)}\n{NOTE}")


@runs.command(
    "export",
    cls=Command,
    **examples(
        ("brokersim runs export run.db > run.csv", "every sample"),
        ("brokersim runs export states --what series -o s.parquet", "its curves, with the truth"),
        ("brokersim runs export states --format jsonl", "its figures, a line a row"),
    ),
)
@_DIR
@click.option("--format", "form", type=click.Choice(_FORMATS), help="[by the name of FILE, else csv]")
@click.option("--what", metavar="PART", help="series, figures, checks, timers, counters, settings")
@click.option("-o", "--output", type=OUT_FILE, metavar="FILE", help="[stdout]")
@_ID
@pass_session
def export(
    session: Session, folder: Path | None, form: str | None, what: str | None, output: Path | None, name: str
) -> None:
    """Write a run's samples or figures for other programs."""
    from brokersim.lab.keep.export import FORMATS, ExportError, parts

    _, found = _read(name, folder)
    known = parts(found)
    chosen = what or next(iter(known))
    if chosen not in known:
        raise usage_error(
            f"{name} has no {chosen!r}; it has {', '.join(known)}", attempt="brokersim runs export -h"
        )
    form = form or _format_of(output)
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise usage_error(
            "Parquet is nothing for a terminal", attempt=f"{name} --format parquet -o FILE.parquet"
        )
    try:
        rows = _export(FORMATS[form], known[chosen](), found, output)
    except ExportError as error:
        raise CommandError(str(error), code=FAILED) from None
    if output is not None:
        size = output.stat().st_size
        if session.json:
            session.emit({"file": str(output), "what": chosen, "format": form, "rows": rows, "bytes": size})
        else:
            session.say(f"{output}: {counted(rows, 'row')} of {chosen}, {counted(size, 'byte')}")


def _export(write: Callable[[Any, Any, Any], int], rows: object, found: Result, output: Path | None) -> int:
    """Into a file that has its name only when it is whole, or to stdout; how many rows."""
    if output is None:
        count = write(rows, sys.stdout.buffer, found)
        sys.stdout.buffer.flush()
        return count
    counts: list[int] = []
    files.replace_file(output, lambda file: counts.append(write(rows, file, found)))
    return counts[0]


@runs.command(
    "rm",
    cls=Command,
    **examples(("brokersim runs rm runs/states", "the result, its page and its pictures")),
)
@_DIR
@click.option("--dry-run", is_flag=True, help="only say what would go")
@click.argument("names", metavar="ID...", nargs=-1, required=True, shell_complete=complete_run)
@pass_session
def rm(session: Session, folder: Path | None, dry_run: bool, names: tuple[str, ...]) -> None:
    """Remove runs: nothing but what was written with them."""
    from brokersim.lab.keep.runs import belongings, remove

    # All are looked at first: an id that is none removes nothing.
    paths = [_read(name, folder)[0] for name in names]
    gone = [one for path in paths for one in (belongings(path) if dry_run else remove(path))]
    if session.json:
        session.emit({"removed" if not dry_run else "would_remove": [str(one) for one in gone]})
        return
    for one in gone:
        session.out(str(one))


def _read(name: str, folder: Path | None) -> tuple[Path, Result]:
    from brokersim.lab.keep.runs import RunError, find_run
    from brokersim.lab.show.report import ReportError, read_result
    from brokersim.statsd_server.outputs.rundb import RunDatabaseError

    try:
        path = find_run(name, runs_folder(folder))
        return path, read_result(path)
    except RunError as error:
        raise usage_error(str(error), attempt="brokersim runs list") from None
    except (ReportError, RunDatabaseError) as error:
        raise CommandError(str(error), code=FAILED, attempt="brokersim runs list") from None


def _table(session: Session, rows: Sequence[JsonView]) -> None:
    from brokersim.lab.show.tables import columns, text

    names = columns(rows)
    session.table(names, [[text(row.get(name)).replace("–", "-") for name in names] for row in rows])


def _short(value: object) -> str:
    from brokersim.lab.show.tables import text

    shown = text(value)
    return shown if len(shown) <= 160 else f"{shown[:159]}…"


def _format_of(output: Path | None) -> str:
    known = {f".{form}": form for form in _FORMATS} | {".ndjson": "jsonl"}
    return known.get(output.suffix, "csv") if output is not None else "csv"
