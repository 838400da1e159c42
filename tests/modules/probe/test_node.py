"""What a rank tells of its machine, from a recorded tree; and that no file is opened but through ProcFS."""

from __future__ import annotations

import re
from pathlib import Path

from modules.probe.procfs import ProcFS
from modules.probe.registered.node import node

ROOT = Path(__file__).parents[3] / "modules/probe"
CPU = "processor\t: {0}\nmodel name\t: Big One\nphysical id\t: {1}\ncore id\t: {2}\n\n"


def test_processors_their_cores_and_threads_and_what_else_a_tree_says(tmp_path):
    files = {
        "proc/cpuinfo": "".join(CPU.format(n, n // 4, n // 2 % 2) for n in range(8)),
        "etc/os-release": 'NAME=x\nPRETTY_NAME="Some OS 1"\n',
        "proc/sys/kernel/random/boot_id": "b00t\n",
        "sys/class/net/eth0/speed": "1",
        "sys/devices/system/node/node0/x": "", "sys/devices/system/node/node1/x": "",
    }  # fmt: skip
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = node(3, False, ProcFS(tmp_path))
    assert found["topology"] == {"sockets": 2, "cores": 4, "threads": 8, "numa_nodes": 2}
    assert (found["cpu"], found["os"], found["boot_id"]) == ("Big One", "Some OS 1", "b00t")
    assert (found["id"], found["interfaces"]) == ("node-3", ["eth0"])


def test_what_a_machine_does_not_say_is_left_out(tmp_path):
    found = node(0, False, ProcFS(tmp_path))
    assert (found["topology"], found["cpu"], found["interfaces"]) == ({}, "", [])
    assert node(7, True) == {"id": "node-7", "name": "node/7", "rank": 7}


def test_files_of_the_kernel_are_opened_in_one_place():
    opens = re.compile(r"""(?:open|Path|listdir|isdir|exists)\(f?["'](?:/proc|/sys)""")
    told = [path.name for path in ROOT.rglob("*.py") if opens.search(path.read_text())]
    assert told == []
