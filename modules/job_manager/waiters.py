"""Knows who waits for jobs to end (wait, drain) and what they are told; not when jobs end."""

from __future__ import annotations

from typing import Any, Final

from brokersim.brokermod import (
    Handle,
    JobTable,
    Message,
    RequestError,
    errnums,
)
from brokersim.brokermod import (
    JobState as State,
)

from .job import FLAG_WAITABLE, Job
from .messages import Wait

#: ``job-manager.wait`` for whichever waitable job ends next (flux-core's FLUX_JOBID_ANY).
ANY: Final = (1 << 64) - 1
#: Linux ECHILD: there is nothing that could be waited for.
ECHILD: Final = 10


class Waiters:
    """Open job-manager.wait, job-manager.drain and job-manager.idle requests."""

    __slots__ = ("_any", "_claims", "_drains", "_handle", "_idles", "_unclaimed", "_watching")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._claims: dict[int, Message] = {}
        self._watching: dict[int, list[Message]] = {}
        self._any: list[Message] = []
        self._drains: list[Message] = []
        self._idles: list[Message] = []
        #: Waitable jobs that ended and whom nobody has asked for yet, oldest first.
        self._unclaimed: dict[int, Job] = {}

    def wait(self, msg: Message, wish: Wait, jobs: JobTable[Job]) -> None:
        """Answer when the job (or, for ANY, some waitable job) is inactive; each waitable one is told once.

        Raises RequestError(ECHILD) if there is nothing to wait for, ENOENT if no claim is made on an unknown id.
        """
        if wish.id in (ANY, -1):
            self._wait_any(msg, jobs)
        elif wish.claim:
            self._claim(msg, wish.id, jobs)
        elif (job := jobs.get(wish.id)) is None:
            raise RequestError(errnums.ENOENT, "unknown job id")
        elif job.state is State.INACTIVE:
            self._handle.respond(msg, outcome(job))
        else:
            self._watching.setdefault(wish.id, []).append(msg)

    def _claim(self, msg: Message, wanted: int, jobs: JobTable[Job]) -> None:
        ended = self._unclaimed.pop(wanted, None)
        if ended is not None:
            self._handle.respond(msg, outcome(ended))
            return
        job = jobs.active.get(wanted)
        if job is None:
            raise RequestError(ECHILD, "invalid job id, or job may be inactive and not waitable")
        if wanted in self._claims:
            raise RequestError(ECHILD, "job id already has a waiter")
        if not job.flags & FLAG_WAITABLE:
            raise RequestError(ECHILD, "job was not submitted with FLUX_JOB_WAITABLE")
        self._claims[wanted] = msg
        self._refuse_surplus(jobs)

    def _wait_any(self, msg: Message, jobs: JobTable[Job]) -> None:
        if self._unclaimed:
            job = self._unclaimed.pop(next(iter(self._unclaimed)))
            self._handle.respond(msg, outcome(job))
        else:
            self._any.append(msg)
            self._refuse_surplus(jobs)

    def _refuse_surplus(self, jobs: JobTable[Job]) -> None:
        """More wait than there are jobs to wait for: the last who asked for any is told so."""
        waitable = sum(1 for job in jobs.active.values() if job.flags & FLAG_WAITABLE)
        if self._any and len(self._any) + len(self._claims) > waitable:
            self._handle.respond_error(self._any.pop(), ECHILD, "there are no more waitable jobs")

    def unclaimed(self) -> list[Job]:
        """Waitable jobs that have ended and were not waited for yet."""
        return list(self._unclaimed.values())

    def forget(self, job: int) -> None:
        """Its records are gone."""
        self._unclaimed.pop(job, None)

    def drain(self, msg: Message, jobs: JobTable[Job]) -> None:
        """Answer when no job is active."""
        if jobs.active:
            self._drains.append(msg)
        else:
            self._handle.respond(msg)

    def idle(self, msg: Message, jobs: JobTable[Job]) -> None:
        """Answer when no job runs or cleans up, whatever waits."""
        if _running(jobs):
            self._idles.append(msg)
        else:
            self._handle.respond(msg, {"pending": len(jobs.active)})

    def ended(self, job: Job, jobs: JobTable[Job]) -> None:
        """A job is inactive: tell those who waited for it."""
        for msg in self._watching.pop(job.id, ()):
            self._handle.respond(msg, outcome(job))
        if job.flags & FLAG_WAITABLE:
            claim = self._claims.pop(job.id, None) or (self._any.pop(0) if self._any else None)
            if claim is not None:
                self._handle.respond(claim, outcome(job))
            else:
                self._unclaimed[job.id] = job
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
        self._claims = {job: msg for job, msg in self._claims.items() if msg.sender != sender}
        for wanted in list(self._watching):
            left = [msg for msg in self._watching[wanted] if msg.sender != sender]
            if left:
                self._watching[wanted] = left
            else:
                del self._watching[wanted]


def _running(jobs: JobTable[Job]) -> int:
    return jobs.counts[State.RUN] + jobs.counts[State.CLEANUP]


def outcome(job: Job) -> dict[str, Any]:
    """The answer of job-manager.wait; ``status`` (a wait status, -1 if it never ran) is ours."""
    status = -1 if job.status is None else job.status
    return {"id": job.id, "success": job.success, "errstr": job.errstr(), "status": status}
