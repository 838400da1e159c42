"""Knows how an experiment becomes a command: its options and those all share, its tables; not any experiment.

Options become an Order, once; what came of it is printed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brokersim.cli.bench.broken_off import told_when_broken_off
from brokersim.cli.bench.handed_over import (
    WHO,
    awaited,
    hand_over,
    launcher_options,
    more_words,
    print_job,
    rebuilt,
)
from brokersim.cli.bench.output import FORMATS, print_outcome, progress
from brokersim.cli.command import Command, Given, examples, list_options, pass_session, setting
from brokersim.cli.errors import FAILED, CommandError, text_of, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FILE, OUT_FOLDER, Parsed
from brokersim.lab.experiments.experiment import (
    PRESETS,
    Choice,
    Experiment,
    Flag,
    Number,
    Option,
    Read,
    Whole,
)
from brokersim.lab.experiments.registry import ALL
from brokersim.protocol.errnums import RequestError

if TYPE_CHECKING:
    from brokersim.lab.order import Order, Places

F = TypeVar("F", bound=Callable[..., Any])
#: Options that say where a result goes: not part of what made it.
_WHERE = ("db", "out", "plot", "baseline", "gate", "json", "shard", *WHO)
#: Said to who breaks off a run of which nothing stays.
NOT_KEPT = "nothing is kept; with --db RUN.db what is done stays, and the same command goes on"
PATH = click.Path(path_type=Path)


def failures(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """What came to nothing for a reason that is told in a line, and ``more``."""
    # Late, here and below: help must not wait for what runs and draws.
    from brokersim.lab.show.plots import PlotError
    from brokersim.statsd_server.outputs.rundb import RunDatabaseError

    return (RuntimeError, OSError, PlotError, RunDatabaseError, *more)


def command_of(experiment: Experiment[Any]) -> click.Command:
    """The experiment's command of ``bench``."""

    def run_it(session: Session, /, **given: Any) -> int | None:
        with told_when_broken_off(session, lambda: _kept_of(experiment, given["db"])):
            return _conduct(session, experiment, given)

    command: Any = pass_session(run_it)
    own = [option.name for option in experiment.options]
    command = _shared(command, without=own, unlisted=experiment.unlisted)
    for option in reversed(experiment.options):
        command = _option(option)(command)
    named = click.command(
        experiment.name, cls=Command, help=ALL[experiment.name], **examples(*experiment.examples)
    )
    made: click.Command = named(command)
    return made


# -- options


def _option(option: Option) -> Callable[[F], F]:
    if option.is_argument:
        return click.argument(option.name, metavar=option.metavar, required=False, type=click.Path())
    if isinstance(option.kind, Flag):
        return click.option(
            *option.names, option.name, is_flag=True, default=None, help=option.help, hidden=option.is_hidden
        )
    return click.option(
        *option.names, option.name, type=_type(option.kind), metavar=option.metavar, help=option.help or None,
        hidden=option.is_hidden, default=option.default,
    )  # fmt: skip


def _type(kind: Whole | Number | Choice | Read) -> click.ParamType[Any]:
    if isinstance(kind, Whole):
        return click.IntRange(kind.least)
    if isinstance(kind, Number):
        return click.FloatRange(kind.least, kind.most, min_open=kind.is_open)
    return click.Choice(kind.words) if isinstance(kind, Choice) else Parsed(kind.name, kind.parse, kind.words)


def _shared(command: F, *, without: Sequence[str], unlisted: Sequence[str]) -> F:
    """The options of all experiments; the rarer ones are not in the help, docs/experiments.md has them all.

    ``without``: an experiment has its own form of it. ``unlisted``: it means nothing here, and is answered so.
    """
    options: dict[str, Callable[[F], F]] = {
        "jobs": click.option(
            "--jobs", type=click.IntRange(1), metavar="N", hidden="jobs" in unlisted, help="how many"
        ),
        "seed": click.option(
            "--seed", type=click.IntRange(0), metavar="N", hidden="seed" in unlisted, help="same seed, same bytes  [0]"
        ),
        "size": click.option("-s", "--size", type=click.IntRange(1), metavar="N", hidden=True),
        "reps": click.option(
            "--reps", type=click.IntRange(1), metavar="N", hidden="reps" in unlisted, help="repetitions  [1]"
        ),
        "clock": click.option(
            "--clock", type=click.Choice(["virtual", "real"]), hidden="clock" in unlisted,
            help="modelled or measured",
        ),
        "cost": click.option(
            "--cost", metavar="PROFILE|FILE", hidden=True, help="whose costs are modelled  [journal-2021]"
        ),
        "preset": click.option("--preset", type=click.Choice(PRESETS), hidden=True),
        "full": click.option(
            "--full", is_flag=True, hidden="full" in unlisted, help="the journal's parameters (--preset journal)"
        ),
        "db": click.option("--db", type=OUT_FILE, metavar="RUN.db", help="keep the result in a run database"),
        "out": click.option("--out", type=OUT_FOLDER, metavar="DIR", help="keep result.json and plots"),
        "plot": click.option(
            "--plot", type=click.Choice(FORMATS), default="html", hidden="plot" in unlisted,
            help="in DIR  [html]",
        ),
        "workers": click.option("--workers", type=click.IntRange(1), metavar="N", hidden=True),
        "launcher": launcher_options(),
        "baseline": click.option(
            "--baseline", type=PATH, metavar="RUN.db", help="compare with an earlier result"
        ),
        "gate": click.option("--gate", is_flag=True, help="exit 1 if it got worse"),
    }  # fmt: skip
    for name in reversed(options):
        if name not in without:
            command = options[name](command)
    command = list_options(command)
    return setting("-v", "--verbose", field="verbose", is_flag=True, hidden=True)(command)


