"""A scheduler that hands out the cores of one node, first in, first out (RFC 27).

The same file in both: unload the scheduler there is, then `module load ./fifo.py [CORES]`.
"""

import errno
import json

import flux.kvs
from flux.brokermod import BrokerModule, request_handler
from flux.constants import FLUX_RPC_STREAMING
from flux.job import JobID

ALLOCATED, DENIED, CANCELLED = 0, 2, 3


class Fifo(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        self.free_cores = list(range(int(args[0]) if args else 4))
        self.held = {}
        self.queue = []
        h.service_register("sched").then(lambda future: future.get())
        h.rpc("job-manager.sched-hello", {}, flags=FLUX_RPC_STREAMING).then(self.hello)

    def hello(self, future):
        """Jobs that hold resources from before, one an answer; after the last one, say we are ready."""
        try:
            job = json.loads(future.get_str())
            cores = cores_of(job["R"])
            self.held[job["id"]] = cores
            self.free_cores = [core for core in self.free_cores if core not in cores]
            future.reset()
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            self.handle.rpc("job-manager.sched-ready", {"mode": "unlimited"}).then(lambda ready: ready.get())

    @request_handler("sched.alloc", prefix=False)
    def alloc(self, msg):
        job = msg.payload
        needed = cores_needed(job["jobspec"]["resources"])
        if needed > len(self.free_cores) + sum(len(cores) for cores in self.held.values()):
            self.handle.respond(
                msg, {"id": job["id"], "type": DENIED, "note": f"{needed} cores are not there"}
            )
            return
        self.queue.append((job["id"], needed, msg))
        self.serve()

    @request_handler("sched.free", prefix=False)
    def free(self, msg):
        self.free_cores += self.held.pop(msg.payload["id"], [])
        self.serve()

    @request_handler("sched.cancel", prefix=False)
    def cancel(self, msg):
        for entry in [entry for entry in self.queue if entry[0] == msg.payload["id"]]:
            self.queue.remove(entry)
            self.handle.respond(entry[2], {"id": entry[0], "type": CANCELLED})

    @request_handler("sched.prioritize", prefix=False)
    def prioritize(self, msg):
        """First in, first out: priorities change nothing."""

    def serve(self):
        while self.queue and self.queue[0][1] <= len(self.free_cores):
            job, needed, msg = self.queue.pop(0)
            cores = self.held[job] = [self.free_cores.pop(0) for _ in range(needed)]
            children = {"core": ",".join(map(str, sorted(cores)))}
            execution = {"R_lite": [{"rank": "0", "children": children}], "starttime": 0.0, "expiration": 0.0}
            r = {"version": 1, "execution": {**execution, "nodelist": [self.handle.attr_get("hostlist")]}}
            flux.kvs.put(self.handle, f"{JobID(job).kvs}.R", r)
            flux.kvs.commit(self.handle)
            self.handle.respond(msg, {"id": job, "type": ALLOCATED, "R": r})


def cores_needed(resources):
    """Cores of a jobspec's resource tree."""
    total = 0
    for vertex in resources:
        below = cores_needed(vertex["with"]) if "with" in vertex else 1
        total += vertex["count"] * (below if "with" in vertex or vertex["type"] == "core" else 0)
    return total


def cores_of(r):
    """The cores in an R object."""
    found = []
    for entry in r["execution"]["R_lite"]:
        for span in entry["children"]["core"].split(","):
            first, _, last = span.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found
