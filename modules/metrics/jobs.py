"""Knows the stream ``job.state`` where no job manager observes it: it is made of what the journal of jobs tells.

brokersim's job manager observes each state as a job leaves it. A Flux's does not; on rank 0 its journal is followed
then, from the first stat that wants the stream until an event comes that none wants any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.brokermod import Handle, Message, job_states
from brokersim.brokermod import JobState as State

from .counters import counts_of

STREAM = "job.state"
_JOURNAL = "job-manager.events-journal"


class JobStates:
    """Seconds that each job was in each of its states, observed as it leaves one."""

    def __init__(self, handle: Handle, is_wanted: Callable[[], bool], stream: str = STREAM) -> None:
        self._handle = handle
        self._is_wanted = is_wanted
        self._stream = stream
        #: The open request, once there is one; a job manager that goes ends it.
        self._request: Any = None
        #: The state of each active job, and when it came to be in it (s).
        self._jobs: dict[int, tuple[State, float]] = {}
        #: What is told first are events of the past: they say where a job is, and are not counted.
        self._is_past = True

    def look(self) -> None:
        """Follow the journal unless that is done already, or the job manager, being ours, observes by itself."""
        if self._request is None:
            self._handle.request("module.list", {}, self._listed, nodeid=self._handle.rank)

    def _listed(self, response: Message, _arg: object) -> None:
        mods = [] if response.errnum else response.payload.get("mods", [])
        if any(mod["name"] == "job-manager" and counts_of(mod) is None for mod in mods):
            self.follow()

    def follow(self) -> None:
        """Ask for the journal: active jobs with their past, then events as they happen."""
        if self._request is None:
            self._jobs.clear()
            self._is_past = True
            self._request = self._handle.stream(_JOURNAL, {"full": False}, self._told)

    def _told(self, response: Message, _arg: object) -> None:
        if response.errnum:
            self._request = None  # the next epoch's end looks for another
        elif not self._is_wanted():
            self._leave()
        elif response.payload["id"] < 0:
            self._is_past = False
        else:
            for event in response.payload["events"]:
                self._take(response.payload["id"], event)

    def _leave(self) -> None:
        request, self._request = self._request, None
        self._handle.request(f"{_JOURNAL}-cancel", {"matchtag": request.matchtag}, nodeid=self._handle.rank)
        self._handle.forget(request)

    def _take(self, job: int, event: dict[str, Any]) -> None:
        name, now = event["name"], event["timestamp"]
        old, since = self._jobs.get(job, (State.NEW, now))
        try:
            new = job_states.next_state(old, name, event.get("context"))
        except ValueError:
            return  # an event that this version of the states does not know where to put moves no job
        if new is old and name != "submit":
            return
        if new is not old and not self._is_past:
            self._handle.observe(self._stream, {"state": old.name}, max(0.0, now - since))
        self._jobs[job] = new, now
        if new is State.INACTIVE:
            del self._jobs[job]
