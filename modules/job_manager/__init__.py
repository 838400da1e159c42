"""Knows which requests reach the job manager; the work is elsewhere.

It drives jobs (machine) and tells of them (journal). job-ingest, which takes them in, job-list, which shows them, and
job-info, which reads and follows their records, are modules of their own.
"""

from __future__ import annotations

import msgspec

from brokersim.brokermod import (
    Handle,
    Message,
    RequestError,
    errnums,
    eventlog,
    job_states,
    jobid,
    request_handler,
)
from brokersim.brokermod import (
    JobState as State,
)

from .dependencies import check
from .housekeeping import setting_in
from .job import Job
from .jobtap import Jobtap
from .lifetime import Lifetime
from .machine import USERID_UNKNOWN, JobMachine
from .messages import (
    Entry,
    ExecHello,
    Follow,
    JobtapAll,
    JobtapLoad,
    JobtapName,
    JournalCancel,
    Kill,
    KillAll,
    Raise,
    RaiseAll,
    Ready,
    Submit,
    Urgency,
    Wait,
)
from .purging import Purging, limits_in
from .queries import JobQueries
from .queue_service import QueueService, rules_in
from .queues import Queues
from .restart import Restored, read_jobs
from .roles import ROLE_OWNER, check_owner
from .updating import PARTS, Updating
from .waiters import Waiters


