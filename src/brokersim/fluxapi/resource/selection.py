"""Knows which nodes a request for resources gets, and how much of each; not who has the rest, nor how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from brokersim.fluxapi.resource.ResourcePoolImplementation import InsufficientResources
from brokersim.protocol.decoded import JsonObject

#: A rank that may be used: its number, what is known of it, its free cores and gpus.
Candidate = tuple[int, JsonObject, frozenset[int], frozenset[int]]
#: What is taken of a rank: cores, gpus, and how many slots they make.
Part = tuple[frozenset[int], frozenset[int], int]
#: Takes what it can of a rank, for at most so many slots (None: for all that fit).
Take = Callable[[Candidate, Any, int | None], Part]


def candidates_for(request: Any, ranks: Mapping[int, JsonObject], fitting: Iterable[int]) -> list[Candidate]:
    """Of the fitting ranks those that are up and have a slot's worth free, or are free as a whole."""
    allowed = set(fitting)
    found = []
    for rank, info in ranks.items():
        if not info["up"] or rank not in allowed:
            continue
        cores = frozenset(info["cores"] - info["allocated_cores"])
        gpus = frozenset(info["gpus"] - info["allocated_gpus"])
        needed = len(info["cores"]) if request.exclusive else request.slot_size
        if len(cores) >= needed and len(gpus) >= request.gpu_per_slot:
            found.append((rank, info, cores, gpus))
    return found


def spread(
    candidates: Iterable[Candidate], request: Any, take: Take, check_feasibility: Callable[[Any], object]
) -> tuple[list[tuple[int, frozenset[int], frozenset[int]]], int]:
    """(rank, cores, gpus) of each rank taken, and how many slots that makes.

    Node by node: the same number of slots on each if nodes are counted, else as many as there fit. Raises
    InsufficientResources where they are not enough, unless ``check_feasibility`` says that they never are.
    """
    nodes = request.nnodes
    per_node = request.nslots // nodes if nodes else 0
    goal = request.nnodes_max if nodes else request.nslots_max
    selected = []
    reached = 0
    for candidate in candidates:
        if goal is not None and reached >= goal:
            break
        most = per_node if nodes else None if goal is None else goal - reached
        cores, gpus, slots = take(candidate, request, most)
        if slots < max(1, per_node):
            continue
        selected.append((candidate[0], cores, gpus))
        reached += 1 if nodes else slots
    if reached < (nodes or request.nslots):
        check_feasibility(request)
        raise InsufficientResources("insufficient resources")
    return selected, reached * per_node if nodes else reached


def take_lowest(candidate: Candidate, request: Any, most: int | None) -> Part:
    """The lowest free cores and gpus, or, for a request that wants nodes for itself, all of them."""
    _, info, cores, gpus = candidate
    if request.exclusive:
        is_whole = len(cores) == len(info["cores"])
        return cores, gpus, (most or 1) if is_whole else 0
    slots = len(cores) // request.slot_size
    if request.gpu_per_slot:
        slots = min(slots, len(gpus) // request.gpu_per_slot)
    if most is not None:
        slots = min(slots, most)
    return lowest(cores, slots * request.slot_size), lowest(gpus, slots * request.gpu_per_slot), slots


def lowest(ids: Iterable[int], count: int) -> frozenset[int]:
    """The lowest so many of them."""
    return frozenset(sorted(ids)[:count])
