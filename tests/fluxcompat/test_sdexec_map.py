"""`flux.sdexec.map`: a job's cores and gpus as properties of a systemd unit, for nodes as hwloc writes them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from brokersim.fluxapi.sdexec import map as sdexec
from brokersim.fluxapi.sdexec.map import HwlocMapper, ResourceMapper
from modules.resource.topology import topology

#: Two cores of two threads each, on two memory nodes; two gpus, one of them shown twice, and a network card.
XML = """<?xml version="1.0"?>
<topology version="2.0"><object type="Machine">
 <object type="Core" os_index="4" cpuset="0x00000011" nodeset="0x00000001">
  <object type="PU" os_index="0"/><object type="PU" os_index="4"/></object>
 <object type="Core" os_index="0" cpuset="0x00000001,,0x00000002" nodeset="0x00000002">
  <object type="PU" os_index="1"/><object type="PU" os_index="64"/></object>
 <object type="Bridge">
  <object type="PCIDev" pci_busid="0000:02:00.0"><object type="OSDev" osdev_type="2"/></object>
  <object type="PCIDev" pci_busid="0000:03:00.0">
   <object type="OSDev" name="cuda0" osdev_type="5"/><object type="OSDev" name="opencl0d0" osdev_type="5"/></object>
  <object type="PCIDev" pci_busid="0000:04:00.0"><object type="OSDev" name="cuda1" osdev_type="5"/></object>
 </object></object></topology>"""


def R(**children: str) -> dict[str, Any]:
    return {"version": 1, "execution": {"R_lite": [{"rank": "1", "children": children}]}}


def test_a_jobs_cores_are_processors_and_memory_of_its_rank_only() -> None:
    mapper = HwlocMapper(XML, rank=1)
    assert mapper.map(R(core="0")) == {
        "AllowedCPUs": "0,4", "AllowedMemoryNodes": "0", "DevicePolicy": "closed",
    }  # fmt: skip
    assert mapper.map_cores("0-1") == {"AllowedCPUs": "0-1,4,64", "AllowedMemoryNodes": "0-1"}
    assert HwlocMapper(XML, rank=0).map(R(core="0")) == {}
    with pytest.raises(OSError, match="core 2 not found") as caught:
        mapper.map_cores("2")
    assert caught.value.errno == errno.ENOENT


def test_a_jobs_share_of_memory_is_like_that_of_its_processors() -> None:
    given = {"MemoryMax": "1G", "MemoryHigh": "50%", "MemorySwapMax": "infinity", "MemoryLow": "1G"}
    found = HwlocMapper(XML, rank=1).map(R(core="0"), extra_properties=given)
    assert {name: found.get(name) for name in given} == {
        "MemoryMax": str(2**29), "MemoryHigh": "25%", "MemorySwapMax": None, "MemoryLow": None,
    }  # fmt: skip
    assert "MemoryMax" not in HwlocMapper(XML, rank=1).map(
        R(core="0"), extra_properties={"MemoryMax": "lots"}
    )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders in the place of /sys, /proc and /dev."""
    for name, folder in (("_PCI", "pci"), ("_NVIDIA", "nvidia"), ("_DEV", "dev")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(sdexec, name, tmp_path / folder)
    return tmp_path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def card(machine: Path, address: str, driver: str, *drm: str) -> None:
    touch(*(machine / "pci" / address / "drm" / name / "x" for name in drm))
    touch(*(machine / "dev" / "dri" / name for name in drm))
    (machine / "drivers" / driver).mkdir(parents=True, exist_ok=True)
    place = machine / "pci" / address
    place.mkdir(exist_ok=True)
    (place / "driver").symlink_to(machine / "drivers" / driver)


def devices(machine: Path, gpus: str) -> list[str]:
    found = HwlocMapper(XML).map_gpus(gpus)["DeviceAllow"]
    assert all(one.endswith(" rw") for one in found.split(","))
    return [one.removesuffix(" rw").removeprefix(f"{machine}/dev/") for one in found.split(",")]


def test_gpus_of_nvidia_have_the_number_their_driver_says(machine: Path) -> None:
    card(machine, "0000:03:00.0", "nvidia", "renderD128")
    touch(machine / "dev" / "nvidia5", machine / "dev" / "nvidiactl")
    told = machine / "nvidia" / "0000:03:00.0" / "information"
    with pytest.raises(OSError, match="Device Minor not found"):
        devices(machine, "0")
    touch(told)
    told.write_text("Model: x\nDevice Minor: \t 5\n")
    assert devices(machine, "0") == ["dri/renderD128", "nvidia5", "nvidiactl"]
    told.write_text("Device Minor: 6\n")
    with pytest.raises(OSError, match="nvidia6 not found") as caught:
        devices(machine, "0")
    assert caught.value.errno == errno.ENODEV


def test_gpus_of_amd_share_one_device(machine: Path) -> None:
    card(machine, "0000:03:00.0", "amdgpu", "card0", "renderD128")
    card(machine, "0000:04:00.0", "amdgpu", "card1")
    with pytest.raises(OSError, match="kfd not found"):
        devices(machine, "0")
    touch(machine / "dev" / "kfd")
    assert devices(machine, "0-1") == ["dri/card0", "dri/renderD128", "kfd", "dri/card1"]
    (machine / "dev" / "dri" / "card1").unlink()
    with pytest.raises(OSError, match="no /dev/dri devices"):
        devices(machine, "1")
    with pytest.raises(OSError, match=r"gpu2 not found in local topology \(gpu count=2\)"):
        devices(machine, "2")


def test_a_site_adds_kinds_and_has_the_last_word() -> None:
    class Site(ResourceMapper):
        def map_cores(self, cores: str) -> dict[str, str]:
            return {"CPUs": cores}

        def finalize_properties(self, properties: dict[str, str], R: Any, **more: Any) -> dict[str, str]:
            return super().finalize_properties({**properties, "Ranks": str(R.ranks)}, R, **more)

    assert Site(1).map(R(core="0-2", gpu="0")) == {"CPUs": "0-2", "Ranks": "1", "DevicePolicy": "closed"}


@pytest.mark.parametrize(
    "text", ["not xml", "<other/>", '<topology><object type="Core" cpuset="x"/></topology>']
)
def test_what_is_no_topology_is_refused(text: str) -> None:
    with pytest.raises(OSError, match="not hwloc's XML") as caught:
        HwlocMapper(text).map_cores("0")
    assert caught.value.errno == errno.EINVAL


def test_simulated_nodes_are_written_as_hwloc_would(machine: Path) -> None:
    r = {"execution": {"R_lite": [{"rank": "0-1", "children": {"core": "0-39", "gpu": "0-1"}}]}}
    mapper = HwlocMapper(topology(r, 1))
    assert mapper.map_cores("31-33") == {"AllowedCPUs": "31-33", "AllowedMemoryNodes": "0"}
    card(machine, "0000:11:00.0", "other", "card0")
    found = mapper.map_gpus("1")
    assert found == {"DeviceAllow": f"{machine}/dev/dri/card0 rw"}
    with pytest.raises(ValueError, match="no rank 2"):
        topology(r, 2)
