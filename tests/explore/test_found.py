"""Plans that a search found in what ships: each of them holds now."""

from __future__ import annotations

from brokersim.explore.plan import Plan, Step
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
