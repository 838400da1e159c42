"""Knows which jobs the scheduler has been asked about, where it wants only so many at once; not what it is asked."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from brokersim.brokermod import JobState as State

from .job import Job


class Window:
    """Jobs whose requests the scheduler has, and those held back because it has as many as it wants (``limit``)."""

    __slots__ = ("_active", "_asked", "_held", "limit")

    def __init__(self, active: Mapping[int, Job]) -> None:
        self._active = active
        #: 0: all there are.
        self.limit = 0
        self._asked: dict[int, Job] = {}
        #: A job whose priority changed has several places here; only the one it has now counts.
        self._held: list[tuple[int, int]] = []

    def admit(self, job: Job) -> bool:
        """May the scheduler be asked about it now? Else it is held back."""
        if self.limit and len(self._asked) >= self.limit:
            heapq.heappush(self._held, urgent_first(job))
            return False
        self._asked[job.id] = job
        return True

    def answered(self, job: Job) -> Iterator[Job]:
        """The scheduler has one request less: those held back that may follow, while there is room for them."""
        self._asked.pop(job.id, None)
        while self._held and len(self._asked) < self.limit:
            place = heapq.heappop(self._held)
            waiting = self._active.get(place[1])
            if waiting is not None and waiting.state is State.SCHED and place == urgent_first(waiting):
                yield waiting

    def outranked(self) -> Job | None:
        """Of the requests the scheduler has, the least urgent, if the next one held back should be there instead."""
        sent = [job for job in self._asked.values() if not job.alloc_cancelled]
        places = heapq.nsmallest(len(self._asked) - len(sent) + 1, self._held)
        least = max(sent, key=urgent_first, default=None)
        return least if least is not None and places and places[-1] < urgent_first(least) else None


def urgent_first(job: Job) -> tuple[int, int]:
    """Requests for resources are served as they come: they must come by priority, then by age."""
    return (-job.priority, job.id)
