"""What the shipped modules are asked in one suite: each scenario drives some of them through most of what they do.

Scenarios assert nothing themselves: counters and laws do (tests/kit/test_shipped.py, benchmarks/mutants.py).
"""

from __future__ import annotations

import hashlib
from typing import Any

from brokersim.brokermod import RequestError, treeobj
from brokersim.protocol import jobspec as specs
from brokersim.testing import Broker

from .asking import CHAIN, PRIMARY, ask, commit, follow, leave, look, put
from .shipped_jobs import envelope, jobs, jobs_watched

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
    await ask(broker, "kvs.dropcache")
    await look(broker, "a.c")
    await leave(broker, "kvs.wait-version", {"rootseq": 1000, "namespace": "primary"})
    await _gone_before_the_answer(broker)
    await _failing_commits(broker)
    await ask(broker, "kvs.stats-get")


async def _gone_before_the_answer(broker: Broker) -> None:
    """Who waits for a version and leaves is not answered when it comes."""
    root = await ask(broker, "kvs.getroot", PRIMARY) or {"rootseq": 0}
    await leave(broker, "kvs.wait-version", {"rootseq": root["rootseq"] + 2, "namespace": "primary"})
    for number in range(3):
        await commit(broker, put("version", b"%d" % number))


async def _failing_commits(broker: Broker) -> None:
    """Commits whose data cannot be stored: alone, and merged with one that can."""
    with broker.fault("fail", topic="content.store", count=2):
        await commit(broker, put("fails", b"f" * 4000))
    client = broker.instance.client()
    with broker.fault("fail", topic="content.store", count=1):
        for number in range(3):
            ops = [put(f"m{number}", bytes([number]) * 4000)]
            client.request("kvs.commit", {**PRIMARY, "ops": ops}, lambda *_: None)
        await broker.settle()
    client.close()
    await look(broker, "m0")


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
    await ask(broker, "kvs.namespace-create", {"namespace": "guest"}, nodeid=1)
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
    for flags in (4, 4 | 8, 4 | 64, 4 | 128, 4 | 256, 4 | 1024, 0, 512, 4 | 512, 1 << 20):
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


async def backing(broker: Broker) -> None:
    """A cache and its backing store: late, failing, absent, gone while something is dirty."""
    late, digest = b"stored while it is looked for", hashlib.sha1(b"stored while it is looked for").digest()
    client = broker.instance.client()
    with broker.fault("delay", topic="content-backing.load", seconds=0.5, type="response"):
        client.request("content.load", digest, lambda *_: None)
        await broker.advance(0.1)
        await ask(broker, "content.store", late)
        await broker.advance(1)
    await ask(broker, "content.load", digest)
    await ask(broker, "content-backing.load", digest)
    with broker.fault("fail", topic="content-backing.flush", count=1):
        await ask(broker, "content.flush")
    await ask(broker, "content.flush")
    with broker.fault("delay", topic="content-backing.store", seconds=0.5, type="request"):
        await leave(broker, "content.store", b"dirty at the end")
        await _reload(broker, "content-cache")
        await broker.advance(1)
    await ask(broker, "content.load", hashlib.sha1(b"dirty at the end").digest())
    with broker.fault("kill", to="content-sqlite"):
        pass
    await ask(broker, "content.flush")
    await ask(broker, "content.unregister-backing")
    await ask(broker, "content.flush")
    await broker.load("content-sqlite")
    await ask(broker, "content.flush")
    client.close()


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
    with broker.fault("fail", topic="content.store", to="content-cache", rank=0, count=2):
        await ask(broker, "content.store", b"refused above", nodeid=2)
    with broker.fault("drop", topic="content.store", to="content-cache", rank=1, count=1):
        await leave(broker, "content.store", b"lost above", nodeid=2)
    await broker.advance(5)


async def disk_full(broker: Broker) -> None:
    with broker.fault(
        "fill-disk"
    ):  # written by the timer of the store, which tells the log, and again when it works
        for number in range(4):
            await ask(broker, "content-backing.store", bytes([number + 100]) * 5000)
        await broker.advance(1)
    for _ in range(2):
        await ask(broker, "content-backing.store", b"works again")
        await broker.advance(1)
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
    await _synced(broker, create)
    await ask(broker, "cron.stats-get")


async def _synced(broker: Broker, create: Any) -> None:
    """Runs that wait for an event of somebody's, first as an option of the module, then by request."""
    await broker.unload("cron")
    await broker.load("cron", "sync=signal")
    await create("interval", "event:late", {"interval": 2})
    for topic in ("signal", "other", "signal"):
        await broker.advance(5)
        await broker.publish(topic)
    for topic in ("other", "signal.more", "heartbeat.pulse"):
        await ask(broker, "cron.sync", {"topic": topic})
        for event in ("signal", "other", "signal.more"):
            await broker.advance(3)
            await broker.publish(event)
    await ask(broker, "cron.sync", {"disable": True})
    for event in ("signal", "other"):
        await broker.advance(3)
        await broker.publish(event)
    await ask(broker, "cron.delete", {"id": 1})


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
    await _submitted_too_early(broker)
    await ask(broker, "job-manager.drain")
    await ask(broker, "job-ingest.submit", envelope())
    await ask(broker, "job-manager.drain")
    client = broker.instance.client()
    client.stream(
        "job-exec.start", {"id": 7, "userid": 0, "jobspec": specs.build(["x"], run_time=9)}, lambda *_: None
    )
    await broker.advance(1)
    client.close()
    await broker.advance(12)
    await _reload(broker, "content-cache")
    await ask(broker, "content.store", b"after all")
    await ask(broker, "content.flush")


async def _submitted_too_early(broker: Broker) -> None:
    """A job manager that still reads what there is takes submissions, and refuses one of them later."""
    client = broker.instance.client()
    await broker.unload("job-manager")
    with broker.fault("delay", topic="kvs.*", type="response", to="job-manager", seconds=0.5):
        loading = broker.instance.client()
        loading.request("module.load", {"path": "job-manager", "args": []}, lambda *_: None)
        await broker.advance(0.1)
        for text in ({"J": "nonsense"}, envelope()):
            client.request("job-ingest.submit", text, lambda *_: None)
        await broker.advance(10)
    for one in (loading, client):
        one.close()
    await broker.advance(5)
    await ask(broker, "job-manager.drain")


async def _reload(broker: Broker, name: str) -> None:
    try:
        await broker.unload(name)
        await broker.load(name)
    except RequestError:
        pass


#: Scenario, and the settings of its instance.
SCENARIOS: dict[str, tuple[Any, dict[str, Any]]] = {
    "heartbeat": (heartbeat, {}),
    "kvs_alone": (kvs_alone, {}),
    "kvs_chain": (kvs_chain, CHAIN),
    "watching": (watching, {}),
    "content": (content, {}),
    "backing": (backing, {}),
    "content_chain": (content_chain, CHAIN),
    "disk_full": (disk_full, {}),
    "cron": (cron, {}),
    "jobs": (jobs, {}),
    "jobs_watched": (jobs_watched, {}),
    "reloads": (reloads, {}),
}
