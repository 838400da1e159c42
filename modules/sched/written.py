"""Knows how what jobs hold is written and read: R (RFC 20), and in short; not what is free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from brokersim.brokermod import hostlist, ranks

from .constraint import Nodes

#: Node → (mask of cores, mask of gpus): what one job holds.
Allocation: TypeAlias = dict[int, tuple[int, int]]


class Written:
    """Allocations of the nodes of one instance, as text; the same masks come again, and are written once."""

    __slots__ = ("_nodes", "_text")

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._text: dict[int, str] = {}

    def to_r(self, allocation: Allocation, starttime: float = 0.0, expiration: float = 0.0) -> dict[str, Any]:
        """R version 1 of an allocation; times in seconds since the epoch, 0 for none."""
        groups: dict[tuple[int, int], list[int]] = {}
        for node, held in allocation.items():
            groups.setdefault(held, []).append(node)
        return {
            "version": 1,
            "execution": {
                "R_lite": [self._entry(nodes, held) for held, nodes in groups.items()],
                "starttime": starttime,
                "expiration": expiration,
                "nodelist": self._nodelist(allocation),
                **self._properties(allocation),
            },
        }

    def _nodelist(self, allocation: Allocation) -> list[str]:
        names = [self._nodes.hosts[node] for node in sorted(allocation)]
        return [hostlist.compress(names)] if names else []

    def _properties(self, allocation: Allocation) -> dict[str, Any]:
        shown = {
            name: ranks.format_ranks(mine)
            for name, having in self._nodes.properties.items()
            if (mine := having.intersection(allocation))  # by way of the allocation, not of all that have it
        }
        return {"properties": shown} if shown else {}

    def summary(self, allocation: Allocation) -> str:
        """``rank0/core0``: one part a node, as flux-core's annotations have it; ``rank[0-3]/core[0-1]``."""
        groups: dict[int, list[int]] = {}
        for node, (cores, _) in allocation.items():
            groups.setdefault(cores, []).append(node)
        return ",".join(
            f"rank{_bracket(ranks.format_ranks(nodes))}/core{_bracket(self._ids(mask))}"
            for mask, nodes in groups.items()
        )

    def _entry(self, nodes: list[int], held: tuple[int, int]) -> dict[str, Any]:
        cores, gpus = held
        children = {"core": self._ids(cores)}
        if gpus:
            children["gpu"] = self._ids(gpus)
        return {"rank": str(nodes[0]) if len(nodes) == 1 else ranks.format_ranks(nodes), "children": children}

    def _ids(self, mask: int) -> str:
        text = self._text.get(mask)
        if text is None:
            if len(self._text) >= 1024:  # every mask a small node can have, and a bound for a big one
                self._text.clear()
            text = self._text[mask] = ranks.format_ranks(
                bit for bit in range(mask.bit_length()) if mask >> bit & 1
            )
        return text


def from_r(r: Any) -> Allocation:
    """The allocation an R describes. Raises ValueError if it isn't R version 1."""
    try:
        entries = r["execution"]["R_lite"]
        return {
            node: (mask_of(entry["children"].get("core", "")), mask_of(entry["children"].get("gpu", "")))
            for entry in entries
            for node in members(entry["rank"])
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not R version 1: {error}") from None


def members(text: str) -> Iterable[int]:
    """The ids of an idset as R has them. Raises ValueError."""
    for first, last in _spans(text):
        yield from range(first, last + 1)


def _spans(text: str) -> Iterable[tuple[int, int]]:
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if len(first) > 7 or len(last) > 7:
            raise ValueError(f"id {part!r:.40} is too large")
        yield int(first), int(last or first)


def mask_of(text: str) -> int:
    """The ids of an idset as a mask, a bit each. Raises ValueError."""
    mask = 0
    for first, last in _spans(text):
        mask |= (1 << max(0, last + 1 - first)) - 1 << first
    return mask


def _bracket(ids: str) -> str:
    return f"[{ids}]" if "-" in ids or "," in ids else ids


def nodes_of(r: Any, there: Sequence[int]) -> Nodes:
    """Hosts and properties of an R that has these ranks. Raises ValueError if it does not name as many hosts."""
    try:
        execution = r["execution"]
        names = [host for text in execution.get("nodelist", ()) for host in hostlist.expand(text)]
        properties = {
            name: frozenset(members(ids)) for name, ids in (execution.get("properties") or {}).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not R version 1: {error}") from None
    if len(names) != len(there):
        raise ValueError(f"R names {len(names)} hosts for {len(there)} nodes")
    named = dict(zip(there, names, strict=True))
    return Nodes(tuple(named.get(rank, "") for rank in range(there[-1] + 1 if there else 0)), properties)
