"""The scheduler's pool and queue against plain models: nothing is given twice, nothing overtakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import Resources
from modules.sched.options import duration_of, shape_option
from modules.sched.pool import Pool
from modules.sched.queue import JobQueue, Waiting
from modules.sched.request import Request, to_request
from modules.sched.written import from_r

SHAPES = st.builds(Resources, nodes=st.integers(1, 5), cores=st.integers(1, 6), gpus=st.integers(0, 3))
REQUESTS = st.builds(
    Request,
    nodes=st.integers(0, 3),
    slots=st.integers(1, 6),
    cores=st.integers(1, 3),
    gpus=st.integers(0, 2),
    exclusive=st.booleans(),
)


def units(allocation):
    """Every single core and gpu of an allocation as (node, kind, number)."""
    return {
        (node, kind, bit)
        for node, masks in allocation.items()
        for kind, mask in zip(("core", "gpu"), masks, strict=True)
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    }


def fits(shape, held, request):
    """Whether free units suffice, by counting them one by one: the model."""

    def slots_on(node):
        cores = sum((node, "core", core) not in held for core in range(shape.cores))
        gpus = sum((node, "gpu", gpu) not in held for gpu in range(shape.gpus))
        if request.exclusive and (cores, gpus) != (shape.cores, shape.gpus):
            return 0
        return min(cores // request.cores, gpus // request.gpus if request.gpus else cores)

    each = [slots_on(node) for node in range(shape.nodes)]
    if request.nodes:
        return sum(slots >= request.slots for slots in each) >= request.nodes
    return sum(each) >= request.slots


def emptiest(shape, held):
    """Nodes with a free core, the emptiest first, of those alike the lowest: the model."""
    free = {
        node: tuple(
            sum((node, kind, bit) not in held for bit in range(count))
            for kind, count in (("core", shape.cores), ("gpu", shape.gpus))
        )
        for node in range(shape.nodes)
    }
    return sorted(
        (node for node in free if free[node][0]), key=lambda node: (*(-n for n in free[node]), node)
    )


@given(SHAPES, st.lists(st.one_of(REQUESTS, st.integers(0, 20)), max_size=30))
def test_the_pool_gives_exactly_what_is_free_and_never_twice(shape, steps):
    pool = Pool(shape)
    live = []
    for step in steps:
        if isinstance(step, int):
            if live:
                pool.free(live.pop(step % len(live)))
            continue
        held = {unit for allocation in live for unit in units(allocation)}
        allocation = pool.allocate(step)
        assert (allocation is not None) == fits(shape, held, step)
        if allocation is None:
            continue
        got = units(allocation)
        assert not got & held
        assert all(
            node < shape.nodes and bit < (shape.cores if kind == "core" else shape.gpus)
            for node, kind, bit in got
        )
        cores = sum(kind == "core" for _, kind, _ in got)
        slots = step.slots * (step.nodes or 1)
        assert cores == len(allocation) * shape.cores if step.exclusive else cores == slots * step.cores
        if step.nodes:
            assert len(allocation) == step.nodes
        order = emptiest(shape, held)
        places = [order.index(node) for node in allocation]
        assert places == sorted(places)
        if not step.gpus and not step.exclusive and step.cores == step.slots == 1:
            assert places == list(range(len(places)))  # whoever has a core will do
        live.append(allocation)
    for allocation in live:
        pool.free(allocation)
    assert (pool.free_cores, pool.free_gpus) == (shape.nodes * shape.cores, shape.nodes * shape.gpus)


@given(SHAPES, REQUESTS)
def test_a_request_is_impossible_exactly_when_an_empty_pool_refuses_it(shape, request):
    assert (Pool(shape).impossible(request) == "") == (Pool(shape).allocate(request) is not None)


@given(SHAPES, REQUESTS)
def test_R_says_what_was_allocated_and_can_be_read_back(shape, request):
    pool = Pool(shape)
    allocation = pool.allocate(request)
    if allocation is None:
        return
    again = from_r(pool.written.to_r(allocation))
    assert again == allocation
    assert Pool(shape).hold(again)
    assert not pool.hold(again), "what is held cannot be held again"


def test_R_has_the_form_flux_writes():
    pool = Pool(Resources(nodes=4, cores=2))
    allocation = pool.allocate(Request(nodes=0, slots=5, cores=1, gpus=0))
    assert pool.written.to_r(allocation, 1.0, 61.0) == {
        "version": 1,
        "execution": {
            "R_lite": [
                {"rank": "0-1", "children": {"core": "0-1"}},
                {"rank": "2", "children": {"core": "0"}},
            ],
            "starttime": 1.0,
            "expiration": 61.0,
            "nodelist": ["sim[0-2]"],
        },
    }
    assert pool.written.summary(allocation) == "rank[0-1]/core[0-1],rank2/core0"


@pytest.mark.parametrize(
    "r", [None, {}, {"execution": {"R_lite": [{"rank": "x", "children": {}}]}}, {"execution": 3}]
)
def test_an_R_of_another_form_is_refused(r):
    with pytest.raises(ValueError, match="not R version 1"):
        from_r(r)


JOBS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=25)


@given(JOBS, st.data())
def test_the_queue_serves_by_priority_then_time_then_id(jobs, data):
    queue = JobQueue()
    model = {}
    request = Request(nodes=0, slots=1, cores=1, gpus=0)
    for number, (priority, t_submit) in enumerate(jobs):
        queue.add(Waiting(number, priority, float(t_submit), request))
        model[number] = (-priority, float(t_submit), number)
    while model:
        assert len(queue) == len(model)
        step = data.draw(st.sampled_from(["serve", "remove", "move"]))
        if step == "serve":
            first = queue.first()
            assert first.jobid == min(model, key=model.get)
            queue.remove(first.jobid)
            del model[first.jobid]
        elif step == "remove":
            victim = data.draw(st.sampled_from(sorted(model)))
            assert queue.remove(victim).jobid == victim
            del model[victim]
        else:
            moved = data.draw(st.sampled_from(sorted(model)))
            priority = data.draw(st.integers(1, 4))
            assert queue.reprioritize(moved, priority)
            model[moved] = (-priority, *model[moved][1:])
    assert queue.first() is None
    assert not queue.reprioritize(0, 3)


def chain(*links):
    """A chain of (type, count) as a jobspec's resources."""
    below = None
    for kind, count in reversed(links):
        below = [{"type": kind, "count": count, **({"with": below} if below else {})}]
    return {"resources": below}


