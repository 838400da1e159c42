"""Knows in which order waiting jobs get resources: priority first, then who came first; not which are free."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import attrs

from .request import Request


@attrs.define(eq=False, slots=True)
class Waiting:
    """One job that waits: its place in the order, what it asks for, and a ``tag`` for whoever queued it."""

    jobid: int
    priority: int
    t_submit: float
    request: Request
    tag: Any = None
    #: Seconds it may last; 0.0: for ever.
    duration: float = 0.0
    #: What has been said about its waiting, by the keys of its annotation.
    told: dict[str, Any] | None = None


class JobQueue:
    """Waiting jobs: highest priority first, equal ones by submit time, then by id. All steps O(log n)."""

    __slots__ = ("_heap", "_jobs")

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int]] = []
        self._jobs: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, jobid: int) -> bool:
        return jobid in self._jobs

    def add(self, job: Waiting) -> None:
        """Queue a job. Raises ValueError if its id waits already."""
        if job.jobid in self._jobs:
            raise ValueError(f"job {job.jobid} is queued already")
        self._jobs[job.jobid] = job
        heapq.heappush(self._heap, _place(job))

    def remove(self, jobid: int) -> Waiting | None:
        """Take a job out, wherever it stands; None if it does not wait."""
        return self._jobs.pop(jobid, None)  # its place in the heap is skipped when it comes to the top

    def drop(self, unwanted: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take out every job that ``unwanted`` names, in the order they came."""
        dropped = [job for job in self._jobs.values() if unwanted(job)]
        for job in dropped:
            del self._jobs[job.jobid]
        return dropped

    def reprioritize(self, jobid: int, priority: int) -> bool:
        """Move a job to its new place; False if it does not wait."""
        job = self._jobs.get(jobid)
        if job is None:
            return False
        job.priority = priority
        heapq.heappush(self._heap, _place(job))
        return True

    def ahead(self, count: int | None = None) -> list[Waiting]:
        """So many as come next, or all, in their order."""
        jobs = self._jobs.values()
        return sorted(jobs, key=_place) if count is None else heapq.nsmallest(count, jobs, key=_place)

    def first(self) -> Waiting | None:
        """The next to be served, left in the queue; None when empty."""
        while self._heap:
            place = self._heap[0]
            job = self._jobs.get(place[2])
            if job is not None and _place(job) == place:
                return job
            heapq.heappop(self._heap)
        return None


def _place(job: Waiting) -> tuple[int, float, int]:
    return (-job.priority, job.t_submit, job.jobid)
