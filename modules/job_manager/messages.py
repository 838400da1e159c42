"""Knows the payloads of job-manager's requests; not what is done with them."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import JobFacts, job_facts, job_states


class Entry(msgspec.Struct, gc=False):
    """One job in job-manager.submit."""

    id: int
    jobspec: dict[str, Any]
    userid: int = 0
    urgency: int = job_states.URGENCY_DEFAULT
    flags: int = 0
    t_submit: float = 0.0

    def facts(self) -> JobFacts:
        """Raises ValueError as :func:`check_jobspec` does."""
        return job_facts.check_jobspec(self.jobspec)


class Submit(msgspec.Struct, gc=False):
    """Payload of job-manager.submit."""

    jobs: list[Entry]


class Raise(msgspec.Struct, gc=False):
    """Payload of job-manager.raise; severity 0 ends the job, 1 to 7 is a remark."""

    id: int
    type: str
    severity: int
    note: str = ""
    #: The wait status a job ends with that never ran; it is told with the event.
    wait_status: int | None = None


class PostEvent(msgspec.Struct, gc=False):
    """Payload of job-manager.post-event.post: an event of one's own for a job's log."""

    id: int
    name: str
    context: dict[str, Any] | None = None


class HousekeepingKill(msgspec.Struct, gc=False):
    """Payload of job-manager.housekeeping-kill; without ``jobid`` and ``ranks`` all is meant."""

    signum: int
    jobid: int | None = None
    ranks: str | None = None


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
    dry_run: bool
    note: str = ""


class KillAll(msgspec.Struct, gc=False):
    """Payload of job-manager.killall."""

    userid: int
    signum: int
    dry_run: bool


class Urgency(msgspec.Struct, gc=False):
    """Payload of job-manager.urgency."""

    id: int
    urgency: int


class Wait(msgspec.Struct, gc=False):
    """Payload of job-manager.wait."""

    id: int
    claim: bool = True


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


class QueueEnable(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-enable; closing a queue needs a reason."""

    enable: bool
    reason: str | None = None
    name: str | None = None
    all: bool = False


class QueueStart(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-start."""

    start: bool
    reason: str | None = None
    name: str | None = None
    all: bool = False
    nocheckpoint: bool = False


class QueueName(msgspec.Struct, gc=False):
    """Payload of job-manager.queue-status."""

    name: str | None = None


class JournalCancel(msgspec.Struct, gc=False):
    """Payload of job-manager.events-journal-cancel."""

    matchtag: int


class JobtapLoad(msgspec.Struct, gc=False):
    """Payload of job-manager.jobtap-load: a shipped plugin's name or a file's path, and its settings."""

    path: str
    conf: dict[str, Any] = {}
    remove: str = ""


class JobtapName(msgspec.Struct, gc=False):
    """Payload of job-manager.jobtap-remove (a glob) and jobtap-query."""

    name: str


class JobtapAll(msgspec.Struct, gc=False):
    """Payload of job-manager.jobtap, as flux-core has it: ``remove`` (a glob) comes before ``load``."""

    load: str | None = None
    conf: dict[str, Any] | None = None
    remove: str | None = None
    query_only: bool = False


class Follow(msgspec.Struct, gc=False):
    """Payload of job-manager.events-journal: names of events are the keys of ``allow`` and ``deny``."""

    allow: Any = None
    deny: Any = None
    full: bool = False

    def fault(self) -> str:
        """What is wrong with it, ``""`` if nothing is."""
        for name, names in (("allow", self.allow), ("deny", self.deny)):
            if names is not None and not isinstance(names, dict):
                return f"{name} should be an object"
        return ""

    def wants(self, name: str) -> bool:
        """Whether events of that name are told."""
        return (self.allow is None or name in self.allow) and (self.deny is None or name not in self.deny)


class SomeJobs(msgspec.Struct, gc=False):
    """Payload of job-manager.list."""

    max_entries: int


class GetAttr(msgspec.Struct, gc=False):
    """Payload of job-manager.getattr: jobspec, R, eventlog."""

    id: int
    attrs: list[str]


class History(msgspec.Struct, gc=False):
    """Payload of job-manager.history.get."""

    slice: str


class Memo(msgspec.Struct, gc=False):
    """Payload of job-manager.memo."""

    id: int
    memo: dict[str, Any]
    volatile: bool = False


class Update(msgspec.Struct, gc=False):
    """Payload of job-manager.update: dotted paths and their new values."""

    id: int
    updates: dict[str, Any]


class Purge(msgspec.Struct, gc=False):
    """Payload of job-manager.purge; -1 is no limit, the age in seconds."""

    age_limit: float
    num_limit: int
    batch: int
    force: bool


class PurgeId(msgspec.Struct, gc=False):
    """Payload of job-manager.purge-id."""

    id: int
