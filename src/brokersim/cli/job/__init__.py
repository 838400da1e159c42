"""Knows the commands that list, await, cancel and look into jobs; submitting them lies beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

import click

from brokersim.cli.command import Group, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, FINE, CommandError, answered, usage_error
from brokersim.cli.kvs.eventlog import entries, event_text
from brokersim.cli.session import Explain, Session
from brokersim.cli.told import elapsed
from brokersim.cli.types import JOBID
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, RequestError

_LAZY = {
    "submit": "brokersim.cli.job.submit:submit",
    "run": "brokersim.cli.job.submit:run",
    "swf": "brokersim.cli.job.swf:swf",
}

#: Masks of states as job-list has them, and the words for them.
STATES: Final = {
    "new": 1, "depend": 2, "priority": 4, "sched": 8, "run": 16, "cleanup": 32, "inactive": 64,
    "pending": 14, "running": 48, "active": 62,
}  # fmt: skip
ACTIVE: Final = STATES["active"]
EVERY: Final = ACTIVE | STATES["inactive"]
_NAMES: Final = {bit: name.upper() for name, bit in STATES.items() if bit.bit_count() == 1}
_SHORT: Final = {
    "NEW": "N", "DEPEND": "D", "PRIORITY": "P", "SCHED": "S", "RUN": "R", "CLEANUP": "C", "INACTIVE": "I"
}  # fmt: skip
_RESULTS: Final = {1: "COMPLETED", 2: "FAILED", 4: "CANCELED", 8: "TIMEOUT"}
_RESULT_SHORT: Final = {"COMPLETED": "CD", "FAILED": "F", "CANCELED": "CA", "TIMEOUT": "TO"}


@click.group(
    "job",
    cls=Group,
    lazy=_LAZY,
    **examples(
        ("brokersim job run hostname", "its output, its exit code"),
        ("brokersim job submit --cc=1-100 -t 1ms --wait hostname", "100 simulated jobs"),
        ("brokersim job list -a", "all, those that are done too"),
    ),
)
def job() -> None:
    """Submit, list, await and cancel jobs."""


def explain_job(job_id: int) -> Explain:
    """The words for a job that is not known."""

    def told(error: RequestError) -> CommandError | None:
        if error.errno != ENOENT:
            return None
        return answered(error, f"no job {jobid.encode(job_id)}", attempt="brokersim job list -a")

    return told


# --- list


def fields_of(entry: JsonObject, now: float) -> JsonObject:
    """What a format may name: the answer's own keys; id, state, result, status and runtime as people read them."""
    state = _NAMES.get(entry.get("state", 0), "?")
    result = _RESULTS.get(entry.get("result", 0), "")
    return {
        **dict.fromkeys(("name", "ntasks", "nnodes", "nodelist", "priority", "urgency", "userid"), ""),
        **entry,
        "id": jobid.encode(entry["id"]),
        "dec": entry["id"],
        "state": state,
        "status": result or state,
        "short": _RESULT_SHORT.get(result) or _SHORT.get(state, "?"),
        "result": result,
        "runtime": _run_time(entry, now),
    }


def _run_time(entry: JsonObject, now: float) -> str:
    started = entry.get("t_run")
    if not started:
        return ""
    return elapsed(max(0.0, (entry.get("t_cleanup") or now) - started))


def _mask(text: str) -> int:
    mask = 0
    for name in text.lower().split(","):
        if name not in STATES:
            raise click.BadParameter(f"{name!r} is no state; give {', '.join(STATES)}")
        mask |= STATES[name]
    return mask


@job.command(
    "list",
    **examples(
        ("brokersim job list", "jobs that are not done"),
        ("brokersim job list -f run,cleanup", "only in these states"),
        ("brokersim job list -a -o '{id} {status} {runtime}'", "in a form of yours"),
    ),
)
@click.option("-a", "--all", "all_", is_flag=True, help="done ones, too")
@click.option("-f", "--filter", "states", metavar="STATE,...", help="in these states")
@click.option("-c", "--count", type=click.IntRange(min=0), default=1000, help="at most so many  [1000]")
@click.option(
    "-o", "--format", "form", metavar="FORMAT", help="{id} {name} {state} {status} {ntasks} {runtime} …"
)
@list_options
@pass_session
def list_(session: Session, all_: bool, states: str | None, count: int, form: str | None) -> None:
    """List jobs."""
    mask = _mask(states) if states is not None else EVERY if all_ else ACTIVE
    jobs = list(_jobs(session, mask, count))
    if session.json:
        session.emit({"jobs": jobs})
    elif form is not None:
        _print_form(session, form, jobs)
    else:
        now = session.now()
        rows = [_row(fields_of(entry, now)) for entry in jobs]
        session.table(
            ("JobID", "Name", "ST", "Tasks", "Nodes", "Time", "Info"), rows, drop=("Nodes", "Tasks")
        )


def _jobs(session: Session, mask: int, count: int) -> Iterator[JsonObject]:
    constraint = {"and": [{"userid": [os.getuid()]}, {"states": [mask]}]}
    request = {"max_entries": count, "attrs": ["all"], "constraint": constraint}
    for answer in session.stream("job-list.list", request):
        yield from answer["jobs"]


