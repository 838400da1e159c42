"""Knows how to read the jobs an earlier life of the instance left in the KVS; not what to do with unfinished ones."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
import msgspec

from brokersim.brokermod import (
    Handle,
    RequestError,
    errnums,
    eventlog,
    job_facts,
    jobid,
    treeobj,
)

from .job import Job

READDIR = 1
#: Directories between ``job`` and a job's own: ``job.XXXX.XXXX.XXXX.XXXX``.
LEVELS = 4


class Log(Protocol):
    """Where unreadable jobs are reported."""

    def error(self, text: str) -> object: ...


@attrs.frozen(kw_only=True)
class Restored:
    """The jobs found, oldest id first, and the largest id that must not be given again (-1: none)."""

    jobs: tuple[Job, ...] = ()
    largest: int = -1


async def read_jobs(handle: Handle, log: Log) -> Restored:
    """All jobs under ``job`` in the primary namespace; a job that cannot be read is logged and left alone."""
    found = await _job_ids(handle, "job", LEVELS)
    jobs: list[Job] = []
    for job in found:
        try:
            jobs.append(await _read_job(handle, job))
        except (RequestError, ValueError, RecursionError) as error:
            log.error(f"job {jobid.encode(job)} is not restored: {error}")
    return Restored(jobs=tuple(jobs), largest=found[-1] if found else -1)


async def _job_ids(handle: Handle, path: str, levels: int) -> list[int]:
    if not levels:
        return [jobid.decode(path)]
    try:
        answer = await _lookup(handle, path, READDIR)
    except RequestError as error:
        if error.errno in (
            errnums.ENOENT,
            errnums.ENOSYS,
            errnums.ENOTDIR,
        ):  # a new instance, or one without KVS
            return []
        raise
    names = sorted(name for name in answer["val"]["data"] if len(name) == 4)
    return [job for name in names for job in await _job_ids(handle, f"{path}.{name}", levels - 1)]


async def _read_job(handle: Handle, job: int) -> Job:
    jobspec = msgspec.json.decode(_value(await _lookup(handle, jobid.job_kvspath(job, "jobspec"))))
    key = jobid.job_kvspath(job, "eventlog")
    events = eventlog.decode_log(_value(await _lookup(handle, key)))
    restored = Job(id=job, facts=job_facts.check_jobspec(jobspec), jobspec=jobspec, eventlog_key=key)
    for event in events:
        restored.apply(event)
    if any(event["name"] == "alloc" for event in events):
        restored.R = msgspec.json.decode(_value(await _lookup(handle, jobid.job_kvspath(job, "R"))))
    return restored


async def _lookup(handle: Handle, key: str, flags: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = await handle.call(
        "kvs.lookup", {"key": key, "namespace": "primary", "flags": flags}
    )
    return answer


def _value(answer: dict[str, Any]) -> bytes:
    return treeobj.val_bytes(answer["val"])
