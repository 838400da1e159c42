"""Knows a job that waits in a scheduler of Flux's, and its request for resources (RFC 27); not who gets any."""

from __future__ import annotations

from functools import total_ordering
from typing import Protocol

from brokersim.fluxapi.message import Message
from brokersim.protocol.decoded import Json, JsonObject


class Answering(Protocol):
    """Who answers requests: the scheduler."""

    def alloc_success(self, msg: Message, R: JsonObject, annotations: JsonObject | None = None) -> None: ...
    def alloc_deny(self, msg: Message, note: str | None = None) -> None: ...
    def alloc_cancel(self, msg: Message) -> None: ...
    def alloc_annotate(self, msg: Message, annotations: JsonObject) -> None: ...


@total_ordering
class PendingJob:
    """A job that waits; the smallest is next: highest priority, then lowest id."""

    __slots__ = ("_last_annotation", "jobid", "priority", "request", "resource_request", "t_submit")

    def __init__(
        self, jobid: int, priority: int, t_submit: float, request: AllocRequest, resource_request: object
    ) -> None:
        self.jobid = jobid
        self.priority = priority
        self.t_submit = t_submit
        self.request = request
        self.resource_request = resource_request
        self._last_annotation: Json = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PendingJob):
            return NotImplemented
        return (self.priority, self.jobid) == (other.priority, other.jobid)

    def __lt__(self, other: PendingJob) -> bool:
        return (-self.priority, self.jobid) < (-other.priority, other.jobid)

    __hash__ = None  # type: ignore[assignment]  # as Flux's: it changes while it waits


class AllocRequest:
    """The request of one job, answered once: by success, deny or cancel; annotated as often as one likes before."""

    __slots__ = ("_annotated", "_is_final", "_msg", "_scheduler", "jobid")

    def __init__(self, scheduler: Answering, msg: Message) -> None:
        self._scheduler = scheduler
        self._msg = msg
        self._annotated: dict[str, None] = {}
        self._is_final = False
        self.jobid: int = msg.payload["id"]

    def success(self, R: Json, annotations: JsonObject | None = None, clear: bool = True) -> None:
        """These are the job's resources, a pool or R; ``clear`` takes back what was annotated meanwhile."""
        self._is_final = True
        if clear and self._annotated:
            given = annotations or {}
            annotations = {**given, "sched": {**dict.fromkeys(self._annotated), **given.get("sched", {})}}
        self._scheduler.alloc_success(self._msg, R if isinstance(R, dict) else R.to_dict(), annotations)

    def deny(self, note: str | None = None) -> None:
        """The job never gets any."""
        self._is_final = True
        self._scheduler.alloc_deny(self._msg, note)

    def cancel(self) -> None:
        """The job wants none any more."""
        self._is_final = True
        self._scheduler.alloc_cancel(self._msg)

    def annotate(self, annotations: JsonObject) -> None:
        """Say something about the job that waits; nothing is said once it is answered."""
        if not self._is_final:
            self._annotated.update(dict.fromkeys((annotations or {}).get("sched", {})))
            self._scheduler.alloc_annotate(self._msg, annotations)
