"""Knows a set of cores and gpus on ranks (R version 1, RFC 20), and what can be done with sets.

What custom pools of Flux's users reach for keeps Flux's names: ``_ranks``, by rank an object of ``hostname``, ``cores``
and ``gpus``, and ``_properties``, by name the ranks that have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from brokersim.fluxapi.hostlist import Hostlist
from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.resource.constraint import matching
from brokersim.fluxapi.resource.r_lite import KINDS, entries_of, ids_text, ranks_of, text_of
from brokersim.fluxapi.resource.ResourceSetImplementation import ResourceSetImplementation
from brokersim.protocol.decoded import Json, JsonObject, JsonView


class Rv1Set(ResourceSetImplementation):
    """Made from R as JSON text or object, or from nothing. Raises ValueError, KeyError, TypeError."""

    version = 1

    def __init__(self, arg: object = None, keep_scheduling: bool = False) -> None:
        self._expiration = self._starttime = 0.0
        self._nslots = 0
        self._has_nodelist = False
        self._ranks: dict[int, JsonObject] = {}
        self._properties: dict[str, set[int]] = {}
        #: What a scheduler keeps in R for itself (RFC 20).
        self.scheduling: Json = None
        if isinstance(arg, str):
            arg = json.loads(arg)
        if arg is None:
            return
        if not isinstance(arg, Mapping):
            raise TypeError(f"{type(self).__name__} cannot be instantiated from {type(arg)}")
        if arg["version"] != 1:
            raise ValueError(f"R version {arg['version']} not supported")
        if keep_scheduling:
            self.scheduling = arg.get("scheduling")
        execution = arg.get("execution", {})
        self._expiration = float(execution.get("expiration") or 0.0)
        self._starttime = float(execution.get("starttime") or 0.0)
        self._nslots = int(execution.get("nslots") or 0)
        hosts = list(Hostlist(execution.get("nodelist") or ()))
        self._has_nodelist = bool(hosts)
        for at, (rank, has) in enumerate(ranks_of(execution.get("R_lite", ())).items()):
            self._ranks[rank] = {"hostname": hosts[at] if at < len(hosts) else f"rank{rank}", **has}
        self._properties = {name: set(IDset(ids)) for name, ids in execution.get("properties", {}).items()}

    # -- as R and as text

    def to_dict(self) -> JsonObject:
        """R."""
        execution: JsonObject = {
            "R_lite": entries_of(self._ranks),
            "starttime": self._starttime,
            "expiration": self._expiration,
        }
        if self._nslots:
            execution["nslots"] = self._nslots
        if self._has_nodelist:
            execution["nodelist"] = [str(self.nodelist())]
        properties = {name: ids_text(ranks) for name, ranks in sorted(self._properties.items()) if ranks}
        if properties:
            execution["properties"] = properties
        return {
            "version": 1,
            "execution": execution,
            **({"scheduling": self.scheduling} if self.scheduling else {}),
        }

    def encode(self) -> str:
        return json.dumps(self.to_dict())

    def dumps(self) -> str:
        return text_of(self._ranks)

    # -- what is in it

    def nodelist(self) -> Hostlist:
        return Hostlist(handle=[info["hostname"] for _, info in sorted(self._ranks.items())])

    def ranks(self) -> IDset:
        return IDset(self._ranks)

    def nnodes(self) -> int:
        return len(self._ranks)

    def count(self, name: str) -> int:
        kind = KINDS.get(name)
        return sum(len(info[kind]) for info in self._ranks.values()) if kind else 0

    def get_properties(self) -> str:
        return json.dumps({name: ids_text(ranks) for name, ranks in self._properties.items() if ranks})

    def get_expiration(self) -> float:
        return self._expiration

    def set_expiration(self, expiration: float) -> None:
        self._expiration = float(expiration)

    def get_starttime(self) -> float:
        return self._starttime

    def set_starttime(self, starttime: float) -> None:
        self._starttime = float(starttime)

    # -- new sets

    def _copy_from_ranks(self, rank_set: Iterable[int]) -> Self:
        """With these ranks, and times and properties as here; a subclass's ``__init__`` is not asked."""
        new = object.__new__(type(self))
        Rv1Set.__init__(new)
        new._expiration, new._starttime = self._expiration, self._starttime
        new._has_nodelist = self._has_nodelist
        new._ranks = {rank: dict(self._ranks[rank]) for rank in sorted(rank_set) if rank in self._ranks}
        new._properties = kept(self._properties, new._ranks)
        return new

    def copy(self) -> Self:
        return self._copy_from_ranks(self._ranks)

    def copy_ranks(self, ranks: object) -> Self:
        return self._copy_from_ranks(IDset(ranks))

    def copy_constraint(self, constraint: object) -> Self:
        """Of the ranks that fit a constraint (RFC 31), an object or JSON text. Raises ValueError."""
        return self._copy_from_ranks(matching(constraint, self._ranks, self._properties))

    def union(self, other: Rv1Set) -> Self:
        new = self.copy()
        new.append(other)
        return new

    def diff(self, other: Rv1Set) -> Self:
        new = self.copy()
        for rank, theirs in other._ranks.items():
            mine = new._ranks.get(rank)
            if mine is not None:
                mine.update({kind: mine[kind] - theirs[kind] for kind in KINDS.values()})
                if not mine["cores"] and not mine["gpus"]:
                    new.remove_ranks(rank)
        return new

    def intersect(self, other: Rv1Set) -> Self:
        return self._copy_from_ranks(set(self._ranks) & set(other._ranks))

    # -- changes

    def append(self, other: Rv1Set) -> None:
        self.add(other)
        for name, ranks in other._properties.items():
            self._properties.setdefault(name, set()).update(ranks)

    def add(self, other: Rv1Set) -> None:
        """Of ranks that are here already properties stay as they are."""
        for name, ranks in kept(other._properties, set(other._ranks) - set(self._ranks)).items():
            self._properties.setdefault(name, set()).update(ranks)
        for rank, theirs in other._ranks.items():
            mine = self._ranks.setdefault(rank, dict(theirs))
            mine.update({kind: mine[kind] | theirs[kind] for kind in KINDS.values()})
        self._has_nodelist = self._has_nodelist or other._has_nodelist

    def remove_ranks(self, ranks: object) -> Any:
        for rank in IDset(ranks):
            self._ranks.pop(rank, None)
            for having in self._properties.values():
                having.discard(rank)
        return self

    def set_property(self, name: str, ranks: object = None) -> Self:
        """Ranks, or all of them, have a property from now on. Raises ValueError."""
        if not name or "^" in name:
            raise ValueError(
                f"invalid property name {name!r}: it must have letters, and '^' is the sign for none"
            )
        try:
            wanted = set(self._ranks if ranks is None else IDset(str(ranks)))
        except ValueError as error:
            raise ValueError(f"invalid rank idset {ranks!r}: {error}") from error
        if lacking := wanted - set(self._ranks):
            raise ValueError(f"ranks {ids_text(lacking)} not in resource set")
        self._properties.setdefault(name, set()).update(wanted)
        return self

    def _matches_constraint(self, rank: int, info: JsonView, constraint: object) -> bool:
        return rank in matching(constraint, self._ranks, self._properties)


def kept(properties: Mapping[str, set[int]], ranks: Iterable[int]) -> dict[str, set[int]]:
    """Properties of these ranks only."""
    there = set(ranks)
    return {name: kept for name, having in properties.items() if (kept := having & there)}
