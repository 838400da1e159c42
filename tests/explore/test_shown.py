"""Bugs that are planted break a plan written by hand, which breaks nothing without them: whoever looks sees them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from brokersim.explore.author import Author
from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import run_plan
from brokersim.protocol.errnums import EIO
from tests.explore.planted import PLANTED
from tests.explore.planting import plant

_LONG = "." * 300


def _step(place: int, op: str, at: float, rank: int = 0, /, **args: Any) -> Step:
    return Step(id=place, op=op, at=at, rank=rank, args=args)


def _queue(*durations: float, cores: tuple[int, int, int] = (2, 3, 1)) -> Step:
    return _step(0, "jobs.queue", 0.0, cores=[*cores], durations=[*durations])


def _job(op: str = "jobs.submit", **more: Any) -> Step:
    return _step(0, op, 0.0, **{"cores": 1, "duration": 0.01, "urgency": 16, **more})


_AWAY = _step(1, "jobs.away", 0.001, seconds=2.0)
#: By the bug's name: a plan that it breaks, and what is said first.
SHOWN: Final = {
    "who stood behind a cancelled one, not looked at": (
        "jobs: job 16777218 waited for 1 cores, first of all, while 2 were free",
        Plan(
            families=("jobs",),
            steps=(_queue(3.0, 0.01, 0.01), _step(1, "jobs.cancel", 0.001, which=1, later=0.05)),
        ),
    ),
    "a new priority, and nobody looked at": (
        "jobs: job 16777218 waited for 1 cores, first of all, while 2 were free",
        Plan(
            families=("jobs",),
            steps=(
                _queue(3.0, 0.01, 0.01),
                _step(1, "jobs.urgency", 0.001, which=2, later=0.05, urgency=31, of="any"),
            ),
        ),
    ),
    "a drain forgotten by a reload": (
        "jobs: job 16777216 was given cores of a node that was drained by step 1",
        Plan(
            families=("jobs",), steps=(_AWAY, _job()),
            faults=(PlannedFault(kind="reload", to="resource", on=("resource.drain", 0, 2)),),
        ),
    ),
    "a drain that nobody is told of": (
        "jobs: job 16777216 was given cores of a node that was drained by step 1",
        Plan(families=("jobs",), steps=(_queue(1.0, 0.01, 0.01, cores=(4, 1, 2)), _AWAY)),
    ),
    "a scheduler that went, told on": (
        "jobs: job 16777216 was given cores of a node that was drained by step 1",
        Plan(
            families=("jobs",), steps=(_queue(1.0, 0.01, 0.01, cores=(4, 1, 2)), _AWAY),
            faults=(PlannedFault(kind="reload", to="sched", at=0.002),),
        ),
    ),
    "a job that waits for nobody as its service goes": (
        "jobs: job 16777216 (step 0) has not ended at rest: ",
        Plan(
            families=("jobs",),
            steps=(_job(duration=3.0), _step(1, "jobs.cancel", 0.001, which=0, later=0.05)),
            faults=(PlannedFault(kind="kill", to="job-exec", on=("job-exception", 0, 1)),),
        ),
    ),
    "a log that is not there yet, not waited for": (
        "records: job-info.eventlog-watch {'id': 1, 'path': 'eventlog', 'flags': 1} of step 0 on rank 0 ended with",
        Plan(families=("records",), steps=(_step(0, "records.ahead", 0.0),)),
    ),
    "a guest log that ends with its namespace": (
        "records: job-info.eventlog-watch {'id': 16777216, 'path': 'guest.exec.eventlog', 'flags': 1} of step 1 on"
        " rank 0 was told nothing, and there is init starting",
        Plan(
            families=("records",),
            steps=(
                _job("records.submit"),
                _step(1, "records.follow", 0.001, which=0, later=0.03, path="guest.exec.eventlog"),
            ),
        ),
    ),
    "a synced commit merged with one that is not": (
        "kvs: d.u2 on rank 0 at rest: nothing is none of those it may hold, '<2>'",
        Plan(
            families=("kvs",), has_disk=True,
            steps=(
                _step(0, "kvs.put", 0.1, key="u1", value="<0>"), _step(1, "kvs.put", 0.1, key="u1", value="<1>"),
                _step(2, "kvs.sync", 0.1, key="d.u2", value="<2>"),
            ),
            faults=(PlannedFault(kind="crash", at=0.15),),
        ),
    ),
    "an older root in the place of a newer": (
        "kvs: p1 on rank 1 at rest: '<0>' is none of those it may hold, '<1>'",
        Plan(
            families=("kvs",), size=2,
            steps=(
                _step(2, "kvs.get", 0.0, 1, key="p1"), _step(0, "kvs.put", 0.01, key="p1", value="<0>"),
                _step(1, "kvs.put", 0.015, key="p1", value="<1>"),
            ),
            faults=(
                PlannedFault(
                    kind="delay", rank=1, to="kvs.namespace-primary-setroot", at=0.009, delay=0.01, seconds=0.004
                ),
            ),
        ),
    ),
    "blobs behind what came later": (
        "watch: of e1 on rank 1 (step 1): was told '<0>…', and there is nothing",
        Plan(
            families=("watch",), size=2, latency=1e-3,
            steps=(
                _step(0, "watch.grow", 0.0, key="e1", value="<0>" + _LONG),
                _step(1, "watch.log", 0.01, 1, key="e1", flags=4 | 8 | 256),
                _step(2, "watch.end", 0.01, key="e1"),
            ),
        ),
    ),
    "the first dirty blob, lost at the end": (
        "content: what step 0 stored is not on rank 0 at rest: ",
        Plan(
            families=("content",), steps=(_step(0, "content.store", 0.0, number=0, size=1),),
            faults=(
                PlannedFault(kind="fail", to="content-backing.store", at=0.0, seconds=5e-4, errnum=EIO),
                PlannedFault(kind="reload", to="content-cache", at=0.001),
            ),
        ),
    ),
    "what came too late for an epoch, dropped": (
        "metrics: 'a' was observed and counted 5, and all epochs together say 0",
        Plan(
            families=("metrics",), size=2, seed=1,
            steps=(_step(0, "metrics.observe", 0.1, 1, key="a", value=5), _step(1, "metrics.end", 0.2)),
            faults=(PlannedFault(kind="slow", rank=1, at=0.15, delay=10.0, seconds=1.0),),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_a_plan_by_hand_shows_a_planted_bug_and_nothing_else(name, tmp_path):
    [bug] = [bug for bug in PLANTED if bug.name == name]
    says, plan = SHOWN[name]
    broken = run_plan(plan, Author(module_path=(plant(bug, tmp_path),))).broken
    assert broken and broken[0].startswith(says)
    assert run_plan(plan).broken == ()
