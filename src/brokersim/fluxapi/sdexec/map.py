"""Knows which systemd properties keep a job on its cores and gpus; the machine's shape is hwloc's.

Sites subclass these: another ``map_gpus``, a ``map_<kind>`` for another kind of resource, ``finalize_properties``.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.resource.ResourceSet import ResourceSet
from brokersim.fluxapi.sdexec.hwloc import Topology

_PCI: Final = Path("/sys/bus/pci/devices")
_NVIDIA: Final = Path("/proc/driver/nvidia/gpus")
_DEV: Final = Path("/dev")
#: What every job with an NVIDIA gpu opens, where it is there.
_NVIDIA_SHARED: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: Upper bounds, of which a job gets its share; what is guaranteed (MemoryMin, MemoryLow) is each job's own.
_SHARED: Final = ("MemoryHigh", "MemoryMax", "MemorySwapMax")


class ResourceMapper:
    """Calls ``map_<kind>(ids)`` for each kind of resource that a rank has of a job's, and joins what they say."""

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank

    def map(self, R: object, extra_properties: Mapping[str, str] | None = None) -> dict[str, str]:
        """Properties of the unit that runs the job's part on this rank. Raises OSError, ValueError."""
        if not isinstance(R, ResourceSet):
            R = ResourceSet(R)
        properties: dict[str, str] = {}
        for kind, ids in R.impl._ranks.get(self._rank, {}).items():
            method = getattr(self, f"map_{kind}", None)
            if method is not None:
                properties.update(method(str(IDset(ids))))
        return self.finalize_properties(properties, R, extra_properties=extra_properties)

    def finalize_properties(
        self, properties: dict[str, str], R: object, extra_properties: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The last word: other devices than those allowed are closed to who is constrained at all."""
        if properties:
            properties["DevicePolicy"] = "closed"
        return properties


class HwlocMapper(ResourceMapper):
    """Made from hwloc's XML of the node. Raises OSError(EINVAL)."""

    def __init__(self, xml: str, rank: int = 0) -> None:
        super().__init__(rank)
        self._topology = Topology(xml)

    def map_cores(self, cores: str) -> dict[str, str]:
        """Raises OSError(ENOENT) if there is no such core."""
        units, nodes = self._topology.of_cores(IDset(cores))
        return {"AllowedCPUs": str(units), "AllowedMemoryNodes": str(nodes)}

    def map_gpus(self, gpus: str) -> dict[str, str]:
        """Raises OSError if there is no such gpu, or its devices are not there."""
        devices: list[str] = []
        for gpu in IDset(gpus):
            if gpu >= len(self._topology.gpus):
                text = f"gpu{gpu} not found in local topology (gpu count={len(self._topology.gpus)})"
                raise OSError(errno.ENOENT, f"failed to map GPUs: {text}")
            devices += self._discover_gpu_devices(self._topology.gpus[gpu])
        return {"DeviceAllow": ",".join(dict.fromkeys(devices))} if gpus else {}

    def finalize_properties(
        self, properties: dict[str, str], R: object, extra_properties: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """And of memory a share like that of the processors."""
        super().finalize_properties(properties, R, extra_properties=extra_properties)
        if "AllowedCPUs" in properties and self._topology.units:
            share = len(IDset(properties["AllowedCPUs"])) / self._topology.units
            given = extra_properties or {}
            scaled = {name: _share(given[name], share) for name in _SHARED if given.get(name)}
            properties.update({name: value for name, value in scaled.items() if value is not None})
        return properties

    # -- devices, as sysfs has them; drivers differ, so what is not there is passed over where it may be

    def _discover_gpu_devices(self, pci_addr: str) -> list[str]:
        place = _PCI / pci_addr
        drm = self._discover_drm_devices(place)
        driver = self._get_driver_name(place) or ""
        if "nvidia" in driver:
            return drm + self._discover_nvidia_devices(place)
        if "amdgpu" in driver:
            if not drm:
                raise OSError(errno.ENODEV, f"GPU {pci_addr}: no /dev/dri devices found")
            return drm + self._discover_amd_devices(place)
        return drm

    def _get_driver_name(self, pci_path: Path) -> str | None:
        link = pci_path / "driver"
        return link.resolve().name.lower() if link.exists() else None

    def _discover_drm_devices(self, pci_path: Path) -> list[str]:
        folder = pci_path / "drm"
        names = sorted(one.name for one in folder.iterdir()) if folder.exists() else []
        return _writable(_DEV / "dri" / name for name in names)

    def _discover_nvidia_devices(self, pci_path: Path) -> list[str]:
        """The number of the device is the driver's, not that of its card under DRM."""
        told = _NVIDIA / pci_path.name / "information"
        lines = told.read_text().splitlines() if told.exists() else []
        minor = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("Device Minor:")), None
        )
        if minor is None:
            raise OSError(errno.ENODEV, f"GPU {pci_path.name}: Device Minor not found in {told}")
        device = _DEV / f"nvidia{int(minor)}"
        if not device.exists():
            raise OSError(errno.ENODEV, f"GPU {pci_path.name}: {device} not found")
        return [f"{device} rw", *_writable(_DEV / name for name in _NVIDIA_SHARED)]

    def _discover_amd_devices(self, pci_path: Path) -> list[str]:
        device = _DEV / "kfd"
        if not device.exists():
            raise OSError(errno.ENODEV, f"GPU {pci_path.name}: {device} not found")
        return [f"{device} rw"]


def _writable(paths: Iterable[Path]) -> list[str]:
    return [f"{path} rw" for path in paths if path.exists()]


def _share(text: str, share: float) -> str | None:
    """So much of a size or percentage as systemd writes it; None where there is no bound that is understood."""
    try:
        value, is_percent = _parse_size(text)
    except ValueError:
        return None
    if math.isinf(value):
        return None
    return f"{round(value * share)}%" if is_percent else str(int(value * share))


def _parse_size(text: str) -> tuple[float, bool]:
    """Bytes, or a percentage and True. Raises ValueError."""
    text = text.strip()
    if text.lower() in ("infinity", "inf"):
        return math.inf, False
    try:
        if text.endswith("%"):
            return float(text[:-1]), True
        unit = _UNITS.get(text[-1:].upper(), 1)
        return float(text[:-1] if unit > 1 else text) * unit, False
    except ValueError:
        raise ValueError(f"invalid memory size: {text!r:.40}; give 512M, 50% or infinity") from None
