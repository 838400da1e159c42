"""Knows which requests reach the job manager and its services job-ingest, job-list, job-info; the work is elsewhere.

job-manager drives jobs (machine), job-ingest takes them in (ingest), job-list shows them (listing), job-info reads
and follows their records (info). One module, because they share the table of jobs.
"""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    jobid,
    request_handler,
)

from .follow import SETROOT
from .info import JobInfo
from .ingest import Ingest
from .job import Job
from .jobtap import Jobtap
from .listing import ATTRIBUTES, columns, job_stats, select, show, to_test
from .machine import JobMachine
from .messages import (
    Entry,
    ExecHello,
    JobOf,
    JobtapLoad,
    JobtapName,
    JournalCancel,
    Kill,
    KillAll,
    List,
    ListId,
    QueueEnable,
    QueueName,
    QueueStart,
    Raise,
    RaiseAll,
    Ready,
    Submit,
    Urgency,
    Wait,
)
from .restart import Restored, read_jobs
from .roles import ROLE_OWNER, check_owner
from .states import URGENCY_MAX, State
from .waiters import Waiters

#: FLUX_USERID_UNKNOWN stands for all users.
_EVERYBODY = 0xFFFFFFFF
SERVICES = ("job-ingest", "job-list", "job-info")


class JobManager(BrokerModule):
    """Jobs pass NEW DEPEND PRIORITY SCHED RUN CLEANUP INACTIVE (RFC 21); every event goes to the job's eventlog.

    At load it reads the jobs an earlier life of the instance left in the KVS; submissions wait for that.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {self.name!r}: unknown argument {args[0]!r}; it has none"
            )
        self._waiters = Waiters(h)
        self._machine = JobMachine(h, self.log, self._ended)
        self._ingest = Ingest(h, float(h.attr_get("broker.starttime") or h.time()))
        self._info = JobInfo(h)
        self._jobtap = Jobtap(h, self.log, self._machine.hooks, self._machine.jobs)
        for service in SERVICES:
            h.service_register(service)

    async def ready(self) -> None:
        """Read what an earlier life left, then take jobs; follow KVS events only where somebody watches a log."""
        self.handle.event_unsubscribe(SETROOT)
        self._restore(await read_jobs(self.handle, self.log))
        self.handle.request("sched.renew")
        self.handle.request("job-exec.renew")

    async def teardown(self) -> None:
        """Write the events not written yet; plugins go first."""
        self._jobtap.remove("*")
        self._machine.batch.flush()
        for _ in range(50):
            if not len(self._machine.batch):
                return
            await self.handle.sleep(0.02)

    def _restore(self, restored: Restored) -> None:
        for job in restored.jobs:
            self._machine.adopt(job)
        self._ingest.open(restored.largest)

    def _ended(self, job: Job) -> None:
        self._waiters.ended(job, self._machine.jobs)

    def stats(self) -> dict[str, object]:
        """Jobs by state (their sum is ``submitted``, law L8), streams, commits."""
        machine = self._machine
        return {
            "states": machine.jobs.counts.to_dict(),
            "submitted": machine.jobs.counts.submitted,
            "active_jobs": len(machine.jobs.active),
            "inactive_jobs": machine.jobs.counts[State.INACTIVE],
            "refused": self._ingest.refused,
            "eventlog_commits": machine.batch.commits,
            "eventlog_watches": len(self._info),
        }

    def listed_figures(self) -> dict[str, object]:
        """What a listing of modules shows of it: jobs by state."""
        return {"jobs": self._machine.jobs.counts.to_dict()}

    def _job(self, job: int) -> Job:
        found = self._machine.jobs.get(job)
        if found is None:
            raise RequestError(errnums.ENOENT, "unknown job id")
        return found

    def _active(self, job: int) -> Job:
        found = self._job(job)
        if found.state is State.INACTIVE:
            raise RequestError(errnums.EINVAL, "job is inactive")
        return found

    def _own(self, msg: Message, job: int, deed: str) -> Job:
        """The active job, if the sender may do that to it. Raises RequestError(EPERM)."""
        found = self._job(job)
        check_owner(msg, found.userid, f"guests can only {deed} their own jobs")
        return self._active(job)

    # -- taking jobs in

    @request_handler("job-ingest.submit", prefix=False, allow_guest=True)
    def ingest(self, msg: Message) -> None:
        """A signed jobspec in, a job id out."""
        self._ingest.submit(msg)

    @request_handler("job-manager.submit", prefix=False)
    def submit(self, msg: Message) -> None:
        """Jobs whose records are in the KVS; answered when their first events are, with those refused."""
        errors = [[entry.id, text] for entry in msg.unpack(Submit).jobs if (text := self._submit(entry))]
        self._machine.batch.when_committed(lambda: self.handle.respond(msg, {"errors": errors}))

    def _submit(self, entry: Entry) -> str:
        queue = self._machine.queue
        if not queue.enabled:
            return f"job submission is disabled: {queue.reason_disabled}".rstrip(": ")
        if self._machine.jobs.get(entry.id) is not None:
            return f"job {entry.id} exists already"
        try:
            facts = entry.facts()
            self._machine.check_dependencies(facts)
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
        if not 0 <= wish.severity <= 7 or not wish.type:
            raise RequestError(errnums.EPROTO, "raise: give a type and a severity of 0 (ends the job) to 7")
        self._machine.raise_exception(
            self._own(msg, wish.id, "raise exceptions on"), wish.type, wish.severity, wish.note, msg.userid
        )
        self.handle.respond(msg)

    @request_handler("job-manager.kill", prefix=False, allow_guest=True)
    def kill(self, msg: Message) -> None:
        """A signal to the job's commands."""
        wish = msg.unpack(Kill)
        if not 0 < wish.signum < 65:
            raise RequestError(errnums.EINVAL, f"invalid signal number {wish.signum}; give 1 to 64")
        job = self._own(msg, wish.id, "send signals to")
        if job.state is not State.RUN:
            raise RequestError(errnums.EINVAL, "job is not running")
        self._machine.kill(job, wish.signum)
        self.handle.respond(msg)

    @request_handler("job-manager.raiseall", prefix=False, allow_guest=True)
    def raise_all(self, msg: Message) -> None:
        """An exception on every active job of a user in some states; answered with their number."""
        wish = msg.unpack(RaiseAll)
        if not 0 <= wish.severity <= 7 or not wish.type:
            raise RequestError(
                errnums.EPROTO, "raiseall: give a type and a severity of 0 (ends the job) to 7"
            )
        jobs = self._of_user(msg, wish.userid, wish.states, "raise exceptions on")
        for job in () if wish.dry_run else jobs:
            self._machine.raise_exception(job, wish.type, wish.severity, wish.note, msg.userid)
        self.handle.respond(msg, {"count": len(jobs), "errors": 0})

    @request_handler("job-manager.killall", prefix=False, allow_guest=True)
    def kill_all(self, msg: Message) -> None:
        """A signal to every running job of a user; answered with their number."""
        wish = msg.unpack(KillAll)
        if not 0 < wish.signum < 65:
            raise RequestError(errnums.EINVAL, f"invalid signal number {wish.signum}; give 1 to 64")
        jobs = self._of_user(msg, wish.userid, State.RUN, "send signals to")
        for job in () if wish.dry_run else jobs:
            self._machine.kill(job, wish.signum)
        self.handle.respond(msg, {"count": len(jobs), "errors": 0})

    def _of_user(self, msg: Message, userid: int, states: int, deed: str) -> list[Job]:
        """Active jobs of a user (4294967295: all) in some states. Raises RequestError(EPERM)."""
        check_owner(msg, userid, f"guests can only {deed} their own jobs")
        active = self._machine.jobs.active.values()
        return [job for job in active if userid in (job.userid, _EVERYBODY) and job.state & states]

    @request_handler("job-manager.urgency", prefix=False, allow_guest=True)
    def urgency(self, msg: Message) -> None:
        """A new urgency for a job that has no resources yet; 0 holds it."""
        wish = msg.unpack(Urgency)
        urgency = URGENCY_MAX if wish.urgency == -1 else wish.urgency
        if not 0 <= urgency <= URGENCY_MAX:
            raise RequestError(
                errnums.EINVAL, f"urgency must be 0 (held) to {URGENCY_MAX}, not {wish.urgency}"
            )
        job = self._own(msg, wish.id, "adjust the urgency of")
        if job.state >= State.RUN:
            raise RequestError(errnums.EINVAL, "urgency cannot be changed once resources are allocated")
        old = job.urgency
        self._machine.set_urgency(job, urgency, msg.userid)
        self.handle.respond(msg, {"old_urgency": old})

    @request_handler("job-manager.wait", prefix=False)
    def wait(self, msg: Message) -> None:
        """``{"id","success","errstr","status"}`` when the job is inactive."""
        self._waiters.wait(msg, msg.unpack(Wait).id, self._machine.jobs)

    @request_handler("job-manager.drain", prefix=False)
    def drain(self, msg: Message) -> None:
        """Answered when no job is active."""
        self._waiters.drain(msg, self._machine.jobs)

    @request_handler("job-manager.idle", prefix=False)
    def idle(self, msg: Message) -> None:
        """Answered, with the number of jobs still pending, when none has resources."""
        self._waiters.idle(msg, self._machine.jobs)

    # -- the queue

    @request_handler("job-manager.queue-list", prefix=False, allow_guest=True)
    def queue_list(self, msg: Message) -> None:
        """Named queues: none here, only the anonymous one."""
        self.handle.respond(msg, {"queues": []})

    @request_handler("job-manager.queue-status", prefix=False, allow_guest=True)
    def queue_status(self, msg: Message) -> None:
        """Whether jobs may be submitted, and whether they get resources."""
        _check_queue(msg.unpack(QueueName).name)
        self.handle.respond(msg, self._machine.queue.to_dict())

    @request_handler("job-manager.queue-enable", prefix=False)
    def queue_enable(self, msg: Message) -> None:
        """Open or close the queue for submissions."""
        wish = msg.unpack(QueueEnable)
        _check_queue(wish.name)
        self._machine.queue.enabled, self._machine.queue.reason_disabled = wish.enable, wish.reason
        self.handle.respond(msg)

    @request_handler("job-manager.queue-start", prefix=False)
    def queue_start(self, msg: Message) -> None:
        """Let jobs get resources, or not."""
        wish = msg.unpack(QueueStart)
        _check_queue(wish.name)
        self._machine.queue.reason_stopped = wish.reason
        self._machine.start_queue(wish.start)
        self.handle.respond(msg)

    # -- between modules

    @request_handler("job-manager.sched-hello", prefix=False)
    def sched_hello(self, msg: Message) -> None:
        """A scheduler comes up: the jobs that hold resources, then the end of the stream."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "job-manager.sched-hello must be a streaming request")
        for job in self._machine.jobs.active.values():
            if job.has_resources:
                hello = {
                    "id": job.id,
                    "priority": job.priority,
                    "userid": job.userid,
                    "t_submit": job.t_submit,
                }
                self.handle.respond(msg, {**hello, "R": job.R})
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("job-manager.sched-ready", prefix=False)
    def sched_ready(self, msg: Message) -> None:
        """A scheduler takes requests from now on."""
        if msg.unpack(Ready).mode not in ("unlimited", "limited"):
            raise RequestError(errnums.EPROTO, "sched-ready: mode must be unlimited or limited")
        self.handle.respond(msg, {"count": self._machine.jobs.counts[State.SCHED]})
        self._machine.sched_ready = True
        self._machine.act_on(State.SCHED, State.CLEANUP)

    @request_handler("job-manager.exec-hello", prefix=False)
    def exec_hello(self, msg: Message) -> None:
        """A service that starts jobs comes up."""
        service = msg.unpack(ExecHello).service
        if any(job.start_pending for job in self._machine.jobs.active.values()):
            raise RequestError(errnums.EINVAL, f"jobs are running under {self._machine.exec_service}")
        self.handle.respond(msg)
        self._machine.exec_service = service
        self._machine.act_on(State.RUN)

    @request_handler("job-manager.events-journal", prefix=False)
    def events_journal(self, msg: Message) -> None:
        """Every event of every job, as it happens."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "job-manager.events-journal must be a streaming request")
        self._machine.journal.follow(msg, self._machine.jobs)

    @request_handler("job-manager.events-journal-cancel", prefix=False)
    def events_journal_cancel(self, msg: Message) -> None:
        """End a journal stream; not answered."""
        self._machine.journal.cancel(msg.sender, msg.unpack(JournalCancel).matchtag)

    @request_handler("job-manager.disconnect", prefix=False, allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went: it waits for nothing any more."""
        self._machine.journal.leave(msg.sender)
        self._waiters.leave(msg.sender)

    # -- plugins

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
        self.handle.respond(msg, self._jobtap.query(msg.unpack(JobtapName).name))

    # -- job-list

    @request_handler("job-list.list", prefix=False, allow_guest=True)
    def list_jobs(self, msg: Message) -> None:
        """Jobs that match: one a response if it streams, else all in one."""
        wish = msg.unpack(List)
        if wish.max_entries < 0 or not wish.since >= 0:
            what = "max_entries < 0" if wish.max_entries < 0 else "since < 0.0"
            raise RequestError(errnums.EPROTO, f"invalid payload: {what} not allowed")
        try:
            test = to_test(wish.constraint)
        except ValueError as error:
            text = f"invalid payload: constraint object invalid: {error}"
            raise RequestError(errnums.EPROTO, text) from None
        asked = self._columns(wish.attrs)
        found = select(self._machine.jobs, test, wish.max_entries, wish.since)
        if not msg.is_streaming:
            self.handle.respond(msg, {"jobs": [show(job, asked) for job in found]})
            return
        version = {"version": 1}
        for job in found:
            self.handle.respond(msg, {**version, "jobs": [show(job, asked)]})
            version = {}
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("job-list.list-id", prefix=False, allow_guest=True)
    def list_id(self, msg: Message) -> None:
        """One job by its id."""
        wish = msg.unpack(ListId)
        asked = self._columns(wish.attrs)
        self.handle.respond(msg, {"job": show(self._job(wish.id), asked)})

    def _columns(self, attrs: list[str]) -> dict[str, Any]:
        try:
            return columns(attrs)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    @request_handler("job-list.list-attrs", prefix=False, allow_guest=True)
    def list_attrs(self, msg: Message) -> None:
        """The attributes a list may ask for."""
        self.handle.respond(msg, {"attrs": ["id", *ATTRIBUTES, "all"]})

    @request_handler("job-list.job-stats", prefix=False, allow_guest=True)
    def job_stats(self, msg: Message) -> None:
        """Jobs by state and by result."""
        self.handle.respond(msg, job_stats(self._machine.jobs))

    # -- job-info

    def _check_readable(self, msg: Message) -> None:
        """Raises RequestError(EPERM): a guest reads the records of its own jobs only."""
        if not msg.rolemask & ROLE_OWNER:
            check_owner(msg, self._job(msg.unpack(JobOf).id).userid, "guests can only read their own jobs")

    @request_handler("job-info.lookup", prefix=False, allow_guest=True)
    async def info_lookup(self, msg: Message) -> None:
        """Records of a job by key: jobspec, R, J, eventlog, guest.exec.eventlog, guest.output."""
        self._check_readable(msg)
        await self._info.lookup(msg)

    @request_handler("job-info.eventlog-watch", prefix=False, allow_guest=True)
    def eventlog_watch(self, msg: Message) -> None:
        """The lines of an eventlog as they are written."""
        self._check_readable(msg)
        self._info.watch(msg)

    @request_handler("job-info.eventlog-watch-cancel", prefix=False, allow_guest=True)
    def eventlog_watch_cancel(self, msg: Message) -> None:
        """End such a stream; not answered itself."""
        self._info.cancel(msg)

    @request_handler("job-info.update-watch", prefix=False, allow_guest=True)
    async def update_watch(self, msg: Message) -> None:
        """A job's R or jobspec, and again each time it is updated."""
        self._check_readable(msg)
        await self._info.update_watch(msg)

    @request_handler("job-info.update-watch-cancel", prefix=False, allow_guest=True)
    def update_watch_cancel(self, msg: Message) -> None:
        """End such a stream; not answered itself."""
        self._info.cancel(msg)

    @request_handler("job-info.disconnect", prefix=False, allow_guest=True)
    def info_disconnect(self, msg: Message) -> None:
        """A client went: its streams end."""
        self._info.leave(msg.sender)

    @event_handler(f"{SETROOT}*", prefix=False)
    def kvs_event(self, msg: Message) -> None:
        """A namespace changed or went: followed logs may have grown."""
        try:
            self._info.followers.event(msg)
        except RequestError as error:  # anybody may publish; a bad event must not end the module
            self.log.error(str(error))


def _check_queue(name: str | None) -> None:
    """Raises RequestError(EINVAL): there is one queue here, and it has no name."""
    if name is not None:
        raise RequestError(errnums.EINVAL, f"invalid queue '{name:.60}': the one queue here has no name")
