"""Knows the command that submits the jobs of a log to a live instance at their times; not the log's format (lab)."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, usage_error
from brokersim.cli.job import report_failures
from brokersim.cli.progress import Progress, progress_option
from brokersim.cli.session import Session
from brokersim.lab.swf import SwfError, read_swf
from brokersim.lab.workloads import PlannedJob, Workload, WorkloadError, from_swf
from brokersim.protocol import jobid
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.jobspec import build, sign

#: Submissions sent before the first answer is awaited.
WINDOW = 1000


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
        found = _Log(session, wait, bar)
        found.run(workload)
    return found.tell()


class _Log:
    """Submissions by the clock, up to WINDOW unanswered; with ``wait`` a wait request per job."""

    def __init__(self, session: Session, wait: bool, bar: Progress) -> None:
        self._session = session
        self._wait = wait
        self._bar = bar
        self._waiting: deque[int] = deque()
        self._awaited: deque[int] = deque()
        self._ids: list[int] = []
        self._outcomes: list[dict[str, Any]] = []
        self._refused: Counter[str] = Counter()

    def run(self, workload: Workload) -> None:
        start = time.monotonic()
        for job in workload.jobs:
            self._session.sleep(max(0.0, start + job.at - time.monotonic()))
            self._waiting.append(self._session.client.send_request("job-ingest.submit", _payload(job)))
            if len(self._waiting) >= WINDOW:
                self._accept()
        while self._waiting:
            self._accept()
        while self._awaited:
            self._collect()

    def _accept(self) -> None:
        response = self._session.client.recv_response(self._waiting.popleft())
        self._bar.submitted()
        if response.errnum:
            self._refused[response.payload_str or f"error {response.errnum}"] += 1
            self._bar.done()
            return
        job_id = response.payload["id"]
        self._ids.append(job_id)
        if not self._session.json:
            self._session.out(jobid.encode(job_id))
        if self._wait:
            self._awaited.append(self._session.client.send_request("job-manager.wait", {"id": job_id}))

    def _collect(self) -> None:
        response = self._session.client.recv_response(self._awaited.popleft())
        if response.errnum:
            error = RequestError(response.errnum, response.payload_str or "")
            raise self._session.told(error, "job-manager.wait")
        self._outcomes.append(response.payload)
        self._bar.done()

    def tell(self) -> int | None:
        session = self._session
        if session.json:
            jobs = self._outcomes if self._wait else [{"id": one} for one in self._ids]
            session.emit({"jobs": jobs, "refused": dict(self._refused)})
        for reason, count in self._refused.items():
            session.say(f"refused: {count:,} jobs: {reason}")
        failed = report_failures(session, self._outcomes) if self._wait else None
        return FAILED if self._refused else failed


def _payload(job: PlannedJob) -> dict[str, Any]:
    spec = build([job.name], cores=job.cores, run_time=job.run_time, name=job.name)
    return {"J": sign(spec, os.getuid()), "urgency": 16, "flags": 0}
