"""Knows the options of `check` and how a check is told; what it does is the kit's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brokersim.cli.bench.handed_over import awaited, launcher_options
from brokersim.cli.check.shares import hand_out, place_of, told
from brokersim.cli.command import RUNS_COMMAND, Command, Given, examples, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import ASSIGNMENT, Output

if TYPE_CHECKING:
    from brokersim.kit.check import Checked
    from brokersim.kit.check_plan import Asked, CheckPlan

#: Further folders of modules, as in `start`.
_PATH_VARIABLE: Final = "BROKERSIM_MODULE_PATH"
#: Nagios's code for what could not be checked.
_UNKNOWN: Final = 3


class CheckCommand(Command):
    """With ``--nagios`` a wrong option is UNKNOWN and one line, as everything else that keeps from checking."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        given = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            own = given[: given.index("--")] if "--" in given else given
            if "--nagios" not in own:
                raise
            click.echo(f"BROKERSIM UNKNOWN - {error.format_message()}")
            raise click.exceptions.Exit(_UNKNOWN) from None


class Tolerance(click.ParamType[tuple[str, str]]):
    """``GLOB=±P%``: a glob of counter names and a percentage."""

    name = "GLOB=±P%"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        glob, equals, percent = str(value).rpartition("=")
        if not equals or not glob:
            self.fail(f"{value!r} has no counter; give GLOB=P%, such as 'kvs.*.request_rx=2%'", param, ctx)
        return glob, percent


_OUT: Final = Output(path_type=str)


@click.command(
    "check",
    cls=CheckCommand,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim check --record kvs.toml -- ./work.sh", "keep the counts"),
        ("brokersim check --against kvs.toml", "run it again: 1 if one differs"),
        ("brokersim check --record kvs.toml", "it was wanted: keep it anew"),
        ("brokersim check -- ./work.sh", "only the laws"),
    ),
)
@click.option(
    "--record", type=_OUT, metavar="FILE", help="write the baseline; with --against: if all is well"
)
@click.option("--against", "against", metavar="FILE", help="compare with it, in an instance like its own")
@click.option(
    "--tolerance", "tolerances", multiple=True, type=Tolerance(), metavar="GLOB=±P%", help="of counters"
)
@click.option("--per", metavar="OPERATION", help="compare averages per job, commit or rpc")
@click.option("--max-cost", metavar="BOUND", help="real clock: 5% of a core, or 2ms/rpc; ±10% behind it")
@click.option("--laws", "laws", metavar="all|none|LIST", default="all", help="[all]")
@click.option("--relax", multiple=True, type=ASSIGNMENT, metavar="LAW=REASON", help="need not hold, because")
@click.option("--runs", type=click.IntRange(1), metavar="N", hidden=True)
@click.option("--seeds", metavar="SET", help="a run for each, such as 0-9; N with --runs N")
@click.option("--junit", type=_OUT, metavar="FILE", help="write JUnit's XML")
@click.option("--nagios", is_flag=True, help="one line and Nagios's exit codes")
@click.option("-s", "--test-size", "size", type=int, metavar="N", help="as in start, up to --fake-resources")
@click.option("-m", "--modules", metavar="LIST|none", hidden=True)
@click.option("-M", "--module-path", multiple=True, metavar="DIR", hidden=True)
@click.option("--clock", metavar="KIND", help="virtual or real  [virtual]")
@click.option("--seed", type=int, metavar="N", hidden=True)
@click.option("--hook", metavar="KIND", hidden=True)
@click.option("--fake-resources", "resources", metavar="N[xC[xG]]", hidden=True)
@click.option("--jobs", metavar="KIND", hidden=True)
@click.option("--parts", metavar="FILE", hidden=True)
@launcher_options()
@click.argument("command", metavar="[-- CMD [ARG]...]", nargs=-1)
@pass_session
def check(session: Session, /, nagios: bool, junit: str | None, **given: object) -> int:
    """Run CMD in a fresh instance; compare counters, check the laws."""
    try:
        plan = _planned(_asked(given))
        if given["shard"] or given["launcher"] != "local":
            hand_out(session, plan, given)
            return 0
        checked = _checked(session, plan, given)
        if junit:
            _junit(junit, checked)
        if checked.plan.record is not None and checked.shown.run.code:
            raise CommandError(checked.why_not_recorded, code=checked.shown.run.code)
    except CommandError as error:
        if not nagios:
            raise
        session.out(f"BROKERSIM UNKNOWN - {error.what}")
        return _UNKNOWN
    return _show(session, checked, nagios)


def _asked(given: Given) -> Asked:
    # Late: an instance brings in trio, which no other command needs.
    from brokersim.kit.check_plan import KEPT, Asked

    folders = (*given["module_path"], *filter(None, os.environ.get(_PATH_VARIABLE, "").split(":")))
    settings = {name: given[name] for name in KEPT} | {"modules": _module_list(given["modules"])}
    texts = {
        name: given[name]
        for name in (
            "record",
            "against",
            "tolerances",
            "laws",
            "relax",
            "runs",
            "seeds",
            "max_cost",
            "command",
        )
    }
    return Asked(**texts, per=given["per"] or "", settings=settings, folders=folders)


def _module_list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [] if text == "none" else text.split(",")


def _planned(asked: Asked) -> CheckPlan:
    from brokersim.kit.check_plan import CheckError, plan_check

    try:
        return plan_check(asked)
    except CheckError as error:
        raise usage_error(str(error), hint=error.hint, attempt=error.attempt) from None


def _checked(session: Session, plan: CheckPlan, given: Given) -> Checked:
    """The kit's check, of runs that an array job has made if there is one for it."""
    from brokersim.kit.check import check as run_check
    from brokersim.kit.check_runs import Gathered

    place = place_of(given)
    job = awaited(session, given, place)
    sys.stdout.flush()
    with told(plan):
        if job is None or place is None:
            return run_check(plan, session.timeout)
        checked = run_check(plan, session.timeout, Gathered(place=place, shares=job.paths))
        job.remove()
        return checked


def _junit(file: str, checked: Checked) -> None:
    from brokersim.cli.check.output import to_junit
    from brokersim.kit.check import write_file
    from brokersim.kit.check_plan import CheckError

    try:
        write_file(Path(file), to_junit(checked))
    except CheckError as error:
        raise usage_error(str(error)) from None


def _show(session: Session, checked: Checked, nagios: bool) -> int:
    """Print it; the exit code."""
    from brokersim.cli.check.output import NAGIOS, to_json, to_nagios, to_text

    if nagios:
        session.out(to_nagios(checked))
        return NAGIOS[checked.state]
    if session.json:
        session.emit(to_json(checked))
        return checked.code
    for line in to_text(checked):
        session.out(line)
    if checked.recorded:
        session.say(f"baseline written: {checked.recorded}")
    elif checked.why_not_recorded:
        session.say(checked.why_not_recorded)
    if checked.shown.run.code:
        session.say(f"the command ended with {checked.shown.run.code}")
    return checked.code