class JobManager(JobQueries, Purging, QueueService):
    """Jobs pass NEW DEPEND PRIORITY SCHED RUN CLEANUP INACTIVE (RFC 21); every event goes to the job's eventlog.

    At load it reads the jobs an earlier life of the instance left in the KVS; submissions wait for that.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {self.name!r}: unknown argument {args[0]!r}; it has none"
            )
        self._asked = []
        self._waiters = Waiters(h)
        self._machine = JobMachine(h, self.log, self._ended, Queues(rules_in(h.conf_get())))
        self._updating = Updating()
        self._lifetime = Lifetime(h)
        self._jobtap = Jobtap(h, self.log, self._machine.hooks, self._machine.jobs)
        self.limit(limits_in(h.conf_get()))
        self._machine.housekeeping.configure(setting_in(h.conf_get()))

    async def ready(self) -> None:
        """Read what an earlier life left, then take jobs."""
        await self.restore_queues()
        self._restore(await read_jobs(self.handle, self.log))
        self._lifetime.follow()
        self.handle.request("sched.renew")
        self.handle.request("job-exec.renew")
        self.handle.request("job-list.renew")

    async def teardown(self) -> None:
        """Write the events not written yet; plugins go first."""
        self._jobtap.remove("*")
        self.keep_queues()
        self._machine.batch.flush()
        for _ in range(50):
            if not len(self._machine.batch):
                return
            await self.handle.sleep(0.02)

    def _restore(self, restored: Restored) -> None:
        for job in restored.jobs:
            self._machine.adopt(job)
        self._machine.jobs.largest = max(self._machine.jobs.largest, restored.largest)
        asked, self._asked = self._asked or [], None
        for msg in asked:
            self.getinfo(msg)

    def _ended(self, job: Job) -> None:
        self._waiters.ended(job, self._machine.jobs)

    def stats(self) -> dict[str, object]:
        """Jobs by state (their sum is ``submitted``, law L8), streams, commits."""
        machine = self._machine
        return {
            "states": machine.jobs.counts.to_dict(),
            "submitted": machine.jobs.counts.submitted,
            "active_jobs": len(machine.jobs.active),
            "inactive_jobs": len(machine.jobs.inactive),
            "eventlog_commits": machine.batch.commits,
            "max_jobid": max(0, machine.jobs.largest),
            "journal": {"listeners": len(machine.journal)},
            "housekeeping": machine.housekeeping.stats(),
        }

    def listed_figures(self) -> dict[str, object]:
        """What a listing of modules shows of it: jobs by state."""
        return {"jobs": self._machine.jobs.counts.to_dict()}

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """New queues, limits, housekeeping. Raises RequestError(EINVAL)."""
        rules, limits, tidying = rules_in(msg.payload), limits_in(msg.payload), setting_in(msg.payload)
        self._machine.housekeeping.configure(tidying)
        self._machine.queues.configure(rules)
        self.limit(limits)
        self.handle.respond(msg)

    # -- taking jobs in

    @request_handler("job-manager.submit", prefix=False)
    def submit(self, msg: Message) -> None:
        """Jobs whose records are in the KVS; answered when their first events are, with those refused."""
        errors = [[entry.id, text] for entry in msg.unpack(Submit).jobs if (text := self._submit(entry))]
        self._machine.batch.when_committed(lambda: self.handle.respond(msg, {"errors": errors}))

    def _submit(self, entry: Entry) -> str:
        if self._machine.jobs.get(entry.id) is not None:
            return f"job {entry.id} exists already"
        try:
            facts = entry.facts()
            refusal = self._machine.queues.refusal(facts) or self._lifetime.refusal(facts.duration)
            if refusal:
                return refusal
            check(facts.dependencies, self._machine.jobs.get)
        except ValueError as error:
            return str(error)
        job = Job(
            id=entry.id,
            facts=facts,
            jobspec=entry.jobspec,
            userid=entry.userid,
            urgency=entry.urgency,
            flags=entry.flags,
            eventlog_key=jobid.job_kvspath(entry.id, "eventlog"),
        )
        self._machine.submit(job, entry.t_submit or self.handle.time())
        return ""

    # -- what people do to jobs

    @request_handler("job-manager.raise", prefix=False, allow_guest=True)
    def raise_exception(self, msg: Message) -> None:
        """An exception; ``{"type":"cancel","severity":0}`` is what cancel sends."""
        wish = msg.unpack(Raise)
        _check_exception(wish)
        job = self.active_of(msg, wish.id, "guests can only raise exceptions on their own jobs")
        self._machine.raise_exception(job, wish.type, wish.severity, wish.note, msg.userid, wish.wait_status)
        self.handle.respond(msg)

    @request_handler("job-manager.kill", prefix=False, allow_guest=True)
    def kill(self, msg: Message) -> None:
        """A signal to the job's commands."""
        wish = msg.unpack(Kill)
        _check_signal(wish.signum)
        job = self._to_change(wish.id, "unknown job id")
        check_owner(msg, job.userid, "guests may only send signals to their own jobs")
        if not job.state & job_states.RUNNING:
            raise RequestError(errnums.EINVAL, "job is not running")
        self._machine.kill(job, wish.signum)
        self.handle.respond(msg)

    def _to_change(self, job: int, unknown: str) -> Job:
        """The active job of an id. Raises RequestError(EINVAL), as flux-core does for signals and urgencies."""
        found = self._machine.jobs.get(job)
        if found is None or found.state is State.INACTIVE:
            raise RequestError(errnums.EINVAL, "job is inactive" if found is not None else unknown)
        return found

    @request_handler("job-manager.raiseall", prefix=False, allow_guest=True)
    def raise_all(self, msg: Message) -> None:
        """An exception on every active job of a user in some states; answered with their number."""
        wish = msg.unpack(RaiseAll)
        check_owner(msg, wish.userid, "guests can only raise exceptions on their own jobs")
        _check_exception(wish)
        jobs = self._of_user(wish.userid, wish.states)
        for job in () if wish.dry_run else jobs:
            self._machine.raise_exception(job, wish.type, wish.severity, wish.note, msg.userid)
        self.handle.respond(msg, {"count": len(jobs), "errors": 0})

    @request_handler("job-manager.killall", prefix=False, allow_guest=True)
    def kill_all(self, msg: Message) -> None:
        """A signal to every running job of a user; answered with their number."""
        wish = msg.unpack(KillAll)
        check_owner(msg, wish.userid, "guests can only kill their own jobs")
        _check_signal(wish.signum)
        jobs = self._of_user(wish.userid, job_states.RUNNING)
        for job in () if wish.dry_run else jobs:
            self._machine.kill(job, wish.signum)
        self.handle.respond(msg, {"count": len(jobs), "errors": 0})

    def _of_user(self, userid: int, states: int) -> list[Job]:
        """Active jobs of a user (4294967295: all) in some states."""
        active = self._machine.jobs.active.values()
        return [job for job in active if userid in (job.userid, USERID_UNKNOWN) and job.state & states]

    @request_handler("job-manager.urgency", prefix=False, allow_guest=True)
    def urgency(self, msg: Message) -> None:
        """A new urgency for a job that has no resources yet; 0 holds it."""
        wish = msg.unpack(Urgency)
        if not 0 <= wish.urgency <= job_states.URGENCY_MAX:
            raise RequestError(errnums.EINVAL, "urgency value is out of range")
        job = self._to_change(wish.id, "unknown job")
        check_owner(msg, job.userid, "guests can only reprioritize their own jobs")
        if not msg.rolemask & ROLE_OWNER and wish.urgency > max(job_states.URGENCY_DEFAULT, job.urgency):
            raise RequestError(errnums.EPERM, "guests can only adjust urgency <= default")
        if job.has_resources:
            raise RequestError(errnums.EINVAL, "urgency cannot be changed once resources are allocated")
        old = job.urgency
        self._machine.set_urgency(job, wish.urgency, msg.userid)
        self.handle.respond(msg, {"old_urgency": old})

    @request_handler("job-manager.wait", prefix=False)
    def wait(self, msg: Message) -> None:
        """``{"id","success","errstr","status"}`` when the job is inactive.

        A job that was submitted to be waited for is so once; ``claim`` false (ours) waits for any job, any number
        of times.
        """
        self._waiters.wait(msg, msg.unpack(Wait), self._machine.jobs)

    @request_handler("job-manager.drain", prefix=False)
    def drain(self, msg: Message) -> None:
        """Answered when no job is active."""
        self._waiters.drain(msg, self._machine.jobs)

    @request_handler("job-manager.idle", prefix=False)
    def idle(self, msg: Message) -> None:
        """Answered, with the number of jobs still pending, when none has resources."""
        self._waiters.idle(msg, self._machine.jobs)

    # -- between modules

    @request_handler("job-manager.sched-hello", prefix=False)
    def sched_hello(self, msg: Message) -> None:
        """A scheduler comes up: the jobs that hold resources, then the end of the stream."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "job-manager.sched-hello must be a streaming request")
        for job, r in self._machine.held():
            hello = {"id": job.id, "priority": job.priority, "userid": job.userid, "t_submit": job.t_submit}
            self.handle.respond(msg, {**hello, "R": r})
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("job-manager.sched-ready", prefix=False)
    def sched_ready(self, msg: Message) -> None:
        """A scheduler takes requests from now on."""
        wish = msg.unpack(Ready)
        if wish.mode != "unlimited" and (wish.mode != "limited" or wish.limit < 1):
            raise RequestError(
                errnums.EPROTO, "sched-ready: mode must be unlimited, or limited with a limit of 1 or more"
            )
        self.handle.respond(msg, {"count": self._machine.jobs.counts[State.SCHED]})
        self._machine.sched_ready = True
        self._machine.window.limit = wish.limit if wish.mode == "limited" else 0
        self._machine.act_on(State.SCHED, State.CLEANUP)

    @request_handler("job-manager.exec-hello", prefix=False)
    def exec_hello(self, msg: Message) -> None:
        """A service that starts jobs comes up."""
        service = msg.unpack(ExecHello).service
        if any(job.start_pending for job in self._machine.jobs.active.values()):
            raise RequestError(errnums.EINVAL, f"jobs are running under {self._machine.exec_service}")
        self.handle.respond(msg)
        self._machine.exec_service, self._machine.exec_sender = service, msg.sender
        self._machine.act_on(State.RUN)

    @request_handler("job-manager.events-journal", prefix=False)
    async def events_journal(self, msg: Message) -> None:
        """Every event of every job, as it happens; ``full``: those of jobs that have ended as well."""
        if msg.data is None:
            raise RequestError(errnums.EPROTO, "job-manager.events-journal: the payload is an object")
        wish = msg.unpack(Follow)
        if wish.fault():
            raise RequestError(errnums.EPROTO, f"job-manager.events-journal: {wish.fault()}")
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "job-manager.events requires streaming RPC flag")
        if wish.full:
            await self._tell_ended(msg, wish)
        self._machine.journal.follow(msg, wish, self._machine.jobs)

    async def _tell_ended(self, msg: Message, wish: Follow) -> None:
        """Jobs that end while this is told, too: their events are in the KVS, not in memory."""
        told: set[int] = set()
        while fresh := [job for job in self._machine.jobs.inactive.values() if job.id not in told]:
            for job in fresh:
                told.add(job.id)
                events = eventlog.decode_log(await self.stored(job.id, "eventlog"))
                jobspec = msgspec.json.decode(await self.stored(job.id, "jobspec"))
                self._machine.journal.tell(msg, wish, job, events, jobspec)

    @request_handler("job-manager.events-journal-cancel", prefix=False)
    def events_journal_cancel(self, msg: Message) -> None:
        """End a journal stream; not answered."""
        self._machine.journal.cancel(msg.sender, msg.unpack(JournalCancel).matchtag)

    @request_handler("job-manager.disconnect", prefix=False, allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went: it waits for nothing any more, and executes nothing."""
        self._machine.journal.leave(msg.sender)
        self._machine.leave(msg.sender)
        self._waiters.leave(msg.sender)

    # -- plugins

    @request_handler("job-manager.jobtap", prefix=False)
    def jobtap(self, msg: Message) -> None:
        """flux-core's one request for plugins: load, remove, list."""
        wish = msg.unpack(JobtapAll)
        if wish.query_only:
            names = [one["name"] for one in self._jobtap.to_list()]
            self.handle.respond(msg, {"plugins": [*self._updating.names(), *names]})
            return
        for name in {wish.remove, wish.load}.intersection(PARTS):
            raise RequestError(
                errnums.ENOTSUP, f"plugin {name!r} is a part of job-manager here: it stays as it is"
            )
        if wish.remove and wish.remove != "all":
            known = wish.remove in self._updating.NAMES
            if not (self._updating.remove(wish.remove) if known else self._jobtap.remove(wish.remove)):
                raise RequestError(errnums.ENOENT, "Failed to find plugin to remove")
        elif wish.remove:
            self._jobtap.remove(wish.remove)  # but for what is built in
        if wish.load in self._updating.NAMES:
            self._updating.load(wish.load, wish.conf or {})
        elif wish.load:
            self._jobtap.load(wish.load, wish.conf or {})
        self.handle.respond(msg)

    @request_handler("job-manager.jobtap-load", prefix=False)
    def jobtap_load(self, msg: Message) -> None:
        """A plugin, shipped or a file of the user's; ``remove`` names those that go first, as a glob."""
        wish = msg.unpack(JobtapLoad)
        if wish.remove:
            self._jobtap.remove(wish.remove)
        self.handle.respond(msg, {"name": self._jobtap.load(wish.path, wish.conf)})

    @request_handler("job-manager.jobtap-remove", prefix=False)
    def jobtap_remove(self, msg: Message) -> None:
        """The plugins of a glob go; the jobs go on."""
        glob = msg.unpack(JobtapName).name
        removed = self._jobtap.remove(glob)
        if not removed:
            raise RequestError(
                errnums.ENOENT, f"no plugin {glob!r}; loaded: {self._jobtap.names() or 'none'}"
            )
        self.handle.respond(msg, {"plugins": removed})

    @request_handler("job-manager.jobtap-list", prefix=False)
    def jobtap_list(self, msg: Message) -> None:
        """The plugins loaded, in the order they are called."""
        self.handle.respond(msg, {"plugins": self._jobtap.to_list()})

    @request_handler("job-manager.jobtap-query", prefix=False)
    def jobtap_query(self, msg: Message) -> None:
        """What one plugin says of itself."""
        name = msg.unpack(JobtapName).name
        self.handle.respond(msg, self._updating.query(name) or self._jobtap.query(name))


def _check_exception(wish: Raise | RaiseAll) -> None:
    """Raises RequestError(EPROTO) unless the severity is 0 (ends the job) to 7 and the type one word."""
    if not 0 <= wish.severity <= 7:
        raise RequestError(errnums.EPROTO, "invalid exception severity")
    if not wish.type or "=" in wish.type or any(letter.isspace() for letter in wish.type):
        raise RequestError(errnums.EPROTO, "invalid exception type")


def _check_signal(signum: int) -> None:
    if not 0 < signum < 65:
        raise RequestError(errnums.EINVAL, "Invalid signal number")
