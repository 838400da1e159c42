"""Knows what is asked and told about jobs: lists, history, attributes, memos, updates; not what moves them."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Message,
    RequestError,
    errnums,
    eventlog,
    is_own_event,
    job_states,
    jobid,
    request_handler,
    treeobj,
)
from brokersim.brokermod import (
    JobState as State,
)

from .held import joined
from .job import Job
from .machine import JobMachine
from .messages import GetAttr, History, HousekeepingKill, Memo, PostEvent, SomeJobs, Update
from .roles import ROLE_OWNER, check_owner
from .updating import Changes, Updating
from .waiters import Waiters


class JobQueries(BrokerModule):
    """Requests that change no job's state."""

    _machine: JobMachine
    _waiters: Waiters
    _updating: Updating
    #: Who asked for the largest id before all jobs of the past are known; None from then on.
    _asked: list[Message] | None

    def job_of(self, job: int) -> Job:
        """The job of an id, whatever its state. Raises RequestError(ENOENT)."""
        found = self._machine.jobs.get(job)
        if found is None:
            raise RequestError(errnums.ENOENT, "unknown job id")
        return found

    @request_handler("job-manager.list", prefix=False, allow_guest=True)
    def list_active(self, msg: Message) -> None:
        """Active jobs, those that wait for resources first, and the ended ones that are still to be waited for."""
        wish = msg.unpack(SomeJobs)
        if wish.max_entries < 0:
            raise RequestError(errnums.EPROTO, "max_entries must be 0 (all) or more")
        active = sorted(self._machine.jobs.active.values(), key=_queue_order)
        shown = active[: wish.max_entries] if wish.max_entries else active
        jobs = [_row(job) for job in (*shown, *self._waiters.unclaimed())]
        self.handle.respond(msg, {"jobs": jobs})

    @request_handler("job-manager.resource-status", prefix=False, allow_guest=True)
    def resource_status(self, msg: Message) -> None:
        """What jobs have, those included that are over but not tidied up behind."""
        self.handle.respond(msg, {"allocated": joined(r for _, r in self._machine.held())})

    @request_handler("job-manager.getinfo", prefix=False, allow_guest=True)
    def getinfo(self, msg: Message) -> None:
        """The largest id so far, those of an earlier life of the instance included."""
        if self._asked is not None:
            self._asked.append(msg)
        else:
            self.handle.respond(msg, {"max_jobid": max(0, self._machine.jobs.largest)})

    @request_handler("job-manager.getattr", prefix=False, allow_guest=True)
    async def getattr(self, msg: Message) -> None:
        """A job's jobspec, R and eventlog."""
        wish = msg.unpack(GetAttr)
        job = self._machine.jobs.get(wish.id)
        if job is None:
            raise RequestError(errnums.EINVAL, "unknown job")
        check_owner(msg, job.userid, "guests can only access their own jobs")
        for name in wish.attrs:
            if name not in ("jobspec", "R", "eventlog"):
                raise RequestError(errnums.ENOENT, f"unknown attr {name:.60}")
            if name == "R" and job.R is None:
                raise RequestError(errnums.ENOENT, "R is NULL")
        self.handle.respond(msg, {name: await self._record(job, name) for name in wish.attrs})

    async def _record(self, job: Job, name: str) -> Any:
        if name == "R":
            return job.R
        if name == "eventlog" and job.events is not None:
            return list(job.events)
        if name == "jobspec" and job.jobspec is not None:
            return job.jobspec
        raw = await self.stored(job.id, name)
        return eventlog.decode_log(raw) if name == "eventlog" else msgspec.json.decode(raw)

    async def stored(self, job: int, name: str) -> bytes:
        """A job's record in the KVS, when the last events of one that ended just now are there. Raises RequestError."""
        batch = self._machine.batch
        await self.handle.occurrence(lambda done: batch.when_committed(lambda: done(None)))
        look = {"key": jobid.job_kvspath(job, name), "namespace": "primary", "flags": 0}
        return treeobj.val_bytes((await self.handle.call("kvs.lookup", look))["val"])

    @request_handler("job-manager.history.get", prefix=False, allow_guest=True)
    def history(self, msg: Message) -> None:
        """The sender's jobs, newest first, those of a Python slice."""
        try:
            part = _slice(msg.unpack(History).slice)
            mine = sorted((job.id for job in self._machine.jobs if job.userid == msg.userid), reverse=True)
            self.handle.respond(msg, {"jobs": mine[part]})
        except ValueError:
            raise RequestError(errnums.EINVAL, "could not parse python-style slice expression") from None

    @request_handler("job-manager.alloc-query", prefix=False, allow_guest=True)
    def alloc_query(self, msg: Message) -> None:
        """How many jobs wait for the scheduler, were sent to it, and run."""
        active = self._machine.jobs.active.values()
        pending = sum(job.alloc_pending for job in active)
        waiting = sum(job.state is State.SCHED and not job.alloc_pending for job in active)
        running = sum(bool(job.state & job_states.RUNNING) for job in active)
        answer = {"queue_length": waiting, "alloc_pending": pending, "running": running}
        self.handle.respond(msg, answer)

    # -- remarks and changes

    @request_handler("job-manager.post-event.post", prefix=False)
    def post_event(self, msg: Message) -> None:
        """An event of one's own for an active job's log; those that move jobs are the job manager's."""
        wish = msg.unpack(PostEvent)
        if not wish.name or is_own_event(wish.name):
            raise RequestError(
                errnums.EINVAL, f"event {wish.name!r:.60} is the job manager's own, or no name"
            )
        job = self.active_of(msg, wish.id, "guests cannot post events")
        self._machine.post(job, wish.name, wish.context)
        self._machine.batch.when_committed(lambda: self.handle.respond(msg))

    @request_handler("job-manager.housekeeping-kill", prefix=False)
    def housekeeping_kill(self, msg: Message) -> None:
        """A signal for what tidies up behind jobs."""
        self._machine.housekeeping.kill(msg.unpack(HousekeepingKill))
        self.handle.respond(msg)

    @request_handler("job-manager.memo", prefix=False, allow_guest=True)
    def memo(self, msg: Message) -> None:
        """A remark on an active job; a volatile one is not kept."""
        wish = msg.unpack(Memo)
        job = self.active_of(msg, wish.id, "guests can only add a memo to their own jobs")
        self._machine.post(job, "memo", wish.memo, keep=not wish.volatile)
        self.handle.respond(msg)

    def active_of(self, msg: Message, job: int, refusal: str) -> Job:
        """The active job, if the sender may do something to it. Raises RequestError: ENOENT, EPERM with ``refusal``."""
        found = self.job_of(job)
        if found.state is State.INACTIVE:
            raise RequestError(errnums.ENOENT, "job is inactive")
        check_owner(msg, found.userid, refusal)
        return found

    @request_handler("job-manager.update", prefix=False, allow_guest=True)
    async def update(self, msg: Message) -> None:
        """New values in an active job's jobspec: all of them, or none. Raises RequestError."""
        wish = msg.unpack(Update)
        if not wish.updates or any(not key.startswith("attributes.") for key in wish.updates):
            raise RequestError(errnums.EINVAL, "one or more jobspec updates are invalid")
        job = self.job_of(wish.id)
        await self._agree(job, self._changes(job, wish, msg))
        changes = self._changes(job, wish, msg)  # while the scheduler was asked it may have ended, or begun
        self._machine.update(job, changes.updates)
        self.handle.respond(msg)

    def _changes(self, job: Job, wish: Update, msg: Message) -> Changes:
        if job.state is State.INACTIVE:
            raise RequestError(errnums.EINVAL, "job is inactive")
        check_owner(msg, job.userid, "guests may only update their own jobs")
        may_all = bool(msg.rolemask & ROLE_OWNER)
        return self._updating.changes(job, wish.updates, self._machine.queues, self.handle.time(), may_all)

    async def _agree(self, job: Job, changes: Changes) -> None:
        """Ask the scheduler, where it matters to it. Raises RequestError."""
        if changes.needs_room:
            await self.handle.call("feasibility.check", {"jobspec": changes.jobspec})
        elif changes.expiration is not None:
            wish = {"id": job.id, "expiration": changes.expiration}
            try:
                await self.handle.call("sched.expiration", wish)
            except RequestError as error:
                if error.errno != errnums.ENOSYS:
                    raise RequestError(
                        error.errno or errnums.EINVAL, "scheduler refused expiration update"
                    ) from None


def _queue_order(job: Job) -> tuple[int, int, int]:
    return (0, -job.priority, job.id) if job.state is State.SCHED else (1, 0, job.id)


def _row(job: Job) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": job.id, "userid": job.userid, "urgency": job.urgency, "priority": job.priority,
        "t_submit": job.t_submit, "state": int(job.state),
    }  # fmt: skip
    if job.annotations:
        row["annotations"] = job.annotations
    if job.waits_for:
        row["dependencies"] = list(job.waits_for)
    return row


def _slice(text: str) -> slice:
    """``[start:stop:step]`` as Python has it. Raises ValueError."""
    parts = text.strip().removeprefix("[").removesuffix("]").split(":")
    if not 2 <= len(parts) <= 3:
        raise ValueError(text)
    return slice(*(int(part) if part.strip() else None for part in parts))
