"""Knows the payloads of job-manager's and job-list's requests; not what is done with them."""

from __future__ import annotations

from typing import Any

import msgspec

from .jobspec import JobFacts, check_jobspec
from .states import URGENCY_DEFAULT


class Entry(msgspec.Struct, gc=False):
    """One job in job-manager.submit."""

    id: int
    jobspec: dict[str, Any]
    userid: int = 0
    urgency: int = URGENCY_DEFAULT
    flags: int = 0
    t_submit: float = 0.0

    def facts(self) -> JobFacts:
        """Raises ValueError as :func:`check_jobspec` does."""
        return check_jobspec(self.jobspec)


class Submit(msgspec.Struct, gc=False):
    """Payload of job-manager.submit."""

    jobs: list[Entry]


class JobOf(msgspec.Struct, gc=False):
    """The job that any request of job-info is about."""

    id: int


class Raise(msgspec.Struct, gc=False):
    """Payload of job-manager.raise; severity 0 ends the job, 1 to 7 is a remark."""

    id: int
    type: str
    severity: int = 0
    note: str = ""


class Kill(msgspec.Struct, gc=False):
    """Payload of job-manager.kill."""

    id: int
    signum: int


class RaiseAll(msgspec.Struct, gc=False):
    """Payload of job-manager.raiseall: states is a mask; user 4294967295 is all."""

    userid: int
    states: int
    type: str
    severity: int
    dry_run: bool = False
    note: str = ""


class KillAll(msgspec.Struct, gc=False):
    """Payload of job-manager.killall."""

    userid: int
    signum: int
    dry_run: bool = False


class Urgency(msgspec.Struct, gc=False):
    """Payload of job-manager.urgency; -1 asks for expedite (31), as flux-core's."""

    id: int
    urgency: int


class Wait(msgspec.Struct, gc=False):
    """Payload of job-manager.wait."""

    id: int


class Ready(msgspec.Struct, gc=False):
    """Payload of job-manager.sched-ready."""

    mode: str
    limit: int = 0


class ExecHello(msgspec.Struct, gc=False):
    """Payload of job-manager.exec-hello: the service that starts jobs."""

    service: str


class AllocAnswer(msgspec.Struct, gc=False):
    """One response of sched.alloc."""

    type: int
    R: dict[str, Any] | None = None
    note: str = ""
    annotations: dict[str, Any] | None = None


class StartAnswer(msgspec.Struct, gc=False):
    """One response of job-exec.start."""

    type: str
    data: dict[str, Any]


class Setroot(msgspec.Struct, gc=False):
    """What is read of a kvs setroot event."""

    keys: dict[str, Any]


class QueueEnable(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-enable."""

    enable: bool
    reason: str = ""
    name: str | None = None


class QueueStart(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-start."""

    start: bool
    reason: str = ""
    name: str | None = None


class QueueName(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-status."""

    name: str | None = None


class JournalCancel(msgspec.Struct, gc=False):
    """Payload of job-manager.events-journal-cancel."""

    matchtag: int


class List(msgspec.Struct, gc=False):
    """Payload of job-list.list."""

    max_entries: int = 0
    attrs: list[str] = []
    since: float = 0.0
    constraint: dict[str, Any] | None = None


class ListId(msgspec.Struct, gc=False):
    """Payload of job-list.list-id."""

    id: int
    attrs: list[str] = []


class JobtapLoad(msgspec.Struct, gc=False):
    """Payload of job-manager.jobtap-load: a shipped plugin's name or a file's path, and its settings."""

    path: str
    conf: dict[str, Any] = {}
    remove: str = ""


class JobtapName(msgspec.Struct, gc=False):
    """Payload of job-manager.jobtap-remove (a glob) and jobtap-query."""

    name: str
