"""Knows a version 1 jobspec (RFC 14, 25) and its envelope J; not how jobs are submitted."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.duration import format_duration

#: Run time given to a job that is only simulated because it is replayed, in seconds: short, but not nothing.
REPLAY_RUN_TIME: Final = 0.001
#: The run duration of a job that takes no time: 0 would be until it is ended (flux-core), and a tenth of a nanosecond
#: is none on a clock of nanoseconds.
AT_ONCE: Final = "1e-10s"


def build(
    command: Sequence[str],
    *,
    tasks: int = 1,
    cores: int = 1,
    duration: float = 0.0,
    run_time: float | None = None,
    real: bool = False,
    name: str | None = None,
    output_rate: float | None = None,
    dependencies: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    cwd: str = "/",
    stdin: str | None = None,
) -> JsonObject:
    """A version 1 jobspec. With ``run_time`` (seconds) the job is simulated; ``real``: it runs ``command``.

    Without either the instance decides: real time runs it, a virtual clock does not.

    ``duration`` is the time limit in seconds, 0 for none; ``output_rate`` appends lines per second to the
    job's output; ``stdin`` is a file to read instead of what an attached client sends. Dependencies are
    ``SCHEME:VALUE`` (afterok:ƒ123). Raises ValueError for one that is not.
    """
    system: JsonObject = {
        "duration": duration,
        "cwd": cwd,
        "environment": dict(environment or {}),
        "job": {"name": name or command[0].rpartition("/")[2]},
    }
    if real:
        system["brokersim"] = {"exec": True}
    elif run_time is not None:
        system["exec"] = {"test": {"run_duration": format_duration(run_time) if run_time else AT_ONCE}}
    if output_rate is not None:
        system.setdefault("brokersim", {})["output_rate"] = output_rate
    if stdin is not None:
        system["shell"] = {"options": {"input": {"stdin": {"type": "file", "path": stdin}}}}
    if dependencies:
        system["dependencies"] = [_dependency(one) for one in dependencies]
    core = {"type": "core", "count": cores}
    return {
        "version": 1,
        "resources": [{"type": "slot", "count": tasks, "with": [core], "label": "task"}],
        "tasks": [{"command": list(command), "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": system},
    }


def _dependency(text: str) -> dict[str, str]:
    scheme, colon, value = text.partition(":")
    if not colon or not scheme or not value:
        raise ValueError(f"not a dependency: {text!r}; give SCHEME:VALUE (afterok:ƒ3PVFXvJb)")
    return {"scheme": scheme, "value": value}


def sign(jobspec: JsonView, userid: int) -> str:
    """J, ``HEADER.PAYLOAD.none``: unsigned, good for the instance's own user (mechanism none)."""
    header = f"version\0i1\0userid\0i{userid}\0mechanism\0snone\0".encode()
    return ".".join((b64encode(header).decode(), b64encode(msgspec.json.encode(jobspec)).decode(), "none"))


def simulated(envelope: str) -> str:
    """J as it is, or with a short run duration if its job says nothing about how it runs. Raises ValueError."""
    header, payload, _ = envelope.split(".")
    spec = msgspec.json.decode(b64decode(payload))
    try:
        system = spec["attributes"]["system"]
        if "test" in system.get("exec", {}) or "exec" in system.get("brokersim", {}):
            return envelope
        system.setdefault("exec", {})["test"] = {"run_duration": format_duration(REPLAY_RUN_TIME)}
    except (LookupError, TypeError, AttributeError):
        return envelope  # not a jobspec: it will be refused as it was
    return ".".join((header, b64encode(msgspec.json.encode(spec)).decode(), "none"))
