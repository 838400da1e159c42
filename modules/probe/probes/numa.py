"""Knows where memory lies on a machine of several nodes: from /sys/devices/system/node and /proc/<pid>/numa_maps.

How long it takes to reach another node's memory is not in any of these files, and is not guessed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ..contract import COUNTER, Context, Field, Probe

_NODES: Final = "sys/devices/system/node"
_NODE: Final = re.compile(r"node(\d+)")
#: Counters of numastat: pages, since boot.
COUNTERS: Final = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")
_MEMORY: Final = {b"MemTotal:": "total", b"MemFree:": "free", b"MemUsed:": "used"}
_PAGE: Final = 4096
#: Pages of one mapping on one node, and how large they are.
_PAGES: Final = re.compile(rb" N(\d+)=(\d+)")
_SIZE: Final = re.compile(rb" kernelpagesize_kB=(\d+)")


def parse_numastat(data: bytes) -> dict[str, int]:
    """Pages by counter; what a later kernel adds is left out. Raises ValueError."""
    found = {}
    for line in data.splitlines():
        name, _, number = line.partition(b" ")
        if name.decode(errors="replace") in COUNTERS:
            found[name.decode()] = int(number)
    return found


def parse_node_meminfo(data: bytes) -> dict[str, int]:
    """Bytes ``total``, ``free`` and ``used`` of one node (``Node 0 MemFree:  123 kB``). Raises ValueError."""
    found = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] in _MEMORY:
            found[_MEMORY[words[2]]] = int(words[3]) * 1024
    return found


def parse_numa_maps(data: bytes) -> dict[int, int]:
    """Bytes that a process has on each node, by the number of the node."""
    found: dict[int, int] = {}
    for line in data.splitlines():
        told = _SIZE.search(line)
        size = int(told[1]) * 1024 if told else _PAGE
        for node, pages in _PAGES.findall(line):
            found[int(node)] = found.get(int(node), 0) + int(pages) * size
    return found


def local_ratio(old: Mapping[str, int], new: Mapping[str, int]) -> float | None:
    """The share of pages between two readings that went to the node of who asked; None if none did, or it fell."""
    local, other = (new.get(name, 0) - old.get(name, 0) for name in ("local_node", "other_node"))
    return local / (local + other) if local >= 0 and other >= 0 and local + other else None


class Numa(Probe):
    """A subject a node: its counters, the share that was local since the last reading, memory, a process's part."""

    summary = "memory by NUMA node: hits, misses, the local share, bytes free; of a process, bytes on each"
    fields: ClassVar[dict[str, Field]] = (
        {name: Field(unit="{page}", kind=COUNTER, otel=f"system.{name}") for name in COUNTERS}
        | {name: Field(unit="By", otel=f"system.numa.memory.{name}") for name in _MEMORY.values()}
        | {"local_ratio": Field(otel="system.numa.local_ratio")}
        | {"process": Field(unit="By", otel="process.numa.memory")}
    )
    options: ClassVar[dict[str, Any]] = {"pid": 0}

    def open(self, context: Context) -> None:
        super().open(context)
        self._before: dict[int, dict[str, int]] = {}
        if not self._nodes():
            raise ValueError(f"this kernel shows no NUMA nodes: there is no /{_NODES}/node*")

    def _nodes(self) -> list[int]:
        try:
            names = self.context.procfs.names(_NODES)
        except OSError:
            return []
        return sorted(int(found[1]) for found in map(_NODE.fullmatch, names) if found)

    def read(self) -> Any:
        pid = self.config["pid"]
        own, is_hidden = self._process(pid) if pid else ({}, False)
        return {
            f"{self.context.subject}/numa/{node}": self._one(node, own, is_hidden) for node in self._nodes()
        }

    def _one(self, node: int, own: Mapping[int, int], is_hidden: bool) -> dict[str, Any]:
        files, at = self.context.procfs, f"{_NODES}/node{node}"
        counters = parse_numastat(files.read_again(f"{at}/numastat"))
        answer: dict[str, Any] = {**counters, **parse_node_meminfo(files.read_again(f"{at}/meminfo"))}
        before, self._before[node] = self._before.get(node), counters
        ratio = None if before is None else local_ratio(before, counters)
        if ratio is not None:
            answer["local_ratio"] = ratio
        if self.config["pid"] and not is_hidden:
            answer["process"] = own.get(node, 0)
        return answer | {"partial": ("process",) if is_hidden else ()}

    def _process(self, pid: int) -> tuple[dict[int, int], bool]:
        """Bytes of a process by node, and whether that is not ours to see. Raises OSError if it is gone."""
        try:
            return parse_numa_maps(self.context.procfs.read(f"proc/{pid}/numa_maps")), False
        except PermissionError:
            return {}, True
