"""Shrinking, against predicates whose smallest plan is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.shrink import shrink


def plan_of(steps, faults=0, **more):
    return Plan(
        families=("kvs",),
        steps=tuple(Step(id=n, op="kvs.get", at=n / 10, rank=n % more.get("size", 1)) for n in range(steps)),
        faults=tuple(PlannedFault(kind="kill", at=n / 10, seconds=0.5) for n in range(faults)),
        **more,
    )


@given(st.integers(1, 30), st.data())
def test_what_is_needed_and_nothing_else_is_left(count, data):
    needed = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=4))
    plan = plan_of(count, faults=3)

    def breaks(one):
        return needed <= {step.id for step in one.steps}

    smallest, runs = shrink(plan, breaks, limit=2000)
    assert {step.id for step in smallest.steps} == needed
    assert smallest.faults == ()
    assert runs <= 2000


def test_fields_become_plainer_where_that_still_breaks():
    plan = plan_of(2, faults=1, size=4, spread=0.001, latency=0.0, order=77, has_disk=True, seed=9)

    def breaks(one):
        return one.spread > 0 and bool(one.faults)

    smallest, _ = shrink(plan, breaks)
    assert smallest == Plan(
        spread=0.001, order=1, faults=(PlannedFault(kind="kill", at=0.0, seconds=0.0),), size=1
    )


def test_who_waits_for_the_sixth_of_something_waits_for_an_earlier_one_of_less():
    wait = Step(id=9, op="kvs.wait", at=0.0, args={"version": 6, "space": "primary"})
    plan = plan_of(7)

    def breaks(one):
        """The wait is for a version that has come, and not for the first."""
        waits = [step.args["version"] for step in one.steps if step.id == 9]
        return bool(waits) and 2 <= waits[0] < len(one.steps)

    smallest, _ = shrink(plan.replace(steps=(*plan.steps, wait)), breaks)
    assert len(smallest.steps) == 3 and smallest.steps[-1].args == {"version": 2, "space": "primary"}


def test_flags_are_no_number_that_gets_less():
    """A watch of other flags was refused, and that was the find that was left."""
    log = Step(id=9, op="watch.log", at=0.0, args={"key": "a1", "flags": 268})
    smallest, _ = shrink(plan_of(2).replace(steps=(log,)), lambda one: bool(one.steps))
    assert smallest.steps[0].args["flags"] == 268


def test_the_order_stays_where_it_matters():
    smallest, _ = shrink(plan_of(3, order=77), lambda one: one.order == 77)
    assert smallest.order == 77


def test_it_stops_at_the_limit_with_the_best_so_far():
    calls = []

    def breaks(one):
        calls.append(one)
        return len(one.steps) >= 20

    smallest, runs = shrink(plan_of(30), breaks, limit=5)
    assert (len(calls), runs) == (5, 5)
    assert 20 <= len(smallest.steps) < 30


def test_no_plan_is_run_twice():
    seen = set()

    def breaks(one):
        assert one.to_json() not in seen
        seen.add(one.to_json())
        return any(step.id == 3 for step in one.steps)

    shrink(plan_of(8, faults=2), breaks)


def test_an_anchor_comes_earlier_when_what_was_before_it_is_left_out():
    def breaks(one):
        """A fault at the last message of its topic, of which each step sends one; the last step is needed."""
        is_last = any(fault.on[2] == len(one.steps) for fault in one.faults)
        return is_last and any(step.id == 4 for step in one.steps)

    crash = PlannedFault(kind="crash", on=("kvs.commit", 0, 5))
    smallest, _ = shrink(plan_of(5).replace(faults=(crash,)), breaks)
    assert ([step.id for step in smallest.steps], smallest.faults[0].on) == ([4], ("kvs.commit", 0, 1))