def _row(fields: JsonObject) -> Sequence[object]:
    return [fields[key] for key in ("id", "name", "short", "ntasks", "nnodes", "runtime", "nodelist")]


def _print_form(session: Session, form: str, jobs: Sequence[JsonObject]) -> None:
    now = session.now()
    for entry in jobs:
        fields = fields_of(entry, now)
        try:
            session.out(form.format_map(fields))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            what = f"no field {error} in a job" if isinstance(error, KeyError) else f"bad format: {error}"
            raise usage_error(f"--format {form!r}: {what}", hint=f"fields: {', '.join(fields)}") from None


# --- wait, cancel, eventlog


@job.command(
    "wait",
    **examples(
        ("brokersim job wait ƒ3PVFXvJb", "exit 1 if it fails"),
        ("brokersim job wait --all", "until none is left"),
    ),
)
@click.option("--all", "all_", is_flag=True, help="every job that is not done")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=JOBID)
@pass_session
def wait(session: Session, all_: bool, ids: tuple[int, ...]) -> int:
    """Wait until jobs are done; exit code 1 if one failed."""
    if not ids and not all_:
        raise click.UsageError("give job ids, or --all")
    wanted = list(ids) or [entry["id"] for entry in _jobs(session, ACTIVE, 0)]
    outcomes = [await_job(session, one) for one in wanted]
    if session.json:
        session.emit({"jobs": outcomes})
    return report_failures(session, outcomes)


def await_job(session: Session, job_id: int) -> JsonObject:
    """``{"id", "success", "errstr"}`` once the job is inactive."""
    request = {"id": job_id, "claim": False}
    answer: JsonObject = session.rpc("job-manager.wait", request, explain=explain_job(job_id))
    return answer


def report_failures(session: Session, outcomes: Sequence[JsonObject]) -> int:
    """Names the jobs that failed on stderr; the exit code."""
    failed = [one for one in outcomes if not one["success"]]
    for one in failed:
        session.say(f"{jobid.encode(one['id'])}: {one.get('errstr') or 'failed'}")
    return FAILED if failed else FINE


@job.command("cancel", **examples(("brokersim job cancel ƒ3PVFXvJb", ""), ("brokersim job cancel --all", "")))
@click.option("--all", "all_", is_flag=True, help="every job that is not done")
@click.option("-m", "--message", metavar="TEXT", help="why; kept in the event log")
@click.argument("ids", metavar="[ID]...", nargs=-1, type=JOBID)
@pass_session
def cancel(session: Session, all_: bool, message: str | None, ids: tuple[int, ...]) -> None:
    """Cancel jobs."""
    if not ids and not all_:
        raise click.UsageError("give job ids, or --all")
    wanted = list(ids) or [entry["id"] for entry in _jobs(session, ACTIVE, 0)]
    for one in wanted:
        request: JsonObject = {"id": one, "type": "cancel", "severity": 0}
        if message is not None:
            request["note"] = message
        session.rpc("job-manager.raise", request, explain=_explain_cancel(one))
    if session.json:
        session.emit({"canceled": wanted})


def _explain_cancel(job_id: int) -> Explain:
    otherwise = explain_job(job_id)

    def told(error: RequestError) -> CommandError | None:
        if error.errno == ENOENT and "inactive" in str(error):
            return answered(error, f"job {jobid.encode(job_id)} was not canceled: {error}")
        return otherwise(error)

    return told


@job.command(
    "eventlog",
    **examples(
        ("brokersim job eventlog ƒ3PVFXvJb", "what happened to it"),
        ("brokersim job eventlog -w ƒ3PVFXvJb", "as it happens, until it is done"),
    ),
)
@click.option("-w", "--watch", is_flag=True, help="follow it to its end")
@click.option(
    "-p", "--path", default="eventlog", metavar="PATH", help="guest.exec.eventlog, guest.output  [eventlog]"
)
@click.argument("job_id", metavar="ID", type=JOBID)
@pass_session
def eventlog(session: Session, watch: bool, path: str, job_id: int) -> None:
    """Print a job's event log."""
    for entry in _events(session, job_id, path, watch):
        if session.json:
            session.emit(entry)
        else:
            session.out(event_text(entry))


def _events(session: Session, job_id: int, path: str, watch: bool) -> Iterator[JsonObject]:
    explain = explain_job(job_id)
    if watch:
        yield from watch_log(session, job_id, path)
        return
    request = {"id": job_id, "keys": [path], "flags": 0}
    yield from entries(session.rpc("job-info.lookup", request, explain=explain)[path].encode())


def watch_log(session: Session, job_id: int, path: str) -> Iterator[JsonObject]:
    """The events of a job's log as they come, until the log is complete."""
    request = {"id": job_id, "path": path, "flags": 0}
    stream = session.stream(
        "job-info.eventlog-watch",
        request,
        cancel="job-info.eventlog-watch-cancel",
        explain=explain_job(job_id),
    )
    for answer in stream:
        yield from entries(answer["event"].encode())
