"""Knows how an experiment's result is printed and where it is kept; not how experiments are run (lab)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from brokersim.cli.command import list_options
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])
#: A column: its title, the key of the row, how its value is written.
Column = tuple[str, str, str]
FORMATS = ("html", "svg", "png", "none")


def common(command: F) -> F:
    """Options of all experiments: the seed, where to keep what came out, and how lists are printed."""
    options = (
        click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="[0]"),
        click.option(
            "--out",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="keep result.json and plots",
        ),
        click.option(
            "--plot", type=click.Choice(FORMATS), default="html", help="of what is kept in DIR  [html]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return list_options(command)


def clock(command: F) -> F:
    """``--clock``, for experiments that mean something in real time."""
    return click.option(
        "--clock", type=click.Choice(["virtual", "real"]), default="virtual", help="[virtual]"
    )(command)


def show(
    session: Session,
    experiment: Callable[[], dict[str, Any]],
    columns: Sequence[Column],
    out: Path | None = None,
    plot: str = "html",
) -> None:
    """Run an experiment, keep its result if wanted, and print it: figures, what should agree, what it ran on."""
    found = _run(experiment, session)
    if out is not None:
        _keep(session, found, out, plot)
    if session.json:
        session.emit(found)
        return
    session.table([title for title, _, _ in columns], [_cells(row, columns) for row in found["runs"]])
    session.out("")
    for line in check_lines(session, found["checks"]):
        session.out(line)
    meta = found["meta"]
    session.say(
        f"\nbrokersim {meta['brokersim']} on CPython {meta['python']}, {meta['cores']} cores, {meta['clock']} clock, "
        f"seed {meta['seed']}, not Flux: compare order and ratios, not numbers"
    )


def _run(experiment: Callable[[], dict[str, Any]], session: Session) -> dict[str, Any]:
    try:
        return experiment()
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim bench -h") from None
    except (RuntimeError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
    finally:
        if progress_is_shown(session):
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _cells(row: dict[str, Any], columns: Sequence[Column]) -> list[str]:
    return ["-" if row.get(key) is None else format(row[key], how) for _, key, how in columns]


def check_lines(session: Session, checks: Sequence[dict[str, Any]]) -> list[str]:
    """✓ or ✗, the id, the sentence; under it our figures and the journal's."""
    lines = []
    for check in checks:
        mark = session.style("✓", "green") if check["ok"] else session.style("✗", "red")
        lines.append(f"{mark} {check['id']}: {check['sentence']}")
        journal = f"   journal: {check['journal']}" if check["journal"] else ""
        lines.append(f"    ours: {check['ours']}{journal}")
    return lines


def _keep(session: Session, found: dict[str, Any], out: Path, plot: str) -> None:
    """result.json, and the plots or the page beside it."""
    from brokersim.lab.plots import PlotError, write_plots
    from brokersim.lab.report import write_report

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_bytes(msgspec.json.encode(found) + b"\n")
        kept = [out / "result.json"]
        if plot == "html":
            kept.append(write_report([found], out / "index.html"))
        elif plot != "none":
            kept += write_plots(found, out, plot)
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
