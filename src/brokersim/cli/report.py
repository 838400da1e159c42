"""Knows the command that makes a report of results and run databases; not what is in it (lab)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brokersim import files
from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.runs import complete_run, runs_folder
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.plurals import counted

if TYPE_CHECKING:
    from brokersim.lab.result import Result

FORMATS = ("html", "md", "json", "svg", "png")
_ATTEMPT = "brokersim report -h"


def parse_share(text: str) -> float:
    """``5%`` or ``0.05``. Raises ValueError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise ValueError(f"not a share: {text!r}; give 5% or 0.05")
    return share


@click.command(
    "report",
    cls=Command,
    **examples(
        ("brokersim report run.db", "report.html, opens without a network"),
        ("brokersim report states --compare before", "two runs in one page"),
        ("brokersim report states --compare before --gate", "exit 1 if they differ"),
        ("brokersim report states --format svg -o slides/", "pictures for slides"),
    ),
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE|DIR",
    help="page or folder of pictures  [report.html]; md, json: stdout",
)  # fmt: skip
@click.option("--format", "form", type=click.Choice(FORMATS), default="html", help="[html]")
@click.option("--dpi", type=click.IntRange(20, 1200), default=160, metavar="N", help="of png  [160]")
@click.option("--compare", "base", metavar="BASE", help="show what differs from this run")
@click.option("--gate", is_flag=True, help="with --compare: exit 1 if something differs")
@click.option(
    "--tolerance", type=Parsed("share", parse_share), default="0%", metavar="SHARE", help="of --gate  [0%]"
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@pass_session
def report(
    session: Session,
    /,
    output: Path | None,
    form: str,
    dpi: int,
    base: str | None,
    gate: bool,
    tolerance: float,
    runs: tuple[str, ...],
) -> int | None:
    """A report of runs: results (JSON, or the folder of --out) and run databases."""
    # Late: drawing takes a second to import.
    from brokersim.lab.show.plots import PlotError

    if gate and base is None:
        raise usage_error("--gate needs a run to compare with", attempt=f"{_ATTEMPT}, --compare BASE")
    results, against = [read(name) for name in runs], None if base is None else read(base)
    try:
        _write(session, results, against, form, output, dpi)
        return None if against is None else _differ(session, results, against, gate, tolerance)
    except PlotError as error:
        raise CommandError(str(error), code=FAILED, attempt=_ATTEMPT) from None
    except ValueError as error:  # two experiments
        raise usage_error(str(error), attempt=_ATTEMPT) from None


def read(name: str) -> Result:
    """The run of that id or path. Raises CommandError."""
    from brokersim.lab.keep.runs import RunError, find_run
    from brokersim.lab.show.report import ReportError, read_result
    from brokersim.statsd_server.outputs.rundb import RunDatabaseError

    try:
        return read_result(find_run(name, runs_folder()))
    except RunError as error:
        raise usage_error(str(error), attempt="brokersim runs list") from None
    except (ReportError, RunDatabaseError) as error:
        raise CommandError(str(error), code=FAILED, attempt=_ATTEMPT) from None


def _write(
    session: Session, results: Sequence[Result], base: Result | None, form: str, output: Path | None, dpi: int
) -> None:
    from brokersim.lab.show.plots import write_plots
    from brokersim.lab.show.report import write_report
    from brokersim.lab.show.report_text import to_json, to_markdown

    if form in ("md", "json"):
        import msgspec

        text = (
            to_markdown(results, base).encode()
            if form == "md"
            else msgspec.json.encode(to_json(results, base))
        )
        text = text.rstrip(b"\n") + b"\n"
        if output is None:
            session.write(text)
        else:
            files.write_file(output, text)
        return
    if form == "html":
        path = output or Path("report.html")
        path = path / "index.html" if path.is_dir() else path
        _told(session, [write_report(results, path, base)])
        return
    folder = output or Path()
    folder.mkdir(parents=True, exist_ok=True)
    _told(session, [path for found in results for path in write_plots(found, folder, form, base, dpi)])


def _told(session: Session, paths: Sequence[Path]) -> None:
    if session.json:
        pages = [{"page": str(path), "bytes": path.stat().st_size} for path in paths]
        session.emit(pages[0] if len(pages) == 1 else pages)
    else:
        for path in paths:
            session.say(f"{path}: {path.stat().st_size:,} bytes")


def _differ(
    session: Session, results: Sequence[Result], base: Result, gate: bool, tolerance: float
) -> int | None:
    """Says how many figures differ; 1 if that is asked for and they do."""
    from brokersim.lab.keep.compare import compare

    found = [compare(one, base) for one in results]
    beyond = [difference for one in found for difference in one.beyond(tolerance)]
    for one in sorted(beyond, key=lambda one: -one.distance)[:5]:
        ratio = "" if one.ratio is None else f" ({one.ratio:.4g} times)"
        session.say(f"{one.row}: {one.figure} {one.base:.6g} → {one.this:.6g}{ratio}")
    total = sum(len(one.figures) for one in found)
    session.say(
        f"{len(beyond):,} of {counted(total, 'figure')} differ by more than {tolerance:.3g} of the base"
    )
    sys.stderr.flush()
    return FAILED if gate and not all(one.is_within(tolerance) for one in found) else None
