"""Knows the payloads of the metrics service's requests."""

from __future__ import annotations

import math
from typing import Any

import msgspec


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
    top: int | None = None


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
    value: int | float | str = 1


class Credit(msgspec.Struct):
    """metrics.credit."""

    uid: str
    n: int


class Done(msgspec.Struct):
    """Event metrics.done."""

    name: str
    uid: str
    ok: str
    truncated: list[tuple[str, str]] = []


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
