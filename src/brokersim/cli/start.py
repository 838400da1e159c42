"""Knows the options of start and how they become StartOptions; not how an instance runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from brokersim.cli.command import RUNS_COMMAND, Command, Given, examples, pass_session
from brokersim.cli.config import Config, load_for
from brokersim.cli.errors import FINE, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.start_flux import as_here, config_files, flux_options
from brokersim.cli.trusted import warnings
from brokersim.cli.types import ASSIGNMENT, ATTRIBUTE, complete_clock, complete_hook
from brokersim.net.options import DEFAULT_MODULES, StartError, StartOptions
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.routing.attributes import RC1

_STATS_VARIABLE: Final = "FLUX_FRIPP_STATSD"
_SEED_VARIABLE: Final = "BROKERSIM_SEED"
_PATH_VARIABLE: Final = "BROKERSIM_MODULE_PATH"
PROBE: Final = "probe"


@click.command(
    "start",
    cls=Command,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim start", "a shell inside a one-broker instance"),
        ("brokersim start -s 8 -- ./test.sh", "eight brokers, run it, return its exit code"),
        ("brokersim start -d --stats 127.0.0.1:8125", "in the background"),
    ),
)
@click.option("-s", "--test-size", "size", type=int, metavar="N", help="number of brokers  [1]")
@click.option("-k", "--fanout", metavar="K", help="fan-out of the tree (kary:K)  [2]")
@click.option("-m", "--modules", metavar="LIST|none", help="load these, in this order  [all shipped]")
@click.option("-M", "--module-path", multiple=True, metavar="DIR", help="search here first")
@click.option(
    "--clock", metavar="KIND", shell_complete=complete_clock, help="real, virtual or real*N  [real]"
)
@click.option("--seed", type=int, metavar="N", help="of everything random  [today's date]")
@click.option(
    "--hook",
    metavar="KIND",
    shell_complete=complete_hook,
    help="prepare, check, idle or timer:FSD  [prepare]",
)
@click.option("--stats", metavar="DEST", help="HOST:PORT of a statsd, serve, or mem:")
@click.option("--with-aggregator", "aggregator", metavar="CMD", help="start this statsd, send to it")
@click.option("--fake-resources", "resources", metavar="N[xC[xG]]", help="nodes, cores, gpus  [1x4]")
@click.option("--probes", metavar="FILE", help="measure what this file says, on all ranks")
@click.option("--jobs", metavar="KIND", help="simulated or real  [real; virtual clock simulated]")
@click.option(
    "-S", "--setattr", "attributes", multiple=True, type=ATTRIBUTE, metavar="A=V", help="broker attribute"
)
@click.option("-o", "--broker-opts", "broker_options", multiple=True, metavar="OPT", hidden=True)
@click.option("--test-hosts", "hosts", metavar="HOSTS", hidden=True)
@flux_options
@click.option("--config-path", "config_path", metavar="PATH", help="TOML file or folder of the instance")
@click.option("--conf", multiple=True, type=ASSIGNMENT, metavar="K=V", hidden=True)
@click.option("--statedir", "state_dir", metavar="DIR", help="keep content there  [in memory]")
@click.option("--recover", is_flag=True, help="go on though part of DIR's database is gone")
@click.option("--rundir", "run_dir", metavar="DIR", hidden=True)
@click.option("--name", metavar="N", help="call it N; -u N finds it, brokersim ps lists it")
@click.option("-d", "--detach", is_flag=True, help="print URI and pid, return")
@click.argument("command", metavar="[-- CMD [ARG]...]", nargs=-1)
@pass_session
def start(session: Session, /, **given: Any) -> int:
    """Start an instance and a shell or CMD in it; it ends with them."""
    if session.timeout is not None:
        raise click.UsageError("start has no --timeout; give one to the command inside")
    config, named = load_for(session.config)
    options = options_from(as_here(given), config)
    typed = [*options.module_path, *filter(None, [_path(given["state_dir"]), options.run_dir])]
    for warning in warnings(named, config.start, typed):
        session.say(warning)
    if options.spins:
        session.say("warning: hook idle under a real clock: the modules will spin and use a whole core")
    # Late: this brings in trio, which no other command needs.
    from brokersim.net.serve import detach, run_instance

    sys.stdout.flush()
    try:
        if not options.detach:
            return run_instance(options)
        made = detach(options)
        if session.json:
            session.emit({"name": made.name, "uri": made.uri, "pid": made.pid, "size": made.size})
        else:
            session.out(f"{made.uri}  pid {made.pid}  size {made.size}")
        return FINE
    except StartError as error:
        raise CommandError(str(error), hint=error.hint, code=error.code) from None


def options_from(given: Given, config: Config) -> StartOptions:
    """Options, then environment, then the file, then defaults. Raises CommandError naming the bad setting."""
    file = config.start
    files, config_path = config_files(given["config_path"])
    modules = _first(_modules(given["modules"]), _tuple(file.get("modules")))
    probes = _probes(given["probes"])
    if probes and PROBE not in (modules or ()):
        modules = (*(DEFAULT_MODULES if modules is None else modules), PROBE)
    settings: dict[str, Any] = {
        "size": _first(given["size"], file.get("size")),
        "fanout": _first(_fanout(given["fanout"]), file.get("fanout")),
        "clock": _first(given["clock"], file.get("clock")),
        "seed": _first(given["seed"], _seed(), file.get("seed"), _today()),
        "hook": _first(given["hook"], file.get("hook")),
        "stats": _first(given["stats"], os.environ.get(_STATS_VARIABLE) or None, file.get("stats")),
        "aggregator": given["aggregator"],
        "modules": modules if modules is not None else _backed_by(dict(given["attributes"])),
        "module_path": _folders(given["module_path"], file.get("module_path", [])),
        "resources": _first(given["resources"], file.get("resources")),
        "jobs": _first(given["jobs"], file.get("jobs")),
        "attrs": {
            **{key: str(value) for key, value in file.get("attrs", {}).items()},
            **dict(given["attributes"]),
            **({"config.path": config_path} if config_path else {}),
            **({"content.recover": "1"} if given["recover"] else {}),
            **({"probe.file": probes} if probes else {}),
        },
        "conf": _conf({**config.conf, **files}, given["conf"]),
        "state_dir": _path(_first(given["state_dir"], file.get("state_dir"))),
        "run_dir": _path(given["run_dir"]),
        "name": given["name"],
        "detach": given["detach"] or None,
        "command": given["command"] or None,
    }
    if given["recover"] and settings["state_dir"] is None and "statedir" not in settings["attrs"]:
        text = "--recover needs the --statedir whose content is to be recovered"
        raise usage_error(text, attempt="brokersim start --recover --statedir DIR")
    if given["detach"] and given["command"]:
        raise usage_error("--detach takes no command", attempt="brokersim start -d; then run the command")
    try:
        return StartOptions(**{key: value for key, value in settings.items() if value is not None})
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim start --help") from None


def _probes(text: str | None) -> str | None:
    """The file of measurements by its whole path, once it is known to be right. Raises CommandError."""
    if text is None:
        return None
    from brokersim.cli.probe.config import checked_file  # imports the module's own package

    path = Path(text).expanduser().absolute()
    checked_file(path)
    return str(path)


def _first(*values: object) -> Any:
    return next((value for value in values if value is not None), None)


def _today() -> int:
    return int(date.today().strftime("%Y%m%d"))


def _seed() -> int | None:
    text = os.environ.get(_SEED_VARIABLE)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise usage_error(f"{_SEED_VARIABLE}={text!r} is no number")
    return int(text)


def _fanout(text: str | None) -> int | None:
    if text is None:
        return None
    number = text.removeprefix("kary:")
    if not (number.isascii() and number.isdecimal()):
        raise usage_error(f"not a fan-out: {text!r}; give K or kary:K (2)", attempt="brokersim start --help")
    return int(number)


def _backed_by(attributes: Mapping[str, str]) -> tuple[str, ...] | None:
    """The modules of a start that says where blobs are kept, or loads them by a script; None: the usual ones."""
    if RC1 in attributes:
        return ()
    usual, backing = "content-sqlite", attributes.get("content.backing-module")
    if backing in (None, usual):
        return None
    there = () if backing == "none" else (backing,)
    at = DEFAULT_MODULES.index(usual)
    return (*DEFAULT_MODULES[:at], *there, *DEFAULT_MODULES[at + 1 :])


def _modules(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(text.split(","))


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _folders(given: tuple[str, ...], file: list[str]) -> tuple[Path, ...]:
    variable = [one for one in os.environ.get(_PATH_VARIABLE, "").split(":") if one]
    return tuple(Path(one).expanduser() for one in (*given, *variable, *file))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser()


def _conf(file: JsonObject, given: tuple[tuple[str, str], ...]) -> JsonObject:
    """The file's values with ``a.b=V`` put over them; V is JSON if it reads as such, else text."""
    conf: JsonObject = msgspec.json.decode(msgspec.json.encode(file))
    for key, text in given:
        *tables, last = key.split(".")
        at = conf
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                raise usage_error(f"--conf {key}: {table!r} is a value, not a table")
        at[last] = _value(text)
    return conf


def _value(text: str) -> Json:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return text
