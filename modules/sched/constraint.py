"""Knows constraints on nodes (RFC 31): properties, hosts, ranks and their combinations; not which nodes are free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from brokersim.brokermod import hostlist, ranks

#: A constraint deeper than this is a mistake or an attack on the stack.
DEPTH_MAX: Final = 32
_RANKS_MAX: Final = 10_000_000


@attrs.frozen
class Nodes:
    """All nodes: their hosts by rank, and the ranks that have a property."""

    hosts: tuple[str, ...]
    properties: Mapping[str, frozenset[int]] = attrs.field(factory=dict)

    @property
    def every(self) -> frozenset[int]:
        return frozenset(range(len(self.hosts)))


def matching(constraint: Any, nodes: Nodes, depth: int = 0) -> frozenset[int]:
    """The ranks a constraint allows; an empty one allows all. Raises ValueError that names the bad part."""
    if constraint is None or constraint == {}:
        return nodes.every
    if not isinstance(constraint, Mapping) or depth > DEPTH_MAX:
        raise ValueError("constraint must be an object of operators and their lists of values")
    allowed = nodes.every
    for name, values in constraint.items():
        operator = _OPERATORS.get(name)
        if operator is None:
            raise ValueError(f"unknown constraint operator: {name:.40}; there are {', '.join(_OPERATORS)}")
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise ValueError(f"constraint {name}: give a list of values")
        allowed &= operator(values, nodes, depth + 1)
    return allowed


def _all_of(values: Sequence[Any], nodes: Nodes, depth: int) -> frozenset[int]:
    found = nodes.every
    for value in values:
        found &= matching(value, nodes, depth)
    return found


def _any_of(values: Sequence[Any], nodes: Nodes, depth: int) -> frozenset[int]:
    if not values:
        return nodes.every  # as in flux-core: no condition holds nobody back
    return frozenset().union(*(matching(value, nodes, depth) for value in values))


def _none_of(values: Sequence[Any], nodes: Nodes, depth: int) -> frozenset[int]:
    return nodes.every - _all_of(values, nodes, depth)


def _properties(values: Sequence[Any], nodes: Nodes, _depth: int) -> frozenset[int]:
    found = nodes.every
    for name in _texts("properties", values):
        if any(letter in "!&'\"`|()" for letter in name):
            raise ValueError(f"invalid character in property '{name:.60}'")
        having = nodes.properties.get(name.removeprefix("^"), frozenset())
        found = found - having if name.startswith("^") else found & having
    return found


def _hosts(values: Sequence[Any], nodes: Nodes, _depth: int) -> frozenset[int]:
    wanted = {host for text in _texts("hostlist", values) for host in hostlist.expand(text)}
    return frozenset(rank for rank, host in enumerate(nodes.hosts) if host in wanted)


def _ranks(values: Sequence[Any], nodes: Nodes, _depth: int) -> frozenset[int]:
    wanted = {rank for text in _texts("ranks", values) for rank in ranks.parse_ranks(text, _RANKS_MAX)}
    return nodes.every & wanted


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"constraint {name}: {value!r:.40} is no string")
    return list(values)


_OPERATORS: Final[dict[str, Callable[[Sequence[Any], Nodes, int], frozenset[int]]]] = {
    "and": _all_of,
    "or": _any_of,
    "not": _none_of,
    "properties": _properties,
    "hostlist": _hosts,
    "ranks": _ranks,
}
