"""Knows how a simulated node looks inside, as hwloc writes it (XML): one socket, its cores and gpus; no real node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree

from brokersim.brokermod import ranks

from .inventory import IDS_MAX, ids_of

#: Bus of the first gpu: those below are a machine's own devices.
_FIRST_BUS: Final = 0x10


def topology(r: Mapping[str, Any], rank: int) -> str:
    """The node of a rank in R. Raises ValueError if R has no such rank."""
    for entry in r["execution"]["R_lite"]:
        if rank in ranks.parse_ranks(entry["rank"], IDS_MAX):
            children = entry["children"]
            return _xml(ids_of(children.get("core", "")), ids_of(children.get("gpu", "")))
    raise ValueError(f"R has no rank {rank}")


def _xml(cores: Sequence[int], gpus: Sequence[int]) -> str:
    every = _bitmap(cores)
    root = ElementTree.Element("topology", version="2.0")
    machine = _object(root, "Machine", 0, every)
    package = _object(machine, "Package", 0, every)
    _object(package, "NUMANode", 0, every)
    for core in cores:
        _object(_object(package, "Core", core, _bitmap([core])), "PU", core, _bitmap([core]))
    if gpus:
        bridge = ElementTree.SubElement(machine, "object", type="Bridge", bridge_type="0-1", depth="0",
                                        bridge_pci="0000:[00-ff]")  # fmt: skip
    for gpu in gpus:
        device = ElementTree.SubElement(bridge, "object", type="PCIDev", pci_link_speed="0.000000")
        device.set("pci_busid", f"{gpu // 200:04x}:{_FIRST_BUS + gpu % 200:02x}:00.0")
        device.set("pci_type", "0302 [0000:0000] [0000:0000] 00")
        inner = ElementTree.SubElement(device, "object", type="OSDev", name=f"opencl0d{gpu}", osdev_type="5")
        ElementTree.SubElement(inner, "info", name="Backend", value="OpenCL")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _object(above: ElementTree.Element, kind: str, index: int, units: str) -> ElementTree.Element:
    found = ElementTree.SubElement(above, "object", type=kind, os_index=str(index))
    for name, value in (("cpuset", units), ("nodeset", "0x00000001")):
        found.set(name, value)
        found.set(f"complete_{name}", value)
    return found


def _bitmap(ids: Sequence[int]) -> str:
    """Words of 32 bits, the highest first."""
    value = sum(1 << one for one in ids)
    words = [value >> shift & 0xFFFFFFFF for shift in range(0, max(value.bit_length(), 1), 32)]
    return ",".join(f"0x{word:08x}" for word in reversed(words))
