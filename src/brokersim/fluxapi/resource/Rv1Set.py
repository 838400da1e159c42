"""Knows a set of cores and gpus on ranks (R version 1, RFC 20), what can be done with sets, and who fits a constraint.

What custom pools of Flux's users reach for keeps Flux's names: ``_ranks``, by rank an object of ``hostname``, ``cores``
and ``gpus``, and ``_properties``, by name the ranks that have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self

from brokersim.fluxapi.hostlist import Hostlist
from brokersim.fluxapi.idset import IDSET_FLAG_BRACKETS, IDSET_FLAG_RANGE, IDset
from brokersim.fluxapi.resource.ResourceSetImplementation import ResourceSetImplementation
from brokersim.protocol.decoded import Json, JsonObject, JsonView

#: A constraint deeper than this is a mistake or an attack on the stack.
_DEPTH_MAX: Final = 32
_KINDS: Final = {"core": "cores", "gpu": "gpus"}


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
        self._read(arg.get("execution", {}))

    def _read(self, execution: JsonView) -> None:
        self._expiration = float(execution.get("expiration") or 0.0)
        self._starttime = float(execution.get("starttime") or 0.0)
        self._nslots = int(execution.get("nslots") or 0)
        hosts = list(Hostlist(execution.get("nodelist") or ()))
        self._has_nodelist = bool(hosts)
        found = {
            rank: {
                kind: frozenset(IDset(entry.get("children", {}).get(name, "")))
                for name, kind in _KINDS.items()
            }
            for entry in execution.get("R_lite", ())
            for rank in IDset(entry["rank"])
        }
        for at, rank in enumerate(sorted(found)):
            self._ranks[rank] = {"hostname": hosts[at] if at < len(hosts) else f"rank{rank}", **found[rank]}
        self._properties = {name: set(IDset(ids)) for name, ids in execution.get("properties", {}).items()}

    # -- as R and as text

    def to_dict(self) -> JsonObject:
        """R."""
        execution: JsonObject = {
            "R_lite": [
                {
                    "rank": _ids(ranks),
                    "children": {"core": _ids(cores), **({"gpu": _ids(gpus)} if gpus else {})},
                }
                for ranks, cores, gpus in self._alike()
            ],
            "starttime": self._starttime,
            "expiration": self._expiration,
        }
        if self._nslots:
            execution["nslots"] = self._nslots
        if self._has_nodelist:
            execution["nodelist"] = [str(self.nodelist())]
        properties = {name: _ids(ranks) for name, ranks in sorted(self._properties.items()) if ranks}
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
        """``rank0/core[0-3],gpu0``, a part for each set of ranks with the same resources."""
        return " ".join(
            f"rank{_shown(ranks)}/core{_shown(cores)}" + (f",gpu{_shown(gpus)}" if gpus else "")
            for ranks, cores, gpus in self._alike()
        )

    def _alike(self) -> list[tuple[list[int], frozenset[int], frozenset[int]]]:
        """Ranks with the same cores and gpus, by their lowest rank."""
        groups: dict[tuple[frozenset[int], frozenset[int]], list[int]] = {}
        for rank, info in sorted(self._ranks.items()):
            groups.setdefault((frozenset(info["cores"]), frozenset(info["gpus"])), []).append(rank)
        return [(ranks, cores, gpus) for (cores, gpus), ranks in groups.items()]

    # -- what is in it

    def nodelist(self) -> Hostlist:
        return Hostlist(handle=[info["hostname"] for _, info in sorted(self._ranks.items())])

    def ranks(self) -> IDset:
        return IDset(self._ranks)

    def nnodes(self) -> int:
        return len(self._ranks)

    def count(self, name: str) -> int:
        kind = _KINDS.get(name)
        return sum(len(info[kind]) for info in self._ranks.values()) if kind else 0

    def get_properties(self) -> str:
        return json.dumps({name: _ids(ranks) for name, ranks in self._properties.items() if ranks})

    def get_expiration(self) -> float:
        return self._expiration

    def set_expiration(self, expiration: float) -> None:
        self._expiration = float(expiration)

    def get_starttime(self) -> float:
        return self._starttime

    def set_starttime(self, starttime: float) -> None:
        self._starttime = float(starttime)

    # -- new sets

    def _of(self, ranks: dict[int, JsonObject], cls: type[Any]) -> Any:
        """A set of this one's times and properties, with these ranks; a subclass's ``__init__`` is not asked."""
        new = object.__new__(cls)
        Rv1Set.__init__(new)
        new._expiration, new._starttime = self._expiration, self._starttime
        new._has_nodelist = self._has_nodelist
        new._ranks = ranks
        new._properties = _kept(self._properties, ranks)
        return new

    def _copy_from_ranks(self, rank_set: Iterable[int]) -> Self:
        ranks = {rank: dict(self._ranks[rank]) for rank in sorted(rank_set) if rank in self._ranks}
        new: Self = self._of(ranks, type(self))
        return new

    def copy(self) -> Self:
        return self._copy_from_ranks(self._ranks)

    def copy_ranks(self, ranks: object) -> Self:
        return self._copy_from_ranks(IDset(ranks))

    def copy_constraint(self, constraint: object) -> Self:
        """Of the ranks that fit a constraint (RFC 31), an object or JSON text. Raises ValueError."""
        return self._copy_from_ranks(self._matching(constraint))

    def union(self, other: Rv1Set) -> Self:
        new = self.copy()
        new.append(other)
        return new

    def diff(self, other: Rv1Set) -> Self:
        new = self.copy()
        for rank, theirs in other._ranks.items():
            mine = new._ranks.get(rank)
            if mine is not None:
                mine.update({kind: mine[kind] - theirs[kind] for kind in _KINDS.values()})
                if not mine["cores"] and not mine["gpus"]:
                    new.remove_ranks(rank)
        return new

    def intersect(self, other: Rv1Set) -> Self:
        return self._copy_from_ranks(set(self._ranks) & set(other._ranks))

    # -- changes

    def append(self, other: Rv1Set) -> None:
        self._join(other, other._properties)

    def add(self, other: Rv1Set) -> None:
        self._join(other, _kept(other._properties, set(other._ranks) - set(self._ranks)))

    def _join(self, rset: Rv1Set, properties: Mapping[str, set[int]]) -> None:
        for rank, theirs in rset._ranks.items():
            mine = self._ranks.setdefault(rank, dict(theirs))
            mine.update({kind: mine[kind] | theirs[kind] for kind in _KINDS.values()})
        self._has_nodelist = self._has_nodelist or rset._has_nodelist
        for name, ranks in properties.items():
            self._properties.setdefault(name, set()).update(ranks)

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
            raise ValueError(f"ranks {_ids(lacking)} not in resource set")
        self._properties.setdefault(name, set()).update(wanted)
        return self

    # -- constraints

    def _matching(self, constraint: object) -> set[int]:
        """The ranks that fit a constraint. Raises ValueError."""
        if isinstance(constraint, str):
            constraint = json.loads(constraint)
        return set(self._ranks) if constraint is None else self._fitting(constraint, 0)

    def _matches_constraint(self, rank: int, info: JsonView, constraint: object) -> bool:
        return rank in self._matching(constraint)

    def _fitting(self, constraint: object, depth: int) -> set[int]:
        if not isinstance(constraint, Mapping) or depth > _DEPTH_MAX:
            raise ValueError("a constraint must be an object of an operator and its list of values")
        name = next((name for name in _OPERATORS if name in constraint), None)
        if name is None:
            raise ValueError(f"unknown constraint operator(s): {list(constraint)!r:.80}")
        values = constraint[name]
        if isinstance(values, str) and name in ("hostlist", "ranks"):
            values = [values]
        if not isinstance(values, list):
            raise ValueError(f"constraint {name!r}: give a list, not {values!r:.40}")
        return _OPERATORS[name](self, values, depth + 1)


def _properties(rset: Rv1Set, values: list[Any], _: int) -> set[int]:
    found = set(rset._ranks)
    for name in values:
        if not isinstance(name, str):
            raise ValueError(f"a property is a string, not {name!r:.40}")
        having = rset._properties.get(name.removeprefix("^"), set())
        found = found - having if name.startswith("^") else found & having
    return found


def _hosts(rset: Rv1Set, values: list[Any], _: int) -> set[int]:
    wanted = set(Hostlist(values))
    return {rank for rank, info in rset._ranks.items() if info["hostname"] in wanted}


def _of_ranks(rset: Rv1Set, values: list[Any], _: int) -> set[int]:
    return set(rset._ranks) & {rank for text in values for rank in IDset(text)}


def _all_of(rset: Rv1Set, values: list[Any], depth: int) -> set[int]:
    return set(rset._ranks).intersection(*(rset._fitting(value, depth) for value in values))


def _any_of(rset: Rv1Set, values: list[Any], depth: int) -> set[int]:
    return set().union(*(rset._fitting(value, depth) for value in values))


def _none_of(rset: Rv1Set, values: list[Any], depth: int) -> set[int]:
    if not values:
        raise ValueError("constraint 'not': give a list of one constraint")
    return set(rset._ranks) - _all_of(rset, values, depth)


_OPERATORS: Final[dict[str, Callable[[Rv1Set, list[Any], int], set[int]]]] = {
    "properties": _properties,
    "hostlist": _hosts,
    "ranks": _of_ranks,
    "and": _all_of,
    "or": _any_of,
    "not": _none_of,
}


def _kept(properties: Mapping[str, set[int]], ranks: Iterable[int]) -> dict[str, set[int]]:
    there = set(ranks)
    return {name: kept for name, having in properties.items() if (kept := having & there)}


def _ids(ids: Iterable[int]) -> str:
    return str(IDset(ids))


def _shown(ids: Iterable[int]) -> str:
    return IDset(ids).encode(IDSET_FLAG_RANGE | IDSET_FLAG_BRACKETS)
