"""Knows the surface of the command line, its common options and how failures are told; no command itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click

from brokersim.cli.command import COLOR, Group, setting
from brokersim.cli.encoding import use_fallback
from brokersim.cli.errors import FINE, INTERRUPTED, CommandError, explain
from brokersim.cli.quick.peer import Peer
from brokersim.cli.session import Session
from brokersim.cli.told import HELP, version_line
from brokersim.cli.types import DURATION

_LAZY = {
    "start": "brokersim.cli.start:start",
    "ps": "brokersim.cli.ps:ps",
    "status": "brokersim.cli.instance:status",
    "stop": "brokersim.cli.instance:stop",
    "dmesg": "brokersim.cli.dmesg:dmesg",
    "uptime": "brokersim.cli.instance:uptime",
    "version": "brokersim.cli.instance:version",
    "getattr": "brokersim.cli.attribute:getattr_",
    "setattr": "brokersim.cli.attribute:setattr_",
    "lsattr": "brokersim.cli.attribute:lsattr",
    "completion": "brokersim.cli.completion:completion",
    "metrics": "brokersim.cli.metrics:metrics",
    "module": "brokersim.cli.module:module",
    "ping": "brokersim.cli.ping:ping",
    "rpc": "brokersim.cli.rpc:rpc",
    "event": "brokersim.cli.event:event",
    "kvs": "brokersim.cli.kvs:kvs",
    "content": "brokersim.cli.content:content",
    "cron": "brokersim.cli.cron:cron",
    "flux": "brokersim.cli.realflux:flux",
    "job": "brokersim.cli.job:job",
    "jobtap": "brokersim.cli.job.jobtap:jobtap",
    "bench": "brokersim.cli.bench:bench",
    "check": "brokersim.cli.check:check",
    "explore": "brokersim.cli.explore:explore",
    "overlay": "brokersim.cli.overlay:overlay",
    "probe": "brokersim.cli.probe:probe",
    "registry": "brokersim.cli.registry:registry",
    "report": "brokersim.cli.report:report",
    "runs": "brokersim.cli.runs:runs",
    "stats": "brokersim.cli.stats:stats",
    "top": "brokersim.cli.top:top",
}


class _Main(Group):
    def format_help(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(HELP + "\n")

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        # A bare --color means always; behind the command's name it is that command's affair.
        end = next((at for at, word in enumerate(args) if word in _LAZY), len(args))
        ours = ["--color=always" if word == "--color" else word for word in args[:end]]
        return super().parse_args(context, ours + args[end:] or ["--help"])


def _print_version(context: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(version_line())
        context.exit()


@click.group(cls=_Main, lazy=_LAZY)
@setting("-u", "--uri", field="uri", metavar="URI")
@setting("-c", "--config", field="config", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@setting("--json", field="json", is_flag=True)
@setting("--color", field="color", type=COLOR)
@setting("-q", "--quiet", field="quiet", is_flag=True)
@setting("-v", "--verbose", field="verbose", is_flag=True)
@setting("--timeout", field="timeout", type=DURATION)
@setting("--debug", field="debug", is_flag=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def cli() -> None:
    """The group of all commands."""


def run_whole(words: list[str], peer: Peer | None = None) -> int:
    """Carries out any command line; the exit code. ``peer`` is what a short way hands over.

    Failures are told on stderr; raises KeyboardInterrupt and, if nobody reads stdout, BrokenPipeError.
    """
    use_fallback()
    session = Session(peer)
    try:
        return _run(words, session)
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        return fail(error, words, session)
    finally:
        session.close()


def _run(words: list[str], session: Session) -> int:
    result: Any = cli.main(words, prog_name="brokersim", standalone_mode=False, obj=session)
    sys.stdout.flush()
    return result if isinstance(result, int) else FINE


def fail(error: Exception, words: Sequence[str], session: Session) -> int:
    """Tells a failure in three lines; its exit code. With ``--debug`` the traceback, too."""
    told = error if isinstance(error, CommandError) else explain(error, shlex.join(["brokersim", *words]))
    if session.debug:
        import traceback  # 9 ms

        traceback.print_exception(error)
    if told is None:
        told = CommandError(
            f"{type(error).__name__}: {error}",
            hint="brokersim itself is at fault, or the peer's answer has another form",
            attempt=shlex.join(["brokersim", "--debug", *words]),
        )
    first, *rest = told.lines()
    word, _, what = first.partition(" ")
    session.quiet = False
    session.say("\n".join([f"{click.style(word, fg='red')} {what}", *rest]))
    return told.code
