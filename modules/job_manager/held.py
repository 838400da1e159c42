"""Knows how the resources of several jobs are written as those of one (R version 1, RFC 20)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from brokersim.brokermod import hostlist, ranks

_IDS_MAX: Final = 1_000_000


def joined(rs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One R with all that these have; ranks with the same cores and gpus share an entry."""
    hosts: dict[int, str] = {}
    ids: dict[int, dict[str, set[int]]] = {}
    for r in rs:
        execution = r["execution"]
        there = set()
        for entry in execution["R_lite"]:
            for rank in ranks.parse_ranks(str(entry["rank"]), _IDS_MAX):
                there.add(rank)
                mine = ids.setdefault(rank, {})
                for kind, text in entry["children"].items():
                    mine.setdefault(kind, set()).update(
                        ranks.parse_ranks(str(text), _IDS_MAX) if text else ()
                    )
        names = [name for text in execution.get("nodelist", ()) for name in hostlist.expand(text)]
        hosts.update(zip(sorted(there), names, strict=False))
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for rank, kinds in sorted(ids.items()):
        children = tuple(sorted((kind, ranks.format_ranks(found)) for kind, found in kinds.items() if found))
        groups.setdefault(children, []).append(rank)
    lite = [
        {"rank": ranks.format_ranks(group), "children": dict(children)} for children, group in groups.items()
    ]
    nodelist = [hostlist.compress([hosts.get(rank, f"rank{rank}") for rank in sorted(ids)])]
    execution = {"R_lite": lite, "starttime": 0.0, "expiration": 0.0, "nodelist": nodelist}
    return {"version": 1, "execution": execution}
