"""Knows the commands that submit jobs and wait for them; not what becomes of a job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec

from brokersim.cli.command import RUNS_COMMAND, Command, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError, answered, usage_error
from brokersim.cli.job import report_failures, watch_log
from brokersim.cli.job.progress import Progress, progress_option
from brokersim.cli.job.stdin import forward_stdin
from brokersim.cli.job.submission import Submission
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.jobspec import build, sign
from brokersim.protocol.quoting import quoted
from brokersim.protocol.ranks import check_ranks

_MAX_COPIES: Final = 10_000_000
F = TypeVar("F", bound=Callable[..., Any])


def _no_numbers(text: str) -> ValueError:
    return ValueError(f"not a set of numbers: {quoted(text)}; give 1-100 or 0,4")


def _copies(text: str) -> list[int]:
    """``1-100``, ``0,4``: the values that stand for {cc}, one job each."""
    try:
        check_ranks(text)
    except ValueError:  # its words are of ranks
        raise _no_numbers(text) from None
    if text == "all":
        raise _no_numbers(text)
    copies: list[int] = []
    for part in text.strip("[] ").split(","):
        first, _, last = part.partition("-")
        span = range(int(first), int(last or first) + 1)
        if len(copies) + len(span) > _MAX_COPIES:
            raise ValueError(f"{text}: more than {_MAX_COPIES:,} jobs")
        copies += span
    return copies


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say about the jobs to submit. (A Struct: importing attrs would double the start-up.)"""

    command: tuple[str, ...]
    tasks: int
    cores: int
    time: float | None
    exec: bool
    name: str | None
    urgency: int
    output_rate: float | None
    dependency: tuple[str, ...]
    env: bool

    @property
    def may_run(self) -> bool:
        """CMD is run, or the instance may do so."""
        return self.exec or self.time is None

    def payload(self, copy: int | None, stdin: str | None = None) -> JsonObject:
        """The job-ingest.submit payload of one job; ``stdin``: a file. Raises CommandError for a bad dependency."""
        command = (
            [word.replace("{cc}", str(copy)) for word in self.command] if copy is not None else self.command
        )
        try:
            spec = build(
                command,
                tasks=self.tasks,
                cores=self.cores,
                # For a simulated job the time is how long it runs; a limit of the same length would race it.
                duration=(self.time or 0.0) if self.exec else 0.0,
                run_time=None if self.exec else self.time,
                real=self.exec,
                name=self.name,
                output_rate=self.output_rate,
                dependencies=self.dependency,
                environment=dict(os.environ) if self.env and self.may_run else {},
                cwd=os.getcwd(),
                stdin=stdin if self.may_run else None,
            )
        except ValueError as error:
            raise usage_error(str(error)) from None
        return {"J": sign(spec, os.getuid()), "urgency": self.urgency, "flags": 0}


def _wish_options(command: F) -> F:
    options = (
        click.option(
            "-n", "--ntasks", "tasks", type=click.IntRange(1), default=1, metavar="N", help="tasks  [1]"
        ),
        click.option(
            "-c", "--cores", type=click.IntRange(1), default=1, metavar="N", help="cores of each task  [1]"
        ),
        click.option(
            "-t", "--time", type=DURATION, metavar="FSD", help="simulate CMD for so long; with -x the limit"
        ),
        click.option("-x", "--exec", is_flag=True, help="run CMD even where jobs are simulated"),
        click.option("--name", metavar="NAME", help="of the job  [CMD]"),
        click.option(
            "--urgency", type=click.IntRange(0, 31), default=16, metavar="N", help="0 holds, 31 first  [16]"
        ),
        click.option(
            "--output-rate", type=click.FloatRange(min=0), metavar="R", help="append R output lines a second"
        ),
        click.option("--dependency", multiple=True, metavar="D", help="afterok:ID, afterany:ID, after:ID"),
        click.option("--env/--no-env", default=True, hidden=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    "submit",
    cls=Command,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim job submit --cc=1-4 ./solve '{cc}'", "four processes"),
        ("brokersim job submit -t 2s sleep", "a simulated job of 2 s"),
        ("brokersim job submit --cc=1-1000 -t 1ms --wait a", "a thousand, to the end"),
    ),
)
@_wish_options
@click.option(
    "--cc", type=Parsed("set", _copies), metavar="SET", help="a job for each of 1-1000; {cc} in CMD"
)
@click.option("--wait", is_flag=True, help="return when they are done; exit 1 if one fails")
@progress_option
@click.argument("command", metavar="CMD...", nargs=-1, required=True)
@pass_session
def submit(
    session: Session, /, cc: list[int] | None, wait: bool, progress: bool | None, **wishes: Any
) -> int | None:
    """Submit jobs and print their ids."""
    wish = Wish(**wishes)
    copies: Sequence[int | None] = [None] if cc is None else cc
    with Progress(session, len(copies), progress, until_done=wait) as bar:
        submission = Submission(session, wait, bar, _refuse)
        for copy in copies:
            submission.send(wish.payload(copy, os.devnull))  # as Flux has it: nobody attaches to it
        submission.finish()
    if session.json:
        session.emit({"jobs": submission.jobs})
    return report_failures(session, submission.outcomes) if wait else None


