"""Knows what the job manager remembers of a job beside its record; not what a state makes it do."""

from __future__ import annotations

import attrs

from brokersim.brokermod import JobRecord, eventlog

#: Submit flags (RFC 16): the job's log tells of the requests to the scheduler and the execution service; the job may be
#: waited for by ``job-manager.wait`` without naming it.
FLAG_DEBUG = 2
FLAG_WAITABLE = 4


@attrs.define(eq=False, kw_only=True)
class Job(JobRecord):
    """One job and what is under way for it."""

    eventlog_key: str = ""
    #: Requests under way: to the scheduler (and whether it was cancelled) and to the execution service.
    alloc_pending: bool = False
    alloc_cancelled: bool = False
    start_pending: bool = False
    #: When it entered the state it is in (s since the Unix epoch); 0.0 in its first, and after a restart.
    entered: float = 0.0
    #: All events so far while the job is active, for those who join the journal late.
    events: list[eventlog.Event] | None = attrs.field(factory=list)

    def apply(self, event: eventlog.Event) -> None:
        """Take one event in. Raises ValueError if it cannot come now; the job is then as before."""
        JobRecord.apply(self, event)
        if self.events is not None:
            self.events.append(event)

    def retire(self) -> None:
        """It has ended: what is in the KVS need not be in memory."""
        JobRecord.retire(self)
        self.events = None
