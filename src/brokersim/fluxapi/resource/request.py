"""Knows what a jobspec asks for, as a pool wants to hear it; not what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import attrs

from brokersim.fluxapi.resource.ResourceCount import ResourceCount
from brokersim.protocol.decoded import Json, JsonView

#: A request nested deeper is a mistake, or an attack on the stack.
DEPTH_MAX: Final = 32


class ResourceRequest:
    """Slots of cores and gpus, on each of ``node_count`` nodes unless that is None; ``duration`` in s, 0 for none."""

    __slots__ = (
        "constraint", "duration", "exclusive", "gpu_per_slot", "jobspec", "node_count", "slot_count", "slot_size",
    )  # fmt: skip

    def __init__(
        self,
        node_count: ResourceCount | None,
        slot_count: ResourceCount,
        slot_size: int,
        gpu_per_slot: int,
        duration: float,
        constraint: object,
        exclusive: bool,
        jobspec: object = None,
    ) -> None:
        self.node_count = node_count
        self.slot_count = slot_count
        self.slot_size = slot_size
        self.gpu_per_slot = gpu_per_slot
        self.duration = duration
        self.constraint = constraint
        self.exclusive = exclusive
        self.jobspec = jobspec

    @classmethod
    def from_jobspec(cls, jobspec: JsonView) -> Self:
        """Raises ValueError that says what cannot be understood."""
        shape = Shape.of(jobspec)
        if shape.core is None:
            raise ValueError("Unable to determine slot size")
        nodes, slots = shape.node, shape.slot
        if shape.exclusive and nodes is None:
            nodes, slots = slots, ResourceCount(1, 1)
        return cls(
            nodes, slots, shape.core, shape.gpu, shape.duration, shape.constraint, shape.exclusive, jobspec
        )

    @property
    def nnodes(self) -> int:
        """At least so many nodes; 0 if they do not matter."""
        return 0 if self.node_count is None else self.node_count.min

    @property
    def nnodes_max(self) -> int | None:
        """At most so many; None for as many as there are."""
        return 0 if self.node_count is None else self.node_count.max

    @property
    def nslots(self) -> int:
        """At least so many slots, over all nodes."""
        return self.slot_count.min * (1 if self.node_count is None else self.node_count.min)

    @property
    def nslots_max(self) -> int | None:
        """At most so many, over all nodes."""
        nodes = 1 if self.node_count is None else self.node_count.max
        return None if nodes is None or self.slot_count.max is None else self.slot_count.max * nodes

    @property
    def ncores(self) -> int:
        return self.nslots * self.slot_size

    @property
    def ngpus(self) -> int:
        return self.nslots * self.gpu_per_slot


@attrs.define
class Shape:
    """What stands in a jobspec's resources, of each kind the last one."""

    slot: ResourceCount
    node: ResourceCount | None = None
    #: Per slot; None if the jobspec names no core.
    core: int | None = None
    gpu: int = 0
    exclusive: bool = False
    #: How many of what stands above the nodes, multiplied.
    above: int = 1
    is_slot_above: bool = False
    #: An exclusive vertex of another kind without anything in it: ``socket``, ``numa``.
    container: str | None = None
    duration: float = 0.0
    constraint: Json = None

    @classmethod
    def of(cls, jobspec: JsonView) -> Shape:
        """Raises ValueError that says what cannot be understood."""
        none = ResourceCount(0, 0)
        shape = cls(none)
        try:
            if not jobspec.get("resources"):
                raise ValueError("jobspec has no resources")
            shape._walk(jobspec["resources"], 1, 0)
            system = jobspec.get("attributes", {}).get("system")
            if jobspec.get("version") == 1:
                _need(system, "system")
                _need(system.get("duration"), "duration")
            shape.duration = float((system or {}).get("duration") or 0.0)
            shape.constraint = (system or {}).get("constraints") or None
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"jobspec lacks or has wrong {error}") from None
        if shape.slot is none:
            raise ValueError("Unable to determine slot count")
        if shape.node is not None:
            shape.node = shape.node.scaled(shape.above)
        return shape

    def _walk(self, vertices: Sequence[JsonView], above: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise ValueError(f"jobspec resources exceed the maximum depth of {DEPTH_MAX}")
        for vertex in vertices:
            kind, inner = vertex.get("type", ""), vertex.get("with", ())
            count = ResourceCount.from_count_spec(vertex.get("count", 1))
            self._take(kind, count, above, bool(vertex.get("exclusive")), not inner)
            self._walk(inner, above if kind == "node" else above * count.min, depth + 1)

    def _take(self, kind: str, count: ResourceCount, above: int, is_exclusive: bool, is_last: bool) -> None:
        if kind == "node":
            self.node, self.above, self.is_slot_above = count, above, self.slot.min > 0
        elif kind == "slot":
            self.slot = count
        elif kind == "core":
            self.core = count.min
        elif kind == "gpu":
            self.gpu = count.min
        elif is_exclusive and is_last:
            self.container = kind
        self.exclusive |= is_exclusive and kind in ("node", "slot")


def _need(value: object, name: str) -> None:
    if value is None:
        raise ValueError(f"getting duration: Object item not found: {name}")
