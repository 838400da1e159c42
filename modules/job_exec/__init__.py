"""Knows the execution service's protocol: start, kill, exceptions; how one job runs is in run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    ProgramTold,
    RequestError,
    errnums,
    event_handler,
    jobid,
    ranks,
    request_handler,
)

from .launch import PROGRAM, Launch
from .plan import NODES_MAX
from .run import JobRun
from .settings import to_settings

#: Debug bit (flux-core's) that has new time limits refused.
DEBUG_FAIL_EXPIRATION = 1


class Start(msgspec.Struct, gc=False):
    """Payload of job-exec.start."""

    id: int
    userid: int
    jobspec: dict[str, Any]
    R: dict[str, Any] | None = None
    reattach: bool = False


class Kill(msgspec.Struct, gc=False):
    """Payload of job-exec.kill."""

    id: int
    signum: int


class Expiration(msgspec.Struct, gc=False):
    """Payload of job-exec.expiration: when the job's resources are to be given back, seconds since the epoch."""

    id: int
    expiration: float


class Override(msgspec.Struct, gc=False):
    """Payload of job-exec.override: ``start`` or ``finish`` for a job that waits to be told."""

    event: str
    jobid: int
    status: int = 0


class CriticalRanks(msgspec.Struct, gc=False):
    """Payload of job-exec.critical-ranks: the nodes of a job without which it cannot go on."""

    id: int
    ranks: str


class JobException(msgspec.Struct, gc=False):
    """Payload of event job-exception."""

    id: int
    type: str = ""
    severity: int = 0
    wait_status: int | None = None


