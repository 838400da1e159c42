"""Knows how many jobs there are by state and by result, of all and of each queue; not which."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from brokersim.brokermod import JobRecord
from brokersim.brokermod import JobState as State

_RESULTS: Final = {"successful": 1, "failed": 2, "canceled": 4, "timeout": 8}
_SHOWN: Final = tuple(state for state in State if state is not State.NEW)


class Figures:
    """The counts of some jobs; those whose records are gone are counted apart."""

    __slots__ = ("_purged", "_results", "_states")

    def __init__(self) -> None:
        self._states: Counter[State] = Counter()
        self._results: Counter[int] = Counter()
        self._purged = 0

    def enter(self, job: JobRecord) -> None:
        """A job is among them, in the state it has now."""
        self._states[job.state] += 1
        if job.state is State.INACTIVE:
            self._results[job.result] += 1

    def leave(self, job: JobRecord, state: State) -> None:
        """One that was among them in ``state`` is not there any more, or not in that state."""
        self._states[state] -= 1
        if state is State.INACTIVE:
            self._results[job.result] -= 1

    def purge(self, job: JobRecord) -> None:
        """Its records are gone."""
        self.leave(job, job.state)
        self._purged += 1

    def to_dict(self) -> dict[str, Any]:
        """As job-list.job-stats has it: a job is in ``total`` until it is purged."""
        states = {state.name.lower(): self._states[state] for state in _SHOWN}
        return {
            "job_states": {**states, "total": sum(self._states.values())},
            **{name: self._results[result] for name, result in _RESULTS.items()},
            "inactive_purged": self._purged,
        }


class Book:
    """Figures of all jobs, and of those of each queue."""

    __slots__ = ("_all", "_queues")

    def __init__(self) -> None:
        self._all = Figures()
        self._queues: dict[str, Figures] = {}

    def entered(self, job: JobRecord) -> None:
        """A job came to be known."""
        self._all.enter(job)
        if job.facts.queue is not None:
            self._of(job.facts.queue).enter(job)

    def changed(self, job: JobRecord, state: State, queue: str | None) -> None:
        """A job was in ``state`` and ``queue``."""
        if job.state is not state:
            self._all.leave(job, state)
            self._all.enter(job)
        if queue is not None:
            self._of(queue).leave(job, state)
        if job.facts.queue is not None:
            self._of(job.facts.queue).enter(job)

    def purged(self, job: JobRecord) -> None:
        """Its records are gone."""
        self._all.purge(job)
        if job.facts.queue is not None:
            self._of(job.facts.queue).purge(job)

    def to_dict(self, configured: list[str]) -> dict[str, Any]:
        """The answer of job-list.job-stats: queues are those configured, and those that have or had jobs."""
        names = dict.fromkeys((*configured, *self._queues))
        queues = [{"name": name, **self._of(name).to_dict()} for name in names]
        return {**self._all.to_dict(), "queues": queues}

    def _of(self, queue: str) -> Figures:
        found = self._queues.get(queue)
        if found is None:
            found = self._queues[queue] = Figures()
        return found
