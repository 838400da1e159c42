"""Knows on which of a job's nodes each task is (RFC 34): as the resources have it, or as a shell option says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from brokersim.brokermod import files, hostlist, job_facts

#: Bytes of a file of hosts.
FILE_MAX: Final = 1 << 20

#: The first node, how many nodes, tasks on each of them, how often that is repeated.
Block = tuple[int, int, int, int]


@attrs.frozen
class TaskMap:
    """``nodes``: the node of each task, counted from 0 within the job."""

    nodes: tuple[int, ...]

    def place_of(self, task: int) -> int:
        """Which of its node's tasks a task is."""
        return self.nodes[:task].count(self.nodes[task])

    @property
    def blocks(self) -> list[Block]:
        """As RFC 34 writes it: the fewest blocks, found from the front."""
        runs: list[list[int]] = []
        for node in self.nodes:
            if runs and runs[-1][0] == node:
                runs[-1][1] += 1
            else:
                runs.append([node, 1])
        rows: list[list[int]] = []
        for node, count in runs:
            if rows and node == sum(rows[-1][:2]) and count == rows[-1][2]:
                rows[-1][1] += 1
            else:
                rows.append([node, 1, count])
        found: list[Block] = []
        for start, nnodes, count in rows:
            if found and found[-1][:3] == (start, nnodes, count):
                found[-1] = (start, nnodes, count, found[-1][3] + 1)
            else:
                found.append((start, nnodes, count, 1))
        return found

    def to_json(self) -> dict[str, Any]:
        """With its version around it."""
        return {"version": 1, "map": [list(block) for block in self.blocks]}

    def to_pmi(self) -> str:
        """As ``PMI_process_mapping`` has it (RFC 13)."""
        rows = (f",({block[0]},{block[1]},{block[2]})" for block in self.blocks for _ in range(block[3]))
        return f"(vector{''.join(rows)})"


#: One task, on one node.
ALONE: Final = TaskMap((0,))


def evenly(r: Mapping[str, Any], ntasks: int, per: tuple[str, int] | None = None) -> TaskMap:
    """Tasks by turns on the nodes of R that have cores for one more, those of a node side by side.

    ``per``: so many a node, or a core, instead.
    """
    cores = [
        job_facts.members(entry["children"].get("core", ""))
        for entry in r["execution"]["R_lite"]
        for _ in range(job_facts.members(entry["rank"]))
    ] or [1]
    if per is not None:
        return _side_by_side([per[1] * (count if per[0] == "core" else 1) for count in cores])
    wanted = max(1, min(*cores, sum(cores) // max(1, ntasks)) if len(cores) > 1 else 1)
    counts, left, assigned = [0] * len(cores), list(cores), 0
    order = sorted(range(len(cores)), key=lambda node: -cores[node])
    while assigned < ntasks:
        room = [node for node in order if left[node] >= wanted]
        if not room:  # more tasks than cores: once more from the beginning
            left = [max(count, wanted) for count in cores]
            continue
        for node in room[: ntasks - assigned]:
            counts[node] += 1
            left[node] -= wanted
            assigned += 1
    return _side_by_side(counts)


def _side_by_side(counts: Sequence[int]) -> TaskMap:
    return TaskMap(tuple(node for node, count in enumerate(counts) for _ in range(count)))


def rearranged(usual: TaskMap, option: Any, r: Mapping[str, Any], cwd: str) -> TaskMap:
    """As the shell option ``taskmap`` (scheme and value) says, None for as usual. Raises ValueError: why not."""
    if option is None:
        return usual
    scheme, value = (
        (option.get("scheme"), option.get("value") or "") if isinstance(option, Mapping) else ("", "")
    )
    if not isinstance(value, str):
        raise ValueError("shell option taskmap: value must be a string")
    if scheme == "block" and not value:
        return usual
    if scheme == "cyclic":
        return _cyclic(usual, value)
    if scheme == "manual":
        return _manual(usual, value)
    if scheme == "hostfile":
        return _by_hosts(usual, os.path.join(cwd, value), r)
    asked = f"{scheme}:{value}".rstrip(":")
    raise ValueError(
        f"shell option taskmap: {asked:.80}; there are block, cyclic[:N], manual:MAP and hostfile:FILE"
    )


def _cyclic(usual: TaskMap, value: str) -> TaskMap:
    if value and not (value.isdecimal() and len(value) < 20 and int(value)):
        raise ValueError(f"shell option taskmap: invalid cyclic stride: {value:.40}")
    stride = int(value or 1)
    left = {node: usual.nodes.count(node) for node in sorted(set(usual.nodes))}
    nodes: list[int] = []
    while len(nodes) < len(usual.nodes):
        for node, count in left.items():
            nodes += [node] * min(stride, count)
            left[node] = count - min(stride, count)
    return TaskMap(tuple(nodes))


def _manual(usual: TaskMap, value: str) -> TaskMap:
    try:
        found = json.loads(value)
        blocks = found["map"] if isinstance(found, dict) else found
        sizes = [[number for number in block if type(number) is int and number >= 0] for block in blocks]
        # Counted before it is written out.
        total = sum(nnodes * count * times for _, nnodes, count, times in sizes)
        nodes = [
            node
            for start, nnodes, count, times in sizes
            if total == len(usual.nodes) and nnodes * count  # what has no task may be repeated without end
            for _ in range(times)
            for node in range(start, start + nnodes)
            for _ in range(count)
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"shell option taskmap: {value:.80} is no taskmap (RFC 34)") from None
    if len(nodes) != len(usual.nodes) or set(nodes) != set(usual.nodes):
        there = f"{len(usual.nodes)} tasks on {len(set(usual.nodes))} nodes"
        raise ValueError(f"shell option taskmap: {value:.80} does not fit this job: it has {there}")
    return TaskMap(tuple(nodes))


def _by_hosts(usual: TaskMap, path: str, r: Mapping[str, Any]) -> TaskMap:
    try:
        text = files.read_text(path, FILE_MAX)
        hosts = [host for line in text.split() for host in hostlist.expand(line)]
    except (OSError, ValueError) as error:
        raise ValueError(f"shell option taskmap: hostfile {path:.200}: {error}") from None
    there = [host for part in r["execution"].get("nodelist", ()) for host in hostlist.expand(part)]
    missing = next((host for host in hosts if host not in there), None)
    if not hosts or missing is not None:
        raise ValueError(
            f"shell option taskmap: hostfile {path:.200}: host {missing} not found in job nodelist"
        )
    wanted = (hosts[at % len(hosts)] for at in range(len(usual.nodes)))
    return TaskMap(tuple(there.index(host) for host in wanted))
