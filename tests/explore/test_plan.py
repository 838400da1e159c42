"""Plans as JSON: equal ones have equal bytes, and what is none is refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.explore.draw import Space, draw
from brokersim.explore.families import FAMILIES
from brokersim.explore.faults import KINDS, MODELS
from brokersim.explore.plan import Plan, PlannedFault, Step, from_json
from brokersim.explore.run import run_plan
from brokersim.protocol.errnums import EINVAL, RequestError

SPACE = Space(families=FAMILIES, wanted=tuple(FAMILIES), model="hostile")


@given(st.integers(0, 1 << 40))
def test_a_seed_draws_one_plan_which_its_json_holds_whole(seed):
    plan = draw(SPACE, seed)
    assert plan == draw(SPACE, seed)
    assert from_json(plan.to_json(), "x") == from_json(plan.to_json(is_pretty=True), "x") == plan
    assert from_json(plan.to_json(), "x").to_json() == plan.to_json()
    assert all((item.at is None) != (item.on is None) for item in (*plan.steps, *plan.faults))
    assert all(fault.kind in KINDS for fault in plan.faults)


def test_swarm_leaves_families_out_and_a_third_of_the_plans_without_faults():
    plans = [draw(SPACE, seed) for seed in range(600)]
    for name in FAMILIES:
        used = sum(name in plan.families for plan in plans)
        assert 60 < used < 400, name
    assert 150 < sum(not plan.faults for plan in plans) < 350
    assert {plan.size for plan in plans} == {1, 2, 3, 4}


def test_the_model_flux_has_no_fault_that_no_flux_has():
    space = Space(families=FAMILIES, wanted=tuple(FAMILIES))
    kinds = {fault.kind for seed in range(1000) for fault in draw(space, seed).faults}
    assert kinds == set(MODELS["flux"])
    assert not kinds & {"drop", "duplicate", "reorder", "delay", "disconnect"}


def test_what_a_family_names_fails_right_behind_its_anchor():
    """Whose commit fails is chance among five modules: what it is about says whose."""
    space = Space(families=FAMILIES, wanted=("jobs",))
    drawn = [fault for seed in range(2000) for fault in draw(space, seed).faults if fault.kind == "fail"]
    pairs = {(fault.on[0], fault.to) for fault in drawn if fault.on is not None and not fault.rank}
    assert pairs >= set(FAMILIES["jobs"].failures)
    behind = sum(fault.to == "kvs.commit" and bool(fault.on) for fault in drawn)
    assert behind > 0.4 * len(drawn)


def test_what_owes_something_for_a_step_is_loaded_anew_or_ended_right_behind_its_anchor():
    space = Space(families=FAMILIES, wanted=("jobs",))
    plans = [draw(space, seed) for seed in range(3000)]
    drawn = [(plan, fault) for plan in plans for fault in plan.faults if fault.kind in ("kill", "reload")]
    owed = FAMILIES["jobs"].reloads
    pairs = {(fault.on[0], fault.to) for _, fault in drawn if fault.on is not None and not fault.rank}
    assert pairs >= {pair for pairs in owed.values() for pair in pairs}
    assert ("resource.drain", "resource") not in {
        (fault.on[0], fault.to) for plan, fault in drawn if fault.on and "jobs.away" not in _ops(plan)
    }
    named = sum(bool(fault.on) and (fault.on[0], fault.to) in pairs for _, fault in drawn)
    assert named > 0.4 * len(drawn)


def test_no_module_is_killed_that_has_what_only_an_end_in_good_order_hands_on():
    for name, family in FAMILIES.items():
        space = Space(families=FAMILIES, wanted=(name,))
        faults = [fault for seed in range(500) for fault in draw(space, seed).faults if fault.kind == "kill"]
        assert not {f"{fault.to}.{fault.rank}" for fault in faults} & set(family.lossy)


@pytest.mark.parametrize("name", ["jobs", "records", "cron", "content", "metrics"])
def test_a_plan_has_what_its_operations_are_about_and_not_too_much(name):
    family = FAMILIES[name]
    space = Space(families=FAMILIES, wanted=(name,))
    for seed in range(500):
        made = [family.makes.get(op.partition(".")[2], 0) for op in _ops(draw(space, seed))]
        assert 0 < sum(made) <= family.most_made + max(made)


def test_what_has_a_disk_does_what_is_kept_for_good():
    space = Space(families=FAMILIES, wanted=("kvs",))
    plans = [plan for seed in range(2000) if (plan := draw(space, seed)).has_disk]
    syncs = sum("kvs.sync" in _ops(plan) for plan in plans)
    assert syncs > 0.5 * len(plans) > 100


def _ops(plan):
    return [step.op for step in plan.steps]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "x is no plan: "),
        (b'{"size": "two"}', "Expected `int`"),
        (b'{"version": 99}', "x is a plan of version 99; this brokersim reads version 1"),
        (b'{"steps": [{"id": 1, "op": "kvs.get"}]}', r"kvs\.get needs a time \(at\) or an anchor \(on\)"),
        (
            b'{"steps": [{"id": 1, "op": "kvs.get", "at": 0, "rank": 3}]}',
            "is for rank 3, and the plan has 1 ranks",
        ),
        (b'{"faults": [{"kind": "kill", "at": 0, "on": ["a", 0, 1]}]}', "kill needs a time"),
    ],
)
def test_what_is_no_plan_is_refused(text, says):
    with pytest.raises(RequestError, match=says) as caught:
        from_json(text, "x")
    assert caught.value.errno == EINVAL


def test_weight_counts_steps_and_faults():
    assert Plan(steps=(Step(id=1, op="kvs.get", at=0.0),)).weight == 1


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (
            Plan(families=("kvs",), steps=(Step(id=4, op="kvs.put", at=0.0, args={"key": "p1"}),)),
            "the plan's step 4, kvs.put, has no value",
        ),
        (Plan(families=("kvz",)), "the plan has family 'kvz'; there are "),
        (
            Plan(families=("kvs",), steps=(Step(id=0, op="kvz.put", at=0.0),)),
            "the plan has family 'kvz'; there are ",
        ),
        (
            Plan(families=("kvs",), steps=(Step(id=0, op="kvs.putt", at=0.0),)),
            "the plan has operation 'putt'; there are ",
        ),
        (
            Plan(families=("kvs",), faults=(PlannedFault(kind="disk-full", at=0.0),)),
            "the plan has fault 'disk-full'; ",
        ),
    ],
)
def test_what_a_plan_names_and_nobody_knows_is_no_find(plan, says):
    with pytest.raises(RequestError, match=says) as caught:
        run_plan(plan)
    assert caught.value.errno == EINVAL
