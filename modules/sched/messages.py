"""Knows the payloads of the scheduler's protocol (RFC 27); not what is done with them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

#: Types of a sched.alloc response (RFC 27).
SUCCESS: Final = 0
ANNOTATE: Final = 1
DENY: Final = 2
CANCEL: Final = 3


class Change(msgspec.Struct, gc=False):
    """One response of resource.acquire (RFC 28): the first has all resources, later ones what went up or down."""

    resources: dict[str, Any] | None = None
    up: str = ""
    down: str = ""


class Alloc(msgspec.Struct, gc=False):
    """Payload of sched.alloc."""

    id: int
    priority: int
    userid: int
    t_submit: float
    jobspec: dict[str, Any]


class Free(msgspec.Struct, gc=False):
    """Payload of sched.free."""

    id: int
    R: dict[str, Any] | None = None
    final: bool = True


class Cancel(msgspec.Struct, gc=False):
    """Payload of sched.cancel."""

    id: int


class Prioritize(msgspec.Struct, gc=False):
    """Payload of sched.prioritize: pairs of job id and new priority."""

    jobs: list[tuple[int, int]]


class Expiration(msgspec.Struct, gc=False):
    """Payload of sched.expiration: when a running job will give back its resources; 0.0: nobody knows."""

    id: int
    expiration: float


class Feasibility(msgspec.Struct, gc=False):
    """Payload of feasibility.check."""

    jobspec: dict[str, Any]
