"""Workloads as plans, and run inside an instance in virtual time: every job at its time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.load.bulk import read_truth
from brokersim.lab.load.swf import SwfJob, SwfLog, parse_swf
from brokersim.lab.load.workload_run import Submitted, run_inside
from brokersim.lab.load.workloads import (
    PlannedJob,
    Workload,
    WorkloadError,
    bulk,
    burst,
    decay,
    from_swf,
    parse_workload,
    serial,
)
from brokersim.program import open_instance, run
from brokersim.protocol.errnums import RequestError

LOG = """\
; MaxProcs: 8
7 100 0 2 4 -1 -1 4 9 -1 1 1 1 1 1 -1 -1 -1
9 110 0 1 -1 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1
8 104 0 4 1 -1 -1 1 9 -1 0 1 1 1 1 -1 -1 -1
10 111 -1 -1 -1 -1 -1 2 9 -1 5 1 1 1 1 -1 -1 -1
11 112 0 3 2 -1 -1 2 9 -1 3 1 1 1 1 -1 -1 -1
12 113 0 -1 2 -1 -1 2 9 -1 1 1 1 1 1 -1 -1 -1
13 114 0 3 -1 -1 -1 -1 9 -1 1 1 1 1 1 -1 -1 -1
"""


def test_a_log_becomes_jobs_from_time_0_in_order_and_what_is_left_out_is_counted() -> None:
    found = from_swf(parse_swf(LOG.splitlines()), "log")
    assert found.jobs == (
        PlannedJob(at=0.0, run_time=2.0, cores=4, name="swf-7"),
        PlannedJob(at=4.0, run_time=4.0, cores=1, name="swf-8"),
        PlannedJob(at=10.0, run_time=1.0, cores=2, name="swf-9"),
    )
    assert found.left_out == {
        "cancelled before it ran": 1,
        "part of a job that is there as a whole": 1,
        "run time not known": 1,
        "number of processors not known": 1,
    }
    assert found.says().startswith("log: 3 jobs, submitted over 10 s, up to 4 cores, 1 left out: cancelled")


def test_twice_the_speed_halves_waits_and_run_times_and_wide_jobs_are_cut_down() -> None:
    found = from_swf(parse_swf(LOG.splitlines()), "log", speed=2.0, cores=2)
    assert [(job.at, job.run_time, job.cores) for job in found.jobs] == [(0, 1, 2), (2, 2, 1), (5, 0.5, 2)]


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(WorkloadError, match="a speed above 0"):
        from_swf(parse_swf(LOG.splitlines()), "log", speed=speed)


JOBS = st.builds(
    SwfJob, st.integers(1, 99), st.integers(0, 10**6), st.just(-1), st.integers(-1, 10**5), st.integers(-1, 64),
    st.just(-1), st.just(-1), st.integers(-1, 64), *[st.just(-1)] * 2, st.integers(-1, 5), *[st.just(-1)] * 7,
)  # fmt: skip


@given(st.lists(JOBS, max_size=12), st.floats(0.01, 1000))
def test_every_job_of_a_log_is_planned_or_counted_and_none_comes_before_another(
    jobs: list[SwfJob], speed: float
) -> None:
    found = from_swf(SwfLog(header={}, jobs=tuple(jobs)), "log", speed)
    assert len(found.jobs) + sum(found.left_out.values()) == len(jobs)
    assert [job.at for job in found.jobs] == sorted(job.at for job in found.jobs)
    assert all(job.cores > 0 and job.run_time >= 0 and job.at >= 0 for job in found.jobs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("serial", serial(3, 0.5)),
        ("bulk", bulk(3, 0.5)),
        ("burst", burst(3, 0.5)),
        ("burst:2@500ms", burst(3, 0.5, 2, 0.5)),
        ("decay", decay(3, 0.5)),
        ("decay:2.5", decay(3, 0.5, 2.5)),
    ],
)
def test_generators_are_asked_for_by_name(text: str, expected: Workload) -> None:
    assert parse_workload(text, 3, 0.5) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("never", "no workload 'never'; give one of serial, bulk, burst"),
        ("swf:", "no workload 'swf:'"),
        ("burst:0@1s", "no workload 'burst:0@1s'"),
        ("decay:0", "decay:JOBS_PER_S: a rate above 0"),
        ("decay:-1", "no workload 'decay:-1'"),
        ("burst:2@soon", "burst:JOBS@PAUSE: not a duration: 'soon'"),
    ],
)
def test_what_is_no_workload_is_told_with_what_would_be(text: str, told: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        parse_workload(text, 1, 1.0)
    assert told in str(caught.value)


def test_a_decay_falls_evenly_to_a_quarter_of_its_rate() -> None:
    times = [job.at for job in decay(101, 0.1, rate=8.0).jobs]
    rates = [1 / (later - earlier) for earlier, later in pairwise(times)]
    assert rates[0] == pytest.approx(8.0)
    assert rates[50] == pytest.approx(5.0)
    assert rates[-1] == pytest.approx(2.0, rel=0.04)
    assert rates == sorted(rates, reverse=True)
    assert [job.at for job in decay(1, 0.1).jobs] == [0.0]


def test_a_log_without_a_job_to_run_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.swf"
    path.write_text(LOG.splitlines()[4] + "\n")
    with pytest.raises(WorkloadError, match=r"has no job that can be run \(1 cancelled before it ran\)"):
        parse_workload(f"swf:{path}", 1, 1.0)


def transitions_of(workload: Workload, resources: str) -> tuple[Submitted, list[tuple[float, str]]]:
    async def main() -> tuple[Submitted, list[tuple[float, str]]]:
        async with open_instance(clock="virtual", seed=0, resources=resources) as instance:
            client = instance.client()
            await client.call("job-manager.jobtap-load", {"path": "state-history"})
            start = instance.reactor.now / 1e9
            found = await run_inside(instance, workload)
            truth = await read_truth(client, start)
            client.close()
            return found, [(t, entered) for t, _, entered in truth.transitions]

    return run(main, clock="virtual")


def test_jobs_of_a_log_are_submitted_at_their_times_and_run_as_long_as_they_did() -> None:
    workload = from_swf(parse_swf(LOG.splitlines()), "log")
    found, entered = transitions_of(workload, "1x8")
    assert (found.accepted, found.refused.total()) == (3, 0)
    new = [t for t, state in entered if state == "NEW"]
    ran = [t for t, state in entered if state == "RUN"]
    ended = [t for t, state in entered if state == "CLEANUP"]
    assert new == pytest.approx([0, 4, 10], abs=0.05)
    assert ran == pytest.approx([0, 4, 10], abs=0.2)
    assert ended == pytest.approx([2, 8, 11], abs=0.3)


def test_refused_jobs_are_counted_by_what_was_said_and_a_drain_that_fails_is_raised() -> None:
    async def main(refuse: tuple[str, dict[str, Any]]) -> Submitted:
        async with open_instance(clock="virtual", seed=0, resources="1x4") as instance:
            client = instance.client()
            await client.call(*refuse)
            client.close()
            return await run_inside(instance, burst(2, 0.1, size=2, pause=0.0))

    closed = ("job-manager.queue-enable", {"enable": False, "reason": "closed"})
    found = run(main, closed, clock="virtual")
    (said,) = found.refused
    assert (found.accepted, found.refused[said]) == (0, 2) and "closed" in said
    with pytest.raises(RequestError, match="No service matching"):
        run(main, ("module.remove", {"name": "job-manager"}), clock="virtual")


def test_a_burst_comes_in_its_bursts() -> None:
    found, entered = transitions_of(burst(5, 0.1, size=2, pause=3.0), "1x4")
    assert found.accepted == 5
    new = [round(t / 3) for t, state in entered if state == "NEW"]
    assert new == [0, 0, 1, 1, 2]


def test_the_same_seed_gives_the_same_run() -> None:
    workload = burst(4, 0.1, size=2, pause=1.0)
    assert transitions_of(workload, "1x4") == transitions_of(workload, "1x4")
