"""Knows the options all experiments share and how an experiment is run with them; not any experiment.

Options become fields of the experiment's Plan, over those of a preset; what it found is kept, compared and printed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click
from click.core import ParameterSource

from brokersim.cli.bench.output import (
    FORMATS,
    Below,
    Column,
    clear_progress,
    keep_files,
    print_differences,
    print_result,
    progress,
)
from brokersim.cli.command import list_options
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session

if TYPE_CHECKING:
    from brokersim.lab.experiments.registry import Experiment

F = TypeVar("F", bound=Callable[..., Any])
LAUNCHERS = ("local", "flux", "slurm")
#: Options that are no field of a Plan.
_OURS = ("preset", "full", "reps", "db", "out", "plot", "launcher", "submit", "baseline", "gate")
#: Options that say where a result goes: not part of what made it.
_WHERE = ("db", "out", "plot", "baseline", "gate", "json")
PATH = click.Path(path_type=Path)
COUNT = click.IntRange(1)


def shared(*, without: Sequence[str] = (), unlisted: Sequence[str] = ()) -> Callable[[F], F]:
    """The options of all experiments; the rarer ones are not in the help, docs/experiments.md has them all.

    ``without``: an experiment has its own form of it. ``unlisted``: it means nothing here, and is answered so.
    """
    folder = click.Path(path_type=Path, file_okay=False)
    clocks = click.Choice(["virtual", "real"])
    options: dict[str, Callable[[F], F]] = {
        "jobs": click.option("--jobs", type=COUNT, metavar="N", hidden="jobs" in unlisted, help="how many"),
        "seed": click.option(
            "--seed", type=click.IntRange(0), metavar="N", help="same seed, same bytes  [0]"
        ),
        "size": click.option("-s", "--size", type=COUNT, metavar="N", hidden=True),
        "reps": click.option(
            "--reps", type=COUNT, metavar="N", hidden="reps" in unlisted, help="repetitions  [1]"
        ),
        "clock": click.option(
            "--clock", type=clocks, hidden="clock" in unlisted, help="modelled or measured"
        ),
        "preset": click.option("--preset", type=click.Choice(["small", "journal"]), hidden=True),
        "full": click.option("--full", is_flag=True, help="the journal's parameters (--preset journal)"),
        "db": click.option("--db", type=PATH, metavar="RUN.db", help="keep the result in a run database"),
        "out": click.option("--out", type=folder, metavar="DIR", help="keep result.json and plots"),
        "plot": click.option(
            "--plot",
            type=click.Choice(FORMATS),
            default="html",
            hidden="plot" in unlisted,
            help="in DIR  [html]",
        ),
        "launcher": click.option("--launcher", type=click.Choice(LAUNCHERS), default="local", hidden=True),
        "submit": click.option("--submit", is_flag=True, hidden=True),
        "baseline": click.option(
            "--baseline", type=PATH, metavar="RUN.db", help="compare with an earlier result"
        ),
        "gate": click.option("--gate", is_flag=True, help="exit 1 if it got worse"),
    }

    def decorate(command: F) -> F:
        for name in reversed(options):
            if name not in without:
                command = options[name](command)
        return list_options(command)

    return decorate


def conduct(
    session: Session,
    name: str,
    given: Mapping[str, Any],
    columns: Sequence[Column],
    below: Below | None = None,
) -> int | None:
    """Run an experiment as told, keep and compare what it found, print it; 1 if ``--gate`` is not passed."""
    from brokersim.lab.experiments.registry import EXPERIMENTS

    context = click.get_current_context()
    if given["launcher"] != "local":
        launch(session, context, given)
        return None
    experiment = EXPERIMENTS[name]
    before = read_baseline(given["baseline"])
    if given["db"] is not None and given["db"].exists():
        raise usage_error(
            f"{given['db']} exists: a run database holds one run; choose a new name or move it away"
        )
    found = _run(session, experiment, given)
    found["meta"]["command"] = shlex.join(["brokersim", *rebuilt(context, without=_WHERE)])
    keep_result(session, found, given)
    differences = compared(found, before)
    if session.json:
        session.emit({**found, **({} if differences is None else {"differences": differences})})
    else:
        print_result(session, found, columns, below)
        print_differences(session, differences, given["baseline"])
    return gate(session, found, differences) if given["gate"] else None


def plan_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of the options is the experiment's own; what was not given is left to the preset."""
    return {name: value for name, value in given.items() if name not in _OURS and value is not None}


