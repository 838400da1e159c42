"""What comes and goes leaves nothing behind: no object of ours is one more after each round."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import brokersim
from brokersim.brokermod import RequestError
from brokersim.instance import Instance
from brokersim.reactor import loop
from tests.modules.job_harness import envelope, jobspec
from tests.net.live_socket import Live, serve

#: Rounds before the first look, when what is made once is made, and between the looks.
FIRST, MORE = 10, 50
#: Objects that may be more after MORE rounds: as many timers that were cancelled as there are others.
SLACK = 40
#: The content cache keeps what it may: 16 MB, and no entry for ever.
BOUNDED = {"Entry"}


def ours() -> Counter[str]:
    gc.collect()
    kinds = (type(one) for one in gc.get_objects())
    # Of a class that makes its own ``__module__`` a property, as some of others' do, nothing is said.
    found = (kind for kind in kinds if isinstance(kind.__module__, str))
    return Counter(
        kind.__qualname__ for kind in found if kind.__module__.startswith(("brokersim", "modules", "_"))
    )


async def _clients(instance: Instance, _: int) -> None:
    client = instance.client(1, "leaver")
    client.publish("gone.soon", {})
    client.event_subscribe("gone")
    for _ in range(3):
        client.stream("kvs.lookup", {"namespace": "primary", "key": "none", "flags": 12}, lambda *_: None)
    client.request("kvs.getroot", {"namespace": "primary"}, lambda *_: None)
    client.request("module.list", None, lambda *_: None)
    client.call_later(1e6, lambda: None)
    await instance.sleep(0.1)
    client.close()


async def _clients_at_once(instance: Instance, _: int) -> None:
    client = instance.client(1, "leaver")
    client.request("kvs.getroot", {"namespace": "primary"}, lambda *_: None)
    client.close()


async def _services(instance: Instance, _: int) -> None:
    client = instance.client(1, "server")
    client.request("service.add", {"service": "mine"}, lambda *_: None)
    client.event_subscribe("something")
    client.close()
    await instance.sleep(0.1)
    assert "mine" not in instance.broker(1).services


async def _modules(instance: Instance, number: int) -> None:
    await instance.load("heartbeat", "period=100s", rank=1, name=f"again{number % 2}")
    await instance.remove(f"again{number % 2}", 1)


async def _broken_modules(instance: Instance, _: int) -> None:
    with pytest.raises(RequestError):
        await instance.load("heartbeat", "nonsense", rank=1, name="never")


async def _timers(instance: Instance, _: int) -> None:
    for _ in range(10):
        instance.reactor.call_later(1e6, lambda: None).cancel()


async def _namespaces(instance: Instance, number: int) -> None:
    await asked(instance, "kvs.namespace-create", {"namespace": f"n{number}", "owner": 0, "flags": 0})
    await asked(instance, "kvs.namespace-remove", {"namespace": f"n{number}"})


async def _cron(instance: Instance, _: int) -> None:
    entry = await asked(instance, "cron.create", {
        "type": "interval", "name": "t", "args": {"interval": 1e6}, "command": "event:x",
    })  # fmt: skip
    await asked(instance, "cron.delete", {"id": entry["id"]})
    entry = await asked(instance, "cron.create", {
        "type": "event", "name": "t", "args": {"topic": "x.*"}, "command": "event:y",
    })  # fmt: skip
    await asked(instance, "cron.delete", {"id": entry["id"]})


async def _jobs(instance: Instance, _: int) -> None:
    client = instance.client(0, "submitter")
    await client.call("job-ingest.submit", {"J": envelope(jobspec(duration=1.0)), "flags": 0})
    client.close()
    await instance.sleep(60)


async def _instrumented(instance: Instance, _: int) -> None:
    await instance.load("heartbeat", rank=1, name="counted")
    client = instance.client(1, "asker")
    await client.call("counted.debug", {"op": "setbit", "flags": 0x1000})
    await instance.sleep(5)
    client.close()
    await instance.remove("counted", 1)


async def _refusals(instance: Instance, number: int) -> None:
    for topic in (f"nobody{number}.x", f"kvs.none{number}", "kvs.lookup"):
        with pytest.raises(RequestError):
            await asked(instance, topic, {})


async def _traces(instance: Instance, _: int) -> None:
    client = instance.client(1, "tracer")
    client.stream(
        "module.trace", {"names": [], "typemask": 15, "topic_glob": "*", "full": False}, lambda *_: None
    )
    client.stream("overlay.trace", {"topic_glob": "*"}, lambda *_: None)
    client.request("overlay.fault", {"kind": "delay", "rank": 1, "seconds": 0.5}, lambda *_: None)
    await instance.sleep(2)
    client.close()


async def _records(instance: Instance, number: int) -> None:
    if not number:
        await instance.load("registry")
    wish = {"collection": "nodes", "id": "n", "record": {"a": 1}, "if_version": None}
    client = instance.client(0, "watcher")
    client.stream("registry.watch", {"collection": "nodes", "filter": {}}, lambda *_: None)
    (made,) = (await client.call("registry.put", wish))["records"]
    await client.call("registry.delete", {"collection": "nodes", "id": "n", "if_version": made["version"]})
    client.close()


async def asked(instance: Instance, topic: str, payload: Any) -> Any:
    client = instance.client(0, "asker")
    try:
        return await client.call(topic, payload)
    finally:
        client.close()


Round = Callable[[Instance, int], Awaitable[None]]
ROUNDS: dict[str, Round] = {
    name: globals()[f"_{name}"]
    for name in (
        "clients", "clients_at_once", "services", "modules", "broken_modules", "timers", "namespaces", "cron",
        "jobs", "refusals", "traces", "instrumented", "records",
    )
}  # fmt: skip
CONF = {"job-manager": {"inactive-num-limit": 3}}


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_leave_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CROWD", 1)

    async def main() -> dict[str, int]:
        async with brokersim.open_instance(size=2, seed=1, resources="2x4", conf=CONF) as instance:
            act = ROUNDS[name]
            for number in range(FIRST):
                await act(instance, number)
            await instance.sleep(60)
            before = ours()
            for number in range(FIRST, FIRST + MORE):
                await act(instance, number)
            await instance.sleep(60)
            return {
                kind: more for kind, more in (ours() - before).items() if more > SLACK and kind not in BOUNDED
            }

    assert brokersim.run(main) == {}


def test_clients_of_the_socket_leave_nothing_behind(tmp_path: Path) -> None:
    found: dict[str, int] = {}

    async def come_and_go(live: Live, number: int) -> None:
        peer = await live.peer(number % 2)
        await peer.ask("kvs.lookup", {"namespace": "primary", "key": ".", "flags": 2})
        await peer.ask("event.subscribe", {"topic": "x"})
        await peer.post("kvs.lookup", {"namespace": "primary", "key": "none", "flags": 12}, 0x10)
        await peer.close()

    async def body(live: Live) -> None:
        before: Counter[str] = Counter()
        for number in range(FIRST + MORE):
            if number == FIRST:
                before = ours()
            await come_and_go(live, number)
        await live.until(lambda: not live.connector.connections)
        found.update({kind: more for kind, more in (ours() - before).items() if more > SLACK})

    serve(tmp_path, body, "content-cache", "kvs", "kvs-watch", size=2)
    assert found == {}
