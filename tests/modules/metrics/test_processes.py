"""Observations of and by modules in processes of their own: what is observed is counted, whoever runs where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import RequestError
from tests.modules.metrics.live import Cluster, by_key

OBSERVER = """\
from brokersim.brokermod import BrokerModule, request_handler

class Observer(BrokerModule):
    @request_handler("see")
    def see(self, msg):
        for key, value in msg.payload["seen"]:
            self.handle.observe("s", key, value)
        self.handle.observe("nobody", "k", 1)
        self.handle.respond(msg)

    @request_handler("odd")
    def odd(self, msg):
        odd = [({"a": 1}, 2), (object(), 1), ("k", object()), ("k", float("nan")), ("k", 2**70), ("k", True)]
        for key, value in odd:
            self.handle.observe("s", key, value)
        self.handle.respond(msg)
"""


def real(body: Callable[[Cluster], Awaitable[Any]], modules: tuple[str, ...] = ("metrics",)) -> Any:
    async def main() -> Any:
        async with brokersim.open_instance(size=1, clock="real", modules=list(modules)) as instance:
            return await body(Cluster(instance))

    return brokersim.run(main, clock="real")


@pytest.fixture
def observer(tmp_path: Path) -> str:
    path = tmp_path / "observer.py"
    path.write_text(OBSERVER)
    return str(path)


async def load(instance: Instance, path: str) -> None:
    await instance.client(0).call("module.load", {"path": path, "exec": True})


def test_what_a_process_observes_is_counted_in_the_broker_before_its_answer(observer: str) -> None:
    async def body(one: Cluster) -> Any:
        await load(one.instance, observer)
        await one.client.call("observer.see", {"seen": [["k", 1]]})  # nobody counts yet
        await one.create()
        found = []
        for _ in range(3):  # asked for each time at once: what was answered later was observed before
            await one.client.call("observer.see", {"seen": [["a", 1], ["b", 2], ["a", 3]]})
            found.append({key: row["sum"] for key, row in by_key((await one.gather())[0]).items()})
        await one.client.call("metrics.remove", {"name": "t"})
        await one.client.call("observer.see", {"seen": [["a", 1]]})
        await one.create(reducers=[{"stream": "nobody"}])
        await one.client.call("observer.see", {"seen": []})
        return found, by_key((await one.gather())[0])["k"]["sum"]

    assert real(body) == ([{"a": 4, "b": 2}] * 3, 1)


def test_what_cannot_be_counted_is_refused_as_in_the_broker(observer: str) -> None:
    async def body(one: Cluster) -> Any:
        await load(one.instance, observer)
        await one.create()
        await one.client.call("observer.odd", {})
        stats = await one.client.call("metrics.stats-get", {})
        rows, _ = await one.gather()
        return stats["stats"]["t"]["refused"], {key: row["sum"] for key, row in by_key(rows).items()}

    assert real(body) == (3, {"1": 2, "k": float(2**70)})


def test_metrics_in_a_process_counts_what_is_observed_in_the_broker_and_in_another(observer: str) -> None:
    async def body(one: Cluster) -> Any:
        await load(one.instance, observer)
        await load(one.instance, "metrics")
        await one.create()
        one.observe(0, "s", {"from": "broker"}, 5)
        one.observe(0, "s", "odd", float("nan"))
        await one.client.call("observer.see", {"seen": [["process", 7]]})
        rows, record = await one.gather()
        stats = await one.client.call("metrics.stats-get", {})
        await one.client.call("metrics.remove", {"name": "t"})
        before = await told(one)
        one.observe(0, "s", "gone", 1)
        return (
            {key: row["sum"] for key, row in by_key(rows).items()},
            record["ok"],
            stats["stats"]["t"]["refused"],
            await told(one) - before,
        )

    async def told(one: Cluster) -> int:
        mods = (await one.client.call("module.list", {}))["mods"]
        (found,) = [mod["rx"]["request"] for mod in mods if mod["name"] == "metrics"]
        return int(found)

    assert real(body, modules=()) == ({"broker": 5, "process": 7}, "0", 1, 0)


def test_only_a_process_may_ask_for_what_is_observed() -> None:
    async def body(one: Cluster) -> None:
        with pytest.raises(RequestError, match="only a module in a process of its own may"):
            await one.client.call("module.listen", {"streams": ["s"]})

    real(body, modules=())
