"""Knows how a command is run with the journal's hook in every Flux broker it starts; not how that works (realflux)."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from brokersim.cli.command import RUNS_COMMAND, Command, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import complete_hook

if TYPE_CHECKING:
    from brokersim.realflux.place import Flux

#: What a shell says of a command that is not there.
_NOT_FOUND = 127


@click.command(
    "instrument",
    cls=Command,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim flux instrument --stats 127.0.0.1:8125 -- flux start", "a shell in it"),
        ("brokersim flux instrument --stats 127.0.0.1:8125 --hook idle -- flux start", ""),
        ("brokersim flux instrument --stats 127.0.0.1:8125 --library hooks.so", "for a system's unit"),
    ),
)
@click.option("--hook", default="prepare", metavar="KIND", shell_complete=complete_hook,
              help="prepare, check, idle or timer:FSD  [prepare]")  # fmt: skip
@click.option("--stats", metavar="HOST:PORT", help="where packets go  [$FLUX_FRIPP_STATSD]")
@click.option("--flux", "given", metavar="FLUX", help="for this Flux  [flux on PATH]")
@click.option(
    "--library", type=click.Path(path_type=Path), metavar="FILE", help="build this, print what to set"
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_session
def instrument(
    session: Session,
    hook: str,
    stats: str | None,
    given: str | None,
    library: Path | None,
    command: tuple[str, ...],
) -> int | None:
    """Gauges of message counters from an unpatched Flux: its modules get the journal's hook.

    `flux module debug -s 0x1000 NAME` has NAME send. Needs a C compiler and Flux's headers.
    """
    from brokersim.realflux.place import NoFlux, find_flux

    where = stats or os.environ.get("FLUX_FRIPP_STATSD") or ""
    if not where.rpartition(":")[0]:
        raise usage_error(
            "nowhere to send to: give --stats HOST:PORT, or set FLUX_FRIPP_STATSD",
            attempt="brokersim flux instrument --stats 127.0.0.1:8125 …",
        )
    if bool(command) == (library is not None):
        raise usage_error(
            "give a command that starts Flux, or --library FILE", attempt="brokersim flux instrument -h"
        )
    try:
        found = find_flux(given)
        if library is not None:
            _print_settings(session, found, library.absolute(), hook, where)
            return None
        return _run(session, found, hook, where, command)
    except NoFlux as error:
        raise CommandError(str(error), code=FAILED) from None
    except ValueError as error:
        raise usage_error(str(error)) from None


def _print_settings(session: Session, flux: Flux, library: Path, hook: str, where: str) -> None:
    from brokersim.realflux.preload import build, settings

    found = settings(library, hook, where)
    build(flux, library)
    if session.json:
        session.emit(found)
        return
    for name, value in found.items():
        session.out(f"{name}={shlex.quote(value)}")
    session.say(
        "set these for the broker (systemctl edit flux: [Service], Environment=); it takes them at its next start"
    )


def _run(session: Session, flux: Flux, hook: str, where: str, command: tuple[str, ...]) -> int:
    from brokersim.realflux.preload import Watch, build, read_reached, settings, told

    with TemporaryDirectory(prefix="brokersim-hooks-") as folder:
        report = Path(folder, "reached")
        added = settings(Path(folder, "hooks.so"), hook, where, report)
        build(flux, Path(folder, "hooks.so"))
        watch = Watch(report)
        beside = threading.Thread(target=watch.run)
        try:
            running = subprocess.Popen(command, env={**os.environ, **added})
        except OSError as error:
            raise CommandError(f"{command[0]}: {error.strerror}", code=_NOT_FOUND) from None
        beside.start()
        try:
            code = _wait(running)
        finally:
            watch.stop()
            beside.join()
        session.say(told(hook, read_reached(report), watch.missed))
        return code


def _wait(running: subprocess.Popen[bytes]) -> int:
    """Its exit code. ^C goes to it from the terminal as well, and what it does then is its own affair."""
    while True:
        try:
            code = running.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue
