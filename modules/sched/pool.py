"""Knows which cores and gpus of N nodes are free, by node; not jobs or their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from brokersim.brokermod import Resources, ranks

from .constraint import Nodes, matching
from .request import Request
from .written import Allocation, Written, from_r, mask_of, nodes_of

#: Constraints of which the nodes are remembered: a few users' habits; each takes a bit a node.
CONSTRAINTS_MAX: Final = 256


class Pool:
    """The free resources of one instance. As in flux-core the emptiest node first, then the lowest rank and core.

    Nodes are looked at by kind, and sets of them are numbers, a bit a node: a request costs what it gets, whatever
    there is beside it.
    """

    __slots__ = ("_alike", "_all", "_allowed", "_cores", "_down", "_gpus", "_kinds", "_whole", "cores",
                 "free_cores", "free_gpus", "nodes", "scheduling",
                 "written")  # fmt: skip

    def __init__(self, shape: Resources) -> None:
        everything = ((1 << shape.cores) - 1, (1 << shape.gpus) - 1)
        hosts = tuple(f"sim{node}" for node in range(shape.nodes))
        self._begin([everything] * shape.nodes, Nodes(hosts))

    @classmethod
    def of(cls, r: Any) -> Pool:
        """The pool of what an R has; a rank it leaves out has nothing. Raises ValueError if it isn't R version 1."""
        there = from_r(r)
        pool = cls.__new__(cls)
        size = max(there, default=-1) + 1
        pool._begin([there.get(node, (0, 0)) for node in range(size)], nodes_of(r, sorted(there)))
        pool.scheduling = r.get("scheduling")
        return pool

    def _begin(self, everything: list[tuple[int, int]], nodes: Nodes) -> None:
        self._all = everything
        self._cores = [cores for cores, _ in everything]
        self._gpus = [gpus for _, gpus in everything]
        #: (free cores, free gpus) → the nodes that have so many, a bit each; nodes without a free core are in none.
        self._alike = _grouped(everything)
        #: The same when all is free.
        self._kinds = dict(self._alike)
        #: Nodes with cores of which nothing is taken.
        self._whole = sum(self._alike.values())
        #: Nodes that may not be given out now (drained); they count for what could ever be.
        self._down = 0
        #: By a constraint's text, the nodes it allows.
        self._allowed: dict[str, int] = {}
        #: What nodes are called and which have which properties.
        self.nodes = nodes
        self.written = Written(nodes)
        #: What the R of all holds for other schedulers, opaque here; each job's has it too.
        self.scheduling: Any = None
        self.free_cores = self.cores = sum(cores.bit_count() for cores in self._cores)
        self.free_gpus = sum(gpus.bit_count() for gpus in self._gpus)

    def copy(self) -> Pool:
        """One that can be given out without this one being so."""
        twin = Pool.__new__(Pool)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._cores, twin._gpus = list(self._cores), list(self._gpus)
        twin._alike = dict(self._alike)
        return twin

    def impossible(self, request: Request) -> str:
        """Why the request could not be met even with everything free; ``""`` if it could.

        Raises ValueError for a constraint that is none.
        """
        such = "" if request.constraint is None else " that match the constraint"
        allowed = self._nodes_for(request)
        there = {
            kind: count for kind, nodes in self._kinds.items() if (count := (nodes & allowed).bit_count())
        }
        count = sum(there.values())
        if request.nodes > count:
            return f"unsatisfiable request: {request.nodes} nodes asked, {count} there{such}"
        if _enough(request, there):
            return ""
        gpus = f" and {request.gpus} gpus" if request.gpus else ""
        where = f" on each of {request.nodes} nodes" if request.nodes else ""
        largest = [max((kind[what] for kind in there), default=0) for what in (0, 1)]
        return (
            f"unsatisfiable request: {request.slots} slots of {request.cores} cores{gpus}{where}; "
            f"there are {count} nodes of {largest[0]} cores and {largest[1]} gpus{such}"
        )

    @property
    def cores_held(self) -> int:
        """Cores that jobs have."""
        return self.cores - self.free_cores

    @property
    def _everything(self) -> int:
        """All nodes there are: a scheduler may have been given fewer than the instance has."""
        return (1 << len(self._all)) - 1

    def take_down(self, nodes: str) -> None:
        """Nodes, as an idset, that may not be given out now. Raises ValueError."""
        self._down |= mask_of(nodes) & self._everything

    def bring_up(self, nodes: str) -> None:
        """Nodes that may again. Raises ValueError."""
        self._down &= ~mask_of(nodes)

    def only_up(self, nodes: str) -> None:
        """All others are down. Raises ValueError."""
        self._down = self._everything & ~mask_of(nodes)

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

    # -- R (RFC 20)

    def all_r(self) -> dict[str, Any]:
        """R of every node there is."""
        return self.written.to_r({node: held for node, held in enumerate(self._all) if held[0]})

    def down_r(self) -> dict[str, Any]:
        """R of the nodes that may not be given out."""
        return self.written.to_r({node: self._all[node] for node in ranks.bits(self._down)})

    def allocated_r(self) -> dict[str, Any]:
        """R of what jobs hold now."""
        held = {
            node: (cores & ~self._cores[node], gpus & ~self._gpus[node])
            for node, (cores, gpus) in enumerate(self._all)
        }
        return self.written.to_r({node: masks for node, masks in held.items() if masks != (0, 0)})

    # -- choosing

    def _nodes_for(self, request: Request) -> int:
        """The nodes a request's constraint allows. Raises ValueError for a constraint that is none."""
        if request.constraint is None:
            return -1
        try:
            text = repr(request.constraint)
        except RecursionError:
            text = ""  # refused below: it is deeper than a constraint may be
        found = self._allowed.get(text)
        if found is None:
            found = _bits(matching(request.constraint, self.nodes), len(self._all))
            if len(self._allowed) >= CONSTRAINTS_MAX:
                self._allowed.clear()
            self._allowed[text] = found
        return found

    def _candidates(self, request: Request) -> list[tuple[int, int]]:
        """Slots on each, and nodes of that kind that may be used; the emptiest kind first."""
        usable = self._nodes_for(request) & ~self._down
        if request.exclusive:
            usable &= self._whole
        return [
            (slots, nodes)
            for kind in sorted(self._alike, reverse=True)
            if (slots := _slots(kind, request)) and (nodes := self._alike[kind] & usable)
        ]

    def _now_free(self, node: int, cores: int, gpus: int) -> None:
        before = self._cores[node].bit_count(), self._gpus[node].bit_count()
        now = cores.bit_count(), gpus.bit_count()
        self._cores[node], self._gpus[node] = cores, gpus
        if now[0] and (cores, gpus) == self._all[node]:
            self._whole |= 1 << node
        elif self._whole >> node & 1:
            self._whole ^= 1 << node
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
        such = [nodes for slots, nodes in self._candidates(request) if slots >= request.slots]
        if sum(nodes.bit_count() for nodes in such) < request.nodes:
            return None
        picked = islice(chain.from_iterable(map(ranks.bits, such)), request.nodes)
        return [(node, request.slots) for node in picked]

    def _pick_anywhere(self, request: Request) -> list[tuple[int, int]] | None:
        candidates, wanted = self._candidates(request), request.slots
        if sum(slots * nodes.bit_count() for slots, nodes in candidates) < wanted:
            return None
        picked: list[tuple[int, int]] = []
        for most, nodes in candidates:
            for node in islice(ranks.bits(nodes), -(-wanted // most)):
                slots = min(most, wanted)
                picked.append((node, slots))
                wanted -= slots
            if not wanted:
                break
        return picked

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


def _slots(free: tuple[int, int], request: Request) -> int:
    """How many slots there are on a node with so many free cores and gpus."""
    slots = free[0] // request.cores
    return min(slots, free[1] // request.gpus) if request.gpus else slots


def _enough(request: Request, there: Mapping[tuple[int, int], int]) -> bool:
    """So many nodes of each kind, all free, suffice."""
    if request.nodes:
        return (
            sum(count for kind, count in there.items() if _slots(kind, request) >= request.slots)
            >= request.nodes
        )
    return sum(count * _slots(kind, request) for kind, count in there.items()) >= request.slots


def _lowest(mask: int, count: int) -> int:
    """The ``count`` lowest bits set in ``mask``."""
    taken = 0
    for _ in range(count):
        low = mask & -mask
        taken |= low
        mask ^= low
    return taken


def _grouped(everything: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    members_of: dict[tuple[int, int], list[int]] = {}
    for node, (cores, gpus) in enumerate(everything):
        if cores:
            members_of.setdefault((cores.bit_count(), gpus.bit_count()), []).append(node)
    return {kind: _bits(nodes, len(everything)) for kind, nodes in members_of.items()}


def _bits(nodes: Iterable[int], size: int) -> int:
    """A bit for each of these nodes, of which there are ``size`` at most."""
    found = bytearray(size // 8 + 1)
    for node in nodes:
        found[node >> 3] |= 1 << (node & 7)
    return int.from_bytes(found, "little")
