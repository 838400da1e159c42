"""What the shipped modules are asked in one suite: each scenario drives some of them through most of what they do.

Scenarios assert nothing themselves: counters and laws do (tests/kit/test_shipped.py, benchmarks/mutants.py).
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from brokersim.brokermod import RequestError, treeobj
from brokersim.protocol import jobspec as specs
from brokersim.testing import Broker, Impatient

PRIMARY = {"namespace": "primary", "flags": 0}
#: Chain of three ranks: a request that skips one is seen.
CHAIN = {"size": 3, "fanout": 1}


async def ask(broker: Broker, topic: str, payload: Any = None, **more: Any) -> Any:
    """An answer, or None: an error or silence is for the counters and laws to judge."""
    try:
        return await broker.rpc(topic, payload, timeout=20, **more)
    except (RequestError, Impatient):
        return None


async def follow(broker: Broker, topic: str, payload: Any) -> list[Any]:
    """A stream to its end, whatever that is."""
    try:
        return await broker.stream(topic, payload, timeout=20)
    except (RequestError, Impatient):
        return []


def put(key: str, data: bytes | None, flags: int = 0) -> dict[str, Any]:
    return {"key": key, "flags": flags, "dirent": None if data is None else treeobj.val(data)}


async def commit(broker: Broker, *ops: dict[str, Any], **more: Any) -> Any:
    nodeid = {"nodeid": more.pop("nodeid")} if "nodeid" in more else {}
    return await ask(broker, "kvs.commit", {**PRIMARY, "ops": list(ops), **more}, **nodeid)


async def look(broker: Broker, key: str, **more: Any) -> Any:
    nodeid = {"nodeid": more.pop("nodeid")} if "nodeid" in more else {}
    return await ask(broker, "kvs.lookup", {**PRIMARY, "key": key, **more}, **nodeid)


async def leave(broker: Broker, topic: str, payload: Any, *, nodeid: int = 0, stream: bool = False) -> None:
    """A client that asks, waits a moment for what comes, and goes: its streams and waits end with it."""
    client = broker.instance.client()
    send = client.stream if stream else client.request
    send(topic, payload, lambda *_: None, None, nodeid)
    await broker.advance(0.1)
    client.close()
    await broker.advance(0.1)


# -- scenarios


async def heartbeat(broker: Broker) -> None:
    await broker.advance(7)
    await ask(broker, "heartbeat.period")
    await ask(broker, "heartbeat.period", {"period": 0.5})
    await broker.advance(3)
    await ask(broker, "heartbeat.period", {"period": -1})
    await ask(broker, "heartbeat.stats-get")


async def kvs_alone(broker: Broker) -> None:
    await commit(broker, put("a.b", b"1"), put("a.c", b"x" * 3000), put("d", b"2"))
    for key in ("a.b", "a.c", "a", "none", "a.b.c", "d"):
        await look(broker, key)
    await look(broker, "a", flags=1)
    await commit(broker, put("d", b"3", 32), flags=4)
    await commit(broker, put("d", None), put("a.b", b"7"))
    await commit(broker, {"key": "", "flags": 0, "dirent": None})
    await commit(broker, {"key": "l", "flags": 0, "dirent": treeobj.symlink("a.b")})
    await look(broker, "l")
    root = await ask(broker, "kvs.getroot", PRIMARY)
    await look(broker, "a.c", rootref=(root or {}).get("rootref"))
    await ask(broker, "kvs.getroot", {"namespace": "none"})
    await _namespaces(broker)
    await ask(broker, "content.dropcache")
    await broker.advance(25)
    await look(broker, "a.c")
    await leave(broker, "kvs.wait-version", {"rootseq": 1000, "namespace": "primary"})
    await ask(broker, "kvs.stats-get")


async def _namespaces(broker: Broker) -> None:
    for _ in range(2):
        await ask(broker, "kvs.namespace-create", {"namespace": "guest"})
    await commit(broker, put("k", b"v"), namespace="guest")
    await look(broker, "k", namespace="guest")
    client = broker.instance.client()
    client.request("kvs.wait-version", {"rootseq": 2, "namespace": "guest"}, lambda *_: None)
    await commit(broker, put("k", b"w"), namespace="guest")
    await broker.settle()
    client.close()
    await ask(broker, "kvs.namespace-list")
    await ask(broker, "kvs.namespace-remove", {"namespace": "guest"})
    await ask(broker, "kvs.namespace-remove", {"namespace": "primary"})
    await look(broker, "k", namespace="guest")


async def kvs_chain(broker: Broker) -> None:
    await commit(broker, put("a.b", b"1"), put("big", b"y" * 5000), nodeid=2)
    for rank in (2, 1, 0):
        await look(broker, "a.b", nodeid=rank)
        await look(broker, "big", nodeid=rank)
        await look(broker, "none", nodeid=rank, namespace="none")
    await ask(broker, "kvs.namespace-create", {"namespace": "guest"}, nodeid=2)
    await commit(broker, put("k", b"v"), namespace="guest", nodeid=2)
    await look(broker, "k", namespace="guest", nodeid=1)
    await ask(broker, "kvs.namespace-list", nodeid=2)
    await ask(broker, "kvs.wait-version", {"rootseq": 1, "namespace": "guest"}, nodeid=1)
    await ask(broker, "kvs.namespace-remove", {"namespace": "guest"}, nodeid=1)
    await commit(broker, {"key": "a", "flags": 99, "dirent": 1}, nodeid=2)
    await broker.advance(5)
    await leave(broker, "kvs.wait-version", {"rootseq": 1000, "namespace": "primary"}, nodeid=2)


async def watching(broker: Broker) -> None:
    await commit(broker, put("w.a", b"1"))
    for flags in (4, 4 | 8, 4 | 64, 4 | 128, 4 | 256, 0, 512, 4 | 512, 1 << 20):
        client = broker.instance.client()
        key = "w.new" if flags & 8 else "w.a"
        request = client.stream(
            "kvs-watch.lookup", {"key": key, "namespace": "primary", "flags": flags}, lambda *_: None
        )
        for number in range(2):
            await commit(broker, put(key, b"v%d" % (flags + number)), put("w.other", b"%d" % number))
        await commit(broker, put(key, b"more", 32))
        await broker.settle()
        client.request("kvs-watch.cancel", {"matchtag": request.matchtag})
        await broker.settle()
        client.close()
    await leave(broker, "kvs-watch.lookup", {"key": "w.a", "namespace": "primary", "flags": 4}, stream=True)
    await ask(broker, "kvs.namespace-create", {"namespace": "short"})
    client = broker.instance.client()
    for key in ("x", "y"):
        client.stream("kvs-watch.lookup", {"key": key, "namespace": "short", "flags": 4 | 8}, lambda *_: None)
    await commit(broker, put("x", b"1"), namespace="short")
    await ask(broker, "kvs.namespace-remove", {"namespace": "short"})
    await broker.settle()
    client.close()
    await follow(broker, "kvs-watch.lookup", {"key": "none", "namespace": "primary", "flags": 4})
    await follow(broker, "kvs-watch.lookup", {"key": "x", "namespace": "none", "flags": 4})
    await ask(broker, "kvs-watch.stats-get")


async def content(broker: Broker) -> None:
    blobs = [bytes([number]) * (100 + number) for number in range(5)]
    for blob in (*blobs, blobs[0]):
        await ask(broker, "content.store", blob)
    await broker.advance(0.1)
    digest = [hashlib.sha1(blob).digest() for blob in blobs]
    await ask(broker, "content.load", digest[0])
    await ask(broker, "content.flush")
    await ask(broker, "content.dropcache")
    for wanted in (digest[1], digest[1], bytes(20), b"short"):
        await ask(broker, "content.load", wanted)
    value = {"key": "k", "value": {"a": 1}}
    await ask(broker, "content.checkpoint-put", value)
    for key in ("k", "none"):
        await ask(broker, "content.checkpoint-get", {"key": key})
    await ask(broker, "content-backing.store", b"just stored")
    await ask(broker, "content-backing.load", hashlib.sha1(b"just stored").digest())
    await ask(broker, "content-backing.load", b"x")
    for wanted in (digest[2], bytes(20)):
        await ask(broker, "content-backing.load", wanted)
    await ask(broker, "content.register-backing", {"name": "other"})
    await ask(broker, "content.unregister-backing")
    await ask(broker, "content.store", b"waits")
    for topic in ("content.flush", "content.unregister-backing"):
        await ask(broker, topic)
    await ask(broker, "content.checkpoint-get", {"key": "k"})
    await ask(broker, "content.load", digest[3])
    await ask(broker, "content.load", hashlib.sha1(b"none").digest())
    broker.instance.client().request("content-backing.announce")  # never answered, so not asked to be
    await broker.advance(3)
    await ask(broker, "content.flush")
    await ask(broker, "content-cache.stats-get")
    await ask(broker, "content-sqlite.stats-get")
    await leave(broker, "content.flush", None)


async def content_chain(broker: Broker) -> None:
    for rank in (2, 1, 2):
        await ask(broker, "content.store", b"from the leaf", nodeid=rank)
    await ask(broker, "content.store", b"another", nodeid=2)
    digest = hashlib.sha1(b"at the root").digest()
    await ask(broker, "content.store", b"at the root")
    for rank in (2, 1, 2):
        await ask(broker, "content.load", digest, nodeid=rank)
    for topic in ("content.flush", "content.dropcache"):
        await ask(broker, topic, nodeid=2)
    await ask(broker, "content.load", bytes(20), nodeid=2)
    await ask(broker, "content.checkpoint-get", {"key": "k"}, nodeid=2)
    await ask(broker, "content.checkpoint-put", {"key": "k", "value": {"b": 2}}, nodeid=1)
    await ask(broker, "content.register-backing", {"name": "here"}, nodeid=1)
    await broker.advance(5)


async def disk_full(broker: Broker) -> None:
    with broker.fault("fill-disk") as fault:
        for number in range(8):
            await ask(broker, "content.store", bytes([number]) * 3000)
            await broker.advance(0.05)
        await ask(broker, "content.flush")
        await ask(broker, "content.checkpoint-put", {"key": "k", "value": {}})
        assert fault.hits
    await broker.advance(5)
    await ask(broker, "content.flush")


async def cron(broker: Broker) -> None:
    async def create(kind: str, command: str, args: dict[str, Any], **more: Any) -> Any:
        return await ask(
            broker, "cron.create", {"type": kind, "name": "e", "command": command, "args": args, **more}
        )

    ping = {"topic": "heartbeat.period", "payload": {}}
    await create("interval", "event:tick", {"interval": 3})
    await create("interval", "-", {"interval": 4, "message": ping}, repeat=2)
    await create("interval", "-", {"interval": 5, "message": {"topic": "no.such"}}, **{"stop-on-failure": 2})
    await create("event", "event:tock", {"topic": "heartbeat.pulse", "nth": 3})
    await create("event", "event:tack", {"topic": "news"})
    await create("datetime", "event:noon", {"minute": "*/1"})
    await create("interval", "event:x", {"interval": -1})
    await create("never", "event:x", {})
    for _ in range(2):
        await broker.publish("news.today")
        await broker.advance(20)
    for topic, entry in (("stop", 1), ("stop", 1), ("start", 1), ("stop", 99), ("start", 99)):
        await ask(broker, f"cron.{topic}", {"id": entry})
        await broker.advance(7)
    await ask(broker, "cron.sync", {"topic": "heartbeat.pulse"})
    await broker.advance(9)
    await ask(broker, "cron.sync", {"disable": True})
    await ask(broker, "cron.sync", {})
    await broker.advance(9)
    await ask(broker, "cron.list")
    for entry in (1, 4, 5, 99):
        await ask(broker, "cron.delete", {"id": entry})
    await broker.advance(12)
    await ask(broker, "cron.stats-get")


def envelope(*command: str, slots: int = 1, **system: Any) -> dict[str, Any]:
    spec = specs.build(list(command or ("true",)), run_time=system.pop("run_time", 0.1))
    spec["resources"][0]["count"] = slots
    spec["attributes"]["system"].update(system)
    return {"J": specs.sign(spec, os.getuid()), "urgency": 16, "flags": 0}


async def jobs(broker: Broker) -> None:
    """One job after the other through everything, several at once, and what people do to them."""

    async def submit(urgency: int = 16, **more: Any) -> int:
        answer = await ask(broker, "job-ingest.submit", envelope(**more) | {"urgency": urgency})
        return int((answer or {"id": 0})["id"])

    async def manage(topic: str, job: int, **more: Any) -> None:
        await ask(broker, f"job-manager.{topic}", {"id": job, **more})

    first = await submit()
    await manage("wait", first)
    for log in ("eventlog", "guest.exec.eventlog", "guest.output"):
        await follow(broker, "job-info.eventlog-watch", {"id": first, "path": log, "flags": 0})
    await ask(broker, "job-info.lookup", {"id": first, "keys": ["R", "jobspec", "J"], "flags": 0})
    await ask(broker, "job-info.lookup", {"id": 5, "keys": ["R"], "flags": 0})
    many = [await submit(slots=slots, run_time=2.0) for slots in (1, 2, 3, 4)]
    held = await submit(urgency=0)
    await submit(slots=99)
    await manage("urgency", held, urgency=20)
    await manage("urgency", many[3], urgency=25)
    await manage("urgency", many[3], urgency=0)
    await manage("urgency", many[3], urgency=16)
    await manage("raise", many[2], type="cancel", severity=0, note="enough")
    await manage("kill", many[0], signum=15)
    for topic in ("raise", "kill", "urgency", "wait"):
        await manage(topic, 5, type="cancel", severity=0, signum=9, urgency=1)
    await _lists(broker, first)
    await ask(broker, "job-manager.drain")
    await _queue(broker, submit, manage)
    after = await submit(run_time=0.5)
    await submit(dependencies=[{"scheme": "afterok", "value": str(after)}])
    await submit(dependencies=[{"scheme": "afternotok", "value": str(after)}])
    await submit(duration=0.2, run_time=5.0)
    await ask(broker, "job-ingest.submit", {"J": "nonsense"})
    await ask(broker, "job-manager.drain")
    await _overtaken(broker, submit, manage)
    await broker.advance(3)


async def _overtaken(broker: Broker, submit: Any, manage: Any) -> None:
    """A waiting job is given the first place; what is done to the other shows which of them ran."""
    runs, late, early = [await submit(slots=4, run_time=1.0) for _ in range(3)]
    await broker.advance(0.2)
    await manage("urgency", early, urgency=30)
    await ask(broker, "sched.prioritize", {"jobs": [[late, 17]]})
    await manage("wait", early)
    await broker.advance(0.2)
    await manage("raise", late, type="cancel", severity=0)
    await ask(broker, "job-manager.drain")
    killed = await submit(run_time=9.0)
    await broker.advance(0.2)
    for job in (killed, runs):
        await ask(broker, "job-exec.kill", {"id": job, "signum": 15})
    await broker.publish("job-exception", {"id": "none"})
    await ask(broker, "job-manager.drain")


async def reloads(broker: Broker) -> None:
    """Modules go and come back while others need them."""
    await commit(broker, put("a", b"1"))
    await _reload(broker, "kvs")
    await look(broker, "a")
    await broker.unload("content-sqlite")
    await ask(broker, "content.store", b"waits for a disk")
    await ask(broker, "content.flush")
    await broker.load("content-sqlite")
    await ask(broker, "content.flush")
    for slots in (4, 4):
        await ask(broker, "job-ingest.submit", envelope(slots=slots, run_time=30.0))
    await broker.advance(1)
    for name in ("job-manager", "sched", "job-exec"):
        await _reload(broker, name)
        await broker.advance(5)
    await ask(broker, "job-manager.drain")
    await ask(broker, "job-ingest.submit", envelope())
    await ask(broker, "job-manager.drain")
    client = broker.instance.client()
    client.stream(
        "job-exec.start", {"id": 7, "userid": 0, "jobspec": specs.build(["x"], run_time=9)}, lambda *_: None
    )
    await broker.advance(1)
    client.close()
    await broker.advance(1)
    await _reload(broker, "content-cache")
    await ask(broker, "content.store", b"after all")
    await ask(broker, "content.flush")


async def _reload(broker: Broker, name: str) -> None:
    try:
        await broker.unload(name)
        await broker.load(name)
    except RequestError:
        pass


async def _lists(broker: Broker, job: int) -> None:
    every = {"max_entries": 0, "attrs": ["all"]}
    await ask(broker, "job-list.list", every)
    await follow(broker, "job-list.list", every)
    await ask(broker, "job-list.list-id", {"id": job, "attrs": ["state"]})
    for topic in ("job-list.list-attrs", "job-list.job-stats", "job-manager.stats-get", "sched.stats-get"):
        await ask(broker, topic, {})
    await ask(broker, "job-exec.stats-get")
    await ask(broker, "sched.resource-status")
    for topic in ("cancel", "free"):
        await ask(broker, f"sched.{topic}", {"id": 5, "final": True})
    await ask(broker, "feasibility.check", {"jobspec": specs.build(["true"], run_time=1)})
    await leave(broker, "job-manager.events-journal", {}, stream=True)
    await leave(broker, "job-info.update-watch", {"id": job, "key": "R", "flags": 0}, stream=True)


async def _queue(broker: Broker, submit: Any, manage: Any) -> None:
    await ask(broker, "job-manager.queue-start", {"start": False, "reason": "noon"})
    stopped = await submit()
    client = broker.instance.client()
    client.stream("job-manager.events-journal", {}, lambda *_: None)
    watch = client.stream(
        "job-info.eventlog-watch", {"id": stopped, "path": "eventlog", "flags": 0}, lambda *_: None
    )
    await broker.advance(0.5)
    client.request("job-info.eventlog-watch-cancel", {"matchtag": watch.matchtag})
    await ask(broker, "job-manager.queue-status")
    await ask(broker, "job-manager.queue-list")
    await ask(broker, "job-manager.queue-start", {"start": True})
    await manage("wait", stopped)
    client.close()
    await ask(broker, "job-manager.queue-enable", {"enable": False, "reason": "closed"})
    await submit()
    await ask(broker, "job-manager.queue-enable", {"enable": True})


#: Scenario, and the settings of its instance.
SCENARIOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "heartbeat": (heartbeat, {}),
    "kvs_alone": (kvs_alone, {}),
    "kvs_chain": (kvs_chain, CHAIN),
    "watching": (watching, {}),
    "content": (content, {}),
    "content_chain": (content_chain, CHAIN),
    "disk_full": (disk_full, {}),
    "cron": (cron, {}),
    "jobs": (jobs, {}),
    "reloads": (reloads, {}),
}
