"""Knows the resources a scheduler of Flux's hands out: cores and gpus of ranks, who has them, which are up.

First fit, lowest rank and lowest core first; Flux's own pool may pick other ones. R version 1 only (RFC 20).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs

from brokersim.fluxapi.resource.request import ResourceRequest, to_request
from brokersim.fluxapi.resource.ResourcePoolImplementation import InfeasibleRequest, InsufficientResources
from brokersim.protocol import hostlist
from brokersim.protocol.ranks import format_ranks, parse_ranks

#: Ranks and cores beyond this are a mistake.
_IDS_MAX = 1_000_000


@attrs.define(eq=False)
class _Node:
    """One rank: masks of its cores and gpus, all of them and the free ones."""

    name: str
    cores: int
    gpus: int
    free_cores: int
    free_gpus: int
    is_up: bool = True

    def slots(self, request: ResourceRequest, *, free: bool) -> int:
        """How many slots fit here: now, or if everything were free."""
        cores, gpus = (self.free_cores, self.free_gpus) if free else (self.cores, self.gpus)
        if free and (not self.is_up or (request.exclusive and (cores, gpus) != (self.cores, self.gpus))):
            return 0
        slots = cores.bit_count() // request.slot_size
        return min(slots, gpus.bit_count() // request.gpu_per_slot) if request.gpu_per_slot else slots


class ResourcePool:
    """All resources, or, as the answer of :meth:`alloc`, those of one job."""

    InsufficientResources = InsufficientResources
    InfeasibleRequest = InfeasibleRequest

    def __init__(self, arg: Any = None, version: int = 1, log: Any = None, **kwargs: Any) -> None:
        if isinstance(arg, str):
            arg = json.loads(arg)
        if arg is not None and not isinstance(arg, Mapping):
            raise TypeError(f"ResourcePool cannot be instantiated from {type(arg)}")
        self.version = version if arg is None else arg.get("version", version)
        if self.version != 1:
            raise ValueError(f"R version {self.version} not supported by ResourcePool")
        self.log = log
        self._nodes: dict[int, _Node] = {}
        self._held: dict[int, ResourcePool] = {}
        self._end_times: dict[int, float] = {}
        self._starttime = self._expiration = 0.0
        self._generation = 0
        #: Seconds the job it belongs to may run; 0 for no limit.
        self.duration = 0.0
        if arg is not None:
            self._read(arg["execution"])

    def _read(self, execution: Mapping[str, Any]) -> None:
        self._starttime = float(execution.get("starttime", 0.0))
        self._expiration = float(execution.get("expiration", 0.0))
        masks = {
            rank: (_mask(entry["children"].get("core", "")), _mask(entry["children"].get("gpu", "")))
            for entry in execution["R_lite"]
            for rank in parse_ranks(str(entry["rank"]), _IDS_MAX)
        }
        names = [host for text in execution.get("nodelist", ()) for host in hostlist.expand(text)]
        for at, rank in enumerate(sorted(masks)):
            cores, gpus = masks[rank]
            name = names[at] if at < len(names) else f"rank{rank}"
            self._nodes[rank] = _Node(name, cores, gpus, cores, gpus)

    # -- what is up

    @property
    def generation(self) -> int:
        """A number that grows with each change."""
        return self._generation

    def mark_up(self, ids: str) -> None:
        """Ranks, or ``all``, may be used."""
        self._mark(ids, True)

    def mark_down(self, ids: str) -> None:
        """Ranks, or ``all``, get no new jobs."""
        self._mark(ids, False)

    def _mark(self, ids: str, is_up: bool) -> None:
        self._generation += 1
        wanted = self._nodes if ids == "all" else parse_ranks(ids, _IDS_MAX) if ids else ()
        for rank in wanted:
            if rank in self._nodes:
                self._nodes[rank].is_up = is_up

    def remove_ranks(self, ranks: Iterable[int]) -> None:
        """Ranks that are no more."""
        self._generation += 1
        for rank in list(ranks):
            self._nodes.pop(rank, None)

    @property
    def expiration(self) -> float:
        """When the resources end (seconds since the epoch), 0 for never."""
        return self._expiration

    @expiration.setter
    def expiration(self, value: float) -> None:
        self._expiration = float(value)

    # -- who has what

    def parse_resource_request(self, jobspec: dict[str, Any]) -> ResourceRequest:
        """What a jobspec asks for. Raises ValueError."""
        return to_request(jobspec)

    def check_feasibility(self, request: ResourceRequest) -> None:
        """Raises InfeasibleRequest if all there is, drained nodes included, would not be enough."""
        if self._pick(request, free=False) is None:
            what = f"{request.slot_count} slots of {request.slot_size} cores"
            where = f" on each of {request.node_count} nodes" if request.node_count else ""
            raise InfeasibleRequest(errno.EOVERFLOW, f"unsatisfiable request: {what}{where}")

    def alloc(self, jobid: int, request: ResourceRequest) -> ResourcePool:
        """Take what is asked for, and return it. Raises InsufficientResources (not now), InfeasibleRequest (never)."""
        picked = self._pick(request, free=True)
        if picked is None:
            self.check_feasibility(request)
            raise InsufficientResources(errno.ENOSPC, "insufficient resources")
        taken = self._empty()
        for rank, slots in picked:
            node = self._nodes[rank]
            cores = node.cores if request.exclusive else _lowest(node.free_cores, slots * request.slot_size)
            gpus = node.gpus if request.exclusive else _lowest(node.free_gpus, slots * request.gpu_per_slot)
            taken._nodes[rank] = _Node(node.name, cores, gpus, cores, gpus)
        taken.duration = request.duration
        self.register_alloc(jobid, taken)
        return taken

    def _pick(self, request: ResourceRequest, *, free: bool) -> list[tuple[int, int]] | None:
        picked: list[tuple[int, int]] = []
        wanted = request.node_count or request.slot_count
        for rank, node in self._nodes.items():
            slots = node.slots(request, free=free)
            if request.node_count:
                if slots >= request.slot_count:
                    picked.append((rank, request.slot_count))
                    wanted -= 1
            elif slots:
                picked.append((rank, min(slots, wanted)))
                wanted -= min(slots, wanted)
            if not wanted:
                return picked
        return None

    def register_alloc(self, jobid: int, R: ResourcePool) -> None:
        """A job has these resources."""
        self._generation += 1
        for rank, held in R._nodes.items():
            node = self._nodes.get(rank)
            if node is not None:
                node.free_cores &= ~held.cores
                node.free_gpus &= ~held.gpus
        self._held[jobid] = R
        if R.expiration:
            self._end_times[jobid] = R.expiration

    def free(self, jobid: int, R: Any = None, final: bool = False) -> None:
        """A job gives back some of its resources, or all it has."""
        held = self._held.get(jobid)
        given = R if isinstance(R, ResourcePool) else held
        if given is None:
            return
        self._generation += 1
        for rank, part in given._nodes.items():
            node = self._nodes.get(rank)
            if node is not None:
                node.free_cores |= part.cores & node.cores
                node.free_gpus |= part.gpus & node.gpus
        if final or R is None:
            self._held.pop(jobid, None)
            self._end_times.pop(jobid, None)

    def update_expiration(self, jobid: int, expiration: float) -> None:
        """A job ends at another time than was thought."""
        self._end_times[jobid] = expiration

    def job_end_times(self) -> list[tuple[int, float]]:
        """(job, end) of all jobs whose end is known."""
        return list(self._end_times.items())

    # -- copies and R

    def _empty(self) -> Self:
        new = type(self).__new__(type(self))
        ResourcePool.__init__(new, None, self.version, self.log)
        return new

    def copy(self) -> Self:
        """Another pool in the same state."""
        new = self._empty()
        new._nodes = {rank: attrs.evolve(node) for rank, node in self._nodes.items()}
        new._held, new._end_times = dict(self._held), dict(self._end_times)
        new._starttime, new._expiration, new.duration = self._starttime, self._expiration, self.duration
        return new

    def copy_allocated(self) -> Self:
        """What jobs have."""
        return self._part({rank: (node.cores & ~node.free_cores, node.gpus & ~node.free_gpus)
                           for rank, node in self._nodes.items()})  # fmt: skip

    def copy_down(self) -> Self:
        """What is not up."""
        return self._part(
            {rank: (node.cores, node.gpus) for rank, node in self._nodes.items() if not node.is_up}
        )

    def _part(self, masks: Mapping[int, tuple[int, int]]) -> Self:
        new = self._empty()
        for rank, (cores, gpus) in masks.items():
            if cores or gpus:
                new._nodes[rank] = _Node(self._nodes[rank].name, cores, gpus, cores, gpus)
        return new

    def set_starttime(self, starttime: float) -> None:
        self._starttime = float(starttime)

    def set_expiration(self, expiration: float) -> None:
        self._expiration = float(expiration)

    def to_dict(self) -> dict[str, Any]:
        """R as an object."""
        groups: dict[tuple[int, int], list[int]] = {}
        for rank, node in sorted(self._nodes.items()):
            groups.setdefault((node.cores, node.gpus), []).append(rank)
        return {
            "version": 1,
            "execution": {
                "R_lite": [_entry(ranks, *masks) for masks, ranks in groups.items()],
                "starttime": self._starttime,
                "expiration": self._expiration,
                "nodelist": [node.name for _, node in sorted(self._nodes.items())],
            },
        }

    def dumps(self) -> str:
        """``rank0/core[0-3]``, a part for each set of ranks with the same resources."""
        entries = self.to_dict()["execution"]["R_lite"]
        return " ".join(
            f"rank{_bracket(one['rank'])}/core{_bracket(one['children']['core'])}" for one in entries
        )


def _entry(ranks: list[int], cores: int, gpus: int) -> dict[str, Any]:
    children = {"core": format_ranks(_bits(cores)), **({"gpu": format_ranks(_bits(gpus))} if gpus else {})}
    return {"rank": format_ranks(ranks), "children": children}


def _mask(ids: Any) -> int:
    return sum(1 << bit for bit in parse_ranks(str(ids), _IDS_MAX)) if str(ids) else 0


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _lowest(mask: int, count: int) -> int:
    return sum(1 << bit for bit in _bits(mask)[:count])


def _bracket(ids: str) -> str:
    return f"[{ids}]" if "-" in ids or "," in ids else ids
