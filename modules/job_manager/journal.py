"""Knows who follows the events of all jobs (``job-manager.events-journal``); not what events mean."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import (
    Handle,
    JobTable,
    Message,
    errnums,
    eventlog,
)

from .job import Job
from .messages import Follow

#: Job id that ends the backlog: all events of the past have been sent. FLUX_JOBID_ANY, as a signed number.
SENTINEL = -1


class Journal:
    """Streams ``{"id","events":[..][,"jobspec"][,"R"]}``: first the active jobs' past, a sentinel, then live."""

    __slots__ = ("_followers", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._followers: list[tuple[Message, Follow]] = []

    def follow(self, msg: Message, wish: Follow, jobs: JobTable[Job]) -> None:
        """Begin to send to a streaming request. Raises nothing; the caller checks that it streams."""
        for job in jobs.active.values():
            self.tell(msg, wish, job, list(job.events or ()), job.jobspec)
        self._handle.respond(msg, {"id": SENTINEL, "events": []})
        self._followers.append((msg, wish))

    def tell(self, msg: Message, wish: Follow, job: Job, past: list[eventlog.Event], jobspec: Any) -> None:
        """All events of one job so far."""
        events = [event for event in past if wish.wants(event["name"])]
        entry: dict[str, Any] = {"id": job.id, "events": events, "jobspec": jobspec}
        if job.R is not None:
            entry["R"] = job.R
        self._handle.respond(msg, entry)

    def __len__(self) -> int:
        return len(self._followers)

    def publish(self, job: Job, event: eventlog.Event) -> None:
        """Send one event to all who follow."""
        if not self._followers:
            return
        entry: dict[str, Any] = {"id": job.id, "events": [event]}
        if event["name"] == "submit":
            entry["jobspec"] = job.jobspec
        elif event["name"] == "alloc":
            entry["R"] = job.R
        for msg, wish in self._followers:
            if wish.wants(event["name"]):
                self._handle.respond(msg, entry)

    def leave(self, sender: str) -> None:
        """Stop sending to a client that went."""
        self._followers = [one for one in self._followers if one[0].sender != sender]

    def cancel(self, sender: str, matchtag: int) -> None:
        """End one stream on its client's wish."""
        for one in self._followers:
            msg = one[0]
            if msg.sender == sender and msg.matchtag == matchtag:
                self._followers.remove(one)
                self._handle.respond_error(msg, errnums.ENODATA)
                return