def _refuse(error: RequestError) -> None:
    raise answered(error, f"the job was refused: {error}", attempt="brokersim job submit --help")


@click.command(
    "run",
    cls=Command,
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim job run hostname", "its output and exit code"),
        ("brokersim job run sort < names", "and its input"),
        ("brokersim job run -t 2s a", "simulated"),
    ),
)
@_wish_options
@click.argument("command", metavar="CMD...", nargs=-1, required=True)
@pass_session
def run(session: Session, /, **wishes: Any) -> int:
    """Submit a job, send it what there is to read, print its output, return its exit code; ^C cancels it."""
    wish = Wish(**wishes)
    payload = wish.payload(None)
    try:
        job_id: int = session.client.rpc("job-ingest.submit", payload)["id"]
    except RequestError as error:
        raise answered(error, f"the job was refused: {error}") from None
    try:
        if wish.may_run:
            forward_stdin(session.client.uri, job_id)
        return _attach(session, job_id)
    except KeyboardInterrupt:
        session.client.rpc("job-manager.raise", {"id": job_id, "type": "cancel", "severity": 0})
        raise


def _attach(session: Session, job_id: int) -> int:
    status: int | None = None
    trouble = ""
    output = False
    for event in watch_log(session, job_id, "eventlog"):
        context = event.get("context") or {}
        if session.json:
            session.emit({"id": job_id, **event})
        if event["name"] == "start" and not output:
            output = True
            _print_output(session, job_id)
        elif event["name"] == "exception" and context.get("severity") == 0:
            trouble = f"{context.get('type', 'exception')}: {context.get('note', '')}".rstrip(": ")
        elif event["name"] == "finish":
            status = context.get("status")
    return _exit_code(session, job_id, status, trouble)


def _print_output(session: Session, job_id: int) -> None:
    for text, stream in _output(session, job_id):
        if session.json:
            session.emit({"id": job_id, "stream": stream, "data": text})
        else:
            target = sys.stderr if stream == "stderr" else sys.stdout
            target.write(text)
            target.flush()


def _output(session: Session, job_id: int) -> Iterator[tuple[str, str]]:
    from base64 import b64decode

    try:
        for event in watch_log(session, job_id, "guest.output"):
            context = event.get("context") or {}
            data = context.get("data")
            if event["name"] == "data" and data is not None:
                text = (
                    b64decode(data).decode(errors="replace") if context.get("encoding") == "base64" else data
                )
                yield text, context.get("stream", "stdout")
            elif event["name"] == "log":
                yield f"shell: {context.get('message', '')}\n", "stderr"
    except CommandError:
        return  # a job that never got to its output has none; its event log says why


def _exit_code(session: Session, job_id: int, status: int | None, trouble: str) -> int:
    """As a shell has it: the exit code, or 128 and the signal; 1 for a job that ended before it ran."""
    if trouble:
        session.say(f"{jobid.encode(job_id)}: {trouble}")
    if status is None:
        return FAILED
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    code = os.waitstatus_to_exitcode(status)
    return code or (FAILED if trouble else 0)
