"""Knows the pool that schedulers are given: it hands everything on to the pool of the version R has."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any, Self

from brokersim.fluxapi.resource.ResourcePoolImplementation import (
    InfeasibleRequest,
    InsufficientResources,
    ResourcePoolImplementation,
)
from brokersim.fluxapi.resource.ResourceSet import ResourceSet
from brokersim.fluxapi.resource.Rv1Pool import Rv1Pool
from brokersim.host.flux_import import flux_importable
from brokersim.protocol.decoded import JsonObject

_OURS = "brokersim.fluxapi.resource"


class ResourcePool:
    """All resources, or, as the answer of :meth:`alloc`, those of one job. Raises ValueError, TypeError."""

    InsufficientResources = InsufficientResources
    InfeasibleRequest = InfeasibleRequest

    def __init__(self, arg: object = None, version: int = 1, log: object = None, **kwargs: object) -> None:
        self.impl: Any
        if isinstance(arg, ResourcePoolImplementation):
            self.impl, self.version = arg, getattr(arg, "version", version)
            return
        if isinstance(arg, str):
            arg = json.loads(arg)
        if arg is not None and not isinstance(arg, Mapping):
            raise TypeError(f"ResourcePool cannot be instantiated from {type(arg)}")
        self.version = version if arg is None else arg.get("version", version)
        if self.version != 1:
            raise ValueError(f"R version {self.version} not supported by ResourcePool")
        self.impl = Rv1Pool(arg, log=log, **kwargs)

    @classmethod
    def _from_impl(cls, impl: object) -> Self:
        """Around what is there already: a subclass's ``__init__`` is not asked."""
        new = cls.__new__(cls)
        new.impl, new.version = impl, getattr(impl, "version", 1)
        return new

    # -- what is up

    @property
    def generation(self) -> int:
        """A number that grows with each change."""
        number: int = self.impl.generation
        return number

    def mark_up(self, ids: str) -> None:
        """Ranks, or ``all``, may be used."""
        self.impl.mark_up(ids)

    def mark_down(self, ids: str) -> None:
        """Ranks, or ``all``, get no new jobs."""
        self.impl.mark_down(ids)

    def remove_ranks(self, ranks: object) -> None:
        """Ranks that are no more."""
        self.impl.remove_ranks(ranks)

    @property
    def expiration(self) -> float:
        """When the resources end (s since the epoch), 0 for never."""
        seconds: float = self.impl.get_expiration()
        return seconds

    @expiration.setter
    def expiration(self, value: float) -> None:
        self.impl.set_expiration(value)

    # -- who has what

    def register_alloc(self, jobid: int, R: object) -> None:
        """A job has these already. Raises ValueError if a rank is not here."""
        self.impl.register_alloc(jobid, _inner(R))

    def free(self, jobid: int, R: object = None, final: bool = False) -> None:
        """A job gives back a part of its resources, or all. Raises ValueError if it has not got them."""
        self.impl.free(jobid, _inner(R), final)

    def update_expiration(self, jobid: int, expiration: float) -> None:
        """A job ends at another time than was thought."""
        self.impl.update_expiration(jobid, expiration)

    def job_end_times(self) -> list[tuple[int, float]]:
        """(job, end) of every job; 0 where it is not known."""
        times: list[tuple[int, float]] = self.impl.job_end_times()
        return times

    # -- scheduling

    def parse_resource_request(self, jobspec: JsonObject) -> Any:
        """What a jobspec asks for. Raises ValueError."""
        return self.impl.parse_resource_request(jobspec)

    def alloc(self, jobid: int, request: object) -> Self:
        """Take what is asked for. Raises InsufficientResources (not now), InfeasibleRequest (never)."""
        return self._from_impl(self.impl.alloc(jobid, request))

    def check_feasibility(self, request: object) -> None:
        """Raises InfeasibleRequest if all there is, drained nodes included, would not be enough."""
        self.impl.check_feasibility(request)

    # -- copies and R

    def copy(self) -> Self:
        """Another pool in the same state."""
        return self._from_impl(self.impl.copy())

    def to_resource_set(self) -> ResourceSet:
        """All there is."""
        return ResourceSet(self.impl.to_set())

    def copy_allocated(self) -> ResourceSet:
        """What jobs have."""
        return ResourceSet(self.impl.copy_allocated())

    def copy_down(self) -> ResourceSet:
        """What is not up."""
        return ResourceSet(self.impl.copy_down())

    def dumps(self) -> str:
        """``rank0/core[0-3]``, a part for each set of ranks with the same resources."""
        text: str = self.impl.dumps()
        return text

    def to_dict(self) -> JsonObject:
        """R."""
        R: JsonObject = self.impl.to_dict()
        return R

    def set_starttime(self, starttime: float) -> None:
        self.impl.set_starttime(starttime)

    def set_expiration(self, expiration: float) -> None:
        self.impl.set_expiration(expiration)


def _pool_class_from_uri(uri: str) -> Any:
    """The pool that ``module`` calls ``pool_class``, or that ``module:Class`` names; None if there is none.

    A module without a dot is looked for among Flux's pools too. Files find ``flux`` here as module files do.
    """
    name, _, attribute = uri.partition(":")
    name = name.replace("-", "_")
    with flux_importable():
        for candidate in (name, f"{_OURS}.{name}") if "." not in name else (name,):
            try:
                found = importlib.import_module(candidate)
            except ImportError:
                continue
            return getattr(found, attribute or "pool_class", None)
    return None


def _inner(R: object) -> Any:
    return R.impl if isinstance(R, ResourcePool) else R
