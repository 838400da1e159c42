"""Knows what each state of a job makes the module do (RFC 21), and posts events; not who asks or who lists jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from brokersim.brokermod import (
    Handle,
    JobTable,
    Message,
    RequestError,
    errnums,
    eventlog,
    job_states,
    jobid,
)
from brokersim.brokermod import (
    JobState as State,
)

from .batch import CommitBatch, append_op
from .dependencies import BEGIN_TIME, DEPRECATED, SINGLETON, Dependencies, Verdict, named, shown
from .hooks import JobHooks
from .housekeeping import Housekeeping, Log
from .job import FLAG_DEBUG, Job
from .journal import Journal
from .messages import AllocAnswer, StartAnswer
from .queues import Queues
from .window import Window, urgent_first

#: Seconds between two events that came at one instant of real time.
TICK = 1e-6
DURATION = "attributes.system.duration"
#: FLUX_USERID_UNKNOWN: nobody's exception; among requests it stands for all users.
USERID_UNKNOWN = 0xFFFFFFFF
#: Why the log of a job with flag ``debug`` says that its start was lost, if not by who executed it going.
NO_START: Final = "start response error"
NOT_RETIMED = (
    "failed to send expiration update to exec system: job termination may not coincide with expiration"
)
#: What an observation of a state goes by, made once: an enum's `name` is a descriptor.
_KEYS: Final = {state: {"state": state.name} for state in State}
#: Types of a sched.alloc response (RFC 27).
ALLOC_SUCCESS, ALLOC_ANNOTATE, ALLOC_DENY, ALLOC_CANCEL = range(4)


def expiration(job: Job, duration: float) -> float:
    """When the resources of a running job are to be given back if it may last so long; 0.0: never."""
    start: float = job.R["execution"]["starttime"] if job.R is not None else 0.0
    return start + duration if duration else 0.0


class JobMachine:
    """Drives every job from submit to clean. Each event is applied, batched for the KVS, published, acted upon.

    Nothing but an event changes a job. `post` applies one and then has `act` do what the job's state asks for, which
    most often is to post the next: so one call takes a job as far as it gets without an answer from somebody else.
    What is asked is marked on the job (``alloc_pending``, ``start_pending``); who acts on it again asks nothing twice.
    """

    __slots__ = (
        "_actions", "_handle", "_is_real", "_log", "_settling", "_verdicts", "batch", "dependencies", "exec_sender",
        "exec_service", "hooks", "housekeeping", "jobs", "journal", "on_inactive", "queues", "sched_ready", "window",
    )  # fmt: skip

    def __init__(
        self, handle: Handle, log: Log, on_inactive: Callable[[Job], object], queues: Queues
    ) -> None:
        self._handle = handle
        self._log = log
        self.jobs = JobTable[Job]()
        self.batch = CommitBatch(handle, log.error)
        self.hooks = JobHooks()
        self.housekeeping = Housekeeping(handle, log)
        self.journal = Journal(handle)
        self.queues = queues
        self.dependencies = Dependencies(self.jobs.active)
        self.on_inactive = on_inactive
        self.sched_ready = False
        self.window = Window(self.jobs.active)
        self.exec_service = self.exec_sender = ""
        self._is_real = handle.attr_get("clock") != "virtual"
        self._verdicts: deque[Verdict] = deque()
        self._settling = False
        self._actions: dict[State, Callable[[Job], None]] = {
            State.NEW: lambda job: None,
            State.DEPEND: self._depend,
            State.PRIORITY: self._prioritize,
            State.SCHED: self._schedule,
            State.RUN: self._run,
            State.CLEANUP: self._clean_up,
            State.INACTIVE: self._end,
        }

    # -- events

    def submit(self, job: Job, t_submit: float) -> None:
        """A new job: NEW and submit now, validate and what follows when that is in the KVS."""
        if (SINGLETON, "") in job.facts.dependencies:
            self.dependencies.hold_singleton(job)
        self.jobs.add(job)
        self.hooks.new(job)
        context = {"userid": job.userid, "urgency": job.urgency, "flags": job.flags, "version": 1}
        self.post(job, "submit", context, timestamp=t_submit)
        # As flux-core: nothing more happens to a job before its first event is in the KVS.
        self.batch.when_committed(partial(self._validate, job, named(job.facts.dependencies, self.jobs.get)))

    def _validate(self, job: Job, others: dict[str, Job]) -> None:
        if job.state is State.NEW:  # not if an exception came first
            self._hold_for_dependencies(job, others)
            self.post(job, "validate")
            self._settle()

    def post(
        self,
        job: Job,
        name: str,
        context: dict[str, Any] | None = None,
        *,
        timestamp: float | None = None,
        keep: bool = True,
    ) -> None:
        """Let an event happen to a job; ``keep`` false: its eventlog does not have it.

        Raises ValueError if it cannot come in the job's state.
        """
        event = eventlog.make_event(self._time(job) if timestamp is None else timestamp, name, context)
        old = job.state
        job.apply(event)
        if keep:
            self.batch.add(append_op(job.eventlog_key, eventlog.encode_event(event)))
        elif job.events:
            job.events.pop()
        self.journal.publish(job, event)
        if job.state is not old:
            self.jobs.moved(job, old)
            now = event["timestamp"]
            if since := job.entered or (job.t_submit if old is State.NEW else 0.0):
                self._handle.observe("job.state", _KEYS[old], max(0.0, now - since))
            job.entered = now
            self.hooks.entered(job, old)
        elif name == "start":
            self._settled(self.dependencies.started(job))
        self.act(job)

    def _time(self, job: Job) -> float:
        """Now. In real time two events of a job are never at once, though the loop works them off at one instant."""
        now = self._handle.time()
        last: float = job.events[-1]["timestamp"] if self._is_real and job.events else 0.0
        return last + TICK if last >= now else now

    def adopt(self, job: Job) -> None:
        """A job of an earlier life of the instance. What ran is lost; what waited starts to wait again."""
        self.jobs.add(job)
        if job.state is State.INACTIVE:
            return
        if job.state is State.SCHED:
            self.post(job, "flux-restart")
        elif job.state in (State.NEW, State.DEPEND):
            self.raise_exception(
                job, "restart", 0, "the instance ended before the job could be queued", job.userid
            )
        elif job.state is State.RUN:
            self.raise_exception(job, "restart", 0, "the instance ended while the job ran", job.userid)
        else:
            self.act(job)

    def set_urgency(self, job: Job, urgency: int, userid: int) -> None:
        """A new urgency, and with it a new place in the queue; 0 takes the job out of it."""
        self.post(job, "urgency", {"urgency": urgency, "userid": userid})
        priority = self.hooks.priority(job)
        if job.state is not State.SCHED or priority == job.priority:
            return
        self.post(job, "priority", {"priority": priority})
        if not job.priority:
            self.cancel_alloc(job)
        elif job.alloc_pending:
            self._handle.request("sched.prioritize", {"jobs": [[job.id, job.priority]]})
            self._swap()

    def update(self, job: Job, updates: dict[str, Any]) -> None:
        """New values in the jobspec (RFC 21); a running job's R follows a new duration, and who runs it is told."""
        self.post(job, "jobspec-update", updates)
        if job.state & job_states.RUNNING and job.R is not None and DURATION in updates:
            order = {"expiration": expiration(job, float(updates[DURATION]))}
            self.post(job, "resource-update", order)
            self._handle.request(
                f"{self.exec_service}.expiration", {"id": job.id, **order}, self._retimed, job
            )

    def _retimed(self, response: Message, job: Job) -> None:
        if response.errnum and job.state is not State.INACTIVE:
            self.raise_exception(job, "exec", 1, NOT_RETIMED, USERID_UNKNOWN)

    def raise_exception(
        self, job: Job, kind: str, severity: int, note: str, userid: int, wait_status: int | None = None
    ) -> None:
        """Post an exception; severity 0 ends the job. The execution service hears of it by an event."""
        given = {} if wait_status is None or wait_status < 0 else {"wait_status": wait_status}
        context = {"type": kind, "severity": severity, "note": note, "userid": userid, **given}
        self.post(job, "exception", context)
        self._handle.publish("job-exception", {"id": job.id, "type": kind, "severity": severity, **given})

    def act(self, job: Job) -> None:
        """Do what the job's state asks for; doing it again does nothing."""
        self._actions[job.state](job)

    # -- actions by state

    def _depend(self, job: Job) -> None:
        if not job.waits_for:
            self.post(job, "depend")

    def _prioritize(self, job: Job) -> None:
        self.cancel_alloc(job)  # one that was in SCHED before asks anew: its jobspec is another
        self.post(job, "priority", {"priority": self.hooks.priority(job)})

    def _schedule(self, job: Job) -> None:
        if job.alloc_pending or not job.priority or not self.sched_ready:
            return
        if not self.queues.is_started(job.facts.queue):
            return
        if not self.window.admit(job):
            self._swap()
            return
        job.alloc_pending, job.alloc_cancelled = True, False
        wish = {
            "id": job.id,
            "priority": job.priority,
            "userid": job.userid,
            "t_submit": job.t_submit,
            "jobspec": job.jobspec,
        }
        self._handle.stream("sched.alloc", wish, self._alloc_answer, job)
        if job.flags & FLAG_DEBUG:
            self.post(job, "debug.alloc-request")

    def _run(self, job: Job) -> None:
        if job.start_pending or not self.exec_service:
            return
        job.start_pending = True
        order = {
            "id": job.id,
            "userid": job.userid,
            "jobspec": job.jobspec,
            "reattach": job.has_started,
            "R": job.R,
        }
        self._handle.stream(f"{self.exec_service}.start", order, self._start_answer, job)
        if job.flags & FLAG_DEBUG:
            self.post(job, "debug.start-request")

    def _clean_up(self, job: Job) -> None:
        if job.alloc_pending:
            self.cancel_alloc(job)
            self._alloc_over(job)  # it need not wait for a scheduler that is slow to answer
            self._forget_annotations(job, of_user=True)
        if job.state is not State.CLEANUP or job.start_pending:
            return  # the event above has led on; or the final release is still to come
        if job.has_resources:
            self.housekeeping.take(job)
            self.post(job, "free")
        else:
            self.post(job, "clean")

    def _end(self, job: Job) -> None:
        self.on_inactive(job)
        self._settled(self.dependencies.ended(job))

    def kill(self, job: Job, signum: int) -> None:
        """A signal for the commands of a running job."""
        self._handle.request(f"{self.exec_service}.kill", {"id": job.id, "signum": signum})

    # -- dependencies

    def _hold_for_dependencies(self, job: Job, others: dict[str, Job]) -> None:
        for scheme, value in job.facts.dependencies:
            if scheme == SINGLETON:
                if self.dependencies.is_held(job):
                    self.post(job, "dependency-add", {"description": SINGLETON})
                continue
            if scheme == "after":
                self.raise_exception(job, "dependency", 3, DEPRECATED, job.userid)
            description = shown(scheme, value)
            self.post(job, "dependency-add", {"description": description})
            if scheme == BEGIN_TIME:
                wait = max(0.0, float(value) - self._handle.time())
                self._handle.call_later(
                    wait, self._begin, Verdict(job=job, description=description, met=True)
                )
                continue
            verdict = self.dependencies.add(job, scheme, others[value], description)
            if verdict is not None:
                self._verdicts.append(verdict)

    def _begin(self, verdict: Verdict) -> None:
        self._settled([verdict])

    def _settled(self, verdicts: list[Verdict]) -> None:
        self._verdicts.extend(verdicts)
        self._settle()

    def _settle(self) -> None:
        """Act on verdicts one after the other: a chain of failing dependants must not become a deep recursion."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._verdicts:
                self._judge(self._verdicts.popleft())
        finally:
            self._settling = False

    def _judge(self, verdict: Verdict) -> None:
        job, description = verdict.job, verdict.description
        if job.state is not State.DEPEND or description not in job.waits_for:
            return
        if verdict.met:
            self.post(job, "dependency-remove", {"description": description})
        else:
            self.raise_exception(job, "dependency", 0, f"dependency {description} {verdict.why}", job.userid)

    # -- the scheduler

    def cancel_alloc(self, job: Job) -> None:
        """Take back a request for resources; the answer says that it is off."""
        if job.alloc_pending and not job.alloc_cancelled:
            job.alloc_cancelled = True
            self._handle.request("sched.cancel", {"id": job.id})

    def _alloc_over(self, job: Job) -> None:
        """The scheduler has one request less: of those that were held back the most urgent may follow."""
        job.alloc_pending = False
        for waiting in self.window.answered(job):
            self.act(waiting)

    def _swap(self) -> None:
        """Of the requests the scheduler may have, one that is less urgent than the next held back makes room for it."""
        outranked = self.window.outranked()
        if outranked is not None:
            self.cancel_alloc(outranked)

    def _alloc_answer(self, response: Message, job: Job) -> None:
        if response.errnum:
            self._alloc_ended(response, job)
            return
        try:
            answer = response.unpack(AllocAnswer)
        except RequestError as error:
            answer = AllocAnswer(type=ALLOC_DENY, note=f"the scheduler's answer is malformed: {error}")
        if answer.type == ALLOC_ANNOTATE and job.alloc_pending:
            self._annotate(job, answer.annotations or {})
        elif job.alloc_pending:
            self._handle.forget(response)  # no scheduler ends its stream after the answer
            if answer.type == ALLOC_SUCCESS and answer.annotations:
                self._annotate(job, answer.annotations)
            self._alloc_over(job)
            self._allocated(job, answer)
        elif answer.type != ALLOC_ANNOTATE:
            self._handle.forget(response)
            if answer.type == ALLOC_SUCCESS and job.R is None:
                # It was ended before the scheduler heard of it.
                self._handle.request("sched.free", {"id": job.id, "R": answer.R, "final": True})

    def _annotate(self, job: Job, more: dict[str, Any]) -> None:
        self.post(job, "annotations", {"annotations": job.annotated(more)}, keep=False)

    def _forget_annotations(self, job: Job, *, of_user: bool) -> None:
        """What the scheduler said of a job that does not wait for it any more; the user's memos too (``of_user``)."""
        if job.annotations:
            kept = {} if of_user else {key: job.annotations[key] for key in job.annotations if key != "sched"}
            if kept != job.annotations:
                self.post(job, "annotations", {"annotations": kept or None}, keep=False)

    def _allocated(self, job: Job, answer: AllocAnswer) -> None:
        if answer.type == ALLOC_SUCCESS and answer.R is not None:
            job.R = answer.R
            self.post(job, "alloc", {"annotations": job.annotations} if job.annotations else None)
            return
        waits_on = answer.type == ALLOC_CANCEL and job.state is State.SCHED
        self._forget_annotations(job, of_user=not waits_on)
        if answer.type != ALLOC_CANCEL and job.state is State.SCHED:
            self.raise_exception(job, "alloc", 0, answer.note, 0)
        else:
            self.act(job)

    def _alloc_ended(self, response: Message, job: Job) -> None:
        """The stream is over: normally after its answer, else because the scheduler went or refuses to talk."""
        if not job.alloc_pending:
            return
        self._alloc_over(job)
        if response.errnum in (errnums.ENOSYS, errnums.EHOSTUNREACH):
            self.sched_ready = False  # asked again at the next scheduler's sched-ready
            self._forget_annotations(job, of_user=False)
            self.act(job)
        elif job.state is State.SCHED:
            note = response.payload_str or errnums.strerror(response.errnum)
            self.raise_exception(job, "alloc", 0, note, 0)
        else:
            self.act(job)

    # -- the execution service

    def _start_answer(self, response: Message, job: Job) -> None:
        if response.errnum:
            self._start_ended(response, job)
            return
        if not job.start_pending:
            return
        try:
            answer = response.unpack(StartAnswer)
            self._progress(job, answer.type, answer.data)
            if not job.start_pending:
                self._handle.forget(response)  # nor does the execution service after the final release
        except (RequestError, ValueError, LookupError, TypeError) as error:
            self._log.error(
                f"job {jobid.encode(job.id)}: the execution service's answer makes no sense: {error}"
            )

    def _progress(self, job: Job, kind: str, data: dict[str, Any]) -> None:
        if kind == "exception":
            self.raise_exception(job, str(data["type"]), int(data["severity"]), str(data.get("note", "")), 0)
        elif kind == "finish":
            self.post(job, kind, {"status": int(data["status"])})
        elif kind == "release":
            final = bool(data["final"])
            job.start_pending = not final
            self.post(job, kind, {"ranks": str(data["ranks"]), "final": final})
        elif kind == "start":
            self.post(job, kind)
        elif kind == "reattached" and job.flags & FLAG_DEBUG:
            self.post(job, "debug.exec-reattach-finish")

    def _start_ended(self, response: Message, job: Job) -> None:
        if not job.start_pending:
            return
        job.start_pending = False
        if response.errnum in (errnums.ENOSYS, errnums.EHOSTUNREACH):
            self.exec_service = ""  # those that run are taken over by the next that says hello
            self._lost(job, "disconnect" if response.errnum == errnums.EHOSTUNREACH else NO_START)
        elif job.state is State.RUN:
            note = f"execution service: {response.payload_str or errnums.strerror(response.errnum)}"
            self.raise_exception(job, "exec", 0, note, 0)
        else:
            self.act(job)

    def leave(self, sender: str) -> None:
        """A client went. If it executes jobs, the next wait for another that does; of those it ran its broker tells."""
        if sender == self.exec_sender:
            self.exec_service = ""

    def _lost(self, job: Job, note: str) -> None:
        if job.flags & FLAG_DEBUG:
            self.post(job, "debug.start-lost", {"note": note})
        if job.state is not State.RUN:
            self.act(job)  # it is over, whoever says so

    def held(self) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Jobs with resources, those that are over and being tidied up behind included, and R of what they hold."""
        for job in self.jobs.active.values():
            if job.has_resources and job.R is not None:
                yield job, job.R
        yield from self.housekeeping.held()

    # -- switches

    def act_on(self, *states: State) -> None:
        """Act on every active job in one of these states: something they wait for may be there now."""
        waiting = [job for job in self.jobs.active.values() if job.state in states]
        for job in sorted(waiting, key=urgent_first):
            self.act(job)

    def queue_changed(self, name: str | None, started: bool) -> None:
        """Let the jobs of a queue get resources, or take back what they asked for and hold them."""
        waiting = [job for job in self.jobs.active.values() if job.state is State.SCHED]
        mine = [job for job in waiting if name is None or job.facts.queue == name]
        for job in sorted(mine, key=urgent_first):
            if started:
                self.act(job)
            else:
                self.cancel_alloc(job)
