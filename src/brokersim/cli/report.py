"""Knows the command that makes one page of results and run databases; not what is on the page (lab)."""

from __future__ import annotations

from pathlib import Path

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError
from brokersim.cli.session import Session


@click.command(
    "report",
    cls=Command,
    **examples(
        ("brokersim report states/result.json -o states.html", "one page that opens without a network"),
        ("brokersim report run.db -o run.html", "of what 'brokersim stats serve' recorded"),
    ),
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), metavar="FILE",
    help="the page  [report.html]",
)  # fmt: skip
@click.argument(
    "results",
    metavar="RESULT...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@pass_session
def report(session: Session, /, output: Path, results: tuple[Path, ...]) -> None:
    """One self-contained HTML page of results (JSON) and run databases."""
    # Late: drawing takes a second to import.
    from brokersim.lab.plots import PlotError
    from brokersim.lab.report import ReportError, read_result, write_report
    from brokersim.net.outputs.rundb import RunDatabaseError

    try:
        written = write_report([read_result(path) for path in results], output)
    except (ReportError, RunDatabaseError, PlotError, OSError) as error:
        raise CommandError(str(error), code=FAILED, attempt="brokersim report -h") from None
    if session.json:
        session.emit({"page": str(written), "bytes": written.stat().st_size})
    else:
        session.say(f"{written}: {written.stat().st_size:,} bytes")
