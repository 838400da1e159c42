"""Knows which nodes there are: R (RFC 20), from the configuration or the instance's settings; not their state."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Resources, hostlist, ranks

#: More nodes than an instance can simulate.
NODES_MAX: Final = 1_000_000
#: Numbers of cores and gpus of a node end below this.
IDS_MAX: Final = 1_000_000


def ids_of(text: Any) -> list[int]:
    """The numbers of a node's cores or gpus in R, ``""`` for none. Raises ValueError."""
    return ranks.parse_ranks(str(text), IDS_MAX) if str(text) else []


def check_r(r: Any) -> tuple[str, ...]:
    """The hosts of R version 1 by rank; ranks without a node are "". Raises ValueError that says what is wrong."""
    try:
        execution = r["execution"]
        found = sorted(
            rank for entry in execution["R_lite"] for rank in ranks.parse_ranks(entry["rank"], NODES_MAX)
        )
        for entry in execution["R_lite"]:
            for ids in entry["children"].values():
                ids_of(ids)
        for ids in execution.get("properties", {}).values():
            ranks.parse_ranks(ids, NODES_MAX)
        names = [host for text in execution.get("nodelist", ()) for host in hostlist.expand(text)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not R version 1: {error!r}") from None
    if r.get("version") != 1 or not found:
        raise ValueError("not R version 1 with at least one node")
    if len(names) != len(found):
        raise ValueError(f"R names {len(names)} hosts for {len(found)} nodes")
    named = dict(zip(found, names, strict=True))
    return tuple(named.get(rank, "") for rank in range(found[-1] + 1))


def simulated_r(resources: str | None, hosts: str | None, clock: str | None) -> dict[str, Any]:
    """R of the instance's simulated nodes: called as its brokers are if there are as many, else sim0, sim1, …

    One node in real time is this host. Raises ValueError.
    """
    r = Resources.parse(resources or "1x4").to_r()
    nodes = len(check_r(r))
    names = hostlist.expand(hosts or "")
    if nodes == 1 and clock != "virtual":
        r["execution"]["nodelist"] = [socket.gethostname()]
    elif len(names) == nodes:
        r["execution"]["nodelist"] = [hostlist.compress(names)]
    return r


class Entry(msgspec.Struct):
    """One ``[[resource.config]]`` of the configuration."""

    hosts: str
    cores: str = ""
    gpus: str = ""
    properties: list[str] = []


def configured_r(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """R of ``resource.config``: later entries add to hosts that earlier ones name. Raises ValueError."""
    nodes: dict[str, dict[str, set[int]]] = {}
    properties: dict[str, set[str]] = {}
    try:
        for given in entries:
            entry = msgspec.convert(given, Entry)
            for host in hostlist.expand(entry.hosts):
                children = nodes.setdefault(host, {"core": set(), "gpu": set()})
                children["core"].update(ranks.parse_ranks(entry.cores, NODES_MAX) if entry.cores else ())
                children["gpu"].update(ranks.parse_ranks(entry.gpus, NODES_MAX) if entry.gpus else ())
                for name in entry.properties:
                    properties.setdefault(name, set()).add(host)
    except msgspec.ValidationError as error:
        raise ValueError(f"resource.config: {error}") from None
    lite = [
        {"rank": str(rank), "children": {kind: ranks.format_ranks(ids) for kind, ids in node.items() if ids}}
        for rank, node in enumerate(nodes.values())
    ]
    order = list(nodes)
    execution: dict[str, Any] = {
        "R_lite": lite, "starttime": 0.0, "expiration": 0.0, "nodelist": [hostlist.compress(order)],
    }  # fmt: skip
    if properties:
        execution["properties"] = {
            name: ranks.format_ranks(order.index(host) for host in having)
            for name, having in properties.items()
        }
    return {"version": 1, "execution": execution}


def without(r: dict[str, Any], ranks_out: Collection[int]) -> dict[str, Any]:
    """R but for the nodes of these ranks, which may be all there are."""
    if not ranks_out:
        return r

    def left(ids: str) -> str:
        return ranks.format_ranks(sorted(set(ranks.parse_ranks(ids, NODES_MAX)).difference(ranks_out)))

    hosts = [host for rank, host in enumerate(check_r(r)) if host and rank not in ranks_out]
    execution = dict(r["execution"])
    entries = [{**entry, "rank": left(entry["rank"])} for entry in execution["R_lite"]]
    execution["R_lite"] = [entry for entry in entries if entry["rank"]]
    execution["nodelist"] = [hostlist.compress(hosts)] if hosts else []
    if "properties" in execution:
        properties = {name: left(ids) for name, ids in execution["properties"].items()}
        execution["properties"] = {name: ids for name, ids in properties.items() if ids}
    return {**r, "execution": execution}


def present(hosts: Sequence[str]) -> list[int]:
    """The ranks that have a node."""
    return [rank for rank, host in enumerate(hosts) if host]
