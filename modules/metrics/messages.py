"""Knows the payloads of the metrics service's requests."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from .wire import to_set


class Create(msgspec.Struct):
    """metrics.create: a definition as docs/cluster-metrics.md has it."""

    definition: dict[str, Any]


class Named(msgspec.Struct):
    """metrics.remove, metrics.next-epoch."""

    name: str


class Gather(msgspec.Struct):
    """metrics.gather: with ``by`` rows of equal fields are one, with ``top`` only the largest come."""

    name: str
    by: list[str] | None = None
    top: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ShowKey(msgspec.Struct):
    """metrics.request-key."""

    name: str
    key: str | dict[str, Any]


class Follow(msgspec.Struct):
    """metrics.log."""

    name: str


class Observation(msgspec.Struct):
    """metrics.observe."""

    stream: str
    key: str | dict[str, Any]
    value: int | float | str | None = 1


class Observations(msgspec.Struct):
    """metrics.observations: (stream, key, value) each; what can be no key or value is refused one by one."""

    observed: list[tuple[str, Any, Any]]


class Credit(msgspec.Struct):
    """metrics.credit."""

    uid: str
    n: int


class Define(msgspec.Struct):
    """Event metrics.define: a stat is there, or no more."""

    definition: dict[str, Any] | None = None
    remove: str = ""


class ClusterCollect(msgspec.Struct):
    """Event metrics.cluster_collect, of the script of 2011."""

    uid: str
    filter_name: str


class ClusterResults(msgspec.Struct):
    """Event metrics.cluster_results."""

    uid: str
    data: dict[str, int | float]
    done: bool


class Done(msgspec.Struct):
    """Event metrics.done."""

    name: str
    uid: str
    ok: str
    truncated: list[tuple[str, str]] = []

    def __post_init__(self) -> None:
        for ranks in (self.ok, *(who for who, _ in self.truncated)):
            to_set(ranks)


class Outcomes(msgspec.Struct):
    """metrics.outcomes: these collections, as far as rank 0 knows, have ended how?"""

    name: str
    uids: list[str]


class Ended(msgspec.Struct):
    """The answer to metrics.outcomes: of each that has ended, what its metrics.done said."""

    ended: list[Done]


class Handover(msgspec.Struct):
    """metrics.handover."""

    name: str
    hash: str
    rows: list[Any]


class Report(msgspec.Struct):
    """metrics.report: what a key grew by on a rank; null: the value can fall, so it cannot be watched."""

    name: str
    epoch: int
    key: str
    delta: float | None = None


class Slack(msgspec.Struct):
    """Event metrics.slack; what is absent is infinite. Without a key nothing is watched until the epoch ends."""

    name: str
    epoch: int
    key: str = ""
    slack: float = math.inf
    level: float = math.inf
