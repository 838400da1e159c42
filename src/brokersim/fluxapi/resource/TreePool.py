"""Knows how a node is built inside, and gives jobs cores and gpus that lie together: of one NUMA domain, one socket.

R tells it under ``scheduling.children``: a list of ``{"ranks": "0-3", "topo": {"socket": [{"numa": [{"cores": "0-14",
"gpus": "0"}, ...]}, ...]}}`` (flux-core's format).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.resource.request import ResourceRequest, Shape
from brokersim.fluxapi.resource.ResourceCount import ResourceCount
from brokersim.fluxapi.resource.ResourcePool import ResourcePool
from brokersim.fluxapi.resource.ResourcePoolImplementation import (
    InfeasibleRequest,
    ResourcePoolImplementation,
)
from brokersim.fluxapi.resource.Rv1Pool import Rv1Pool
from brokersim.fluxapi.resource.selection import Candidate, Part, lowest, spread
from brokersim.protocol.decoded import JsonObject, JsonView

#: Cores and gpus that lie together.
Group = tuple[frozenset[int], frozenset[int]]
#: Groups of one depth; the first level has the smallest ones, the last the whole node.
Levels = list[list[Group]]
_NONE: Final = frozenset[int]()


class TreeResourceRequest(ResourceRequest):
    """Besides: a whole part of a node (``socket``, ``numa``), or a whole node of which no cores are named."""

    __slots__ = ("container_level",)

    def __init__(self, *args: Any, container_level: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.container_level = container_level

    @classmethod
    def from_jobspec(cls, jobspec: JsonView) -> Self:
        """Raises ValueError that says what cannot be understood."""
        shape = Shape.of(jobspec)
        if shape.core is None and shape.container is None and not shape.exclusive:
            raise ValueError("Unable to determine slot size")
        nodes, slots = shape.node, shape.slot
        if nodes is None and shape.exclusive and shape.container is None:
            nodes, slots = slots, ResourceCount(1, 1)
        elif nodes is not None and shape.is_slot_above and slots.min % shape.above == 0:
            # The slots above the nodes are counted among the nodes already.
            most = None if slots.max is None else slots.max // shape.above
            slots = ResourceCount(slots.min // shape.above, most)
        return cls(
            nodes, slots, shape.core or 0, shape.gpu, shape.duration, shape.constraint, shape.exclusive, jobspec,
            container_level=shape.container,
        )  # fmt: skip


class _TreePoolV1(Rv1Pool):
    """Raises ValueError if R does not say how its nodes are built."""

    name = "TreePool"

    def __init__(self, R: object, log: object = None, **kwargs: object) -> None:
        super().__init__(R, log, **kwargs)
        if self.scheduling is None:
            raise ValueError("TreePool requires R.scheduling")
        children = self.scheduling.get("children")
        if not children:
            raise ValueError("TreePool requires scheduling.children")
        given = {
            rank: one["topo"] for one in children if one.get("topo") for rank in IDset(one.get("ranks", ""))
        }
        topos = {rank: topo for rank, topo in given.items() if levels_of(topo)}
        if not topos:
            raise ValueError("TreePool: children contains no groups")
        renamed = self._renamed(topos)
        self.scheduling = {**self.scheduling, "children": _restricted(children, renamed)}
        self._type_levels: list[Levels] = []
        self._type_topo: list[JsonView] = []
        #: By rank, which of the two lists' entries it is: there are few kinds of nodes.
        self._rank_type: dict[int, int] = {}
        for rank, topo in topos.items():
            levels = levels_of(topo)
            if levels not in self._type_levels:
                self._type_levels.append(levels)
                self._type_topo.append(topo)
            self._rank_type[renamed[rank]] = self._type_levels.index(levels)

    def _renamed(self, topos: Mapping[int, Any]) -> dict[int, int]:
        """The instance's ranks, from 0 on, by those of the instance above it, which ``children`` may use."""
        if len(topos) != len(self._ranks):
            raise ValueError(
                f"TreePool: rank count mismatch: {len(topos)} in children vs {len(self._ranks)} in pool"
            )
        if sorted(self._ranks) != list(range(len(self._ranks))):
            raise ValueError(
                f"TreePool: pool ranks {sorted(self._ranks)} are not 0 to {len(self._ranks) - 1}"
            )
        return {old: new for new, old in enumerate(sorted(topos))}

    def _init_from_state(self, source: Any) -> None:
        self._type_levels, self._type_topo, self._rank_type = (
            source._type_levels, source._type_topo, source._rank_type,
        )  # fmt: skip

    def _rank_levels(self, rank: int) -> Levels:
        return self._type_levels[self._rank_type[rank]] if self._type_levels else []

    def _rank_topo(self, rank: int) -> JsonView:
        return self._type_topo[self._rank_type[rank]] if self._type_topo else {}

    def parse_resource_request(self, jobspec: JsonObject) -> TreeResourceRequest:
        return TreeResourceRequest.from_jobspec(jobspec)

    def alloc(self, jobid: int, request: object) -> Self:
        taken = super().alloc(jobid, request)
        if taken.scheduling and "children" in taken.scheduling:
            children = _restricted(taken.scheduling["children"], {rank: rank for rank in taken._ranks})
            taken.scheduling = {**taken.scheduling, "children": children}
        return taken

    def _sort_candidates(self, candidates: list[Candidate]) -> list[Candidate]:
        """The fullest first, so that whole nodes stay whole."""
        return sorted(candidates, key=lambda one: (len(one[2]), len(one[3])))

    def _select_resources(self, candidates: list[Candidate], request: object) -> Any:
        if not self._type_levels:
            return super()._select_resources(candidates, request)
        has_level = getattr(request, "container_level", None) is not None
        take = self._take_containers if has_level else self._take_near
        return spread(candidates, request, take, self._check_feasibility)

    def _take_containers(self, candidate: Candidate, request: Any, most: int | None) -> Part:
        rank, _, cores, gpus = candidate
        groups = list(containers(self._rank_topo(rank), request.container_level))
        free = [one for one in groups if one[0] <= cores and one[1] <= gpus][:most]
        return _NONE.union(*(one[0] for one in free)), _NONE.union(*(one[1] for one in free)), len(free)

    def _take_near(self, candidate: Candidate, request: Any, most: int | None) -> Part:
        rank, _, cores, gpus = candidate
        if request.slot_size == 0:
            return cores, gpus, 1  # a whole node, whatever it has
        near = _with_gpus if request.gpu_per_slot else _cores_only
        found = near(self._rank_levels(rank), cores, gpus, request, most)
        return (cores, gpus, found[2]) if request.exclusive else found

    def _check_feasibility(self, request: Any) -> None:
        level = getattr(request, "container_level", None)
        if level is None:
            super()._check_feasibility(request)
            return
        counts = [len(list(containers(self._rank_topo(rank), level))) for rank in self._allowed(request)]
        nodes = request.nnodes
        per_node = request.nslots // nodes if nodes else 0
        fitting = sum(count >= per_node for count in counts) if nodes else sum(counts)
        if fitting < (nodes or request.nslots):
            wish = f"{nodes} node(s) with {per_node} each of" if nodes else f"{request.nslots} of"
            raise InfeasibleRequest(
                f"unsatisfiable request: need {wish} exclusive '{level}' container(s), only {fitting} available"
            )


