"""Plans that a search found in what ships: each of them holds now."""

from __future__ import annotations

import pytest

from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import run_plan


def _step(number: int, op: str, key: str, at: float) -> Step:
    return Step(id=number, op=op, args={"key": key, "value": f"<{number}>"}, at=at)


def test_a_commit_that_was_merged_with_one_that_cannot_be_is_done_at_once():
    """Under a clock that jumps, kvs fell asleep after a commit that failed with no answer in any queue yet."""
    steps = (
        _step(0, "kvs.append", "a1", 0.007145), _step(1, "kvs.clash", "l", 0.007155),
        _step(2, "kvs.append", "d.a2", 0.007245),
    )  # fmt: skip
    outcome = run_plan(Plan(families=("kvs",), order=2, spread=1e-4, steps=steps))
    assert outcome.broken == ()
    assert ("kvs.clash", "kvs.commit", 95) in outcome.seen


@pytest.mark.parametrize("kind", ["reload", "kill"])
def test_what_ends_a_module_does_not_end_the_start_of_its_rank(kind):
    """A rank that was being started anew waited for a module that a fault ended then, and started no more behind it."""
    crash = PlannedFault(kind="crash", rank=1, at=0.00915)
    meanwhile = PlannedFault(kind=kind, rank=1, to="kvs", at=0.00916)
    plan = Plan(families=("watch",), size=2, order=3, spread=1e-4, faults=(crash, meanwhile))
    outcome = run_plan(plan)
    assert (outcome.broken, outcome.hits) == ((), {"crash": 1})
