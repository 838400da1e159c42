"""Knows the resources a scheduler hands out (R version 1): who has them, which are up, and what is taken for whom.

As in Flux, the emptiest node comes first. What custom pools override keeps Flux's names: ``_sort_candidates``,
``_select_resources``, ``_check_feasibility``, ``_init_from_state``.
"""

from __future__ import annotations

import syslog
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.job.JobID import JobID
from brokersim.fluxapi.resource.constraint import matching
from brokersim.fluxapi.resource.request import ResourceRequest
from brokersim.fluxapi.resource.ResourceCount import ResourceCount
from brokersim.fluxapi.resource.ResourcePoolImplementation import (
    InfeasibleRequest,
    ResourcePoolImplementation,
)
from brokersim.fluxapi.resource.Rv1Set import Rv1Set, kept
from brokersim.fluxapi.resource.selection import Candidate, candidates_for, spread, take_lowest
from brokersim.protocol.decoded import Json, JsonObject, JsonView

__all__ = ["ResourceCount", "ResourceRequest", "Rv1Pool"]


class Rv1Pool(Rv1Set, ResourcePoolImplementation):
    """Each rank knows besides: is it ``up``, and its ``allocated_cores`` and ``allocated_gpus``."""

    version = 1
    #: Options of the constructor that mean something; of others a scheduler warns.
    known_options: frozenset[str] = frozenset()
    #: The time now (s since the epoch); a scheduler puts its instance's in this place.
    clock: Callable[[], float] = staticmethod(time.time)

    def __init__(self, R: Json, log: Json = None, **kwargs: Json) -> None:
        if R is not None and not isinstance(R, (str, Mapping)):
            raise TypeError(f"{type(self).__name__}: expected str or Mapping, got {type(R)}")
        if log is not None:
            self.log = log  # type: ignore[method-assign]  # as Flux's pools have it
        #: By job, when it ends (0: not known) and what it has.
        self._job_state: dict[int, tuple[float, Rv1Pool]] = {}
        super().__init__(R, keep_scheduling=True)
        for info in self._ranks.values():
            info.update(up=True, allocated_cores=set(), allocated_gpus=set())

    def _init_from_state(self, source: object) -> None:
        """Take over from ``source`` what a subclass has added: called for each copy, which ``__init__`` is not."""

    def _derived(self, ranks: dict[int, JsonObject]) -> Self:
        new = object.__new__(type(self))
        Rv1Set.__init__(new)
        new._expiration, new._starttime = self._expiration, self._starttime
        new._has_nodelist, new.scheduling = self._has_nodelist, self.scheduling
        new._ranks, new._properties = ranks, kept(self._properties, ranks)
        new._job_state, new.clock = {}, self.clock
        new._init_from_state(self)
        return new

    def _copy_from_ranks(self, rank_set: Iterable[int]) -> Self:
        """With these ranks, of which nothing is allocated."""
        new = self._derived(
            {
                rank: {**self._ranks[rank], "allocated_cores": set(), "allocated_gpus": set()}
                for rank in sorted(rank_set)
                if rank in self._ranks
            }
        )
        if "log" in vars(self):
            new.log = self.log  # type: ignore[method-assign]
        return new

    # -- what is up

    def mark_up(self, ids: str) -> None:
        self._mark(ids, True)

    def mark_down(self, ids: str) -> None:
        self._mark(ids, False)

    def _mark(self, ids: str, is_up: bool) -> None:
        for rank in list(self._ranks) if ids == "all" else IDset(ids):
            if rank in self._ranks:
                self._ranks[rank]["up"] = is_up
        self._bump()

    def remove_ranks(self, ranks: object) -> None:
        super().remove_ranks(ranks)
        self._bump()

    # -- who has what

    def register_alloc(self, jobid: int, R: Json) -> None:
        """Raises ValueError if a rank of the job's is not here."""
        if lacking := set(R._ranks) - set(self._ranks):
            raise ValueError(f"allocation contains ranks not in resource pool: {sorted(lacking)}")
        self._hold(R)
        self._job_state[jobid] = (R.get_expiration(), R)
        self._bump()
        self.log(syslog.LOG_INFO, f"hello: {JobID(jobid).f58}: {R.dumps()}")

    def free(self, jobid: int, R: Json = None, final: bool = False) -> None:
        """Of a job that is known, ``R`` is a part of what it has, and all of it in the end. Raises ValueError."""
        end, held = self._job_state.get(jobid, (0.0, None))
        if held is not None and R is not None:
            _check_freed(JobID(jobid).f58, R, held, final)
        if held is None and (R is None or final):
            return
        gone: Rv1Set = R if R is not None and not final else held  # type: ignore[assignment]  # one of them is there
        for rank, info in gone._ranks.items():
            if rank in self._ranks:
                self._ranks[rank]["allocated_cores"] -= info["cores"]
                self._ranks[rank]["allocated_gpus"] -= info["gpus"]
        if gone is held:
            del self._job_state[jobid]
        elif held is not None:
            self._job_state[jobid] = (end, held._copy_from_ranks(set(held._ranks) - set(gone._ranks)))
        self.log(syslog.LOG_DEBUG, f"free: {JobID(jobid).f58}: {gone.dumps()}{' (final)' if final else ''}")
        self._bump()

    def _hold(self, R: Rv1Set) -> None:
        for rank, info in R._ranks.items():
            self._ranks[rank]["allocated_cores"] |= info["cores"]
            self._ranks[rank]["allocated_gpus"] |= info["gpus"]

    def update_expiration(self, jobid: int, expiration: float) -> None:
        if jobid in self._job_state:
            self._job_state[jobid] = (expiration, self._job_state[jobid][1])
            self._bump()

    def job_end_times(self) -> list[tuple[int, float]]:
        return [(jobid, end) for jobid, (end, _) in self._job_state.items()]

    # -- scheduling

    def parse_resource_request(self, jobspec: JsonObject) -> ResourceRequest:
        """Raises ValueError."""
        return ResourceRequest.from_jobspec(jobspec)

    def check_feasibility(self, request: object) -> None:
        _refuse_lists(request)
        self._check_feasibility(request)

    def alloc(self, jobid: int, request: Any) -> Self:
        _refuse_lists(request)
        free = candidates_for(request, self._ranks, self._allowed(request))
        selected, slots = self._select_resources(self._sort_candidates(free), request)
        taken = self._derived(
            {
                rank: {**self._ranks[rank], "cores": cores, "gpus": gpus, "up": True,
                       "allocated_cores": set(cores), "allocated_gpus": set(gpus)}
                for rank, cores, gpus in selected
            }
        )  # fmt: skip
        taken._expiration = taken._starttime = 0.0
        taken._has_nodelist, taken._nslots = True, slots
        self._hold(taken)
        end = self.clock() + request.duration if request.duration else self._expiration
        self._job_state[jobid] = (end, taken)
        self._bump()
        self.log(syslog.LOG_DEBUG, f"alloc: {JobID(jobid).f58}: {taken.dumps()}")
        return taken

    def _allowed(self, request: Any) -> Iterable[int]:
        if request.constraint is None:
            return self._ranks
        return matching(request.constraint, self._ranks, self._properties)

    def _sort_candidates(self, candidates: list[Candidate]) -> list[Candidate]:
        """Which rank is taken before which: the one with most free cores, then gpus."""
        return sorted(candidates, key=lambda one: (len(one[2]), len(one[3])), reverse=True)

    def _select_resources(
        self, candidates: list[Candidate], request: object
    ) -> tuple[list[tuple[int, frozenset[int], frozenset[int]]], int]:
        """(rank, cores, gpus) of each rank taken, and how many slots that makes.

        Raises InsufficientResources, or InfeasibleRequest if it could never be done.
        """
        return spread(candidates, request, take_lowest, self._check_feasibility)

    def _check_feasibility(self, request: Any) -> None:
        """Raises InfeasibleRequest if this cannot be had even when everything is free and up."""
        infos = [self._ranks[rank] for rank in self._allowed(request)]
        size, gpus = request.slot_size, request.gpu_per_slot
        fitting = [
            min(len(info["cores"]) // size if size else request.nslots,
                len(info["gpus"]) // gpus if gpus else request.nslots)
            for info in infos
        ]  # fmt: skip
        nodes = request.nnodes
        per_node = 1 if request.exclusive else request.nslots // nodes if nodes else 0
        if nodes and sum(slots >= per_node for slots in fitting) >= nodes:
            return
        if not nodes and sum(fitting) >= request.nslots:
            return
        raise InfeasibleRequest(
            f"unsatisfiable request: {_wish(request, per_node)}; there is {_are(self, infos)}"
        )

    # -- copies

    def copy(self) -> Self:
        """Its own allocations may come and go without a word in the log: forecasts work on copies."""
        new = self._derived(
            {
                rank: {
                    **info,
                    "allocated_cores": set(info["allocated_cores"]),
                    "allocated_gpus": set(info["allocated_gpus"]),
                }
                for rank, info in self._ranks.items()
            }
        )
        new._job_state, new.generation = dict(self._job_state), self.generation
        return new

    def copy_allocated(self) -> Rv1Set:
        return self._set(
            {
                rank: _node(info, info["allocated_cores"], info["allocated_gpus"])
                for rank, info in self._ranks.items()
                if info["allocated_cores"] or info["allocated_gpus"]
            }
        )

    def copy_down(self) -> Rv1Set:
        found = self._set(
            {
                rank: _node(info, info["cores"], info["gpus"])
                for rank, info in self._ranks.items()
                if not info["up"]
            }
        )
        found._properties = {}
        return found

    def to_set(self) -> Rv1Set:
        found = self._set(
            {rank: _node(info, info["cores"], info["gpus"]) for rank, info in self._ranks.items()}
        )
        found._has_nodelist = self._has_nodelist
        return found

    def _set(self, ranks: dict[int, JsonObject]) -> Rv1Set:
        found = Rv1Set()
        found._expiration, found._starttime = self._expiration, self._starttime
        found._ranks, found._properties = ranks, kept(self._properties, ranks)
        return found


def _node(info: JsonView, cores: Iterable[int], gpus: Iterable[int]) -> JsonObject:
    return {"hostname": info["hostname"], "cores": frozenset(cores), "gpus": frozenset(gpus)}


def _refuse_lists(request: Any) -> None:
    for name, count in (("node", request.node_count), ("slot", request.slot_count)):
        if count is not None and count._values is not None:
            raise InfeasibleRequest(
                f"{name} count specifies discrete valid values that this scheduler does not support; "
                "use a simple min-max range instead"
            )


def _check_freed(job: str, R: Rv1Set, held: Rv1Set, final: bool) -> None:
    if extra := set(R._ranks) - set(held._ranks):
        raise ValueError(f"free: {job}: R contains ranks not in job allocation: {extra}")
    same = {rank: (info["cores"], info["gpus"]) for rank, info in R._ranks.items()} == {
        rank: (info["cores"], info["gpus"]) for rank, info in held._ranks.items()
    }
    if final and not same:
        raise ValueError(f"free: {job}: final R mismatch: got {R.dumps()}, expected {held.dumps()}")


def _wish(request: Any, per_node: int) -> str:
    nodes = request.nnodes
    if request.exclusive:
        return f"need {max(nodes, 1)} exclusive node(s) with {request.slot_size} core(s) each"
    slots = per_node if nodes else request.nslots
    gpus = f" and {request.gpu_per_slot} GPU(s)" if request.gpu_per_slot else ""
    where = f" on each of {nodes} node(s)" if nodes else ""
    return f"need {slots} slot(s) of {request.slot_size} core(s){gpus}{where}"


def _are(pool: Rv1Pool, infos: list[JsonObject]) -> str:
    if not infos:
        return "no node that fits"
    cores = sum(len(info["cores"]) for info in infos)
    gpus = sum(len(info["gpus"]) for info in infos)
    return f"{len(infos)} node(s) that fit, with {cores} core(s)" + (f" and {gpus} GPU(s)" if gpus else "")
