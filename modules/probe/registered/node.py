"""Knows what a rank tells the registry: its node, its measurements, the series they declare; in one request."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..plan import Measurement, content_hash
from ..probes import find
from ..sending.series import part


def node(rank: int, is_virtual: bool) -> dict[str, Any]:
    """The machine of a rank; in virtual time there is none, or two runs would differ."""
    record: dict[str, Any] = {"id": f"node-{rank}", "name": f"node/{rank}", "rank": rank}
    if is_virtual:
        return record
    uname = platform.uname()
    return {
        **record, "host": uname.node, "system": uname.system, "release": uname.release, "machine": uname.machine,
        "os": _value(_lines("/etc/os-release"), "PRETTY_NAME=").strip('"'),
        "cpu": _value(_lines("/proc/cpuinfo"), "model name"), "cores": os.cpu_count() or 0,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "boot_id": next(iter(_lines("/proc/sys/kernel/random/boot_id")), ""),
        "interfaces": sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else [],
    }  # fmt: skip


def records(service: str, rank: int, measurements: Iterable[Measurement]) -> dict[str, list[dict[str, Any]]]:
    """Measurements by the names they have here, and a record for each series that their probes declare."""
    found: dict[str, list[dict[str, Any]]] = {"measurements": [], "metadata": []}
    for one in measurements:
        ident = f"{part(service)}-{rank}-{part(one.name)}"
        found["measurements"].append({**_plain(one), "id": ident, "name": one.name, "service": service})
        for metric, field in find(one.probe).fields.items():
            series = {
                "metric": field.otel or metric, "subject": f"node/{rank}", "unit": field.unit, "kind": field.kind,
                "attributes": dict(field.attributes), "measurement": ident,
            }  # fmt: skip
            found["metadata"].append({**series, "id": content_hash(series)})
    return found


def _plain(one: Measurement) -> dict[str, Any]:
    keys = ("probe", "config", "schedule", "reporting", "labels", "isolation", "restart", "overlap")
    return {key: one.record[key] for key in keys if one.record.get(key) is not None}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _value(lines: list[str], begin: str) -> str:
    line = next((line for line in lines if line.startswith(begin)), "")
    return line.removeprefix(begin).lstrip("\t :").strip()
