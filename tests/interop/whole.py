"""Knows how a whole instance is driven into a statsd server, and the truth of what it sent; no server.

Everything that moves is over when the truth is told, and the instance stays until the test has looked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from brokersim.services.composition import DEFAULT_MODULES

SIZE = 2
#: A module of every rank, and once more as a process. Its gauges differ by rank: no two may share a name.
MODULE = """\
from brokersim.brokermod import BrokerModule, request_handler

class Teller(BrokerModule):
    @request_handler("round")
    def round(self, msg):
        stats, rank, number = self.handle.stats, self.handle.rank, msg.payload["number"]
        stats.gauge_set("depth", 100.5 + rank)
        stats.gauge_set("below", -7 - rank)
        # As many start as end in the second round: a 0 without a sign would set the gauge.
        for _ in range((30, 5, 0)[number]):
            stats.gauge_inc("running", +1)
        for _ in range((0, 5, 15)[number]):
            stats.gauge_inc("running", -1)
        for ms in range(1, 41):
            stats.timing("load", ms + 0.5)
        stats.inc("hits", 3)
        stats.count("total", 100 + 50 * number)
        stats.flush()
        self.handle.respond(msg, {})
"""
ROUNDS = 3
_GAUGES = {"depth": 100.5, "below": -7, "running": 15}
_COUNTERS = {"hits": 3 * ROUNDS, "total": 50 * (ROUNDS - 1)}
_TIMINGS = {"load": 40 * ROUNDS}
DRIVER = """\
import json, os, subprocess, sys, time
from brokersim.net.client import Client

ranks, rounds = range(int(sys.argv[1])), int(sys.argv[2])
brokersim = [sys.executable, "-m", "brokersim"]
subprocess.run([*brokersim, "module", "load", "--exec", "-n", "far", "teller.py"], check=True)
client = Client.connect(os.environ["BROKERSIM_URI"], timeout=60)

def socket_of_server():
    "What waits there, in bytes, and how many packets the kernel has dropped: the server is the slowest of all."
    port = int(os.environ["BROKERSIM_STATS"].partition(",")[0].rpartition(":")[2])
    rows = [row.split() for table in ("udp", "udp6") for row in open("/proc/net/" + table).readlines()[1:]]
    own = [row for row in rows if int(row[1].rpartition(":")[2], 16) == port]
    return sum(int(row[4].partition(":")[2], 16) for row in own), sum(int(row[-1]) for row in own)

def calm():
    "Its buffer holds some 270 packets. On a busy machine it reads late: more than one step at a time would not fit."
    while socket_of_server()[0]:
        time.sleep(0.01)

def modules():
    return {rank: client.rpc("module.list", {}, nodeid=rank)["mods"] for rank in ranks}

def counts(look):
    return [(each["tx"], each["rx"]) for loaded in look.values() for each in loaded]

for rank, loaded in modules().items():
    for each in loaded:
        client.rpc(each["name"] + ".debug", {"op": "setbit", "flags": 0x1000}, nodeid=rank)
        calm()
for number in range(rounds):
    client.rpc("far.round", {"number": number}, nodeid=0)
    calm()
    for rank in ranks:
        client.rpc("teller.round", {"number": number}, nodeid=rank)
        calm()
for number in range(50):
    client.rpc("content.store", b"blob %d" % number, nodeid=ranks[-1], raw=True)
    calm()
subprocess.run([*brokersim, "kvs", "put", "a=1", "b.c=2"], check=True)
calm()
client.rpc("module.remove", {"name": "heartbeat"})
client.rpc("content.flush", b"", raw=True)
# An event may still be on its way down; looking is not counted.
looks = [modules()]
while len(looks) < 4 or any(counts(look) != counts(looks[-1]) for look in looks[-4:]):
    looks.append(modules())
calm()
print(json.dumps({"looks": looks[-1], "dropped": socket_of_server()[1]}), flush=True)
sys.stdin.read()
"""


@attrs.define(eq=False)
class Truth:
    """What a server has to show: values of gauges, sums of counters, how many timings, by the sender's names."""

    gauges: dict[str, float] = attrs.field(factory=dict)
    counters: dict[str, float] = attrs.field(factory=dict)
    timings: dict[str, int] = attrs.field(factory=dict)

    def tell(self, module: str, rank: int, told: dict[str, Any]) -> None:
        """A module as `module.list` has it."""
        prefix = f"flux.{module}.{rank}"
        for way in ("tx", "rx"):
            for kind, count in told[way].items():
                kind = "keepalive" if kind == "control" else kind
                self.gauges[f"{prefix}.{kind}_{way}"] = count
        for name, timing in told.get("figures", {}).get("timings", {}).items():
            if timing["count"]:
                self.timings[f"{prefix}.{name}"] = timing["count"]
        if module in ("teller", "far"):
            self.gauges |= {f"{prefix}.{name}": value for name, value in _GAUGES.items()}
            self.gauges[f"{prefix}.depth"] += rank
            self.gauges[f"{prefix}.below"] -= rank
            self.counters |= {f"{prefix}.{name}": value for name, value in _COUNTERS.items()}
            self.timings |= {f"{prefix}.{name}": count for name, count in _TIMINGS.items()}


@contextmanager
def instance(folder: Path, *options: str) -> Iterator[Truth]:
    """``brokersim start OPTIONS`` that has worked and is at rest: what it has sent by now."""
    (folder / "teller.py").write_text(MODULE)
    (folder / "drive.py").write_text(DRIVER)
    modules = ",".join(name for name in DEFAULT_MODULES if name not in ("resource", "job-info")) + ",teller"
    command = [
        sys.executable, "-m", "brokersim", "start", "-s", str(SIZE), "-M", str(folder), "-m", modules, *options,
        "--", sys.executable, "drive.py", str(SIZE), str(ROUNDS),
    ]  # fmt: skip
    with (folder / "instance.log").open("wb") as log:
        running = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        line = running.stdout.readline()
        assert line, (folder / "instance.log").read_text()
        told = json.loads(line)
        assert not told["dropped"], f"the kernel dropped {told['dropped']} packets: the server read too late"
        truth = Truth()
        for rank, loaded in told["looks"].items():
            for each in loaded:
                if each["name"] != "heartbeat":
                    truth.tell(each["name"], int(rank), each)
        yield truth
    finally:
        running.stdin.close()
        running.wait(20)
        running.stdout.close()
