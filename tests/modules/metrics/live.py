"""Knows how tests run the metrics module on an instance in virtual time, and what they ask of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.message import Message

Body = Callable[["Cluster"], Awaitable[Any]]


class Cluster:
    """An instance whose ranks all have the module, and a client on rank 0."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.client = instance.client(0)
        self._handles = [instance.client(rank) for rank in range(instance.size)]

    def observe(self, rank: int, stream: str, key: Any, value: Any = 1) -> None:
        """One observation by somebody on a rank."""
        self._handles[rank].observe(stream, key, value)

    async def create(self, definition: dict[str, Any] | None = None, /, **more: Any) -> dict[str, Any]:
        """A stat, known on every rank when this returns."""
        made = {
            "name": "t",
            "epoch": 0,
            "reducers": [{"stream": "s", "apply": ["sum"]}],
            **(definition or {}),
            **more,
        }
        answer: dict[str, Any] = await self.client.call("metrics.create", {"definition": made}, 0)
        await self.instance.sleep(0.01)
        return answer

    async def stream(self, topic: str, payload: Any, nodeid: int = 0) -> list[Any]:
        """All answers of a stream; the last is its errnum."""
        answers: list[Any] = []
        over = trio.Event()

        def heard(response: Message, _: object) -> None:
            answers.append(response.errnum or response.data)
            if response.errnum:
                over.set()

        self.client.stream(topic, payload, heard, None, nodeid)
        await over.wait()
        return answers

    async def gather(self, name: str = "t", **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows and the record of an epoch that is ended now."""
        *answers, end = await self.stream("metrics.gather", {"name": name, **more})
        assert end == 61, end
        rows = [row for answer in answers for row in answer.get("rows", [])]
        return rows, answers[-1]["record"]

    def follow(self, name: str = "t") -> list[tuple[str, Any]]:
        """What the log tells from now on: (crossed, ...), (row, ...), (record, ...)."""
        told: list[tuple[str, Any]] = []

        def heard(response: Message, _: object) -> None:
            for what, value in ({} if response.errnum else response.data).items():
                told.extend([("row", row) for row in value] if what == "rows" else [(what, value)])

        self.client.stream("metrics.log", {"name": name}, heard, None, 0)
        return told

    def module(self, rank: int = 0) -> Any:
        """The module's object on a rank."""
        return self.instance.module(rank, "metrics").handle.body


def cluster(body: Body, size: int = 3, fanout: int = 2, **settings: Any) -> Any:
    """Run ``await body(cluster)``; its result."""

    async def main() -> Any:
        settings.setdefault("modules", ["metrics"])
        async with brokersim.open_instance(size=size, fanout=fanout, clock="virtual", **settings) as instance:
            return await body(Cluster(instance))

    return brokersim.run(main, clock="virtual")


def by_key(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by the values of their keys."""
    return {"/".join(str(value) for value in row["key"].values()): row for row in rows}
