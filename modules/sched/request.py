"""Knows how many slots of which shape a jobspec asks for; not whether they are free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

#: Resource types a slot may hold here; flux-core's simple schedulers know the same two.
_KINDS: Final = ("core", "gpu")


@attrs.frozen(kw_only=True)
class Request:
    """``slots`` slots of ``cores`` cores and ``gpus`` gpus each: on each of ``nodes`` nodes, or anywhere if 0."""

    nodes: int
    slots: int
    cores: int
    gpus: int
    exclusive: bool = False
    #: Which nodes may be used (RFC 31); None: any.
    constraint: Any = None


def to_request(jobspec: Mapping[str, Any]) -> Request:
    """The resources part of a jobspec (RFC 25 version 1, a chain of node, slot, core and gpu).

    Raises ValueError that names the offending part.
    """
    resources = jobspec.get("resources")
    found = {"node": 0, "slot": 0, "core": 0, "gpu": 0, "exclusive": 0}
    _walk(resources, found, under_slot=False, depth=0)
    if not found["slot"]:
        raise ValueError("jobspec: resources hold no slot")
    if not found["core"]:
        raise ValueError("jobspec: a slot holds no core")
    slots, nodes = found["slot"], found["node"]
    if nodes < 0:  # a slot of whole nodes: each is a slot of its own
        slots, nodes = 1, -nodes * slots
    return Request(
        nodes=nodes,
        slots=slots,
        cores=found["core"],
        gpus=found["gpu"],
        exclusive=bool(found["exclusive"]),
        constraint=_constraint(jobspec),
    )


def _constraint(jobspec: Mapping[str, Any]) -> Any:
    attributes = jobspec.get("attributes")
    system = attributes.get("system") if isinstance(attributes, Mapping) else None
    return (system.get("constraints") if isinstance(system, Mapping) else None) or None


def _walk(vertices: Any, found: dict[str, int], *, under_slot: bool, depth: int) -> None:
    if not isinstance(vertices, Sequence) or isinstance(vertices, str) or not vertices or depth > 4:
        raise ValueError("jobspec: resources must be a list of node, slot, core or gpu")
    for vertex in vertices:
        kind, count = _kind_and_count(vertex)
        if found[kind]:
            raise ValueError(f"jobspec: more than one {kind} in resources; version 1 has one chain")
        if kind in _KINDS and not under_slot:
            raise ValueError(f"jobspec: {kind} outside a slot")
        found[kind] = -count if kind == "node" and under_slot else count
        found["exclusive"] |= bool(vertex.get("exclusive"))
        if kind not in _KINDS:
            _walk(vertex.get("with"), found, under_slot=under_slot or kind == "slot", depth=depth + 1)


def _kind_and_count(vertex: Any) -> tuple[str, int]:
    if not isinstance(vertex, Mapping) or vertex.get("type") not in ("node", "slot", *_KINDS):
        raise ValueError(f"jobspec: resource {vertex!r:.60} is no node, slot, core or gpu")
    count = vertex.get("count")
    if isinstance(count, Mapping):  # RFC 14's ranges: the least is what must be there
        count = count.get("min")
    if type(count) is not int or not (count > 0 or (count == 0 and vertex["type"] == "gpu")):
        raise ValueError(f"jobspec: count of {vertex['type']} must be a positive integer, not {count!r:.40}")
    return str(vertex["type"]), count
