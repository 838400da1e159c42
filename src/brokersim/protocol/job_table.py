"""Knows which jobs there are, active and inactive, and how many are in each state; not what moves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from brokersim.protocol.job_record import JobRecord
from brokersim.protocol.job_states import State, StateCounts

Job = TypeVar("Job", bound=JobRecord)

#: Inactive jobs remembered for lists; older ones stay in the KVS only. flux-core keeps all by default.
INACTIVE_MAX = 1_000_000


class JobTable(Generic[Job]):
    """All jobs of the instance by id, in submit order; inactive ones in the order they ended."""

    __slots__ = ("active", "counts", "inactive", "inactive_max", "largest", "on_forget", "purged")

    def __init__(
        self, inactive_max: int = INACTIVE_MAX, on_forget: Callable[[Job], object] = lambda job: None
    ) -> None:
        self.active: dict[int, Job] = {}
        self.inactive: dict[int, Job] = {}
        self.counts = StateCounts()
        self.inactive_max = inactive_max
        self.on_forget = on_forget
        self.purged = 0
        #: The largest id there has been, -1 for none.
        self.largest = -1

    def add(self, job: Job) -> None:
        """A new job, or one found in the KVS, in whatever state it is in."""
        self.counts.enter(job.state)
        self.largest = max(self.largest, job.id)
        if job.state is State.INACTIVE:
            self._retire(job)
        else:
            self.active[job.id] = job

    def moved(self, job: Job, old: State) -> None:
        """``job`` left state ``old`` for the one it is in now."""
        self.counts.move(old, job.state)
        if job.state is State.INACTIVE:
            del self.active[job.id]
            self._retire(job)

    def get(self, jobid: int) -> Job | None:
        """The job of an id, None if there is none (or it ended too long ago)."""
        return self.active.get(jobid) or self.inactive.get(jobid)

    def forget(self, job: int) -> None:
        """An inactive job's records are gone."""
        forgotten = self.inactive.pop(job, None)
        if forgotten is not None:
            self.purged += 1
            self.on_forget(forgotten)

    def __iter__(self) -> Iterator[Job]:
        yield from self.active.values()
        yield from self.inactive.values()

    def _retire(self, job: Job) -> None:
        job.retire()
        self.inactive[job.id] = job
        if len(self.inactive) > self.inactive_max:
            self.forget(next(iter(self.inactive)))
