"""Knows how to submit and follow jobs as clients do; asserts nothing."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from brokersim import open_instance, run

#: All that jobs need. The heartbeat is left out, so that counters move by jobs alone.
JOB_MODULES = (
    "content-cache",
    "content-sqlite",
    "kvs",
    "kvs-watch",
    "resource",
    "job-manager",
    "job-ingest",
    "job-list",
    "job-info",
    "sched",
    "job-exec",
)
END = 61


def in_instance(test: Callable[[Any, Any], Awaitable[Any]], **settings: Any) -> Any:
    """Run ``test(instance, client)`` in an instance with the job modules, under the virtual clock unless told."""

    async def main() -> Any:
        async with open_instance(**{"modules": JOB_MODULES, "jobs": "simulated", **settings}) as instance:
            client = instance.client()
            try:
                return await test(instance, client)
            finally:
                client.close()

    return run(main, clock=settings.get("clock", "virtual"))


def jobspec(*command: str, slots: int = 1, cores: int = 1, nodes: int = 0, **system: Any) -> dict[str, Any]:
    """A version 1 jobspec; keyword arguments go to attributes.system."""
    slot = {"type": "slot", "count": slots, "label": "task", "with": [{"type": "core", "count": cores}]}
    resources = [{"type": "node", "count": nodes, "with": [slot]}] if nodes else [slot]
    tasks = [{"command": list(command or ("true",)), "slot": "task", "count": {"per_slot": 1}}]
    attributes = {"system": {"duration": 0.001, **system}}
    return {"version": 1, "resources": resources, "tasks": tasks, "attributes": attributes}


def real(*command: str, **system: Any) -> dict[str, Any]:
    """A jobspec that runs its command."""
    return jobspec(*command, **{"duration": 0, "brokersim": {"exec": True}, **system})


def envelope(spec: Any, userid: int | None = None, mechanism: str = "none") -> str:
    """J of a jobspec (a value for JSON, or bytes as they are)."""
    owner = os.getuid() if userid is None else userid
    header = b"version\0i1\0userid\0i%d\0mechanism\0s%s\0" % (owner, mechanism.encode())
    payload = spec if isinstance(spec, bytes) else msgspec.json.encode(spec)
    return f"{base64.b64encode(header).decode()}.{base64.b64encode(payload).decode()}.none"


async def submit(client: Any, spec: Any = None, **more: Any) -> int:
    """The id of a submitted job."""
    answer = await client.call("job-ingest.submit", {"J": envelope(spec or jobspec()), **more})
    job: int = answer["id"]
    return job


async def stream(client: Any, topic: str, payload: dict[str, Any]) -> tuple[list[Any], int]:
    """All responses of a stream, and the errnum that ended it."""
    answers: list[Any] = []

    def start(done: Callable[[int], object]) -> None:
        def answered(response: Any, _arg: object) -> None:
            if response.errnum:
                done(response.errnum)
            else:
                answers.append(response.payload)

        client.stream(topic, payload, answered)

    return answers, await client.occurrence(start)


async def log_of(client: Any, job: int, path: str = "eventlog") -> list[dict[str, Any]]:
    """The events of a log, from job-info's stream, which must end well."""
    answers, errnum = await stream(client, "job-info.eventlog-watch", {"id": job, "path": path, "flags": 0})
    assert errnum == END
    return [msgspec.json.decode(answer["event"]) for answer in answers]


async def names_of(client: Any, job: int, path: str = "eventlog") -> list[str]:
    """The names of a log's events, in order."""
    return [event["name"] for event in await log_of(client, job, path)]


async def outcome(client: Any, job: int) -> dict[str, Any]:
    """What job-manager.wait says."""
    answer: dict[str, Any] = await client.call("job-manager.wait", {"id": job, "claim": False})
    return answer


async def attributes(client: Any, job: int) -> dict[str, Any]:
    """Everything job-list knows of a job."""
    answer = await client.call("job-list.list-id", {"id": job, "attrs": ["all"]})
    shown: dict[str, Any] = answer["job"]
    return shown
