"""Knows which jobs wait for which others (after, afterany, afterok, afternotok); not what is done when one may go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from brokersim.brokermod import JobState as State

from .job import Job

#: Scheme → whether the other job, which has run and is inactive now, has met it. One that never ran meets afterany.
_MET: Final[dict[str, Callable[[Job], bool]]] = {
    "after": lambda job: True,
    "afterany": lambda job: True,
    "afterok": lambda job: job.success,
    "afternotok": lambda job: not job.success,
    "afterexcept": lambda job: job.exception is not None,
}
NEVER_STARTED: Final = "job never started"
NEVER_MET: Final = "can never be satisfied"


@attrs.frozen(kw_only=True)
class Verdict:
    """One dependency of ``job`` is settled: it is ``met``, or never will be, which ``why`` says."""

    job: Job
    description: str
    met: bool
    why: str = NEVER_MET


class Dependencies:
    """Waiting jobs by the id of the one they wait for."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, list[tuple[str, Job, str]]] = {}

    def add(self, job: Job, scheme: str, other: Job, description: str) -> Verdict | None:
        """Let ``job`` wait for ``other``; the verdict at once if that can be told already."""
        if other.state is State.INACTIVE:
            return _verdict(scheme, other, job, description)
        if scheme == "after" and any(event["name"] == "start" for event in other.events or ()):
            return Verdict(job=job, description=description, met=True)
        self._waiting.setdefault(other.id, []).append((scheme, job, description))
        return None

    def started(self, other: Job) -> list[Verdict]:
        """``other`` runs: the verdicts of those that waited only for that."""
        return [
            Verdict(job=job, description=description, met=True)
            for _, job, description in self._take(other, lambda scheme: scheme == "after")
        ]

    def ended(self, other: Job) -> list[Verdict]:
        """``other`` is inactive: the verdicts of all that waited for it."""
        settled = self._take(other, lambda scheme: True)
        return [_verdict(scheme, other, job, description) for scheme, job, description in settled]

    def _take(self, other: Job, concerns: Callable[[str], bool]) -> list[tuple[str, Job, str]]:
        waiting = self._waiting.pop(other.id, None)
        if waiting is None:
            return []
        left = [entry for entry in waiting if not concerns(entry[0])]
        if left:
            self._waiting[other.id] = left
        return [entry for entry in waiting if concerns(entry[0])]


def _verdict(scheme: str, other: Job, job: Job, description: str) -> Verdict:
    """What an inactive job means to one that waited for it."""
    if scheme != "afterany" and not other.t_run:
        return Verdict(job=job, description=description, met=False, why=NEVER_STARTED)
    return Verdict(job=job, description=description, met=_MET[scheme](other))
