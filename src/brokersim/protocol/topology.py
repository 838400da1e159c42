"""Knows the arithmetic of a k-ary tree of ranks; not which of them are up, nor how a hop is made.

Rank 0 is the root and rank r has the children k*r+1 … k*r+k that exist (Flux's ``kary:k``). A fanout of 0 is
Flux's flat tree: all other ranks are children of rank 0. Ranks, fanout and size are ints that the caller has
checked; only :func:`next_hop` and :func:`check` meet outside input and answer it.
"""

from __future__ import annotations

from brokersim.protocol.decoded import JsonView


def check(size: int, fanout: int) -> None:
    """Raises ValueError unless a tree of that size (1 or more) and fanout (0 for flat, or more) can exist."""
    if size < 1:
        raise ValueError(f"an instance has 1 rank or more, not {size}")
    if fanout < 0:
        raise ValueError(f"fanout must be 0 (flat) or more, not {fanout}")


def parent(rank: int, fanout: int) -> int | None:
    """The rank one hop upstream; ``None`` for the root."""
    if rank == 0:
        return None
    return (rank - 1) // fanout if fanout else 0


def children(rank: int, fanout: int, size: int) -> range:
    """The ranks one hop downstream, in order; empty for a leaf."""
    if not fanout:
        return range(1, size) if rank == 0 else range(0)
    first = rank * fanout + 1
    return range(min(first, size), min(first + fanout, size))


def depth(rank: int, fanout: int) -> int:
    """Hops to the root."""
    if fanout == 1:
        return rank
    hops = 0
    while rank:
        rank = (rank - 1) // fanout if fanout else 0
        hops += 1
    return hops


def height(fanout: int, size: int) -> int:
    """Hops from the deepest rank to the root: what an event travels in the worst case."""
    return depth(size - 1, fanout)


def next_hop(rank: int, target: int, fanout: int, size: int) -> int:
    """The neighbour of ``rank`` that is one hop nearer to ``target``; ``rank`` itself when they are equal.

    Raises ValueError if the instance has no such target.
    """
    if not 0 <= target < size:
        raise ValueError(f"no rank {target}: the instance has ranks 0 to {size - 1}")
    hop = _hop_below(target, rank, fanout)
    if hop is None:
        hop = parent(rank, fanout)
        assert hop is not None, "everything is below the root"
    return hop


def _hop_below(rank: int, ancestor: int, fanout: int) -> int | None:
    """The child of ``ancestor`` above or at ``rank``; ``ancestor`` if equal, ``None`` if not below it."""
    if fanout == 1:  # a chain: the walk below would take as many steps as there are ranks
        return min(rank, ancestor + 1) if rank >= ancestor else None
    below = rank
    while rank > ancestor:  # a parent's rank is always lower
        below = rank
        rank = (rank - 1) // fanout if fanout else 0
    return below if rank == ancestor else None


def subtree(rank: int, fanout: int, size: int) -> list[int]:
    """``rank`` and everything below it, ascending (which is breadth first)."""
    ranks: list[int] = []
    for level in _levels(rank, fanout, size):
        ranks.extend(level)
    return ranks


def subtree_size(rank: int, fanout: int, size: int) -> int:
    """How many ranks :func:`subtree` lists, without listing them."""
    if fanout == 1:
        return size - rank
    return sum(map(len, _levels(rank, fanout, size)))


def _levels(rank: int, fanout: int, size: int) -> list[range]:
    """The ranks of a subtree by depth. Each level is one unbroken range, so nothing need be visited."""
    levels: list[range] = []
    first, end = rank, rank + 1
    while first < size:
        levels.append(range(first, min(end, size)))
        if not fanout:
            return [*levels, range(1, size)] if rank == 0 and size > 1 else levels
        first, end = first * fanout + 1, end * fanout + 1
    return levels


def neighbours(tree: JsonView, rank: int) -> tuple[int | None, tuple[int, ...]]:
    """The parent and the children of ``rank`` in what ``overlay.topology`` says of a (sub)tree.

    Of any shape: a tree that a Flux was configured with follows no arithmetic. Raises ValueError if it lacks the rank.
    """
    waiting: list[tuple[int | None, JsonView]] = [(None, tree)]
    while waiting:
        above, one = waiting.pop()
        if one["rank"] == rank:
            return above, tuple(sorted(child["rank"] for child in one["children"]))
        waiting.extend((one["rank"], child) for child in one["children"])
    raise ValueError(f"no rank {rank} in the tree of rank {tree['rank']}")
