"""Knows how probes reach the broker through a module's handle: requests and timers, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from brokersim.brokermod import NODEID_ANY, Handle

from .contract import Asks


class Here(Asks):
    """A module's way to ask, for its probes."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.rank = handle.rank
        self.parent: int | None = None

    def call(self, topic: str, payload: Any = None, nodeid: int = NODEID_ANY) -> Awaitable[Any]:
        return self._handle.call(topic, payload, nodeid=nodeid)

    def sleep(self, seconds: float) -> Awaitable[None]:
        return self._handle.sleep(seconds)

    def now(self) -> float:
        return self._handle.now()

    def run(self, command: Any) -> Awaitable[Any]:
        raise NotImplementedError
