"""Constraints (RFC 31): which nodes they allow, and what jobs do that no node is allowed for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.sched.constraint import Nodes, matching
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, submit

NODES = Nodes(tuple(f"n{rank}" for rank in range(6)), {"big": frozenset({0, 1, 2}), "gpu": frozenset({2, 3})})


@pytest.mark.parametrize(
    ("constraint", "ranks"),
    [
        (None, {0, 1, 2, 3, 4, 5}),
        ({}, {0, 1, 2, 3, 4, 5}),
        ({"properties": ["big"]}, {0, 1, 2}),
        ({"properties": ["big", "gpu"]}, {2}),
        ({"properties": ["^big"]}, {3, 4, 5}),
        ({"properties": ["big", "^gpu"]}, {0, 1}),
        ({"properties": ["nosuch"]}, set()),
        ({"properties": ["^nosuch"]}, {0, 1, 2, 3, 4, 5}),
        ({"hostlist": ["n[1-2]", "n5", "other"]}, {1, 2, 5}),
        ({"ranks": ["0", "4-9"]}, {0, 4, 5}),
        ({"not": [{"ranks": ["0"]}]}, {1, 2, 3, 4, 5}),
        ({"or": [{"properties": ["gpu"]}, {"ranks": ["0"]}]}, {0, 2, 3}),
        ({"or": []}, {0, 1, 2, 3, 4, 5}),
        ({"and": [{"properties": ["big"]}, {"hostlist": ["n2"]}]}, {2}),
        ({"and": [], "properties": ["gpu"]}, {2, 3}),
    ],
)
def test_a_constraint_allows_the_nodes_rfc_31_says(constraint, ranks):
    assert matching(constraint, NODES) == ranks


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ({"colour": []}, "unknown constraint operator: colour"),
        ({"properties": "big"}, "properties: give a list"),
        ({"properties": [3]}, "properties: 3 is no string"),
        ({"properties": ["a|b"]}, "invalid character in property 'a|b'"),
        ({"ranks": ["x"]}, "not a set of ranks"),
        ({"hostlist": ["n["]}, "not a list of hosts"),
        (["big"], "constraint must be an object"),
    ],
)
def test_a_constraint_that_is_none_is_named(constraint, says):
    with pytest.raises(ValueError, match=says):
        matching(constraint, NODES)


def test_a_constraint_deeper_than_32_is_refused():
    constraint = {"ranks": ["0"]}
    for _ in range(40):
        constraint = {"not": [constraint]}
    with pytest.raises(ValueError, match="constraint must be"):
        matching(constraint, NODES)


LEAVES = st.sampled_from([{"properties": ["big"]}, {"hostlist": ["n[3-4]"]}, {"ranks": ["0,5"]}])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(lambda name, parts: {name: parts}, st.sampled_from(["and", "or", "not"]),
                            st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)  # fmt: skip


def holds(constraint, rank):
    """The same by a node at a time, as a person would read it."""
    [(name, parts)] = constraint.items()
    if name == "properties":
        return rank in (0, 1, 2)
    if name == "hostlist":
        return rank in (3, 4)
    if name == "ranks":
        return rank in (0, 5)
    each = [holds(part, rank) for part in parts]
    return any(each) if name == "or" else all(each) if name == "and" else not all(each)


@given(TREES)
def test_combinations_are_those_of_logic_node_by_node(constraint):
    assert matching(constraint, NODES) == {rank for rank in range(6) if holds(constraint, rank)}


def test_a_job_runs_on_the_nodes_its_constraint_allows_and_fails_where_there_are_none():
    async def test(_instance, client):
        wanted = {"not": [{"ranks": ["0-1"]}]}
        right = await submit(client, jobspec(nodes=2, constraints=wanted))
        said = [await outcome(client, right)]
        for constraint in ({"properties": ["nosuchprop"]}, {"ranks": ["7"]}, {"colour": []}):
            said.append(await outcome(client, await submit(client, jobspec(constraints=constraint))))
        return [one["errstr"] for one in said], (await attributes(client, right))["ranks"]

    errors, ranks = in_instance(test, resources="4x4")
    assert ranks == "[2-3]"
    assert errors[0] == ""
    none = "1 slots of 1 cores; there are 0 nodes of 0 cores and 0 gpus that match the constraint"
    assert errors[1:3] == [f"Fatal exception type=alloc unsatisfiable request: {none}"] * 2
    assert errors[3].startswith("Fatal exception type=alloc unknown constraint operator: colour")
