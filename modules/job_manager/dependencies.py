"""Knows which jobs wait for which others (after…, singleton); not what is done when one may go."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from brokersim.brokermod import JobState as State
from brokersim.brokermod import jobid

from .job import Job

#: Scheme → whether the other job, which has run and is inactive now, has met it. One that never ran meets afterany.
_MET: Final[dict[str, Callable[[Job], bool]]] = {
    "after": lambda job: job.has_started,
    "afterstart": lambda job: job.has_started,
    "afterany": lambda job: True,
    "afterok": lambda job: job.success,
    "afternotok": lambda job: not job.success,
    "afterexcept": lambda job: job.exception is not None,
}
#: What a dependency is called in logs and lists, as flux-core 0.88 does.
_SHOWN: Final = {
    "after": "after-start", "afterstart": "after-start", "afterany": "after-finish", "afterok": "after-success",
    "afternotok": "after-failure", "afterexcept": "after-except",
}  # fmt: skip
#: Why a job that has ended already will never meet one.
_UNMET: Final = {
    **dict.fromkeys(("after", "afterstart"), "after: {} never started"),
    "afterok": "afterok: job {} failed or was canceled", "afternotok": "afternotok: job {} succeeded",
    "afterexcept": "afterexcept: job {}: no exception",
}  # fmt: skip
STARTS: Final = ("after", "afterstart")
SINGLETON: Final = "singleton"
BEGIN_TIME: Final = "begin-time"
DEPRECATED: Final = "dependency scheme 'after' is deprecated, use 'afterstart'"
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

    __slots__ = ("_active", "_singletons", "_waiting")

    def __init__(self, active: Mapping[int, Job]) -> None:
        #: All jobs that are not inactive.
        self._active = active
        self._waiting: dict[int, list[tuple[str, Job, str]]] = {}
        #: Those that wait for all others of their user and name to end, in their order.
        self._singletons: dict[tuple[int, str], deque[Job]] = {}

    def add(self, job: Job, scheme: str, other: Job, description: str) -> Verdict | None:
        """Let ``job`` wait for ``other``; the verdict at once if that can be told already."""
        if other.state is State.INACTIVE:
            return _verdict(scheme, other, job, description)
        if scheme in STARTS and other.has_started:
            return Verdict(job=job, description=description, met=True)
        self._waiting.setdefault(other.id, []).append((scheme, job, description))
        return None

    def started(self, other: Job) -> list[Verdict]:
        """``other`` runs: the verdicts of those that waited only for that."""
        return [
            Verdict(job=job, description=description, met=True)
            for _, job, description in self._take(other, lambda scheme: scheme in STARTS)
        ]

    def ended(self, other: Job) -> list[Verdict]:
        """``other`` is inactive: the verdicts of all that waited for it."""
        settled = self._take(other, lambda scheme: True)
        verdicts = [_verdict(scheme, other, job, description) for scheme, job, description in settled]
        if self._singletons:
            verdicts += self._next_singleton(other)
        return verdicts

    def hold_singleton(self, job: Job) -> bool:
        """A new job, not active yet, waits until all others of its user and name wait so, too; False: there is none."""
        key = _key(job)
        if key is None or not self._count(key):
            return False
        self._singletons.setdefault(key, deque()).append(job)
        return True

    def is_held(self, job: Job) -> bool:
        """It waits for others of its name still."""
        key = _key(job)
        return key is not None and job in self._singletons.get(key, ())

    def _next_singleton(self, other: Job) -> list[Verdict]:
        key = _key(other)
        waiting = self._singletons.get(key) if key is not None else None
        if key is None or waiting is None:
            return []
        if other in waiting:
            waiting.remove(other)
        first = waiting.popleft() if waiting and self._count(key) == len(waiting) else None
        if not waiting:
            del self._singletons[key]
        return [] if first is None else [Verdict(job=first, description=SINGLETON, met=True)]

    def _count(self, key: tuple[int, str]) -> int:
        return sum(_key(job) == key for job in self._active.values())

    def _take(self, other: Job, concerns: Callable[[str], bool]) -> list[tuple[str, Job, str]]:
        waiting = self._waiting.pop(other.id, None)
        if waiting is None:
            return []
        left = [entry for entry in waiting if not concerns(entry[0])]
        if left:
            self._waiting[other.id] = left
        return [entry for entry in waiting if concerns(entry[0])]


def check(dependencies: Iterable[tuple[str, str]], find: Callable[[int], Job | None]) -> None:
    """Raises ValueError if one names no job that could be found, or no time."""
    for scheme, value in dependencies:
        if scheme == BEGIN_TIME:
            _begin_time(value)
        elif scheme != SINGLETON:
            why = refusal(scheme, value, find(_id(scheme, value)))
            if why:
                raise ValueError(why)


def named(dependencies: Iterable[tuple[str, str]], find: Callable[[int], Job | None]) -> dict[str, Job]:
    """Jobs that checked dependencies name: one that has ended may be forgotten before another is held for it."""
    schemes = [(scheme, value) for scheme, value in dependencies if scheme not in (SINGLETON, BEGIN_TIME)]
    return {value: other for scheme, value in schemes if (other := find(_id(scheme, value))) is not None}


def _id(scheme: str, value: str) -> int:
    try:
        return jobid.decode(value)
    except ValueError:
        raise ValueError(f'dependency: {scheme}: "{value:.60}" is not a valid jobid') from None


def _begin_time(value: str) -> None:
    try:
        is_time = 0 <= float(value) < math.inf
    except ValueError:
        is_time = False
    if not is_time:
        raise ValueError(f"Invalid begin-time={value:.40}")


def shown(scheme: str, value: str) -> str:
    """The description of a dependency."""
    return f"{_SHOWN.get(scheme, scheme)}={value}"


def refusal(scheme: str, value: str, other: Job | None) -> str:
    """Why a job that names this one cannot be taken, "" if it can; in flux-core's words."""
    if other is None:
        return f"dependency: {scheme}: id {value}: job not found"
    if other.state is not State.INACTIVE or scheme == "afterany":
        return ""
    if not other.t_run:
        return f"dependency: after: {value} never started"
    return "" if _MET[scheme](other) else f"dependency: {_UNMET[scheme].format(value)}"


def _key(job: Job) -> tuple[int, str] | None:
    """User and name of a job that was given one."""
    return (job.userid, job.facts.name) if job.facts.is_named else None


def _verdict(scheme: str, other: Job, job: Job, description: str) -> Verdict:
    """What an inactive job means to one that waited for it."""
    if scheme != "afterany" and not other.t_run:
        return Verdict(job=job, description=description, met=False, why=NEVER_STARTED)
    return Verdict(job=job, description=description, met=_MET[scheme](other))
