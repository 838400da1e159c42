"""Knows how flux-start(1) spells what start is told: broker options, hosts, attributes that are settings here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from brokersim.cli.command import Given
from brokersim.cli.errors import usage_error
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.hostlist import expand
from brokersim.protocol.plurals import counted
from brokersim.services.config_files import read_path

#: Attributes by which Flux is told what has an option here.
TOPO: Final = ("tbon.topo", "tbon.fanout")
_FOLDERS: Final = {"statedir": "state_dir", "rundir": "run_dir"}
_CONFIG_VARIABLE: Final = "FLUX_CONF_DIR"
#: What makes one word a line for the shell.
_SHELL: Final = re.compile(r"[\s|&;<>()$`\\\"'*?\[\]#~{}!]")


#: Options of flux-start(1) that only its own kind of start has a use for: they are checked, since scripts give them.
_CHOICES: Final = {
    "exit-mode": r"any|leader",
    "start-mode": r"all|leader",
    "pmi-clique": r"single|none|per-broker|\[.*\]",
}


def flux_options(start: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command those options, hidden, as ``test_NAME``."""
    for name in _CHOICES:
        start = click.option(f"--test-{name}", metavar="MODE", hidden=True)(start)
    start = click.option("--test-exit-timeout", metavar="FSD", hidden=True)(start)
    start = click.option("--test-rundir", metavar="DIR", hidden=True)(start)
    return click.option("--test-rundir-cleanup", is_flag=True, hidden=True)(start)


def _take_test_options(here: dict[str, Any]) -> None:
    """Check them, and heed the one that names a run directory. Raises CommandError."""
    given = {name: here.pop(name) for name in list(here) if name.startswith("test_")}
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if value and here["size"] is None:
            raise usage_error(f"{option} needs --test-size")
        pattern = _CHOICES.get(option.removeprefix("--test-"))
        if value and pattern and not re.fullmatch(pattern, value):
            raise usage_error(f"{option}={value}: give {pattern.replace('|', ' or ').replace(chr(92), '')}")
    timeout, folder = given["test_exit_timeout"], given["test_rundir"]
    if timeout is not None:
        try:
            parse_duration(timeout)
        except ValueError as error:
            raise usage_error(f"--test-exit-timeout: {error}") from None
    if folder is not None:
        if not os.path.isdir(folder):
            why = "not a directory" if os.path.exists(folder) else "No such file or directory"
            raise usage_error(f"--test-rundir: {folder}: {why}")
        here["run_dir"] = folder
    if given["test_rundir_cleanup"]:
        here["attributes"] += (("rundir-cleanup", "1"),)


def as_here(given: Given) -> dict[str, Any]:
    """The options of start, with Flux's spellings replaced by ours. Raises CommandError for what is not known."""
    here = dict(given)
    attributes = [*given["attributes"], *_broker_options(given["broker_options"])]
    for name, value in attributes:
        if name in _FOLDERS and here[_FOLDERS[name]] is None:
            here[_FOLDERS[name]] = value
        elif name == "config.path" and here["config_path"] is None:
            here["config_path"] = value
        elif name in TOPO and here["fanout"] is None:
            here["fanout"] = value
    for name, key in _FOLDERS.items():
        if here[key] is not None and not str(here[key]):
            raise usage_error(f"{name} is empty; give the path of a folder")
    mine = (*_FOLDERS, "config.path", *TOPO)
    here["attributes"] = tuple((name, value) for name, value in attributes if name not in mine)
    if given["hosts"] is not None:
        here["attributes"] += (("hostlist", _hosts(given["hosts"], given["size"])),)
    here["command"] = _command(given["command"])
    _take_test_options(here)
    return here


def _broker_options(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """``-o OPT[,OPT]``: options of the broker, each beginning with a dash; only attributes mean something here."""
    found = []
    for option in (one for text in texts for one in re.split(r",(?=-)", text.strip(",")) if one):
        match = re.fullmatch(r"(?:-S|--setattr=)([^=]+)=(.*)|(?:-c|--config-path=)(.+)", option, re.DOTALL)
        if match is None:
            raise usage_error(f"broker option {option!r} is not known here; give -SNAME=VALUE or -cPATH")
        found.append(("config.path", match[3]) if match[3] else (match[1], match[2]))
    return found


def _hosts(text: str, size: int | None) -> str:
    """A host list for every rank (flux-core's ``--test-hosts``). Raises CommandError if it does not fit."""
    try:
        count = len(expand(text))
    except ValueError as error:
        raise usage_error(f"--test-hosts: {error}") from None
    if count != (size or 1):
        raise usage_error(
            f"--test-hosts has {counted(count, 'host')} for {size or 1} brokers; give one for each"
        )
    return text


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    """One argument that is more than a word is a line for the shell, as for flux start."""
    if len(words) == 1 and _SHELL.search(words[0]):
        return ("/bin/sh", "-c", words[0])
    return words


def config_files(path: str | None) -> tuple[JsonObject, str | None]:
    """The configuration in a file or folder, else in the folder of FLUX_CONF_DIR, and where it lies."""
    where = path or os.environ.get(_CONFIG_VARIABLE)
    if not where:
        return {}, None
    try:
        return read_path(Path(where)), os.path.abspath(where)
    except ValueError as error:
        raise usage_error(str(error)) from None