# -- one order


def _kept_of(experiment: Experiment[Any], database: Path | None) -> str:
    from brokersim.lab.keep.parts import left_of

    if database is None:
        return NOT_KEPT
    if experiment.array is not None:
        return f"the rows found are kept in {database}; the same command goes on from there"
    return left_of(database)


def _conduct(session: Session, experiment: Experiment[Any], given: Given) -> int | None:
    """Run an experiment as told, keep and compare what it found, print it; 1 if ``--gate`` is not passed."""
    from brokersim.lab.order import OrderError, carry_out, gate

    context = click.get_current_context()
    say = progress(session)
    try:
        wanted = _order(experiment, given, context)
        if given["shard"]:
            session.say(_run_share(wanted, given["shard"], say))
            return None
        if given["launcher"] != "local":
            _launch(session, context, wanted, given)
            return None
        job = awaited(session, given, given["db"])
        outcome = carry_out(wanted, say, () if job is None else job.paths)
        if job is not None:
            job.remove()
    except OrderError as error:
        raise usage_error(str(error), attempt=f"brokersim bench {experiment.name} -h") from None
    except failures(RequestError) as error:
        raise CommandError(text_of(error), code=FAILED) from None
    finally:
        say("")
    if session.json:
        session.emit(outcome.to_json())
    else:
        print_outcome(session, experiment, outcome, given["baseline"])
    return passed(session, gate(outcome)) if given["gate"] else None


def passed(session: Session, why_not: str) -> int | None:
    """1 and a line if there is a reason not to pass."""
    if why_not:
        session.say(f"gate: {why_not}")
    return 1 if why_not else None


def _order(experiment: Experiment[Any], given: Given, context: click.Context) -> Order:
    from brokersim.lab.order import OrderError, order

    own = [option.name for option in experiment.options]
    common = [name for name in ("jobs", "seed", "size", "clock") if name not in own]
    try:
        fields = experiment.fields({name: given[name] for name in own})
    except ValueError as error:
        raise OrderError(str(error)) from None
    fields |= {name: given[name] for name in common if given.get(name) is not None}
    return order(
        experiment,
        fields,
        preset=preset_of(given),
        reps=given["reps"],
        places=places_of(given),
        cost=given["cost"],
        workers=given["workers"],
        command=shlex.join(["brokersim", *rebuilt(context, without=_WHERE)]),
    )


def places_of(given: Given) -> Places:
    """Where the result goes, as told."""
    from brokersim.lab.order import Places

    return Places(
        database=given["db"], folder=given["out"], pictures=given["plot"], baseline=given["baseline"]
    )


def preset_of(given: Given) -> str:
    """The preset's name, or usage_error for two at once."""
    if given["full"] and given["preset"] == "small":
        raise usage_error("--full is --preset journal; give one of --full and --preset small")
    return "journal" if given["full"] else given["preset"] or "small"


# -- handed to an engine


def _launch(session: Session, context: click.Context, wanted: Order, given: Given) -> None:
    """Print, or with ``--submit`` hand over, the command that has an engine run this one.

    Combinations and repetitions are an array job, unless repetitions take turns on one machine to be compared: then all
    of it is one job.
    """
    from brokersim.lab.order import OrderError, left, take_over, words_of

    experiment, launcher = wanted.experiment, given["launcher"]
    if given["db"] is None and (given["out"] is None or experiment.array is not None):
        where = "--db RUN.db" if experiment.array is not None else "--db RUN.db or --out DIR"
        raise OrderError(f"--launcher {launcher} needs {where}: its output is not here")
    words = rebuilt(context, without=WHO)
    if experiment.array is None and (wanted.reps == 1 or experiment.has_own_reps or given["db"] is None):
        command = [sys.executable, "-m", "brokersim", *words]
        print_job(session, launcher, experiment.name, command, more_words(given), given["submit"])
        return
    total = left(wanted)
    if not total:
        raise OrderError(f"{given['db']}: has all of it; there is nothing to hand over")
    words = words_of(wanted) or words
    hand_over(
        session, given, run=given["db"].absolute(), name=experiment.name, words=words,
        gather=shlex.join(["brokersim", *words]), total=total, measured=partial(take_over, wanted),
    )  # fmt: skip


def _run_share(wanted: Order, text: str, say: Callable[[str], object]) -> str:
    from brokersim.lab.order import OrderError, carry_out_share
    from brokersim.lab.sweep.arrays import Share

    if wanted.places.database is None:
        raise OrderError("--shard needs --db RUN.db, which all of its parts can reach")
    try:
        share = Share.parse(text)
    except ValueError as error:
        raise OrderError(str(error)) from None
    return carry_out_share(wanted, share, say)
