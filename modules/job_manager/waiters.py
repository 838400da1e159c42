"""Knows who waits for jobs to end (wait, drain) and what they are told; not when jobs end."""

from __future__ import annotations

from typing import Any, Final

from brokersim.brokermod import Handle, Message, RequestError, errnums

from .job import FLAG_WAITABLE, Job
from .registry import JobTable
from .states import State

#: ``job-manager.wait`` for whichever waitable job ends next (flux-core's FLUX_JOBID_ANY).
ANY: Final = (1 << 64) - 1
#: Linux ECHILD: there is nothing that could be waited for.
ECHILD: Final = 10


class Waiters:
    """Open job-manager.wait, job-manager.drain and job-manager.idle requests."""

    __slots__ = ("_any", "_by_job", "_drains", "_handle", "_idles", "_reported")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._by_job: dict[int, list[Message]] = {}
        self._any: list[Message] = []
        self._drains: list[Message] = []
        self._idles: list[Message] = []
        #: Waitable jobs that ended and whom nobody has asked for yet, oldest first.
        self._reported: dict[int, Job] = {}

    def wait(self, msg: Message, wanted: int, jobs: JobTable) -> None:
        """Answer when the job (or, for ANY, some waitable job) is inactive.

        Raises RequestError: ENOENT for an unknown id, ECHILD when ANY has nothing to wait for.
        """
        if wanted in (ANY, -1):
            self._wait_any(msg, jobs)
            return
        job = jobs.get(wanted)
        if job is None:
            raise RequestError(errnums.ENOENT, "unknown job id")
        if job.state is State.INACTIVE:
            self._reported.pop(job.id, None)
            self._handle.respond(msg, outcome(job))
        else:
            self._by_job.setdefault(wanted, []).append(msg)

    def _wait_any(self, msg: Message, jobs: JobTable) -> None:
        if self._reported:
            job = self._reported.pop(next(iter(self._reported)))
            self._handle.respond(msg, outcome(job))
        elif sum(1 for job in jobs.active.values() if job.flags & FLAG_WAITABLE) > len(self._any):
            self._any.append(msg)
        else:
            raise RequestError(ECHILD, "there are no more waitable jobs")

    def drain(self, msg: Message, jobs: JobTable) -> None:
        """Answer when no job is active."""
        if jobs.active:
            self._drains.append(msg)
        else:
            self._handle.respond(msg)

    def idle(self, msg: Message, jobs: JobTable) -> None:
        """Answer when no job runs or cleans up, whatever waits."""
        if _running(jobs):
            self._idles.append(msg)
        else:
            self._handle.respond(msg, {"pending": len(jobs.active)})

    def ended(self, job: Job, jobs: JobTable) -> None:
        """A job is inactive: tell those who waited for it."""
        asked = self._by_job.pop(job.id, None)
        if asked is not None:
            for msg in asked:
                self._handle.respond(msg, outcome(job))
        elif job.flags & FLAG_WAITABLE:
            if self._any:
                self._handle.respond(self._any.pop(0), outcome(job))
            else:
                self._reported[job.id] = job
        if self._idles and not _running(jobs):
            idles, self._idles = self._idles, []
            for msg in idles:
                self._handle.respond(msg, {"pending": len(jobs.active)})
        if self._drains and not jobs.active:
            drains, self._drains = self._drains, []
            for msg in drains:
                self._handle.respond(msg)

    def leave(self, sender: str) -> None:
        """Drop what a client that went was waiting for."""
        self._any = [msg for msg in self._any if msg.sender != sender]
        self._drains = [msg for msg in self._drains if msg.sender != sender]
        self._idles = [msg for msg in self._idles if msg.sender != sender]
        for wanted in list(self._by_job):
            left = [msg for msg in self._by_job[wanted] if msg.sender != sender]
            if left:
                self._by_job[wanted] = left
            else:
                del self._by_job[wanted]


def _running(jobs: JobTable) -> int:
    return jobs.counts[State.RUN] + jobs.counts[State.CLEANUP]


def outcome(job: Job) -> dict[str, Any]:
    """The answer of job-manager.wait; ``status`` (a wait status, -1 if it never ran) is ours."""
    status = -1 if job.status is None else job.status
    return {"id": job.id, "success": job.success, "errstr": job.errstr(), "status": status}
