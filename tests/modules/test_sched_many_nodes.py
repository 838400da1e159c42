"""The pool with drained nodes, constraints and nodes of several kinds against a model; what many nodes cost."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import Resources
from modules.sched.constraint import Nodes, matching
from modules.sched.pool import CONSTRAINTS_MAX, Pool
from modules.sched.request import Request
from modules.sched.written import nodes_of

CONSTRAINTS = st.sampled_from(
    [None, {"properties": ["odd"]}, {"not": [{"properties": ["odd"]}]}, {"ranks": ["0-2"]}, {"ranks": ["9"]}]
)
REQUESTS = st.builds(
    Request,
    nodes=st.integers(0, 3),
    slots=st.integers(1, 6),
    cores=st.integers(1, 3),
    gpus=st.integers(0, 2),
    exclusive=st.booleans(),
    constraint=CONSTRAINTS,
)
STEPS = st.lists(
    st.one_of(REQUESTS, st.integers(0, 9), st.tuples(st.sampled_from(["down", "up"]), st.integers(0, 5))),
    max_size=30,
)


def r_of(nodes):
    """R of nodes of so many cores and gpus each; odd ones have the property ``odd``."""
    lite = [
        {"rank": str(node), "children": {"core": ids(cores), "gpu": ids(gpus)}}
        for node, (cores, gpus) in enumerate(nodes)
    ]
    odd = ",".join(str(node) for node in range(1, len(nodes), 2))
    hosts = [f"n{node}" for node in range(len(nodes))]
    return {"version": 1, "execution": {"R_lite": lite, "nodelist": hosts, "properties": {"odd": odd}}}


def ids(count):
    return f"0-{count - 1}" if count else ""


class Model:
    """The same pool, a node at a time."""

    def __init__(self, nodes):
        self.all = nodes
        self.free = list(nodes)
        self.down = set()
        self.nodes = nodes_of(r_of(nodes), range(len(nodes)))

    def allowed(self, request):
        return [n for n in range(len(self.all)) if n in matching(request.constraint, self.nodes)]

    def slots(self, free, whole, request):
        if not free[0] or (request.exclusive and free != whole):
            return 0
        return min(free[0] // request.cores, free[1] // request.gpus if request.gpus else free[0])

    def enough(self, each, request):
        if request.nodes:
            return sum(slots >= request.slots for slots in each) >= request.nodes
        return sum(each) >= request.slots

    def could_ever(self, request):
        return self.enough(
            [self.slots(self.all[n], self.all[n], request) for n in self.allowed(request)], request
        )

    def picks(self, request):
        """Nodes and slots on each, the emptiest first; None if there are not enough."""
        usable = sorted(
            (n for n in self.allowed(request) if n not in self.down),
            key=lambda n: (*(-x for x in self.free[n]), n),
        )
        each = {n: self.slots(self.free[n], self.all[n], request) for n in usable}
        if not self.enough(each.values(), request):
            return None
        if request.nodes:
            return [(n, request.slots) for n in usable if each[n] >= request.slots][: request.nodes]
        picked, wanted = [], request.slots
        for n in usable:
            if wanted and each[n]:
                picked.append((n, min(each[n], wanted)))
                wanted -= picked[-1][1]
        return picked

    def taken(self, request, picked):
        return {
            n: self.all[n] if request.exclusive else (slots * request.cores, slots * request.gpus)
            for n, slots in picked
        }


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=2, max_size=6), STEPS)
def test_nodes_are_picked_as_one_by_one(nodes, steps):
    model, pool, live = Model(nodes), Pool.of(r_of(nodes)), []
    for step in steps:
        if isinstance(step, int):
            if live:
                held, counts = live.pop(step % len(live))
                pool.free(held)
                for n, (cores, gpus) in counts.items():
                    model.free[n] = model.free[n][0] + cores, model.free[n][1] + gpus
        elif isinstance(step, tuple):
            way, node = step
            if way == "down":
                pool.take_down(str(node))
                model.down.add(node)
            else:
                pool.bring_up(str(node))
                model.down.discard(node)
        else:
            assert (pool.impossible(step) == "") == model.could_ever(step)
            picked = model.picks(step)
            held = pool.allocate(step)
            if picked is None:
                assert held is None
                continue
            counts = model.taken(step, picked)
            got = {n: (cores.bit_count(), gpus.bit_count()) for n, (cores, gpus) in held.items()}
            assert list(got.items()) == list(counts.items())
            for n, (cores, gpus) in counts.items():
                model.free[n] = model.free[n][0] - cores, model.free[n][1] - gpus
            live.append((held, counts))


def test_all_but_some_are_down_until_they_are_brought_up():
    pool = Pool(Resources(nodes=4, cores=1))
    pool.only_up("1-2")
    one = Request(nodes=0, slots=1, cores=1, gpus=0)
    assert [list(pool.allocate(one) or ()) for _ in range(3)] == [[1], [2], []]
    pool.bring_up("3")
    assert [list(pool.allocate(one) or ()) for _ in range(2)] == [[3], []]
    assert pool.down_r()["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0"}}]
    with pytest.raises(ValueError, match="invalid literal"):
        pool.take_down("x")


def steps_taken(work):
    """Functions called and entered anew while something is done: what the load of the machine does not move."""
    count = 0

    def called(_frame, _event, _arg):
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


PLAIN = Request(nodes=0, slots=1, cores=1, gpus=0)
WAYS = {
    "one core": PLAIN,
    "two nodes": Request(nodes=2, slots=1, cores=2, gpus=0),
    "whole node": Request(nodes=1, slots=1, cores=1, gpus=0, exclusive=True),
    "constraint": Request(nodes=1, slots=1, cores=1, gpus=0, constraint={"properties": ["big"]}),
    "all but some": Request(nodes=1, slots=1, cores=1, gpus=0, constraint={"not": [{"ranks": ["0-3"]}]}),
    "too much now": Request(nodes=0, slots=100_000, cores=1, gpus=0),
    "too many nodes now": Request(nodes=9, slots=3, cores=1, gpus=0),
}


def cost(nodes, request):
    """Steps of a job that is checked, gets its cores if there are such, has its R told and frees them again."""
    pool = Pool(Resources(nodes=nodes, cores=4))
    big = frozenset(range(nodes // 2, nodes))
    pool.nodes = Nodes(pool.nodes.hosts, {"big": big})
    pool.take_down(f"0-{nodes // 4}")
    pool.allocate(Request(nodes=nodes * 3 // 4 - 2, slots=2, cores=1, gpus=0))  # nearly all are half full

    def job():
        pool.impossible(request)
        held = pool.allocate(request)
        if held is not None:
            pool.written.to_r(held)
            pool.written.summary(held)
            pool.free(held)

    job()  # a constraint is read once
    return steps_taken(job)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_job_costs_the_same_whatever_nodes_there_are(way):
    assert cost(2048, WAYS[way]) == cost(32, WAYS[way])


def test_constraints_remembered_are_bounded():
    pool = Pool(Resources(nodes=2, cores=1))
    for number in range(CONSTRAINTS_MAX + 3):
        assert (
            pool.impossible(Request(nodes=0, slots=1, cores=1, gpus=0, constraint={"ranks": [f"0-{number}"]}))
            == ""
        )
    assert len(pool._allowed) == 3


def test_a_constraint_of_any_depth_is_refused_not_followed():
    constraint = {"ranks": ["0"]}
    for _ in range(100_000):
        constraint = {"not": [constraint]}
    with pytest.raises(ValueError, match="constraint must be"):
        Pool(Resources(nodes=1, cores=1)).impossible(
            Request(nodes=0, slots=1, cores=1, gpus=0, constraint=constraint)
        )
    while constraint:  # else it is let go by as deep a recursion
        constraint = next(iter(constraint.values()))[0] if isinstance(constraint, dict) else None
