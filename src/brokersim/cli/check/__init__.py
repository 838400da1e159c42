"""Knows the options of `check` and what its exit code says; running and comparing are the kit's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from brokersim.cli.command import RUNS_COMMAND, Command, examples, pass_session
from brokersim.cli.errors import FAILED, TIMED_OUT, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import ASSIGNMENT
from brokersim.protocol.settings import SIMULATED

if TYPE_CHECKING:
    from brokersim.kit.baseline import Baseline
    from brokersim.kit.checked_run import CheckedRun
    from brokersim.kit.verdict import Verdict
    from brokersim.net.options import StartOptions

#: Runs a baseline is recorded from in real time: what differs between them is not compared.
_REAL_RUNS: Final = 5
#: Settings of a baseline that a check takes over unless told otherwise.
_PATH_VARIABLE: Final = "BROKERSIM_MODULE_PATH"
#: Open requests told when the command took too long.
_WAITING: Final = 5
#: Nagios's code for what could not be checked.
_UNKNOWN: Final = 3
_KEPT: Final = ("size", "clock", "seed", "hook", "resources", "jobs", "modules")


class CheckCommand(Command):
    """With ``--nagios`` a wrong option is UNKNOWN and one line, as everything else that keeps from checking."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
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
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        glob, equals, percent = str(value).rpartition("=")
        if not equals or not glob:
            self.fail(f"{value!r} has no counter; give GLOB=P%, such as 'kvs.*.request_rx=2%'", param, ctx)
        return glob, percent


@click.command(
    "check",
    cls=CheckCommand,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim check --record kvs.toml -- ./work.sh", "keep what work.sh makes modules count"),
        ("brokersim check --against kvs.toml", "run it again: 0 as before, 1 something differs"),
        ("brokersim check --record kvs.toml", "the difference is wanted: record it anew"),
        ("brokersim check -- ./work.sh", "only the laws"),
    ),
)
@click.option("--record", "record", metavar="FILE", help="write the baseline; with --against: if all is well")
@click.option("--against", "against", metavar="FILE", help="compare with it, in an instance like its own")
@click.option(
    "--tolerance", "tolerances", multiple=True, type=Tolerance(), metavar="GLOB=±P%", help="of counters"
)
@click.option("--per", metavar="OPERATION", help="compare averages per job, commit or rpc")
@click.option("--laws", "laws", metavar="all|none|LIST", default="all", help="[all]")
@click.option("--relax", multiple=True, type=ASSIGNMENT, metavar="LAW=REASON", help="need not hold, because")
@click.option("--runs", type=click.IntRange(1), metavar="N", help="to record from  [1; real clock 5]")
@click.option("--junit", metavar="FILE", help="write JUnit's XML")
@click.option("--nagios", is_flag=True, help="one line and Nagios's exit codes")
@click.option("-s", "--test-size", "size", type=int, metavar="N", help="as in start, up to --fake-resources")
@click.option("-m", "--modules", metavar="LIST|none", hidden=True)
@click.option("-M", "--module-path", multiple=True, metavar="DIR", hidden=True)
@click.option("--clock", metavar="KIND", help="virtual or real  [virtual]")
@click.option("--seed", type=int, metavar="N", hidden=True)
@click.option("--hook", metavar="KIND", hidden=True)
@click.option("--fake-resources", "resources", metavar="N[xC[xG]]", hidden=True)
@click.option("--jobs", metavar="KIND", hidden=True)
@click.argument("command", metavar="[-- CMD [ARG]...]", nargs=-1)
@pass_session
def check(session: Session, /, nagios: bool, **given: Any) -> int:
    """Run CMD in a fresh instance; compare counters, check the laws."""
    if not nagios:
        return _check(session, given, nagios=False)
    try:
        return _check(session, given, nagios=True)
    except CommandError as error:
        session.out(f"BROKERSIM UNKNOWN - {error.what}")
        return _UNKNOWN


