"""Who should have had cores: the first in the queue, as soon as there are as many as it asks for."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from brokersim.explore.families.cores import _drained, _given_again, _Place, starved
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked


def place(job: int, **more: Any) -> _Place:
    usual = {
        "cores": 1, "priority": 16, "submitted": float(job), "ready": 0.0, "given": 0.0, "doomed": math.inf,
        "freed": math.inf,
    }  # fmt: skip
    return _Place(job=job, **{**usual, **more})


def test_nobody_waits_who_is_given_cores_at_once():
    assert starved([place(1, freed=9.0), place(2, ready=1.0, given=1.2)], 4) == []


def test_the_first_in_the_queue_does_not_wait_for_cores_that_are_free():
    queue = [place(1, cores=3, freed=9.0), place(2, ready=1.0, given=9.0)]
    assert starved(queue, 4) == ["jobs: job 2 waited for 1 cores, first of all, while 1 were free"]
    assert starved(queue, 3) == []


@pytest.mark.parametrize("other", [{"submitted": 1.5}, {"priority": 17, "submitted": 3.0}])
def test_who_stands_behind_another_waits_with_it(other):
    first = place(3, cores=4, ready=0.5, given=9.0, **other)
    assert starved([place(1, cores=2, freed=9.0), first, place(2, ready=1.0, given=9.0)], 4) == []


def test_who_stood_behind_one_that_was_cancelled_is_the_first():
    cancelled = place(2, cores=4, ready=0.5, given=math.inf, doomed=2.0)
    queue = [place(1, cores=2, freed=9.0), cancelled, place(3, ready=1.0, given=9.0)]
    assert starved(queue, 4) == ["jobs: job 3 waited for 1 cores, first of all, while 2 were free"]


@pytest.mark.parametrize("more", [{"priority": 0}, {"doomed": 1.2}, {"given": 1.3}])
def test_who_is_held_or_doomed_or_waits_a_moment_is_not_starved(more):
    assert starved([place(2, ready=1.0, **{"given": 9.0, **more})], 4) == []


def test_of_two_of_one_moment_the_lower_id_is_first():
    queue = [place(1, cores=3, freed=9.0), place(2, cores=4, given=9.0), place(3, submitted=2.0, given=9.0)]
    assert starved(queue, 4) == []


def test_who_waits_when_the_node_is_given_again_is_served_then():
    queue = [place(1, ready=1.0, given=9.0)]
    assert starved(queue, 4, 5.0) == ["jobs: job 1 waited for 1 cores, first of all, while 4 were free"]
    assert starved(queue, 4, 8.8) == []


@pytest.mark.parametrize(("is_back", "since"), [(True, 7.5), (False, None)])
def test_since_when_the_node_is_given_again(is_back, since):
    away = asked("jobs.away", "resource.drain", answered=2, told=5.0)
    back = asked("jobs.back", "resource.undrain", answered=3 if is_back else None, told=7.5)
    world: Any = SimpleNamespace(of=lambda op: [one for one in (away, back) if one.step.op == op])
    assert _given_again(world) == since


@pytest.mark.parametrize(
    ("given", "slack", "is_fine"),
    [(5.2, 1.0, True), (6.0, 1.0, False), (7.0, 1.0, True), (5.2, 0.01, False), (5.02, 0.01, True)],
)
def test_nobody_is_given_cores_of_a_node_that_is_drained(given, slack, is_fine):
    away = asked("jobs.away", "resource.drain", answered=2, told=5.0)
    back = asked("jobs.back", "resource.undrain", asked_at=7.0)
    world: Any = SimpleNamespace(
        of=lambda op: [one for one in (away, back) if one.step.op == op], slack=slack
    )
    log = [{"name": "alloc", "timestamp": given, "context": {}}]
    text = "jobs: job 1 was given cores of a node that was drained by step 4"
    assert _drained(world, {1: log}) == ([] if is_fine else [text])


def asked(op: str, topic: str, **more: Any) -> Asked:
    return Asked(Step(id=4, op=op), topic, {}, cast(Any, None), 1, 0.0, **more)