class TreePool(ResourcePool):
    """A scheduler's ``pool_class``, or ``pool-class=TreePool`` among a module's arguments."""

    _impl_map: Mapping[int, Callable[..., Any]] = {1: _TreePoolV1}

    def __init__(self, R: object, log: object = None, **kwargs: object) -> None:
        if not isinstance(R, ResourcePoolImplementation):
            R = json.loads(R) if isinstance(R, str) else R
            version = R.get("version", 1) if isinstance(R, Mapping) else 1
            if version not in self._impl_map:
                raise ValueError(f"R version {version} not supported by TreePool")
            R = self._impl_map[version](R, log=log, **kwargs)
        super().__init__(R)


pool_class = TreePool


def levels_of(topo: JsonView) -> Levels:
    """A node's groups by depth. A depth that would be the same as the one below it is left out."""
    if "cores" in topo:
        return [[_own(topo)]]
    levels: Levels = []
    for child in _children(topo):
        for depth, groups in enumerate(levels_of(child)):
            if depth == len(levels):
                levels.append([])
            levels[depth] += groups
    whole = _everything(topo)
    if whole[0] and (not levels or set(levels[-1]) != {whole}):
        levels.append([whole])
    return levels


def containers(topo: JsonView, name: str) -> Iterator[Group]:
    """What each part of a name has, with all that is in it."""
    here = topo.get(name)
    if isinstance(here, list):
        yield from (_everything(one) for one in here if isinstance(one, Mapping))
        return
    for child in _children(topo):
        yield from containers(child, name)


def _children(topo: JsonView) -> Iterator[JsonView]:
    for parts in topo.values():
        if isinstance(parts, list):
            yield from (one for one in parts if isinstance(one, Mapping))


def _own(topo: JsonView) -> Group:
    return frozenset(IDset(topo.get("cores", ""))), frozenset(IDset(topo.get("gpus", "")))


def _everything(topo: JsonView) -> Group:
    groups = [_own(topo), *map(_everything, _children(topo))]
    return _NONE.union(*(one[0] for one in groups)), _NONE.union(*(one[1] for one in groups))


def _restricted(children: Sequence[JsonView], ranks: Mapping[int, int]) -> list[JsonObject]:
    """Of these ranks only, under their new numbers."""
    found = []
    for one in children:
        kept = [ranks[rank] for rank in IDset(one.get("ranks", "")) if rank in ranks]
        if kept:
            found.append({**one, "ranks": str(IDset(kept))})
    return found


def _with_gpus(
    levels: Levels, cores: frozenset[int], gpus: frozenset[int], request: Any, most: int | None
) -> Part:
    """Slots of the smallest groups first, of larger ones where those have no more."""
    got_cores: frozenset[int] = _NONE
    got_gpus: frozenset[int] = _NONE
    slots = 0
    for group_cores, group_gpus in (group for level in levels for group in level):
        while most is None or slots < most:
            slot_cores = lowest((cores - got_cores) & group_cores, request.slot_size)
            slot_gpus = lowest((gpus - got_gpus) & group_gpus, request.gpu_per_slot)
            if len(slot_cores) < request.slot_size or len(slot_gpus) < request.gpu_per_slot:
                break
            got_cores, got_gpus, slots = got_cores | slot_cores, got_gpus | slot_gpus, slots + 1
    return got_cores, got_gpus, slots


def _cores_only(
    levels: Levels, cores: frozenset[int], _: frozenset[int], request: Any, most: int | None
) -> Part:
    """Slots of the groups of one level, the smallest in which a slot fits; the fullest groups first."""
    size = request.slot_size
    fitting = next((level for level in levels if any(len(cores & group[0]) >= size for group in level)), [])
    got: frozenset[int] = _NONE
    slots = 0
    for free in sorted((cores & group[0] for group in fitting), key=len):
        here = len(free) // size if most is None else min(len(free) // size, most - slots)
        got |= lowest(free, here * size)
        slots += here
    return got, _NONE, slots
