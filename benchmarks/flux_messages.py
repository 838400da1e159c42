"""How many messages one operation costs each module, here and in Flux: the table of docs/flux-compat.md.

    python benchmarks/flux_messages.py [--flux FLUX] [--json]

Starts an instance of each kind with one rank, does every operation by one client with the same requests, and counts
what ``module.trace`` shows until it has been quiet for a moment; heartbeats are left out. Without ``flux`` on PATH only
our own column is made. Jobs are simulated on both sides, 0.01 s long; Flux's job modules are counted together.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha1
from typing import Any

from brokersim.net.client import Client
from brokersim.protocol import treeobj
from brokersim.protocol.message import FLAG_STREAMING

#: Seconds without a message after which an operation is over.
QUIET = 0.4
#: Modules by the name they have in Flux; job modules are one group, since ours are divided otherwise.
MODULES = ("kvs", "kvs-watch", "content", "content-sqlite", "cron", "config", "groups", "rexec", "jobs")
_NAMES = {"content-cache": "content"}
_JOBS = ("job-manager", "job-ingest", "job-exec", "job-info", "job-list", "sched", "sched-simple", "resource")
_ASKED = (
    "kvs",
    "kvs-watch",
    "content",
    "content-cache",
    "content-sqlite",
    "cron",
    "config",
    "groups",
    "rexec",
    *_JOBS,
)
_BEATS = ("heartbeat.", "overlay.")

Operation = Callable[[Client], object]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _put(*pairs: tuple[str, str], flags: int = 0) -> dict[str, Any]:
    ops = [
        {"key": key, "flags": flags, "dirent": {"ver": 1, "type": "val", "data": _base64(value)}}
        for key, value in pairs
    ]
    return {"namespace": "primary", "flags": 0, "ops": ops}


def _commit(*ops: dict[str, Any], flags: int = 0) -> Operation:
    return lambda client: client.rpc("kvs.commit", {"namespace": "primary", "flags": flags, "ops": list(ops)})


def _rpc(topic: str, payload: Any = None) -> Operation:
    return lambda client: client.rpc(topic, payload)


def _raw(topic: str, payload: bytes) -> Operation:
    return lambda client: client.rpc(topic, payload, raw=True)


def _lookup(key: str, flags: int = 0) -> Operation:
    return _rpc("kvs.lookup", {"key": key, "namespace": "primary", "flags": flags})


def _watch(client: Client) -> None:
    tag = client.send_request(
        "kvs-watch.lookup", {"key": "a", "namespace": "primary", "flags": 4}, flags=FLAG_STREAMING
    )
    client.recv_response(tag)
    client.rpc("kvs.commit", _put(("a", "watched")))
    client.recv_response(tag)
    client.send_request("kvs-watch.cancel", {"matchtag": tag}, flags=0)


def _exec(client: Client) -> None:
    cmd = {"cwd": "/", "cmdline": ["true"], "env": {"PATH": "/usr/bin:/bin"}, "opts": {}, "channels": []}
    for _ in client.stream("rexec.exec", {"cmd": cmd, "flags": 3, "local_flags": 0}):
        pass


def _job(client: Client) -> None:
    spec = {
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "exec": {"test": {"run_duration": "0.01s"}}}},
    }
    header = _base64(f"version\0i1\0userid\0i{os.getuid()}\0mechanism\0snone\0")
    body = _base64(json.dumps(spec))
    job = client.rpc("job-ingest.submit", {"J": f"{header}.{body}.none", "urgency": 16, "flags": 0})["id"]
    client.rpc("job-list.list-id", {"id": job, "attrs": ["state"]})


def _jobs(client: Client) -> None:
    for _ in range(10):
        _job(client)


def operations() -> dict[str, Operation]:
    """What is counted, in order: later ones find what earlier ones left."""
    empty = {"ver": 1, "type": "dir", "data": {}}
    link = {"ver": 1, "type": "symlink", "data": {"target": "a"}}
    return {
        "kvs put a=1": _commit(_put(("a", "1"))["ops"][0]),
        "kvs put, a value of 1,000 bytes": _commit(_put(("big", "x" * 1000))["ops"][0]),
        "kvs put of 100 keys": _rpc("kvs.commit", _put(*((f"k.{n}", str(n)) for n in range(100)))),
        "kvs put d.e.f=1": _commit(_put(("d.e.f", "1"))["ops"][0]),
        "kvs put --sync": _commit(_put(("s", "1"))["ops"][0], flags=4),
        "kvs put, the same again": _commit(_put(("a", "1"))["ops"][0]),
        "kvs eventlog append, first": _rpc("kvs.commit", _put(("log", "one\n"), flags=32)),
        "kvs eventlog append, second": _rpc("kvs.commit", _put(("log", "two\n"), flags=32)),
        "kvs mkdir": _commit({"key": "new", "flags": 0, "dirent": empty}),
        "kvs link": _commit({"key": "l", "flags": 0, "dirent": link}),
        "kvs unlink": _commit({"key": "l", "flags": 0, "dirent": None}),
        "kvs get a": _lookup("a"),
        "kvs get, a value of 1,000 bytes": _lookup("big"),
        "kvs dir k": _lookup("k", 1),
        "kvs getroot": _rpc("kvs.getroot", {"namespace": "primary", "flags": 0}),
        "kvs namespace create": _rpc(
            "kvs.namespace-create",
            {"namespace": "n", "rootref": treeobj.EMPTY_DIR_REF, "owner": os.getuid(), "flags": 0},
        ),
        "kvs namespace list": _rpc("kvs.namespace-list"),
        "kvs namespace remove": _rpc("kvs.namespace-remove", {"namespace": "n"}),
        "kvs get --watch, one change": _watch,
        "content store": _raw("content.store", b"some bytes"),
        "content load": _raw("content.load", sha1(b"some bytes").digest()),
        "content flush": _rpc("content.flush"),
        "content checkpoint list": _rpc("content.checkpoint-get", {}),
        "config get": _rpc("config.get"),
        "config load": _rpc("config.load", {"test": {"a": 1}}),
        "groups get": _rpc("groups.get", {"name": "broker.online"}),
        "cron interval, one hour": _rpc(
            "cron.create",
            {
                "type": "interval", "name": "x", "command": "true", "args": {"interval": 3600.0},
                "repeat": 1, "rank": 0, "task-history-count": 1, "stop-on-failure": 0,
            },
        ),
        "cron delete": _rpc("cron.delete", {"id": 1, "kill": False}),
        "exec true": _exec,
        "exec, the list": _rpc("rexec.list"),
        "event pub": _rpc("event.publish", {"topic": "some.thing", "flags": 0}),
        "module stats kvs": _rpc("kvs.stats-get"),
        "ping kvs": _rpc("kvs.ping", {"seq": 1}),
        "submit one job": _job,
        "submit ten jobs": _jobs,
    }  # fmt: skip


class Trace:
    """Counts what a module.trace stream shows."""

    def __init__(self, uri: str) -> None:
        self._client = Client.connect(uri)
        wish = {"typemask": 15, "topic_glob": "*", "names": list(_ASKED), "full": False}
        self._tag = self._client.send_request("module.trace", wish, flags=FLAG_STREAMING)

    def records(self) -> Iterator[dict[str, Any]]:
        """What came since the last look, until nothing came for a moment."""
        while (message := self._client.recv_within(self._tag, QUIET)) is not None:
            if message.errnum:
                raise SystemExit(f"module.trace: {message.payload_str}")
            yield message.payload

    def tally(self) -> dict[str, int]:
        """Messages by module; sent and received are both counted, by the module that did."""
        counts: Counter[str] = Counter()
        for record in self.records():
            if not record["topic"].startswith(_BEATS):
                counts[_group(record["name"])] += 1
        return {name: counts[name] for name in MODULES if counts[name]}


def _group(name: str) -> str:
    return "jobs" if name in _JOBS else _NAMES.get(name, name)


def inside(uri: str) -> dict[str, dict[str, int]]:
    """Do all operations in the instance at ``uri``, each by a client of its own that leaves afterwards."""
    trace = Trace(uri)
    trace.tally()
    found = {}
    for name, act in operations().items():
        with Client.connect(uri, timeout=20) as client:
            try:
                act(client)
            except OSError as error:
                found[name] = {"error": error.errno or -1}
        tally = trace.tally()
        found.setdefault(name, tally)
    return found


def run_in(*start: str) -> dict[str, dict[str, int]]:
    """The tallies of an instance started by a command."""
    command = (*start, sys.executable, __file__, "--inside")
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{' '.join(start)}: {done.stderr}")
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def rows(here: dict[str, dict[str, int]], there: dict[str, dict[str, int]]) -> Iterator[tuple[str, ...]]:
    """Operation, ours, Flux's, and whether they are equal."""
    for name, counts in here.items():
        other = there.get(name)
        verdict = "" if other is None else "yes" if other == counts else _apart(counts, other)
        yield name, _shown(counts), "" if other is None else _shown(other), verdict


def _apart(here: dict[str, int], there: dict[str, int]) -> str:
    names = [name for name in (*MODULES, "error") if here.get(name, 0) != there.get(name, 0)]
    return ", ".join(f"{name} {here.get(name, 0) - there.get(name, 0):+d}" for name in names)


def _shown(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flux", default=shutil.which("flux"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(inside(os.environ["FLUX_URI"])))
        return
    here = run_in("brokersim", "start", "--jobs", "real", "--")
    there = run_in(given.flux, "start") if given.flux else {}
    if given.json:
        print(json.dumps({"here": here, "flux": there}, indent=1))
        return
    print("| operation | here | Flux | equal |\n|---|---|---|---|")
    for row in rows(here, there):
        print(f"| {' | '.join(row)} |")
    if there:
        equal = sum(here[name] == there.get(name) for name in here)
        print(f"\n{equal} of {len(here)} operations are equal to the message.")


if __name__ == "__main__":
    main()