def preset_of(given: Mapping[str, Any]) -> str:
    if given["full"] and given["preset"] == "small":
        raise usage_error("--full is --preset journal; give one of --full and --preset small")
    return "journal" if given["full"] else given["preset"] or "small"


def _run(session: Session, experiment: Experiment, given: Mapping[str, Any]) -> dict[str, Any]:
    from brokersim.lab.experiments.registry import repeated
    from brokersim.lab.sweep.sweep import cores

    fields = plan_fields(given)
    reps = given["reps"] or 1
    try:
        if given["reps"] is not None and experiment.has_own_reps:
            fields["reps"] = given["reps"]
        plan = experiment.plan(fields, preset_of(given))
        return repeated(experiment, plan, reps, progress(session), workers=cores())
    except ValueError as error:
        raise usage_error(str(error), attempt=f"brokersim bench {experiment.name} -h") from None
    except (RuntimeError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
    finally:
        clear_progress(session)


# -- kept and compared


def keep_result(session: Session, found: dict[str, Any], given: Mapping[str, Any]) -> None:
    """``--db`` and ``--out``."""
    if given["db"] is not None:
        from brokersim.lab.keep.kept import keep
        from brokersim.statsd_server.outputs.rundb import RunDatabaseError

        try:
            keep(found, given["db"])
        except (RunDatabaseError, OSError) as error:
            raise CommandError(str(error), code=FAILED) from None
        session.say(f"kept: {given['db']}")
    if given["out"] is not None:
        keep_files(session, [found], given["out"], given["plot"])


def read_baseline(path: Path | None) -> dict[str, Any] | None:
    """The earlier result, before anything is run: a mistyped name must not cost the run."""
    if path is None:
        return None
    from brokersim.lab.keep.kept import KeptError, read_kept

    try:
        return read_kept(path)
    except KeptError as error:
        raise usage_error(f"--baseline: {error}") from None
    except OSError as error:
        raise usage_error(f"--baseline {path}: {error.strerror}") from None


def compared(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The differences to the baseline, worse ones first; None without a baseline."""
    if before is None:
        return None
    from brokersim.lab.keep.baseline import BaselineError, compare

    try:
        return [attrs.asdict(one) for one in compare(found, before)]
    except BaselineError as error:
        raise usage_error(f"--baseline: {error}") from None


def gate(session: Session, found: Mapping[str, Any], differences: list[dict[str, Any]] | None) -> int | None:
    """1 and a line if the result is worse than the baseline; without a baseline, if a check fails."""
    if differences is not None:
        worse = [one for one in differences if one["is_worse"]]
        if worse:
            session.say(f"gate: {len(worse)} worse than the baseline")
        return 1 if worse else None
    failed = [check["id"] for check in found.get("checks", ()) if not check["ok"]]
    if failed:
        session.say(f"gate: {len(failed)} do not agree: {', '.join(failed)}")
    return 1 if failed else None


# -- handed to an engine


def rebuilt(context: click.Context, without: Sequence[str] = ()) -> list[str]:
    """The words of this very command, as given, but for some options."""
    words = context.command_path.split()[1:]
    for param in context.command.params:
        value = context.params.get(param.name or "")
        is_given = context.get_parameter_source(param.name or "") == ParameterSource.COMMANDLINE
        if not is_given or param.name in without or value is None:
            continue
        if isinstance(param, click.Option):
            words += [param.opts[-1]] if param.is_flag else [param.opts[-1], _written(value)]
        else:
            words.append(_written(value))
    return words


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def launch(session: Session, context: click.Context, given: Mapping[str, Any]) -> None:
    """Print, or with ``--submit`` hand over, the command that has an engine run this one."""
    from brokersim.lab.sweep.launchers import LaunchError, one_job, submit

    if given["db"] is None and given["out"] is None:
        raise usage_error(
            f"--launcher {given['launcher']} needs --db RUN.db or --out DIR: its output is not here"
        )
    words = rebuilt(context, without=("launcher", "submit"))
    command = one_job(
        given["launcher"], context.info_name or "bench", [sys.executable, "-m", "brokersim", *words]
    )
    try:
        session.out(submit(command) if given["submit"] else shlex.join(command))
    except (LaunchError, OSError) as error:
        raise CommandError(str(error), code=FAILED) from None
