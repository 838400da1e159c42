"""Knows what a rank tells the registry: its node, its measurements, the series they declare; in one request."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any, Final

from ..plan import Measurement, content_hash, part
from ..probes import find
from ..procfs import ProcFS
from ..sending.series import attributes_of, mid_of

#: Characters of a name in an id: two names, their hashes and a rank are 128 at most, which an id may have.
_NAME_MAX: Final = 44


def node(rank: int, is_virtual: bool, files: ProcFS | None = None) -> dict[str, Any]:
    """The machine of a rank, or what ``files`` recorded of one; in virtual time none, or two runs would differ."""
    record: dict[str, Any] = {"id": f"node-{rank}", "name": f"node/{rank}", "rank": rank}
    if is_virtual:
        return record
    uname, files = platform.uname(), files or ProcFS()
    cpus = _lines(files, "proc/cpuinfo")
    return {
        **record, "host": uname.node, "system": uname.system, "release": uname.release, "machine": uname.machine,
        "os": _value(_lines(files, "etc/os-release"), "PRETTY_NAME=").strip('"'),
        "cpu": _value(cpus, "model name"), "cores": os.cpu_count() or 0, "topology": topology(cpus, files),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "boot_id": next(iter(_lines(files, "proc/sys/kernel/random/boot_id")), ""),
        "interfaces": _names(files, "sys/class/net"),
    }  # fmt: skip


def records(service: str, rank: int, measurements: Iterable[Measurement]) -> dict[str, list[dict[str, Any]]]:
    """Measurements by the names they have here, and a record for each series that their probes declare."""
    found: dict[str, list[dict[str, Any]]] = {"measurements": [], "metadata": []}
    known: set[str] = set()
    for one in measurements:
        ident = f"{_id_part(service)}-{rank}-{_id_part(one.name)}"
        found["measurements"].append({**_plain(one), "id": ident, "name": one.name, "service": service})
        for metric, field in find(one.probe).fields.items():
            series = {
                "metric": field.otel or metric, "subject": f"node/{rank}", "unit": field.unit, "kind": field.kind,
                "attributes": dict(attributes_of(field, one.name)), "measurement": ident,
            }  # fmt: skip
            mid = mid_of(field, one.name, f"node/{rank}", metric)
            # Two measurements of one thing have one series between them; what the second declares is told beside it.
            found["metadata"].append({**series, "id": content_hash(series) if mid in known else mid})
            known.add(mid)
    return found


def _id_part(name: str) -> str:
    """A name as a part of an id: no two names are one, however long or strange they are."""
    plain = part(name)
    if plain == name and len(plain) <= _NAME_MAX:
        return plain
    return f"{plain[:_NAME_MAX]}-{content_hash(name).removeprefix('sha1-')[:12]}"


def _plain(one: Measurement) -> dict[str, Any]:
    keys = ("probe", "config", "schedule", "reporting", "labels", "isolation", "restart", "overlap")
    return {key: one.record[key] for key in keys if one.record.get(key) is not None}


def topology(cpuinfo: Iterable[str], files: ProcFS) -> dict[str, int]:
    """How many sockets, cores and threads the processors have, and NUMA nodes; those that the kernel tells."""
    sockets: set[str] = set()
    cores: set[tuple[str, str]] = set()
    threads, socket = 0, ""
    for line in cpuinfo:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            threads += 1
        elif key == "physical id":
            socket = value
            sockets.add(value)
        elif key == "core id":
            cores.add((socket, value))
    nodes = sum(name.startswith("node") for name in _names(files, "sys/devices/system/node"))
    found = {"sockets": len(sockets), "cores": len(cores), "threads": threads, "numa_nodes": nodes}
    return {key: count for key, count in found.items() if count}


def _names(files: ProcFS, path: str) -> list[str]:
    try:
        return files.names(path)
    except OSError:
        return []


def _lines(files: ProcFS, path: str) -> list[str]:
    try:
        return files.read(path).decode(errors="replace").splitlines()
    except OSError:
        return []


def _value(lines: list[str], begin: str) -> str:
    line = next((line for line in lines if line.startswith(begin)), "")
    return line.removeprefix(begin).lstrip("\t :").strip()
