"""Knows the payloads of the resource service; not what is done with them."""

from __future__ import annotations

from typing import Any

import msgspec


class DrainArgs(msgspec.Struct, gc=False):
    """Payload of resource.drain and undrain: ranks or hosts."""

    targets: str
    reason: str | None = None
    mode: str = ""


class Reload(msgspec.Struct, gc=False):
    """Payload of resource.reload."""

    path: str
    xml: bool
    force: bool


class WaitUp(msgspec.Struct, gc=False):
    """Payload of resource.monitor-waitup."""

    up: int


class Expiration(msgspec.Struct, gc=False):
    """Payload of resource.expiration-update, in seconds since the epoch."""

    expiration: float


class Cancel(msgspec.Struct, gc=False):
    """Payload of the requests that end a stream."""

    matchtag: int


class ConfigReload(msgspec.Struct, gc=False):
    """What is read of a new configuration."""

    resource: dict[str, Any] = {}
