"""Knows which ranks fit a constraint (RFC 31); not what a set of resources is else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from brokersim.fluxapi.hostlist import Hostlist
from brokersim.fluxapi.idset import IDset
from brokersim.protocol.decoded import JsonObject

#: A constraint deeper than this is a mistake or an attack on the stack.
_DEPTH_MAX: Final = 32


def matching(
    constraint: object, ranks: Mapping[int, JsonObject], properties: Mapping[str, Iterable[int]]
) -> set[int]:
    """The ranks that fit a constraint, an object or JSON text; ``None`` fits all. Raises ValueError.

    Of each rank its ``hostname`` is known, of each property the ranks that have it.
    """
    if isinstance(constraint, str):
        constraint = json.loads(constraint)
    return set(ranks) if constraint is None else _Nodes(ranks, properties).fitting(constraint, 0)


class _Nodes:
    """What constraints are asked of; each operator is a method by its name in ``_OPERATORS``."""

    def __init__(self, ranks: Mapping[int, JsonObject], properties: Mapping[str, Iterable[int]]) -> None:
        self._ranks = ranks
        self._properties = properties

    def fitting(self, constraint: object, depth: int) -> set[int]:
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

    def properties(self, values: list[Any], _: int) -> set[int]:
        found = set(self._ranks)
        for name in values:
            if not isinstance(name, str):
                raise ValueError(f"a property is a string, not {name!r:.40}")
            having = set(self._properties.get(name.removeprefix("^"), ()))
            found = found - having if name.startswith("^") else found & having
        return found

    def hosts(self, values: list[Any], _: int) -> set[int]:
        wanted = set(Hostlist(values))
        return {rank for rank, info in self._ranks.items() if info["hostname"] in wanted}

    def ranks(self, values: list[Any], _: int) -> set[int]:
        return set(self._ranks) & {rank for text in values for rank in IDset(text)}

    def all_of(self, values: list[Any], depth: int) -> set[int]:
        return set(self._ranks).intersection(*(self.fitting(value, depth) for value in values))

    def any_of(self, values: list[Any], depth: int) -> set[int]:
        return set().union(*(self.fitting(value, depth) for value in values))

    def none_of(self, values: list[Any], depth: int) -> set[int]:
        if not values:
            raise ValueError("constraint 'not': give a list of one constraint")
        return set(self._ranks) - self.all_of(values, depth)


_OPERATORS: Final[dict[str, Callable[[_Nodes, list[Any], int], set[int]]]] = {
    "properties": _Nodes.properties,
    "hostlist": _Nodes.hosts,
    "ranks": _Nodes.ranks,
    "and": _Nodes.all_of,
    "or": _Nodes.any_of,
    "not": _Nodes.none_of,
}