@pytest.mark.parametrize(
    ("links", "request_"),
    [
        ((("slot", 3), ("core", 2)), Request(nodes=0, slots=3, cores=2, gpus=0)),
        ((("node", 2), ("slot", 3), ("core", 1)), Request(nodes=2, slots=3, cores=1, gpus=0)),
        ((("slot", 2), ("node", 2), ("core", 4)), Request(nodes=4, slots=1, cores=4, gpus=0)),
        ((("slot", {"min": 2, "max": 9}), ("core", 1)), Request(nodes=0, slots=2, cores=1, gpus=0)),
    ],
)
def test_a_jobspec_says_how_many_slots_of_which_shape(links, request_):
    assert to_request(chain(*links)) == request_


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (None, "resources must be a list"),
        ([{"type": "core", "count": 1}], "core outside a slot"),
        ([{"type": "slot", "count": 1, "with": [{"type": "gpu", "count": 1}]}], "a slot holds no core"),
        ([{"type": "slot", "count": 0}], "count of slot must be a positive integer, not 0"),
        ([{"type": "rack", "count": 1}], "is no node, slot, core or gpu"),
    ],
)
def test_resources_outside_the_grammar_are_named(resources, says):
    with pytest.raises(ValueError, match=says):
        to_request({"resources": resources})


def test_the_simulated_resources_come_from_argument_attribute_or_default():
    assert str(shape_option((), None)) == "1x4"
    assert str(shape_option((), "2x8x1")) == "2x8x1"
    assert str(shape_option(("resources=4x12",), "2x8")) == "4x12"
    assert str(shape_option(("log-level=debug", "mode=limited=2"), "2x8")) == "2x8", "of no account here"
    with pytest.raises(ValueError, match="unknown argument 'cores=4'"):
        shape_option(("cores=4",), None)


def test_a_duration_that_is_none_is_no_limit():
    assert duration_of({"attributes": {"system": {"duration": 2.5}}}) == 2.5
    assert [
        duration_of(spec)
        for spec in ({}, {"attributes": None}, {"attributes": {"system": {"duration": "x"}}})
    ] == [0, 0, 0]


def test_nodes_that_a_scheduler_was_not_given_are_no_business_of_it():
    pool = Pool(Resources(nodes=2, cores=4))
    pool.take_down("1-3")
    assert pool.down_r() == pool.written.to_r({1: pool._all[1]})
    pool.bring_up("1-3")
    assert not pool.down_r()["execution"]["R_lite"]
