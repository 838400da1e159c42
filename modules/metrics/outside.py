"""Knows how a collection reaches other ranks through the module's handle, and who is below whom in the tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message

from .collection import Outside
from .limits import Limit
from .wire import Order


class Tree:
    """Who is below whom, as ``overlay.topology`` tells it; no arithmetic, since a Flux may have any tree."""

    def __init__(self) -> None:
        self._below: dict[int, tuple[int, ...]] = {}
        self._subtrees: dict[int, frozenset[int]] = {}

    def learn(self, told: Mapping[str, Any]) -> frozenset[int]:
        """Remember a (sub)tree; returns its ranks."""
        rank: int = told["rank"]
        subtrees = [self.learn(child) for child in told["children"]]
        self._below[rank] = tuple(sorted(child["rank"] for child in told["children"]))
        self._subtrees[rank] = frozenset({rank}).union(*subtrees)
        return self._subtrees[rank]

    def below(self, rank: int) -> tuple[tuple[int, frozenset[int]], ...]:
        """The children of a rank, each with its subtree, itself included."""
        return tuple((child, self._subtrees[child]) for child in self._below.get(rank, ()))

    def subtree(self, rank: int) -> frozenset[int]:
        """A rank and all below it."""
        return self._subtrees.get(rank, frozenset({rank}))


class HandleOutside(Outside):
    """Requests, timers and limits of the module on this rank."""

    def __init__(self, handle: Handle, tree: Tree) -> None:
        self.rank = handle.rank
        self._handle = handle
        self._tree = tree
        self._limits: dict[tuple[str, int], Limit] = {}

    def now(self) -> float:
        return self._handle.now()

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Any:
        return self._handle.call_later(seconds, fn, *args)

    def limit(self, name: str, rank: int) -> Limit:
        return self._limits.setdefault((name, rank), Limit())

    def forget_stat(self, name: str) -> None:
        """What was learnt for a stat that is gone."""
        for key in [key for key in self._limits if key[0] == name]:
            del self._limits[key]

    def below(self, rank: int) -> tuple[tuple[int, frozenset[int]], ...]:
        return self._tree.below(rank)

    def ask(self, rank: int, order: Order, heard: Callable[[int, Any], object]) -> Any:
        topic = f"{self._handle.name}.collect"
        return self._handle.stream(topic, msgspec.to_builtins(order), _heard, heard, rank)

    def forget(self, request: Any) -> None:
        self._handle.forget(request)

    def grant(self, rank: int, uid: str, frames: int) -> None:
        self._handle.request(f"{self._handle.name}.credit", {"uid": uid, "n": frames}, nodeid=rank)


def _heard(response: Message, heard: Callable[[int, Any], object]) -> None:
    try:
        data = None if response.errnum else response.payload
    except (TypeError, OSError):
        data = None  # no JSON object: refused as foreign
    heard(response.errnum, data)