class JobExec(BrokerModule):
    """Runs jobs; those that ask for it (``attributes.system.exec.test``) are simulated, others as the instance says.

    Arguments: ``kill-timeout=FSD``, ``term-signal=``, ``kill-signal=`` (else table ``exec`` of the configuration),
    ``jobs=simulated|real`` (else attribute ``jobs``).

    The records it writes and their commits are those of flux-core's execution system and job shell together.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        try:
            self._settings = to_settings(args, h.attr_get("jobs"), h.conf_get())
        except ValueError as error:
            self.log.error(str(error))
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        self._runs: dict[int, JobRun] = {}
        self._shells: dict[str, JobRun] = {}
        self._started = 0
        self._is_inside = h.offer_program(PROGRAM, self._begin_shell)
        self._hello()

    def _hello(self) -> None:
        self.handle.request("job-manager.exec-hello", {"service": self.name}, self._welcomed)

    def _welcomed(self, response: Message, _arg: None) -> None:
        if response.errnum == errnums.ENOSYS:
            self.log.debug("no job-manager yet; it will say hello when it is loaded")
        elif response.errnum:
            self.log.error(
                f"job-manager.exec-hello: {response.payload_str or errnums.strerror(response.errnum)}"
            )

    def stats(self) -> dict[str, object]:
        """Jobs under execution now, and all started since the module was loaded."""
        return {"running": len(self._runs), "started": self._started, **self._settings.to_dict()}

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """New settings, for jobs from now on. Raises RequestError(EINVAL)."""
        try:
            self._settings = to_settings(self.args, self.handle.attr_get("jobs"), msg.payload)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        self.handle.respond(msg)

    @request_handler("start")
    def start(self, msg: Message) -> None:
        """Run a job: a stream of start, finish, release, and exception where something goes wrong."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, f"{self.name}.start must be a streaming request")
        order = msg.unpack(Start)
        if order.id in self._runs:
            raise RequestError(errnums.EEXIST, f"job {order.id} is under execution already")
        try:
            run = JobRun(self.handle, msg, order, self._settings, is_inside=self._is_inside)
        except (ValueError, LookupError, TypeError) as error:
            self._refuse(msg, order.id, f"jobspec: {error}")
            return
        self._runs[order.id] = run
        self._shells[run.service] = run
        self._started += 1
        if run.plan.is_real:
            self.handle.start_task(self._execute, run)
        else:
            self.handle.spawn(self._execute(run))

    async def _execute(self, run: JobRun) -> None:
        try:
            await run.go()
        finally:
            del self._runs[run.id]
            del self._shells[run.service]

    def _refuse(self, msg: Message, job: int, note: str) -> None:
        answer = {"id": job, "type": "exception", "data": {"severity": 0, "type": "exec", "note": note}}
        self.handle.respond(msg, answer)
        release = {"id": job, "type": "release", "data": {"ranks": "all", "final": True}}
        self.handle.respond(msg, release)

    def _begin_shell(self, words: Sequence[str], told: ProgramTold) -> Launch:
        run = self._runs.get(int(words[1])) if len(words) == 2 and words[1].isdecimal() else None
        if run is None:
            raise RequestError(
                errnums.ENOENT, f"{PROGRAM}: {' '.join(words[1:])!r:.40} is no job under execution"
            )
        return run.launch.begin(told)

    @request_handler("kill")
    def kill(self, msg: Message) -> None:
        """A signal for a job's commands."""
        wish = msg.unpack(Kill)
        run = self._runs.get(wish.id)
        if run is None:
            raise RequestError(errnums.ENOENT, f"job {wish.id} is not under execution")
        run.kill(wish.signum)
        self.handle.respond(msg)

    @request_handler("expiration")
    def expiration(self, msg: Message) -> None:
        """A running job's time limit is another now; 0 is none. Raises RequestError: EINVAL, ENOENT."""
        wish = msg.unpack(Expiration)
        if self.debug_test(DEBUG_FAIL_EXPIRATION) or wish.expiration < 0:
            raise RequestError(errnums.EINVAL, f"job {wish.id} cannot expire at {wish.expiration:.2f}")
        run = self._runs.get(wish.id)
        if run is None:
            raise RequestError(errnums.ENOENT, f"job {wish.id} is not under execution")
        run.limit.expire_at(wish.expiration)
        self.log.debug(f"updated expiration of {jobid.encode(wish.id)} to {wish.expiration:.2f}")
        self.handle.respond(msg)

    def _own_run(self, msg: Message, job: int) -> JobRun:
        """A job under execution, if it is the sender's. Raises RequestError: ENOENT, EPERM."""
        run = self._runs.get(job)
        if run is None:
            raise RequestError(errnums.ENOENT, "Job not found")
        if msg.userid != run.userid:
            raise RequestError(errnums.EPERM, "Permission denied")
        return run

    @request_handler("override", allow_guest=True)
    def override(self, msg: Message) -> None:
        """A simulated job with ``exec.test.override`` begins, or ends. Raises RequestError."""
        wish = msg.unpack(Override)
        self._own_run(msg, wish.jobid).simulated.override(wish.event, wish.status)
        self.handle.respond(msg)

    @request_handler("critical-ranks", allow_guest=True)
    def critical_ranks(self, msg: Message) -> None:
        """Which nodes a job cannot do without; all are here, since one shell serves them. Raises RequestError."""
        wish = msg.unpack(CriticalRanks)
        self._own_run(msg, wish.id)
        try:
            ranks.parse_ranks(wish.ranks, NODES_MAX)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        self.handle.respond(msg)

    @request_handler("*.stdin", prefix=False, allow_guest=True)
    async def stdin(self, msg: Message) -> None:
        """Standard input for a job, where its shell has no connection of its own."""
        run = self._shells.get(msg.topic.rpartition(".")[0])
        if run is None:
            raise RequestError(errnums.ENOSYS, f"No service matching {msg.topic} is registered")
        await run.intake.take(msg)

    @event_handler("job-exception", prefix=False)
    def exception(self, msg: Message) -> None:
        """An exception was raised on a job; severity 0 ends it here too."""
        try:
            raised = msg.unpack(JobException)
        except RequestError as error:  # anybody may publish; a bad event must not end the module
            self.log.error(str(error))
            return
        run = self._runs.get(raised.id)
        if run is not None and raised.severity == 0:
            run.doom(raised.wait_status)

    @request_handler("renew")
    def renew(self, msg: Message) -> None:
        """A new job manager is there: end what the old one started and say hello (ours, not answered)."""
        for run in list(self._runs.values()):
            run.doom()
        self._hello()

    @request_handler("disconnect")
    def disconnect(self, msg: Message) -> None:
        """Whoever started jobs went, and with it everyone who could be told how they end; others end nothing."""
        for run in list(self._runs.values()):
            if run.started_by == msg.sender:
                run.doom()
