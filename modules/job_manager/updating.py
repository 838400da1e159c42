"""Knows which updates of a job are allowed, to whom, and what follows from them; not how a job takes them.

They are flux-core's built-in plugins ``.update-duration`` and ``.update-queue``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from brokersim.brokermod import RequestError, errnums, job_facts, job_states, updates

from .job import Job
from .machine import DURATION, expiration
from .queues import Queues

QUEUE: Final = "attributes.system.queue"
CONSTRAINTS: Final = "attributes.system.constraints"
#: Which plugin allows the update of a path.
_PLUGINS: Final = {DURATION: ".update-duration", QUEUE: ".update-queue"}
_SETTING: Final = "owner-allow-any"
#: flux-core's other built-in plugins, which are parts of the job manager here.
PARTS: Final = (
    ".priority-default", ".limit-job-size", ".limit-duration", ".dependency-after", ".dependency-singleton",
    ".begin-time", ".validate-duration", ".history", ".post-event",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Changes:
    """``updates`` are what was asked and what follows from it; ``jobspec`` is the job's with them."""

    updates: dict[str, Any]
    jobspec: dict[str, Any]
    #: There must be resources that it could have.
    needs_room: bool
    #: When a running job's resources are to be given back now; None: as before.
    expiration: float | None


class Updating:
    """The plugins are there from the start, and can be loaded anew.

    ``.update-duration`` with ``owner-allow-any=0`` holds the owner to a guest's rules.
    """

    NAMES: Final = frozenset(_PLUGINS.values())

    __slots__ = ("_owner_may_all", "loaded")

    def __init__(self) -> None:
        self.loaded = list(_PLUGINS.values())
        self._owner_may_all = True

    def load(self, name: str, conf: Mapping[str, Any]) -> None:
        """Raises RequestError: EEXIST it is there, EINVAL for settings it has not."""
        if name in self.loaded:
            raise RequestError(errnums.EEXIST, f"plugin {name!r} is already loaded; remove it first")
        value = conf.get(_SETTING, 1)
        known = {_SETTING} if name == _PLUGINS[DURATION] else set()
        if set(conf) - known or not isinstance(value, int):
            may = f"the setting {_SETTING}=0 or 1 only" if known else "no settings"
            raise RequestError(errnums.EINVAL, f"plugin {name!r} has {may}")
        self.loaded.append(name)
        if known:
            self._owner_may_all = bool(value)

    def names(self) -> list[str]:
        """All that are built in."""
        return [*PARTS, *self.loaded]

    def query(self, name: str) -> dict[str, Any] | None:
        """What is to be said of one that is built in; None if it is not."""
        return {"name": name, "path": "builtin"} if name in PARTS or name in self.loaded else None

    def remove(self, name: str) -> bool:
        """Was it there?"""
        if name not in self.loaded:
            return False
        self.loaded.remove(name)
        return True

    def changes(
        self, job: Job, asked: Mapping[str, Any], queues: Queues, now: float, is_owner: bool
    ) -> Changes:
        """What updates lead to. Raises RequestError: EINVAL for what cannot be, or not to that; EPERM."""
        may_all = is_owner and self._owner_may_all
        found = dict(asked)
        for key, value in asked.items():
            if _PLUGINS.get(key) not in self.loaded:
                raise RequestError(errnums.EINVAL, f"update of {key:.80} not supported")
            if key == DURATION:
                _check_duration(job, value, may_all)
            else:
                found[CONSTRAINTS] = _constraints(job, value, queues)
        jobspec = updates.apply_updates(
            "jobspec", job.jobspec, [{"timestamp": now, "name": "jobspec-update", "context": found}]
        )
        if QUEUE in found or not may_all:
            _check_limits(jobspec, queues)
        return Changes(
            updates=found, jobspec=jobspec, needs_room=QUEUE in found, expiration=_expiration(job, found, now)
        )


def _check_duration(job: Job, value: Any, may_all: bool) -> None:
    if type(value) not in (int, float) or not value >= 0:
        text = f"duration must be a number of seconds, 0 or more, not {value!r:.40}"
        raise RequestError(errnums.EINVAL, text)
    if job.state & job_states.RUNNING and not may_all:
        raise RequestError(errnums.EPERM, "duration update of running job requires instance owner")


def _expiration(job: Job, found: Mapping[str, Any], now: float) -> float | None:
    if DURATION not in found or not job.state & job_states.RUNNING or job.R is None:
        return None
    end = expiration(job, float(found[DURATION]))
    if 0 < end <= now:
        raise RequestError(errnums.EINVAL, "requested duration places job expiration in the past")
    return end


def _check_limits(jobspec: dict[str, Any], queues: Queues) -> None:
    try:
        refusal = queues.rules.refusal(job_facts.check_jobspec(jobspec))
    except ValueError as error:
        refusal = str(error)
    if refusal:
        raise RequestError(errnums.EINVAL, refusal)


def _constraints(job: Job, name: Any, queues: Queues) -> dict[str, Any]:
    """Those of a job in another queue. A job's own would be lost, so one that has some stays where it is."""
    refusal = _queue_refusal(job, name, queues)
    if refusal:
        raise RequestError(errnums.EINVAL, refusal)
    system = ((job.jobspec or {}).get("attributes") or {}).get("system") or {}
    if (system.get("constraints") or {}) != _required(job.facts.queue, queues):
        text = f"job appears to have non-queue constraints, unable to update queue to {name:.60}"
        raise RequestError(errnums.EINVAL, text)
    return _required(name, queues)


def _queue_refusal(job: Job, name: Any, queues: Queues) -> str:
    if not isinstance(name, str):
        return f"a queue is named by a text, not {name!r:.40}"
    if job.state & job_states.RUNNING:
        return "update of queue for running job not supported"
    if job.facts.queue == name:
        return f"job queue is already set to {name:.60}"
    try:
        is_open = queues.find(name).enabled
    except ValueError as error:
        return str(error)
    return "" if is_open else f"queue {name:.60} is currently disabled"


def _required(name: str | None, queues: Queues) -> dict[str, Any]:
    queue = queues.rules.queues.get(name) if name is not None else None
    return {"properties": list(queue.requires)} if queue is not None and queue.requires else {}
