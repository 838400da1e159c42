"""Knows a machine as hwloc writes it in XML: the processors and memory of its cores, the addresses of its gpus.

Cores are numbered in the order of the document, which is hwloc's logical order; gpus by the PCI device that a
coprocessor, or else a display device of it, stands in.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree

from brokersim.fluxapi.idset import IDset
from brokersim.protocol.ranks import bits

#: hwloc's numbers of kinds of operating system devices.
_GPU, _COPROCESSOR = "1", "5"
_BUS_ID: Final = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]")


class Topology:
    """Raises OSError(EINVAL) if the text is no topology."""

    def __init__(self, xml: str) -> None:
        try:
            root = ElementTree.fromstring(xml)
        except (ElementTree.ParseError, ValueError) as error:
            raise OSError(errno.EINVAL, f"not hwloc's XML: {error}") from None
        if root.tag != "topology":
            raise OSError(errno.EINVAL, f"not hwloc's XML: the document is a {root.tag}, not a topology")
        self._cores = [one for one in root.iter("object") if one.get("type") == "Core"]
        self._units = [one for one in root.iter("object") if one.get("type") == "PU"]
        self.gpus = _gpus(root)

    @property
    def units(self) -> int:
        """How many processing units (hardware threads) there are."""
        return len(self._units)

    def of_cores(self, cores: Iterable[int]) -> tuple[IDset, IDset]:
        """Processing units and memory nodes of cores. Raises OSError(ENOENT) if there is no such core."""
        found = [0, 0]
        for core in cores:
            if core >= len(self._cores):
                raise OSError(errno.ENOENT, f"core {core} not found in node topology")
            for at, name in enumerate(("cpuset", "nodeset")):
                found[at] |= _bitmap(self._cores[core].get(name, ""))
        return IDset(bits(found[0])), IDset(bits(found[1]))


def _gpus(root: ElementTree.Element) -> list[str]:
    """PCI addresses of gpus: of coprocessors, and where there are none, of what else a gpu shows itself by."""
    for kind in (_COPROCESSOR, _GPU):
        found = [
            device.get("pci_busid", "")
            for device in root.iter("object")
            if device.get("type") == "PCIDev"
            and any(one.get("osdev_type") == kind for one in device.iter("object"))
        ]
        if found:
            return [address for address in dict.fromkeys(found) if _BUS_ID.fullmatch(address)]
    return []


def _bitmap(text: str) -> int:
    """Words of 32 bits with commas, the highest first; an empty one is 0."""
    value = 0
    for word in text.split(","):
        try:
            value = value << 32 | int(word or "0", 16)
        except ValueError:
            raise OSError(errno.EINVAL, f"not hwloc's XML: {text[:40]!r} is no set") from None
    return value
