"""Knows what a jobspec asks for, as a pool wants to hear it; not what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

#: A request nested deeper is a mistake, or an attack on the stack.
DEPTH_MAX = 32


@attrs.frozen(kw_only=True)
class ResourceRequest:
    """``slot_count`` slots (on each of ``node_count`` nodes, if that is not 0) of cores and gpus. Seconds."""

    node_count: int
    slot_count: int
    slot_size: int
    gpu_per_slot: int = 0
    duration: float = 0.0
    exclusive: bool = False
    constraint: Any = None
    jobspec: Any = None


def to_request(jobspec: Mapping[str, Any]) -> ResourceRequest:
    """Raises ValueError that says what cannot be understood."""
    try:
        system = jobspec["attributes"]["system"]
        counts = {"node": 0, "slot": 0, "core": 0, "gpu": 0}
        exclusive = _walk(jobspec["resources"], counts, 0)
        duration = float(system.get("duration") or 0.0)
        constraint = system.get("constraints")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"jobspec lacks or has wrong {error}") from None
    if not counts["slot"] or not counts["core"]:
        raise ValueError("jobspec asks for no slot, or for a slot without cores")
    if constraint:
        raise ValueError(f"jobspec has constraints, which are not known here: {constraint!r:.60}")
    return ResourceRequest(
        node_count=counts["node"],
        slot_count=counts["slot"],
        slot_size=counts["core"],
        gpu_per_slot=counts["gpu"],
        duration=duration,
        exclusive=exclusive,
        jobspec=jobspec,
    )


def _walk(vertices: Sequence[Mapping[str, Any]], counts: dict[str, int], depth: int) -> bool:
    if depth > DEPTH_MAX:
        raise ValueError(f"jobspec resources are nested deeper than {DEPTH_MAX}")
    exclusive = False
    for vertex in vertices:
        kind = vertex["type"]
        if kind in counts:
            counts[kind] = _count(vertex.get("count", 1))
        exclusive |= kind == "node" and bool(vertex.get("exclusive"))
        exclusive |= _walk(vertex.get("with", ()), counts, depth + 1)
    return exclusive


def _count(given: Any) -> int:
    count = given["min"] if isinstance(given, Mapping) else given
    if type(count) is not int or count < 1:
        raise ValueError(f"jobspec: count {given!r:.40} is no positive number")
    return count
