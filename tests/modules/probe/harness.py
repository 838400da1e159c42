"""An instance in virtual time whose rank 0 runs the module probe with a line file for a sink."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from brokersim import open_instance, run


@asynccontextmanager
async def probing(path: Path | None = None, modules: tuple[str, ...] = (), **options: Any):
    """``instance, client``; measurements report to ``lines`` in ``path``."""
    async with open_instance(modules=[*modules, "probe"], **options) as instance:
        client = instance.client()
        sinks = {} if path is None else {"lines": {"path": str(path)}}
        await client.call("probe.reload", {"config": {"sinks": sinks}})
        yield instance, client


def every(seconds: float, **more: Any) -> dict[str, Any]:
    return {"type": "every", "params": {"every": seconds, **more}}


def lined(probe: str, schedule: Any, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A record of a measurement that reports to the line file."""
    reporting = {"sinks": ["lines"], **more.pop("reporting", {})}
    return {"probe": probe, "config": config or {}, "schedule": schedule, "reporting": reporting, **more}


def samples(path: Path) -> list[dict[str, Any]]:
    return [one for one in map(msgspec.json.decode, path.read_bytes().splitlines()) if "value" in one]


def documents(path: Path) -> list[dict[str, Any]]:
    return list(map(msgspec.json.decode, path.read_bytes().splitlines()))


__all__ = ["documents", "every", "lined", "probing", "run", "samples"]
