"""Knows who wants to hear of jobs (topics ``job.new``, ``job.state.run``); not what they do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .job import Job
from .states import State

Listener: TypeAlias = Callable[[str, Job], object]
_STATE_TOPICS = {state: f"job.state.{state.name.lower()}" for state in State}


class JobHooks:
    """Calls listeners by topic, in the order they were added. A topic ending in ``*`` is a prefix."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Listener]] = []

    def add(self, topic: str, listener: Listener) -> None:
        """Call ``listener(topic, job)`` for each topic that matches, right after the job has changed."""
        self._listeners.append((topic, listener))

    def new(self, job: Job) -> None:
        """A job is there, in state NEW."""
        if self._listeners:
            self._call("job.new", job)

    def entered(self, job: Job) -> None:
        """A job entered the state it is in."""
        if self._listeners:
            self._call(_STATE_TOPICS[job.state], job)

    def _call(self, topic: str, job: Job) -> None:
        for wanted, listener in self._listeners:
            if wanted == topic or (wanted.endswith("*") and topic.startswith(wanted[:-1])):
                listener(topic, job)
