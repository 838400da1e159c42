"""Knows how the resources of several jobs are written as those of one (R version 1, RFC 20)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

from brokersim.brokermod import hostlist, ranks

#: More ranks than any instance has.
RANKS_MAX: Final = 1_000_000


def hosts_of(r: Mapping[str, Any]) -> dict[int, str]:
    """The host of each rank in R."""
    execution = r["execution"]
    there = sorted(
        {rank for entry in execution["R_lite"] for rank in ranks.parse_ranks(str(entry["rank"]), RANKS_MAX)}
    )
    names = [name for text in execution.get("nodelist", ()) for name in hostlist.expand(text)]
    return {rank: names[at] if at < len(names) else f"rank{rank}" for at, rank in enumerate(there)}


def only(r: Mapping[str, Any], wanted: Set[int]) -> dict[str, Any]:
    """What R has on these ranks."""
    execution, hosts, lite = r["execution"], hosts_of(r), []
    for entry in execution["R_lite"]:
        mine = set(wanted).intersection(ranks.parse_ranks(str(entry["rank"]), RANKS_MAX))
        if mine:
            lite.append({**entry, "rank": ranks.format_ranks(mine)})
    nodelist = [hostlist.compress([hosts[rank] for rank in sorted(wanted & hosts.keys())])]
    return {**r, "execution": {**execution, "R_lite": lite, "nodelist": nodelist}}


def joined(rs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One R with all that these have; ranks with the same cores and gpus share an entry."""
    hosts: dict[int, str] = {}
    ids: dict[int, dict[str, set[int]]] = {}
    for r in rs:
        for entry in r["execution"]["R_lite"]:
            for rank in ranks.parse_ranks(str(entry["rank"]), RANKS_MAX):
                mine = ids.setdefault(rank, {})
                for kind, text in entry["children"].items():
                    mine.setdefault(kind, set()).update(
                        ranks.parse_ranks(str(text), RANKS_MAX) if text else ()
                    )
        hosts.update(hosts_of(r))
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for rank, kinds in sorted(ids.items()):
        children = tuple(sorted((kind, ranks.format_ranks(found)) for kind, found in kinds.items() if found))
        groups.setdefault(children, []).append(rank)
    lite = [
        {"rank": ranks.format_ranks(group), "children": dict(children)} for children, group in groups.items()
    ]
    nodelist = [hostlist.compress([hosts[rank] for rank in sorted(ids)])]
    execution = {"R_lite": lite, "starttime": 0.0, "expiration": 0.0, "nodelist": nodelist}
    return {"version": 1, "execution": execution}
