"""Knows which jobs wait for which others (after, afterany, afterok, afternotok); not what is done when one may go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from .job import Job
from .states import State

#: Scheme → whether the other job, now inactive, has met it.
_MET: Final[dict[str, Callable[[Job], bool]]] = {
    "after": lambda job: job.t_run > 0,
    "afterany": lambda job: True,
    "afterok": lambda job: job.success,
    "afternotok": lambda job: not job.success,
}


@attrs.frozen(kw_only=True)
class Verdict:
    """One dependency of ``job`` is settled: it is ``met``, or never will be."""

    job: Job
    description: str
    met: bool


class Dependencies:
    """Waiting jobs by the id of the one they wait for."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, list[tuple[str, Job, str]]] = {}

    def add(self, job: Job, scheme: str, other: Job, description: str) -> Verdict | None:
        """Let ``job`` wait for ``other``; the verdict at once if that can be told already."""
        if other.state is State.INACTIVE:
            return Verdict(job=job, description=description, met=_MET[scheme](other))
        if scheme == "after" and any(event["name"] == "start" for event in other.events or ()):
            return Verdict(job=job, description=description, met=True)
        self._waiting.setdefault(other.id, []).append((scheme, job, description))
        return None

    def started(self, other: Job) -> list[Verdict]:
        """``other`` runs: the verdicts of those that waited only for that."""
        return self._settle(other, lambda scheme: scheme == "after", lambda scheme: True)

    def ended(self, other: Job) -> list[Verdict]:
        """``other`` is inactive: the verdicts of all that waited for it."""
        return self._settle(other, lambda scheme: True, lambda scheme: _MET[scheme](other))

    def _settle(
        self, other: Job, concerns: Callable[[str], bool], met: Callable[[str], bool]
    ) -> list[Verdict]:
        waiting = self._waiting.pop(other.id, None)
        if waiting is None:
            return []
        left = [entry for entry in waiting if not concerns(entry[0])]
        if left:
            self._waiting[other.id] = left
        return [
            Verdict(job=job, description=description, met=met(scheme))
            for scheme, job, description in waiting
            if concerns(scheme)
        ]
