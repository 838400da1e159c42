"""The bulk workload's truth: counts and curves of transitions, against a plain recount."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim import open_instance, run
from brokersim.lab.load.bulk import STATES, Transition, Truth, bulk_jobs_inside, read_truth, thinned
from brokersim.lab.load.jobs import serial_jobs_inside
from brokersim.protocol.errnums import RequestError


@st.composite
def lives(draw: st.DrawFn) -> list[Transition]:
    """Jobs that pass the first few states, at times that may coincide, mixed."""
    found: list[Transition] = []
    for _ in range(draw(st.integers(1, 6))):
        depth = draw(st.integers(1, len(STATES)))
        times = sorted(draw(st.lists(st.integers(0, 9), min_size=depth, max_size=depth)))
        passed = [None, *STATES]
        found += [(float(t), passed[at], STATES[at]) for at, t in enumerate(times)]
    return sorted(found, key=lambda one: one[0])


@given(lives())
def test_a_curve_at_any_time_is_the_recount_of_all_transitions_up_to_then(
    transitions: list[Transition],
) -> None:
    curves = Truth(transitions=tuple(transitions)).curves()
    for tick in range(11):
        held: Counter[str] = Counter()
        for t, left, entered in transitions:
            if t <= tick:
                held[entered] += 1
                if left is not None:
                    held[left] -= 1
        shown = {state: [v for t, v in curves[state] if t <= tick][-1] for state in STATES}
        assert shown == {state: held[state] for state in STATES}


@given(lives())
def test_the_states_sum_to_the_jobs_submitted(transitions: list[Transition]) -> None:
    truth = Truth(transitions=tuple(transitions))
    submitted = 0
    for (_, left, _), (_, held) in zip(transitions, truth.counts(), strict=True):
        submitted += left is None
        assert sum(held.values()) == submitted
    assert truth.submitted() == submitted
    assert truth.end == transitions[-1][0]


@given(st.lists(st.integers(-50, 50), max_size=400), st.integers(8, 60))
def test_thinning_keeps_ends_extremes_and_order_in_few_points(values: list[int], most: int) -> None:
    points = [(float(at), float(v)) for at, v in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= most + 4
    assert set(kept) <= set(points)
    assert [t for t, _ in kept] == sorted({t for t, _ in kept})
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert {min(v for _, v in kept), max(v for _, v in kept)} == {min(values), max(values)}


def test_all_jobs_run_and_the_history_has_seven_transitions_each() -> None:
    async def main() -> Truth:
        async with open_instance(modules=MODULES) as instance:
            client = instance.client()
            await client.call("job-manager.jobtap-load", {"path": "state-history"})
            await bulk_jobs_inside(instance, 9, 0.5)
            truth = await read_truth(client, 0.0)
            client.close()
            return truth

    truth = run(main)
    assert (truth.submitted(), len(truth.transitions)) == (9, 63)
    assert {state: points[-1][1] for state, points in truth.curves().items()} == dict.fromkeys(STATES, 0) | {
        "INACTIVE": 9
    }
    assert truth.peaks()["RUN"] == 4


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_one_after_the_other_or_at_once_are_all_over_when_it_returns(jobs: int) -> None:
    async def main() -> tuple[list[int], int]:
        told: list[int] = []
        async with open_instance(modules=(*MODULES, "kvs-watch", "job-info")) as instance:
            client = instance.client()
            await client.call("job-manager.jobtap-load", {"path": "state-history"})
            await serial_jobs_inside(instance, jobs, 0.5, told.append)
            await bulk_jobs_inside(instance, jobs, 0.5)
            truth = await read_truth(client, 0.0)
            client.close()
            return told, sum(entered == "INACTIVE" for _, _, entered in truth.transitions)

    assert run(main) == (list(range(jobs + 1)), 2 * jobs)


def test_a_submission_that_is_refused_is_raised() -> None:
    async def main() -> None:
        async with open_instance(modules=MODULES) as instance:
            client = instance.client()
            await client.call("job-manager.queue-enable", {"enable": False, "reason": "closed"})
            client.close()
            await bulk_jobs_inside(instance, 3, 0.0)

    with pytest.raises(RequestError, match="submission is disabled"):
        run(main)


MODULES = ("content-cache", "content-sqlite", "kvs", "job-manager", "job-ingest", "sched", "job-exec")