def _check(session: Session, given: dict[str, Any], nagios: bool) -> int:
    # Late: an instance brings in trio, which no other command needs.
    from brokersim.kit.laws import LAWS
    from brokersim.kit.verdict import judge

    baseline = _baseline(given["against"], given)
    laws = _laws(given["laws"])
    relaxed = {**({} if baseline is None else baseline.relaxed), **_relaxed(given["relax"])}
    before = None if given["record"] is None else _edited(given["record"]) or baseline
    options = _options(given, baseline or before)
    sys.stdout.flush()
    run = _run(options, laws, relaxed, session.timeout)
    try:
        verdict = judge(run, baseline, given["per"] or "")
    except ValueError as error:
        raise usage_error(str(error)) from None
    names = list(LAWS) if laws is None else laws
    if given["junit"]:
        _junit(given["junit"], verdict, names, run.code)
    recorded = _record(session, given, options, run, verdict, before)
    _show(session, verdict, run, recorded, len(names), asked=bool(given["record"]), nagios=nagios)
    return _code(verdict, run, nagios)


def _show(
    session: Session,
    verdict: Verdict,
    run: CheckedRun,
    recorded: str | None,
    laws: int,
    *,
    asked: bool,
    nagios: bool,
) -> None:
    from brokersim.cli.check.output import to_json, to_nagios, to_text

    if nagios:
        session.out(to_nagios(verdict, laws, run.code))
        return
    if session.json:
        session.emit(to_json(verdict, run.counted, run.code, recorded))
        return
    for line in to_text(verdict, laws):
        session.out(line)
    if recorded:
        session.say(f"baseline written: {recorded}")
    elif asked:
        session.say("no baseline is written: something differs or a law is broken")
    if run.code:
        session.say(f"the command ended with {run.code}")


def _code(verdict: Verdict, run: CheckedRun, nagios: bool) -> int:
    from brokersim.cli.check.output import NAGIOS, nagios_state

    if nagios:
        return NAGIOS[nagios_state(verdict, run.code)]
    return FAILED if verdict.failures else run.code


def _baseline(file: str | None, given: dict[str, Any]) -> Baseline | None:
    from brokersim.kit.baseline import parse_percent

    try:
        more = {glob: parse_percent(text) for glob, text in given["tolerances"]}
    except ValueError as error:
        raise usage_error(f"--tolerance: {error}", attempt="--tolerance 'kvs.*.request_rx=2%'") from None
    if file is None:
        if more or given["per"]:
            raise usage_error(
                "--tolerance and --per compare with a baseline", hint="name it with --against FILE"
            )
        return None
    found = _read(file)
    return attrs.evolve(found, tolerances={**found.tolerances, **more})


def _laws(text: str) -> list[str] | None:
    from brokersim.kit.laws import find_law

    if text == "all":
        return None
    try:
        return [find_law(name.strip()).name for name in text.split(",")] if text != "none" else []
    except ValueError as error:
        raise usage_error(f"--laws: {error}") from None


def _relaxed(given: tuple[tuple[str, str], ...]) -> Any:
    from brokersim.kit.laws import parse_relaxations

    try:
        return parse_relaxations(dict(given))
    except ValueError as error:
        raise usage_error(f"--relax: {error}") from None


def _options(given: dict[str, Any], baseline: Baseline | None) -> StartOptions:
    """Options, then the baseline's settings, then ours: virtual time, seed 0, the shipped modules.

    Neither a configuration file nor the environment counts, but for the folders of modules: a baseline must mean
    the same wherever it is run.
    """
    from brokersim.net.options import StartOptions

    kept = {} if baseline is None else {name: baseline.settings.get(name) for name in _KEPT}
    if baseline is not None:
        kept["jobs"] = kept["jobs"] or SIMULATED  # files from when there was no other kind
    asked = {name: given[name] for name in _KEPT} | {"modules": _module_list(given["modules"])}
    settings: dict[str, Any] = {"clock": "virtual", "command": given["command"]}
    for table in (kept, asked):
        settings |= {name: value for name, value in table.items() if value is not None}
    if not settings["command"] and baseline is not None:
        settings["command"] = baseline.command
    if not settings["command"]:
        raise usage_error("check runs a command", attempt="brokersim check --record FILE -- CMD")
    if "modules" in settings:
        settings["modules"] = tuple(settings["modules"])
    folders = (*given["module_path"], *filter(None, os.environ.get(_PATH_VARIABLE, "").split(":")))
    try:
        return StartOptions(**settings, module_path=tuple(Path(one).expanduser() for one in folders))
    except (TypeError, AttributeError):
        file = given["against"] or given["record"]
        raise usage_error(f"{file}: [run] has a setting of the wrong kind") from None
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim check --help") from None


