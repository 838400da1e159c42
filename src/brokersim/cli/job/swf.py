"""Knows the command that submits the jobs of a log to a live instance at their times; not the log's format (lab)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, usage_error
from brokersim.cli.job import report_failures
from brokersim.cli.job.progress import Progress, progress_option
from brokersim.cli.job.submission import Submission
from brokersim.cli.session import Session
from brokersim.lab.load.swf import SwfError, read_swf
from brokersim.lab.load.workloads import PlannedJob, WorkloadError, from_swf
from brokersim.net.instance_clock import InstanceClock
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.jobspec import build, sign
from brokersim.protocol.plurals import counted


@click.command(
    "swf",
    cls=Command,
    **examples(
        ("brokersim job swf log.swf --speed 100 --wait", "a day in a quarter of an hour"),
        ("brokersim job swf log.swf.gz --limit 500", "its first 500 jobs"),
    ),
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="only the first N jobs")
@click.option(
    "-x",
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    metavar="X",
    help="times as fast  [1]",
)
@click.option("--max-cores", type=click.IntRange(1), metavar="N", help="cut wider jobs down to N cores")
@click.option("--wait", is_flag=True, help="return when they are done; exit 1 if one fails")
@progress_option
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_session
def swf(
    session: Session,
    path: Path,
    limit: int | None,
    speed: float,
    max_cores: int | None,
    wait: bool,
    progress: bool | None,
) -> int | None:
    """Submit the jobs of a log (Standard Workload Format) at their times, simulated, and print their ids."""
    try:
        workload = from_swf(read_swf(path, limit), path.name, speed, max_cores)
    except (SwfError, WorkloadError) as error:
        raise usage_error(str(error), attempt="brokersim job swf -h") from None
    if not workload.jobs:
        raise usage_error(f"{path} has no job that can be run", hint=workload.says())
    session.say(workload.says())
    with Progress(session, len(workload.jobs), progress, until_done=wait) as bar:
        refused: Counter[str] = Counter()
        found = Submission(session, wait, bar, lambda error: refused.update([str(error)]))
        clock = InstanceClock(session.client)
        for job in workload.jobs:
            clock.sleep_until(job.at)
            found.send(_payload(job))
        found.finish()
    if session.json:
        session.emit({"jobs": found.jobs, "refused": dict(refused)})
    for reason, count in refused.items():
        session.say(f"refused: {counted(count, 'job')}: {reason}")
    failed = report_failures(session, found.outcomes) if wait else None
    return FAILED if refused else failed


def _payload(job: PlannedJob) -> JsonObject:
    spec = build([job.name], cores=job.cores, run_time=job.run_time, name=job.name)
    return {"J": sign(spec, os.getuid()), "urgency": 16, "flags": 0}
