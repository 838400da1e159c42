"""Knows who wants to hear of jobs (topics ``job.new``, ``job.state.run``) or has a say in their priority; not why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from brokersim.brokermod import JobState as State
from brokersim.brokermod import job_states

from .job import Job

Listener: TypeAlias = Callable[[str, Job], object]
PRIORITY_GET = "job.priority.get"
_STATE_TOPICS = {state: f"job.state.{state.name.lower()}" for state in State}


class JobHooks:
    """Calls listeners by topic, in the order they were added. A topic ending in ``*`` is a prefix.

    ``previous`` is the state the job left, while a ``job.state.*`` listener runs.
    """

    __slots__ = ("_listeners", "previous")

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Listener]] = []
        self.previous: State | None = None

    def add(self, topic: str, listener: Listener) -> None:
        """Call ``listener(topic, job)`` for each topic that matches, right after the job has changed."""
        # A new list each time: one that is being gone through stays as it is.
        self._listeners = [*self._listeners, (topic, listener)]

    def remove(self, listener: Listener) -> None:
        """Call ``listener`` no more, whatever its topics."""
        self._listeners = [(topic, one) for topic, one in self._listeners if one is not listener]

    def new(self, job: Job) -> None:
        """A job is there, in state NEW."""
        if self._listeners:
            self._call("job.new", job)

    def entered(self, job: Job, previous: State) -> None:
        """A job left ``previous`` and entered the state it is in."""
        if self._listeners:
            self.previous = previous
            self._call(_STATE_TOPICS[job.state], job)
            self.previous = None

    def priority(self, job: Job) -> int:
        """What the last listener of ``job.priority.get`` with an opinion says, else what the urgency gives.

        Only listeners of exactly that topic are asked, and not about held and expedited jobs (urgency 0 and 31).
        """
        by_urgency = job_states.priority_of(job.urgency)
        if not self._listeners or job.urgency in (0, job_states.URGENCY_MAX):
            return by_urgency
        answers = [one(PRIORITY_GET, job) for wanted, one in self._listeners if wanted == PRIORITY_GET]
        said = [answer for answer in answers if isinstance(answer, int)]
        return min(max(said[-1], 0), job_states.PRIORITY_MAX) if said else by_urgency

    def _call(self, topic: str, job: Job) -> None:
        for wanted, listener in self._listeners:
            if matches(wanted, topic):
                listener(topic, job)


def matches(wanted: str, topic: str) -> bool:
    """``topic`` is the one wanted, or begins as one wanted that ends in ``*``."""
    return wanted == topic or (wanted.endswith("*") and topic.startswith(wanted[:-1]))
