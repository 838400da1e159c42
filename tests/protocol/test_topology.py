"""The tree's arithmetic must agree with a tree that was planted node by node and walked."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol import topology

trees = st.tuples(st.integers(0, 6), st.integers(1, 60))
every_small_tree = [(fanout, size) for fanout in (0, 1, 2, 3, 4, 16) for size in (1, 2, 3, 5, 8, 13, 34)]


def planted(fanout: int, size: int) -> dict[int, list[int]]:
    """Children of each rank: ranks are handed out in order to the first rank that still has room."""
    below: dict[int, list[int]] = {rank: [] for rank in range(size)}
    waiting = deque([0])
    for rank in range(1, size):
        while fanout and len(below[waiting[0]]) == fanout:
            waiting.popleft()
        below[waiting[0]].append(rank)
        waiting.append(rank)
    return below


def distances(below: dict[int, list[int]], start: int) -> dict[int, int]:
    neighbours = {rank: list(children) for rank, children in below.items()}
    for rank, children in below.items():
        for child in children:
            neighbours[child].append(rank)
    found = {start: 0}
    waiting = deque([start])
    while waiting:
        rank = waiting.popleft()
        for other in neighbours[rank]:
            if other not in found:
                found[other] = found[rank] + 1
                waiting.append(other)
    return found


def everything_below(below: dict[int, list[int]], rank: int) -> list[int]:
    return [rank] + [deep for child in below[rank] for deep in everything_below(below, child)]


@pytest.mark.parametrize(("fanout", "size"), every_small_tree)
def test_every_function_agrees_with_a_planted_tree(fanout: int, size: int) -> None:
    below = planted(fanout, size)
    above = {child: rank for rank, children in below.items() for child in children}
    from_root = distances(below, 0)
    for rank in range(size):
        assert topology.parent(rank, fanout) == above.get(rank)
        assert list(topology.children(rank, fanout, size)) == below[rank]
        assert topology.depth(rank, fanout) == from_root[rank]
        inside = sorted(everything_below(below, rank))
        assert topology.subtree(rank, fanout, size) == inside
        assert topology.subtree_size(rank, fanout, size) == len(inside)
    assert topology.height(fanout, size) == max(from_root.values())


@given(trees, st.data())
def test_each_hop_is_to_a_neighbour_and_one_nearer_to_the_target(
    tree: tuple[int, int], data: st.DataObject
) -> None:
    fanout, size = tree
    rank, target = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    far = distances(planted(fanout, size), target)
    hop = topology.next_hop(rank, target, fanout, size)
    if rank == target:
        assert hop == rank
    else:
        assert far[hop] == far[rank] - 1
        near = [topology.parent(rank, fanout), *topology.children(rank, fanout, size)]
        assert hop in near


@pytest.mark.parametrize("target", [-1, 4, 2**32 - 1])
def test_a_target_outside_the_instance_is_named(target: int) -> None:
    with pytest.raises(ValueError, match=rf"no rank {target}: the instance has ranks 0 to 3"):
        topology.next_hop(0, target, 2, 4)


def test_long_chains_and_wide_trees_are_answered_without_walking_them() -> None:
    size = 10**9
    assert topology.depth(size - 1, 1) == size - 1
    assert topology.next_hop(5, size - 1, 1, size) == 6
    assert topology.next_hop(size - 1, 5, 1, size) == size - 2
    assert topology.subtree_size(0, 1, size) == size
    assert topology.subtree_size(0, 2, size) == size
    assert topology.height(2, size) == 29


@pytest.mark.parametrize(("size", "fanout"), [(0, 2), (-1, 2), (4, -1)])
def test_a_tree_that_cannot_exist_is_refused_with_the_bad_number(size: int, fanout: int) -> None:
    with pytest.raises(ValueError, match=str(min(size, fanout))):
        topology.check(size, fanout)


def test_trees_that_can_exist_are_accepted() -> None:
    for size, fanout in ((1, 0), (1, 1), (1024, 2)):
        topology.check(size, fanout)


@pytest.mark.parametrize(("fanout", "size"), every_small_tree)
def test_neighbours_are_read_from_a_tree_of_any_shape(fanout: int, size: int) -> None:
    below = planted(fanout, size)
    above = {child: rank for rank, children in below.items() for child in children}

    def told(rank: int) -> dict[str, object]:
        return {"rank": rank, "size": 0, "children": [told(child) for child in reversed(below[rank])]}

    for rank in range(size):
        assert topology.neighbours(told(0), rank) == (above.get(rank), tuple(below[rank]))
    with pytest.raises(ValueError, match=f"no rank {size} in the tree of rank 0"):
        topology.neighbours(told(0), size)
