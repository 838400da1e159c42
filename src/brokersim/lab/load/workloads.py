"""Knows workloads as plans: which jobs of how many cores begin when, and what was left out; not how they are run.

Imports no trio: clients of a live instance plan with it too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from brokersim.lab.load.swf import DONE, FAILED, SwfJob, SwfLog, read_swf
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.plurals import counted

KINDS = ("serial", "bulk", "burst[:JOBS@PAUSE]", "decay[:JOBS_PER_S]", "swf:FILE", "trace:FILE")
#: Jobs of a burst and seconds between two.
BURST, PAUSE = 50, 5.0
#: Jobs a second at the beginning of a decay, and the share of it at the end: the journal's curves fall to a quarter.
RATE, LEFT = 10.0, 0.25
_DECAY = re.compile(r"decay(?::(?P<rate>\d+(\.\d+)?))?", re.ASCII)
_BURST = re.compile(r"burst(?::(?P<size>[1-9]\d*)@(?P<pause>\S+))?")


class WorkloadError(ValueError):
    """What was asked for is no workload: why, and what would be right."""


@attrs.frozen(kw_only=True)
class PlannedJob:
    """A simulated job: submitted ``at`` s after the first, runs ``run_time`` s on ``cores`` cores."""

    at: float = 0.0
    run_time: float = 0.001
    cores: int = 1
    name: str = "hostname"


@attrs.frozen(kw_only=True)
class Workload:
    """Jobs in order of submission. ``is_serial``: each begins when the one before has ended, whatever its ``at``.

    ``left_out`` says what a log had besides: reason and how many.
    """

    name: str
    jobs: tuple[PlannedJob, ...]
    is_serial: bool = False
    left_out: dict[str, int] = attrs.field(factory=dict)

    @property
    def widest(self) -> int:
        """Cores of the widest job."""
        return max((job.cores for job in self.jobs), default=1)

    @property
    def span(self) -> float:
        """From the first submission to the last, in s."""
        return self.jobs[-1].at if self.jobs else 0.0

    def says(self) -> str:
        """One line for people."""
        rest = "".join(f", {count:,} left out: {reason}" for reason, count in self.left_out.items())
        when = "one after the other" if self.is_serial else f"submitted over {self.span:,.6g} s"
        return f"{self.name}: {counted(len(self.jobs), 'job')}, {when}, up to {counted(self.widest, 'core')}{rest}"


# -- generators


def serial(jobs: int, run_time: float) -> Workload:
    """The journal's loop: a client a job, the next when it has ended."""
    return Workload(name="serial", jobs=(PlannedJob(run_time=run_time),) * jobs, is_serial=True)


def bulk(jobs: int, run_time: float) -> Workload:
    """All at once: a throughput batch."""
    return Workload(name="bulk", jobs=(PlannedJob(run_time=run_time),) * jobs)


def burst(jobs: int, run_time: float, size: int = BURST, pause: float = PAUSE) -> Workload:
    """``size`` at once, every ``pause`` s."""
    planned = tuple(PlannedJob(at=at // size * pause, run_time=run_time) for at in range(jobs))
    return Workload(name=f"burst of {size} every {pause:g} s", jobs=planned)


def decay(jobs: int, run_time: float, rate: float = RATE) -> Workload:
    """As an instance ages: ``rate`` jobs a second at first, falling evenly, job by job, to a quarter of it."""
    planned, at = [], 0.0
    for number in range(jobs):
        planned.append(PlannedJob(at=at, run_time=run_time))
        at += 1 / (rate * (1 - (1 - LEFT) * number / max(1, jobs - 1)))
    return Workload(name=f"decay from {rate:g} jobs/s to {rate * LEFT:g}", jobs=tuple(planned))


# -- logs


def from_swf(log: SwfLog, name: str, speed: float = 1.0, cores: int | None = None) -> Workload:
    """A log's jobs, ``speed`` times as fast: waits and run times alike.

    Left out are jobs that never ran, or on no known number of processors, and the single parts of a job that was
    checkpointed (the log has it whole besides). Jobs wider than ``cores`` are cut down to them, and counted. A log
    need not be sorted; the plan is.
    """
    if not 0 < speed < float("inf"):
        raise WorkloadError(f"a speed above 0, not {speed:g}")
    left_out: Counter[str] = Counter()
    taken: list[tuple[float, PlannedJob]] = []
    start = min((job.submit_s for job in log.jobs), default=0.0)
    for job in log.jobs:
        reason = _unusable(job)
        if reason:
            left_out[reason] += 1
            continue
        wanted = _processors(job)
        taken.append((job.submit_s, _planned(job, start, speed, min(wanted, cores or wanted))))
    taken.sort(key=lambda one: one[0])
    return Workload(name=name, jobs=tuple(planned for _, planned in taken), left_out=dict(left_out))


def _unusable(job: SwfJob) -> str:
    if job.status not in (FAILED, DONE, -1) and job.run_s <= 0:
        return "cancelled before it ran"
    if 2 <= job.status <= 4:
        return "part of a job that is there as a whole"
    if job.run_s < 0:
        return "run time not known"
    return "" if _processors(job) > 0 else "number of processors not known"


def _processors(job: SwfJob) -> int:
    return job.processors if job.processors > 0 else job.requested_processors


def _planned(job: SwfJob, start: float, speed: float, cores: int) -> PlannedJob:
    return PlannedJob(
        at=(job.submit_s - start) / speed, run_time=job.run_s / speed, cores=cores, name=f"swf-{job.number}"
    )


# -- what people write


def parse_workload(
    text: str, jobs: int, run_time: float, *, limit: int | None = None, speed: float = 1.0
) -> Workload:
    """``serial``, ``bulk``, ``burst:20@1s``, ``decay:5``, ``swf:FILE``. Raises WorkloadError, SwfError, OSError."""
    made: dict[str, Callable[[int, float], Workload]] = {"serial": serial, "bulk": bulk}
    if text in made:
        return made[text](jobs, run_time)
    if match := _BURST.fullmatch(text):
        return burst(jobs, run_time, *_burst(match["size"], match["pause"]))
    if match := _DECAY.fullmatch(text):
        rate = float(match["rate"]) if match["rate"] else RATE
        if not rate:
            raise WorkloadError("decay:JOBS_PER_S: a rate above 0")
        return decay(jobs, run_time, rate)
    kind, _, name = text.partition(":")
    if kind != "swf" or not name:
        raise WorkloadError(f"no workload {text!r}; give one of {', '.join(KINDS)}")
    path = Path(name)
    workload = from_swf(read_swf(path, limit), f"swf:{path.name}", speed)
    if not workload.jobs:
        raise WorkloadError(f"{path} has no job that can be run ({_reasons(workload.left_out.items())})")
    return workload


def _burst(size: str | None, pause: str | None) -> tuple[int, float]:
    if size is None or pause is None:
        return BURST, PAUSE
    try:
        return int(size), parse_duration(pause)
    except ValueError as error:
        raise WorkloadError(f"burst:JOBS@PAUSE: {error}") from None


def _reasons(left_out: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out) or "it is empty"