def _module_list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [] if text == "none" else text.split(",")


def _run(options: StartOptions, laws: list[str] | None, relaxed: Any, timeout: float | None) -> CheckedRun:
    from brokersim.kit.checked_run import Overtime, run_checked
    from brokersim.net.serve import StartError

    try:
        return run_checked(options, laws, relaxed, timeout)
    except Overtime as error:
        waiting = f"open were: {'; '.join(error.waiting[:_WAITING])}" if error.waiting else ""
        raise CommandError(str(error), hint=waiting, code=TIMED_OUT) from None
    except StartError as error:
        command = " ".join(options.command or ())
        raise usage_error(
            str(error),
            attempt=f"brokersim start -- {command}        (what does not start there is not checked)",
        ) from None


def _record(
    session: Session,
    given: dict[str, Any],
    options: StartOptions,
    run: CheckedRun,
    verdict: Verdict,
    kept: Baseline | None,
) -> str | None:
    """Write the baseline, unless the run is none to compare with. Returns the file's name.

    Tolerances and relaxations are those ``kept``: people wrote them.
    """
    file: str | None = given["record"]
    if file is None:
        return None
    if run.code:
        raise CommandError(f"the command ended with {run.code}: no baseline is written", code=run.code)
    if verdict.failures:
        return None
    counted = _several(session, given, options, run)
    if kept is not None:
        counted = attrs.evolve(counted, tolerances=kept.tolerances, relaxed=kept.relaxed)
    try:
        _replace(Path(file), lambda path: path.write_text(counted.to_toml(), encoding="utf-8"))
    except OSError as error:
        raise usage_error(f"{file}: cannot be written: {error.strerror}") from None
    return file


def _several(session: Session, given: dict[str, Any], options: StartOptions, run: CheckedRun) -> Baseline:
    from brokersim.kit.baseline import merged

    runs = given["runs"] or (1 if options.clock == "virtual" else _REAL_RUNS)
    more = [_run(options, [], {}, session.timeout).counted for _ in range(runs - 1)]
    return merged([run.counted, *more])


def _edited(file: str) -> Baseline | None:
    """The baseline that stands there already: what people edited in it is kept."""
    return _read(file) if Path(file).exists() else None


def _read(file: str) -> Baseline:
    from brokersim.kit.baseline import BaselineError, read_baseline

    again = f"brokersim check --record {file} -- CMD"
    try:
        return read_baseline(Path(file).read_text(encoding="utf-8"), file)
    except OSError as error:
        raise usage_error(f"{file}: {error.strerror}", attempt=again) from None
    except UnicodeDecodeError:
        raise usage_error(f"{file} is no baseline: it is not UTF-8 text", attempt=again) from None
    except BaselineError as error:
        raise usage_error(str(error), attempt=f"mend it, or remove it and: {again}") from None


def _junit(file: str, verdict: Verdict, laws: list[str], code: int) -> None:
    from brokersim.cli.check.output import write_junit

    try:
        _replace(Path(file), lambda path: write_junit(path, verdict, laws, code))
    except OSError as error:
        raise usage_error(f"{file}: cannot be written: {error.strerror}") from None


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all: a check that is broken off must not leave half a baseline."""
    new = file.with_name(f"{file.name}.new")
    write(new)
    os.replace(new, file)
