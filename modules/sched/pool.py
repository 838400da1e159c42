"""Knows which cores and gpus of N nodes are free, and what R says about some of them; not jobs or their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from brokersim.brokermod import Resources, hostlist, ranks

from .constraint import Nodes, matching
from .request import Request

#: Node → (mask of cores, mask of gpus): what one job holds.
Allocation: TypeAlias = dict[int, tuple[int, int]]


class Pool:
    """The free resources of one instance. As in flux-core the emptiest node first, then the lowest rank and core."""

    __slots__ = ("_alike", "_all", "_cores", "_gpus", "_text", "cores", "down", "free_cores", "free_gpus",
                 "nodes")  # fmt: skip

    def __init__(self, shape: Resources) -> None:
        everything = ((1 << shape.cores) - 1, (1 << shape.gpus) - 1)
        hosts = tuple(f"sim{node}" for node in range(shape.nodes))
        self._begin([everything] * shape.nodes, Nodes(hosts))

    @classmethod
    def of(cls, r: Any) -> Pool:
        """The pool of what an R has; a rank it leaves out has nothing. Raises ValueError if it isn't R version 1."""
        there = from_r(r)
        if not there:
            raise ValueError("R has no node")
        pool = cls.__new__(cls)
        size = max(there) + 1
        pool._begin([there.get(node, (0, 0)) for node in range(size)], nodes_of(r, sorted(there)))
        return pool

    def _begin(self, everything: list[tuple[int, int]], nodes: Nodes) -> None:
        self._all = everything
        self._cores = [cores for cores, _ in everything]
        self._gpus = [gpus for _, gpus in everything]
        #: (free cores, free gpus) → the nodes that have so many, a bit each; nodes without a free core are in none.
        self._alike = _grouped(everything)
        self._text: dict[int, str] = {}
        #: What nodes are called and which have which properties.
        self.nodes = nodes
        #: Nodes that may not be given out now (drained); they count for what could ever be.
        self.down: set[int] = set()
        self.free_cores = self.cores = sum(cores.bit_count() for cores in self._cores)
        self.free_gpus = sum(gpus.bit_count() for gpus in self._gpus)

    def impossible(self, request: Request) -> str:
        """Why the request could not be met even with everything free; ``""`` if it could.

        Raises ValueError for a constraint that is none.
        """
        such, there = "", [node for node, held in enumerate(self._all) if held[0]]
        if request.constraint is not None:
            allowed = matching(request.constraint, self.nodes)
            such, there = " that match the constraint", [node for node in there if node in allowed]
        if request.nodes > len(there):
            return f"unsatisfiable request: {request.nodes} nodes asked, {len(there)} there{such}"
        each = [self._slots_free(node, self._all[node], request) for node in there]
        if request.nodes:
            enough = sum(slots >= request.slots for slots in each) >= request.nodes
        else:
            enough = sum(each) >= request.slots
        return "" if enough else self._too_much(request, there, such)

    def _too_much(self, request: Request, there: list[int], such: str) -> str:
        gpus = f" and {request.gpus} gpus" if request.gpus else ""
        where = f" on each of {request.nodes} nodes" if request.nodes else ""
        largest = [max((self._all[node][kind].bit_count() for node in there), default=0) for kind in (0, 1)]
        return (
            f"unsatisfiable request: {request.slots} slots of {request.cores} cores{gpus}{where}; "
            f"there are {len(there)} nodes of {largest[0]} cores and {largest[1]} gpus{such}"
        )

    def allocate(self, request: Request) -> Allocation | None:
        """Take what is asked, or nothing: None when it isn't free now."""
        if request.cores * request.slots * max(1, request.nodes) > self.free_cores:
            return None
        picked = self._pick_nodes(request) if request.nodes else self._pick_anywhere(request)
        if picked is None:
            return None
        return {node: self._take(node, slots, request) for node, slots in picked}

    def free(self, allocation: Allocation) -> None:
        """Give back what :meth:`allocate` took; a part of it at a time is fine, twice the same is our bug."""
        for node, (cores, gpus) in allocation.items():
            assert not (self._cores[node] & cores or self._gpus[node] & gpus), f"node {node} freed twice"
            self._now_free(node, self._cores[node] | cores, self._gpus[node] | gpus)

    def hold(self, allocation: Allocation) -> bool:
        """Mark as taken what a job already has; False, and nothing marked, if part of it isn't there or free."""
        for node, (cores, gpus) in allocation.items():
            if (
                node >= len(self._all)
                or self._cores[node] & cores != cores
                or self._gpus[node] & gpus != gpus
            ):
                return False
        for node, held in allocation.items():
            self._mark(node, *held)
        return True

    # -- choosing

    def _slots_free(self, node: int, free: tuple[int, int], request: Request) -> int:
        if request.exclusive and free != self._all[node]:
            return 0
        slots = free[0].bit_count() // request.cores
        return min(slots, free[1].bit_count() // request.gpus) if request.gpus else slots

    def _slots_on(self, node: int, request: Request) -> int:
        if node in self.down:
            return 0
        return self._slots_free(node, (self._cores[node], self._gpus[node]), request)

    def _candidates(self, request: Request) -> Iterable[int]:
        if request.constraint is None:
            return self._emptiest_first()
        allowed = matching(request.constraint, self.nodes)
        return (node for node in self._emptiest_first() if node in allowed)

    def _emptiest_first(self) -> Iterable[int]:
        """Nodes with free cores; which there are must not change meanwhile."""
        for kind in sorted(self._alike, reverse=True):
            yield from ranks.bits(self._alike[kind])

    def _now_free(self, node: int, cores: int, gpus: int) -> None:
        before = self._cores[node].bit_count(), self._gpus[node].bit_count()
        now = cores.bit_count(), gpus.bit_count()
        self._cores[node], self._gpus[node] = cores, gpus
        self.free_cores += now[0] - before[0]
        self.free_gpus += now[1] - before[1]
        alike, bit = self._alike, 1 << node
        if before[0]:
            left = alike[before] ^ bit
            if left:
                alike[before] = left
            else:
                del alike[before]
        if now[0]:
            alike[now] = alike.get(now, 0) | bit

    def _pick_nodes(self, request: Request) -> list[tuple[int, int]] | None:
        picked: list[tuple[int, int]] = []
        for node in self._candidates(request):
            if self._slots_on(node, request) >= request.slots:
                picked.append((node, request.slots))
                if len(picked) == request.nodes:
                    return picked
        return None

    def _pick_anywhere(self, request: Request) -> list[tuple[int, int]] | None:
        picked: list[tuple[int, int]] = []
        wanted = request.slots
        for node in self._candidates(request):
            slots = min(self._slots_on(node, request), wanted)
            if slots:
                picked.append((node, slots))
                wanted -= slots
                if not wanted:
                    return picked
        return None

    def _take(self, node: int, slots: int, request: Request) -> tuple[int, int]:
        if request.exclusive:
            taken = self._all[node]
        else:
            taken = (
                _lowest(self._cores[node], slots * request.cores),
                _lowest(self._gpus[node], slots * request.gpus),
            )
        self._mark(node, *taken)
        return taken

    def _mark(self, node: int, cores: int, gpus: int) -> None:
        self._now_free(node, self._cores[node] & ~cores, self._gpus[node] & ~gpus)

    # -- R (RFC 20)

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
        names = [self.nodes.hosts[node] for node in sorted(allocation)]
        return [hostlist.compress(names)] if names else []

    def _properties(self, allocation: Allocation) -> dict[str, Any]:
        shown = {
            name: ranks.format_ranks(having & allocation.keys())
            for name, having in self.nodes.properties.items()
            if having & allocation.keys()
        }
        return {"properties": shown} if shown else {}

    def all_r(self) -> dict[str, Any]:
        """R of every node there is."""
        return self.to_r({node: held for node, held in enumerate(self._all) if held[0]})

    def down_r(self) -> dict[str, Any]:
        """R of the nodes that may not be given out."""
        return self.to_r({node: self._all[node] for node in sorted(self.down)})

    def allocated_r(self) -> dict[str, Any]:
        """R of what jobs hold now."""
        held = {
            node: (cores & ~self._cores[node], gpus & ~self._gpus[node])
            for node, (cores, gpus) in enumerate(self._all)
        }
        return self.to_r({node: masks for node, masks in held.items() if masks != (0, 0)})

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
            node: (_mask(entry["children"].get("core", "")), _mask(entry["children"].get("gpu", "")))
            for entry in entries
            for node in members(entry["rank"])
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not R version 1: {error}") from None


def members(text: str) -> Iterable[int]:
    """The ids of an idset as R has them. Raises ValueError."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        if len(first) > 7 or len(last) > 7:
            raise ValueError(f"id {part!r:.40} is too large")
        yield from range(int(first), int(last or first) + 1)


def _mask(text: str) -> int:
    mask = 0
    for bit in members(text):
        mask |= 1 << bit
    return mask


def _lowest(mask: int, count: int) -> int:
    """The ``count`` lowest bits set in ``mask``."""
    taken = 0
    for _ in range(count):
        low = mask & -mask
        taken |= low
        mask ^= low
    return taken


def _grouped(everything: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    bits: dict[tuple[int, int], bytearray] = {}
    for node, (cores, gpus) in enumerate(everything):
        if cores:
            kind = cores.bit_count(), gpus.bit_count()
            found = bits.setdefault(kind, bytearray(len(everything) // 8 + 1))
            found[node >> 3] |= 1 << (node & 7)
    return {kind: int.from_bytes(found, "little") for kind, found in bits.items()}


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
    return Nodes(tuple(named.get(rank, "") for rank in range(there[-1] + 1)), properties)
