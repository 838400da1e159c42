"""Knows what a job's events (RFC 21) say of it: state, times, result, resources; not what a state makes anybody do."""

from __future__ import annotations

from signal import strsignal

import attrs

from brokersim.protocol import updates
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.eventlog import Event
from brokersim.protocol.job_facts import JobFacts, check_jobspec
from brokersim.protocol.job_states import ALLOWED, URGENCY_DEFAULT, State, next_state


@attrs.define(eq=False, kw_only=True)
class JobRecord:
    """One job. Everything but ``id``, ``facts`` and ``jobspec`` follows from its events."""

    id: int
    facts: JobFacts
    jobspec: JsonObject | None
    userid: int = 0
    urgency: int = URGENCY_DEFAULT
    flags: int = 0
    state: State = State.NEW
    #: Mask of the states it has been in.
    seen: int = int(State.NEW)
    priority: int = -1
    #: Time of each state's entry, seconds since the epoch; the first event's time is the submission.
    t_submit: float = 0.0
    t_depend: float = 0.0
    t_priority: float = 0.0
    t_sched: float = 0.0
    t_run: float = 0.0
    t_cleanup: float = 0.0
    t_inactive: float = 0.0
    #: Of the command: a wait status; None until it finished.
    status: int | None = None
    #: The first exception of severity 0: (type, note).
    exception: tuple[str, str] | None = None
    R: JsonObject | None = None
    annotations: JsonObject | None = None
    has_resources: bool = False
    #: Its command has begun: one that was given resources may end before that.
    has_started: bool = False
    #: Dependencies not met yet, as ``scheme=value``.
    waits_for: list[str] = attrs.field(factory=list)

    def apply(self, event: Event) -> None:
        """Take one event in. Raises ValueError if it cannot come now; the job is then as before."""
        name, context = event["name"], event.get("context")
        new = next_state(self.state, name, context)
        effect = _EFFECTS.get(name)
        if effect is not None:
            effect(self, event, context or {})
        if new is not self.state:
            self.state = new
            self.seen |= new
            clock = _CLOCKS.get(new)
            if clock is not None and not getattr(
                self, clock
            ):  # a job may be in PRIORITY and SCHED more than once
                setattr(self, clock, event["timestamp"])

    def annotated(self, more: JsonObject) -> JsonObject | None:
        """Its annotations with these: objects are joined key by key, and a null takes one away (RFC 27)."""
        return _merged(self.annotations or {}, more) or None

    def retire(self) -> None:
        """It has ended: what is in the KVS need not be in memory."""
        self.jobspec = None

    @property
    def success(self) -> bool:
        """It ran to its end with status 0 and no fatal exception."""
        return self.status == 0 and self.exception is None

    @property
    def result(self) -> int:
        """Of an inactive job (RFC 24): 1 completed, 2 failed, 4 cancelled, 8 timed out."""
        if self.exception is not None:
            return {"cancel": 4, "timeout": 8}.get(self.exception[0], 2)
        return 1 if self.status == 0 else 2

    def errstr(self) -> str:
        """Why it is no success, for people; ``""`` if it is one."""
        if self.exception is not None:
            kind, note = self.exception
            return f"Fatal exception type={kind} {note}"
        if self.status:
            signal = self.status & 0x7F
            return (
                f"job shell {strsignal(signal)}"
                if signal
                else f"task(s) {strsignal(code - 128)}"
                if (code := self.status >> 8) > 128
                else f"task(s) exited with exit code {code}"
            )
        return "" if self.status == 0 else "job never ran"


def _submit(job: JobRecord, event: Event, context: JsonObject) -> None:
    job.t_submit = event["timestamp"]
    job.userid = context.get("userid", job.userid)
    job.urgency = context.get("urgency", job.urgency)
    job.flags = context.get("flags", job.flags)


def _urgency(job: JobRecord, _event: Event, context: JsonObject) -> None:
    job.urgency = context["urgency"]


def _priority(job: JobRecord, _event: Event, context: JsonObject) -> None:
    job.priority = context["priority"]


def _dependency_add(job: JobRecord, _event: Event, context: JsonObject) -> None:
    job.waits_for.append(context["description"])


def _dependency_remove(job: JobRecord, _event: Event, context: JsonObject) -> None:
    if context["description"] in job.waits_for:
        job.waits_for.remove(context["description"])


def _alloc(job: JobRecord, _event: Event, context: JsonObject) -> None:
    job.has_resources = True
    job.annotations = _merged(job.annotations or {}, context.get("annotations") or {}) or None


def _merged(old: JsonObject, new: JsonObject) -> JsonObject:
    found = dict(old)
    for key, value in new.items():
        before = found.pop(key, None)
        if isinstance(value, dict):
            value = _merged(before if isinstance(before, dict) else {}, value) or None
        if value is not None:
            found[key] = value
    return found


def _annotations(job: JobRecord, _event: Event, context: JsonObject) -> None:
    """All there are from now on: who says it has joined them to those before (:meth:`JobRecord.annotated`)."""
    job.annotations = context.get("annotations") or None


def _memo(job: JobRecord, _event: Event, context: JsonObject) -> None:
    """Memos are shown as annotations of the user's; a null takes one away, objects are joined key by key."""
    kept = _merged((job.annotations or {}).get("user", {}), context)
    others = {key: value for key, value in (job.annotations or {}).items() if key != "user"}
    job.annotations = {**others, **({"user": kept} if kept else {})} or None


def _jobspec_update(job: JobRecord, event: Event, context: JsonObject) -> None:
    duration = context.get("attributes.system.duration")
    if isinstance(duration, (int, float)):
        job.facts = attrs.evolve(job.facts, duration=float(duration))
    if job.jobspec is not None:
        job.jobspec = updates.apply_updates("jobspec", job.jobspec, [event])
        job.facts = check_jobspec(job.jobspec)


def _resource_update(job: JobRecord, event: Event, _context: JsonObject) -> None:
    if job.R is not None:
        job.R = updates.apply_updates("R", job.R, [event])


def _start(job: JobRecord, _event: Event, _context: JsonObject) -> None:
    job.has_started = True


def _finish(job: JobRecord, _event: Event, context: JsonObject) -> None:
    job.status = context["status"]


def _free(job: JobRecord, _event: Event, _context: JsonObject) -> None:
    job.has_resources = False


def _exception(job: JobRecord, _event: Event, context: JsonObject) -> None:
    if context.get("severity", 0) == 0 and job.exception is None:
        job.exception = (context["type"], context.get("note", ""))


_EFFECTS = {
    "submit": _submit,
    "urgency": _urgency,
    "priority": _priority,
    "dependency-add": _dependency_add,
    "dependency-remove": _dependency_remove,
    "alloc": _alloc,
    "annotations": _annotations,
    "memo": _memo,
    "jobspec-update": _jobspec_update,
    "resource-update": _resource_update,
    "start": _start,
    "finish": _finish,
    "free": _free,
    "exception": _exception,
}
_CLOCKS = {
    State.DEPEND: "t_depend",
    State.PRIORITY: "t_priority",
    State.SCHED: "t_sched",
    State.RUN: "t_run",
    State.CLEANUP: "t_cleanup",
    State.INACTIVE: "t_inactive",
}


def is_own_event(name: str) -> bool:
    """It means something to a job's state or record, so nobody but the job manager posts it."""
    return name in _EFFECTS or name in ALLOWED
