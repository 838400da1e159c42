"""Knows how a command is handed to an engine as an array job, and gathered again; not what it computes (lab)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from brokersim.cli.bench.output import progress
from brokersim.cli.command import Given
from brokersim.cli.errors import FAILED, CommandError, text_of
from brokersim.cli.session import Session

if TYPE_CHECKING:
    from brokersim.lab.sweep.arrays import ArrayJob

LAUNCHERS = ("local", "flux", "slurm")
#: Elements unless more or fewer are asked for.
TASKS = 8
#: Options that say who runs a command, not what it does.
WHO = ("launcher", "submit", "tasks", "launcher_args", "wait", "here")


def launcher_options(is_listed: bool = False) -> Callable[[Any], Any]:
    """``--launcher`` and what goes with it; docs/experiments.md has them all."""
    options = (
        click.option(
            "--launcher", type=click.Choice(LAUNCHERS), default="local", hidden=not is_listed, help="[local]"
        ),
        click.option("--tasks", type=click.IntRange(1), default=TASKS, metavar="N", hidden=True),
        click.option("--launcher-args", metavar="WORDS", hidden=True),
        click.option("--submit", is_flag=True, hidden=True),
        click.option("--wait", is_flag=True, hidden=True),
        click.option("--here", is_flag=True, hidden=True),
        click.option("--shard", metavar="I/N", hidden=True),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def rebuilt(context: click.Context, without: Sequence[str] = ()) -> list[str]:
    """The words of this very command, as given, but for some options; a command that it runs comes last."""
    words, last = context.command_path.split()[1:], []
    for param in context.command.params:
        value = context.params.get(param.name or "")
        is_given = context.get_parameter_source(param.name or "") == ParameterSource.COMMANDLINE
        if not is_given or param.name in without or value is None:
            continue
        if isinstance(param, click.Option):
            words += _option_words(param, value)
        elif param.nargs < 0:
            last += ["--", *value] if value else []
        else:
            words.append(_written(value))
    return words + last


def _option_words(option: click.Option, value: Any) -> list[str]:
    name = option.opts[-1]
    if option.is_flag:
        return [name]
    if option.multiple:  # of texts, or of pairs of a name and what it is given
        return [word for one in value for word in (name, one if isinstance(one, str) else "=".join(one))]
    return [name, _written(value)]


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def more_words(given: Given) -> tuple[str, ...]:
    """The words of ``--launcher-args``. Raises CommandError for a quote that does not end."""
    try:
        return tuple(shlex.split(given["launcher_args"] or ""))
    except ValueError as error:
        raise CommandError(f"--launcher-args {given['launcher_args']!r:.60}: {str(error).lower()}") from None


def print_job(
    session: Session,
    launcher: str,
    name: str,
    command: Sequence[str],
    more: Sequence[str],
    is_submitted: bool,
) -> None:
    """Print, or hand over, what has an engine run a command as one job."""
    from brokersim.lab.sweep.launchers import ENGINES, LaunchError, run

    words = ENGINES[launcher].one_job(name, command, more)
    try:
        session.out(run(words) if is_submitted else shlex.join(words))
    except LaunchError as error:
        raise CommandError(str(error), code=FAILED) from None


def hand_over(
    session: Session,
    given: Given,
    *,
    run: Path,
    name: str,
    words: Sequence[str],
    gather: str,
    total: int,
    measured: Callable[[Path], object] | None,
) -> None:
    """Print, or with ``--submit`` hand over, the array job for a run file; of one that is there what was lost of it.

    ``words`` are an element's command, ``total`` the points there are, ``measured`` gets the file of one that has been
    computed here to see what it takes; without it nothing is measured.
    """
    from brokersim.lab.sweep import arrays
    from brokersim.lab.sweep.launchers import ENGINES, LaunchError, has_time_limit, shown

    try:
        known = arrays.read(arrays.record_of(run))
        if known is not None and known.ids:
            job, elements = _lost(known)
        else:
            more, limits = more_words(given), None
            if not total:
                raise arrays.ArrayError(f"{run}: all of it is done; there is nothing to hand over")
            if measured is not None and total > 1 and not has_time_limit(more):
                session.say(f"one of {total} points is computed here, to see what it takes")
                limits = ENGINES[given["launcher"]].adapted(arrays.measured(words, total, given["tasks"]))
                point = arrays.Share(0, total)
                measured(point.path(run))
                point.remove(run)
                total -= 1
            count = min(given["tasks"], total)
            job = arrays.ArrayJob(
                run=run, launcher=given["launcher"], name=name, count=count, words=tuple(words), gather=gather,
                more=more, limits=limits,
            )  # fmt: skip
            elements = tuple(range(count))
        job = arrays.hand_over(job, elements, given["submit"])
    except (arrays.ArrayError, LaunchError, OSError) as error:
        raise CommandError(text_of(error), code=FAILED) from None
    engine = ENGINES[job.launcher]
    if given["submit"]:
        own = {at: job.ids[at] for at in elements}
        session.out(f"submitted {engine.called(own)}: {len(own)} element{'s' if len(own) > 1 else ''}")
    else:
        session.out(shown(engine.command(job.wish(elements))))
    session.say(f"when it has run: {job.gather}        (with --wait it waits)")


def _lost(job: ArrayJob) -> tuple[ArrayJob, tuple[int, ...]]:
    """What of a job that was handed over is to be submitted again."""
    from brokersim.lab.sweep import arrays

    standing = arrays.look(job)
    if standing.is_open:
        raise arrays.ArrayError(f"{job.run}: {standing}; wait for it, or cancel it first")
    if standing.is_whole:
        raise arrays.ArrayError(f"{job.run}: all {job.count} elements are done; gather them: {job.gather}")
    return arrays.again(standing), tuple(standing.lost)


def awaited(session: Session, given: Given, run: Path | None) -> ArrayJob | None:
    """The array job a run file is gathered from; None where there is none.

    Raises CommandError where some of it is not done: nothing is computed here instead without ``--here``.
    """
    from brokersim.lab.sweep import arrays
    from brokersim.lab.sweep.launchers import LaunchError

    if run is None:
        return None
    say = progress(session)
    try:
        job = arrays.read(arrays.record_of(run.absolute()))
        if job is None:
            return None
        standing = arrays.wait(job, say) if given["wait"] else arrays.look(job)
    except (arrays.ArrayError, LaunchError) as error:
        raise CommandError(str(error), code=FAILED) from None
    finally:
        say("")
    if standing.is_open:
        raise CommandError(f"{run}: {standing}", hint="--wait waits for it", code=FAILED)
    if not standing.is_whole and not given["here"]:
        again = arrays.with_more(job.gather, "--launcher", job.launcher, "--submit")
        raise CommandError(
            f"{run}: {standing}",
            hint="--here computes what is missing on this machine",
            attempt=f"{again}        (only what is not done)",
            code=FAILED,
        )
    return job
