"""Knows how the job manager's journal becomes a table of jobs; not who looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.brokermod import JobRecord, JobTable, eventlog, job_facts

from .figures import Book


class Records:
    """Every job there is, as the events told so far make it; each change of state is told (``on_change``)."""

    __slots__ = ("_on_change", "book", "jobs")

    def __init__(self, on_change: Callable[[JobRecord], object]) -> None:
        self._on_change = on_change
        self.book = Book()
        self.jobs = JobTable[JobRecord](on_forget=self.book.purged)

    def take(self, entry: dict[str, Any]) -> None:
        """One response of job-manager.events-journal. Raises ValueError if it makes no sense; the rest is kept."""
        job = self.jobs.get(entry["id"])
        for event in entry["events"]:
            if job is not None:
                self._apply(job, event, entry.get("R"))
            elif event["name"] == "submit":
                job = self._begin(entry)
                self._apply(job, event, None)
                self._on_change(job)

    def _begin(self, entry: dict[str, Any]) -> JobRecord:
        jobspec = entry["jobspec"]
        job = JobRecord(id=entry["id"], facts=job_facts.check_jobspec(jobspec), jobspec=jobspec)
        self.jobs.add(job)
        self.book.entered(job)
        return job

    def _apply(self, job: JobRecord, event: eventlog.Event, r: dict[str, Any] | None) -> None:
        state, queue = job.state, job.facts.queue
        if event["name"] == "alloc":
            job.R = r
        job.apply(event)
        if job.state is not state:
            self.book.changed(job, state, queue)
            self.jobs.moved(job, state)
            self._on_change(job)
        elif job.facts.queue != queue:
            self.book.changed(job, state, queue)
