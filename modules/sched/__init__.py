"""Knows the scheduler's protocol (RFC 27): alloc, free, cancel, hello; not how it picks (pool, queue)."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    jobid,
    request_handler,
    treeobj,
)

from .forecast import DEPTH, estimates
from .messages import (
    ANNOTATE,
    CANCEL,
    DENY,
    SUCCESS,
    Alloc,
    Cancel,
    Change,
    Expiration,
    Feasibility,
    Free,
    Prioritize,
)
from .options import duration_of, forecast_option, limit_option, shape_option
from .pool import Pool
from .queue import JobQueue, Waiting
from .request import to_request
from .written import Allocation, from_r

#: Seconds between two looks for a resource module that went while its resources were in use.
ACQUIRE_AGAIN = 1.0
#: Why a job ends whose resources a new scheduler has not (flux-core's words).
LOST = "failed to reallocate R for running job"
#: Seconds from a job that has to wait until it is told why, or for how long: many at once are told once.
FORECAST = 0.1
#: What flux-core's scheduler is called: whoever asks for its figures or sets its bits says so.
FLUX_NAME = "sched-simple"
#: Debug bits (those of flux-core's sched-simple): no job gets anything; why jobs wait is told in place of when they
#: will start; new ends of jobs are refused.
DEBUG_FAIL_ALLOC, DEBUG_REASON, DEBUG_DENY_EXPIRATION = 1, 2, 4


class Sched(BrokerModule):
    """First in, first out with priorities over simulated nodes (attribute ``resources``, default ``1x4``).

    The job at the head that does not fit blocks those behind it (no backfilling). Each success commits the
    job's R to the KVS before it is answered, as flux-core's schedulers do through libschedutil. A job that waits is
    annotated with the time at which it will probably start, in real time or with ``forecast=on``. Services: sched,
    feasibility and sched-simple.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        try:
            shape = shape_option(args, h.attr_get("resources"))
            self._limit = limit_option(args)
            self._forecasts = forecast_option(args, is_real=h.attr_get("clock") != "virtual")
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        #: Given as an argument, the shape is what there is, whatever the resource module says.
        self._has_own_shape = any(arg.startswith("resources=") for arg in args)
        self._pool = Pool(shape)
        self._queue = JobQueue()
        self._held: dict[int, Allocation] = {}
        #: Of those that hold something and have a time limit: when they end.
        self._ends: dict[int, float] = {}
        self._forecast_timer: Any = None
        self._peak = 0
        for service in ("sched", "feasibility", FLUX_NAME):
            if service != self.name:
                h.service_register(service)
        self._has_acquired = False
        #: Nobody tells what is drained: nothing is given out, as by flux-core's scheduler, which ends then.
        self._is_cut_off = False
        #: What there is, and is drained, has been told, or cannot be: before that no job may ask, as in flux-core.
        self._has_heard = False
        self._acquire()

    # -- what may be given out

    def _acquire(self) -> None:
        self.handle.stream("resource.acquire", None, self._acquired)

    def _acquired(self, response: Message, _arg: None = None) -> None:
        is_first, self._has_heard = not self._has_heard, True
        if not response.errnum:
            change = response.unpack(Change)
            try:
                if change.resources is not None:
                    self._begin(change)
                else:
                    self._pool.take_down(change.down)
                    self._pool.bring_up(change.up)
            except ValueError as error:
                self.log.error(f"resource.acquire: {error}")
            self._serve()
        elif self._has_acquired:  # whoever had told what is drained was loaded anew
            self._is_cut_off = True
            self.handle.call_later(ACQUIRE_AGAIN, self._acquire)
        elif response.errnum != errnums.ENOSYS:
            text = response.payload_str or errnums.strerror(response.errnum)
            self.log.error(f"resource.acquire: {text}; drained nodes are used like others")
        if is_first:
            self._hello()

    def _begin(self, change: Change) -> None:
        is_first, self._has_acquired = not self._has_acquired, True
        self._is_cut_off = False
        if not self._has_own_shape:
            self._pool = Pool.of(change.resources)
        self._pool.only_up(change.up)
        if self._has_own_shape and not is_first:
            return
        for job, held in list(self._held.items()):  # told by a hello that came first
            if not self._pool.hold(held):
                del self._held[job]
                self._lost(job)

    # -- joining the job manager

    def _hello(self) -> None:
        self.handle.stream("job-manager.sched-hello", {"partial-ok": True}, self._hello_answer)

    def _hello_answer(self, response: Message, _arg: None = None) -> None:
        if response.errnum == errnums.ENODATA:
            mode = {"mode": "limited", "limit": self._limit} if self._limit else {"mode": "unlimited"}
            self.handle.request("job-manager.sched-ready", mode, self._logged)
            self.log.debug(f"ready: queue-depth={self._limit or 'unlimited'}")
        elif response.errnum == errnums.ENOSYS:
            self.log.debug("no job-manager yet; it will say hello when it is loaded")
        elif response.errnum:
            self.log.error(f"job-manager.sched-hello: {errnums.strerror(response.errnum)}")
        else:
            self._keep(response.payload["id"], response.payload.get("R"))

    def _logged(self, response: Message, _arg: None = None) -> None:
        if response.errnum:
            self.log.error(f"{response.topic}: {response.payload_str or errnums.strerror(response.errnum)}")

    def _keep(self, job: int, r: Any) -> None:
        try:
            held, end = from_r(r), float(r["execution"].get("expiration") or 0.0)
        except (ValueError, TypeError) as error:
            self.log.error(f"hello: job {job}: {error}")
            return
        if self._pool.hold(held):
            self._held[job] = held
            if end:
                self._ends[job] = end
        else:
            self._lost(job)

    def _lost(self, job: int) -> None:
        """A job runs on what is not there to be given out, or is somebody else's: it has to end, as in flux-core."""
        self.log.error(f"hello: job {job}: its resources are not free")
        wish = {"id": job, "type": "scheduler-restart", "severity": 0, "note": LOST}
        self.handle.request("job-manager.raise", wish, self._logged)

    @request_handler("sched.renew", prefix=False)
    def renew(self, msg: Message) -> None:
        """A new job manager is there: forget what the old one asked for and say hello (ours, no answer)."""
        for held in self._held.values():
            self._pool.free(held)
        self._queue = JobQueue()
        self._held, self._ends = {}, {}
        if self._has_heard:
            self._hello()
        if not msg.is_noresponse:
            self.handle.respond(msg)

    # -- the protocol

    @request_handler("sched.alloc", prefix=False)
    def alloc(self, msg: Message) -> None:
        """Queue a job; answered once, when it gets its resources, never can or is cancelled: no end follows."""
        wish = msg.unpack(Alloc)
        if wish.id in self._queue or wish.id in self._held:
            raise RequestError(errnums.EEXIST, f"sched.alloc: job {wish.id} has asked already")
        try:
            request = to_request(wish.jobspec)
            refusal = self._pool.impossible(request)
        except ValueError as error:
            refusal = str(error)
        if refusal:
            self.handle.respond(msg, {"id": wish.id, "type": DENY, "note": refusal})
            return
        duration = duration_of(wish.jobspec)
        self._queue.add(Waiting(wish.id, wish.priority, wish.t_submit, request, msg, duration))
        self._serve()

    @request_handler("sched.free", prefix=False)
    def free(self, msg: Message) -> None:
        """Take back all of a job's resources (``final``) or the nodes named in its R; not answered if so asked."""
        given = msg.unpack(Free)
        held = self._held.get(given.id)
        if held is None:
            raise RequestError(errnums.ENOENT, f"sched.free: job {given.id} holds nothing")
        self._pool.free(_released(given, held))
        if given.final:
            del self._held[given.id]
            self._ends.pop(given.id, None)
        if not msg.is_noresponse:
            self.handle.respond(msg, {"id": given.id})
        self._serve()

    @request_handler("sched.cancel", prefix=False)
    def cancel(self, msg: Message) -> None:
        """Drop a waiting request; one that has been served is left alone (its job will free it)."""
        waiting = self._queue.remove(msg.unpack(Cancel).id)
        if waiting is not None:
            self.handle.respond(waiting.tag, {"id": waiting.jobid, "type": CANCEL})
            self._serve()
        if not msg.is_noresponse:
            self.handle.respond(msg)

    @request_handler("sched.prioritize", prefix=False)
    def prioritize(self, msg: Message) -> None:
        """New priorities of waiting jobs; ids that do not wait are ignored."""
        for job, priority in msg.unpack(Prioritize).jobs:
            self._queue.reprioritize(job, priority)
        self._serve()
        if not msg.is_noresponse:
            self.handle.respond(msg)

    @request_handler("sched.expiration", prefix=False)
    def expiration(self, msg: Message) -> None:
        """A running job will end at another time."""
        wish = msg.unpack(Expiration)
        if wish.expiration < 0 or self.debug_test(DEBUG_DENY_EXPIRATION):
            raise RequestError(errnums.EINVAL, f"job {wish.id} cannot expire at {wish.expiration:.2f}")
        if wish.id in self._held:
            self._ends[wish.id] = wish.expiration
            self._forecast_soon()
        self.handle.respond(msg)

    def _serve(self) -> None:
        if self._is_cut_off:
            return
        is_denied = self.debug_test(DEBUG_FAIL_ALLOC)
        while (job := self._queue.first()) is not None:
            if is_denied:
                self._queue.remove(job.jobid)
                self.handle.respond(job.tag, {"id": job.jobid, "type": DENY, "note": "DEBUG_FAIL_ALLOC"})
                continue
            allocation = self._pool.allocate(job.request)
            if allocation is None:
                self._forecast_soon()
                return
            self._queue.remove(job.jobid)
            self._held[job.jobid] = allocation
            self._peak = max(self._peak, self._pool.cores_held)
            self._commit(job, allocation)

    # -- a success

    def _commit(self, job: Waiting, allocation: Allocation) -> None:
        start = self.handle.time()
        end = start + job.duration if job.duration else 0.0
        if end:
            self._ends[job.jobid] = end
        r = self._pool.written.to_r(allocation, start, end)
        if self._pool.scheduling is not None:
            r["scheduling"] = self._pool.scheduling
        dirent = treeobj.val(msgspec.json.encode(r))
        ops = [{"key": jobid.job_kvspath(job.jobid, "R"), "flags": 0, "dirent": dirent}]
        commit = {"namespace": "primary", "flags": 0, "ops": ops}
        summary = self._pool.written.summary(allocation)
        self.handle.request("kvs.commit", commit, self._committed, (job, r, summary))

    def _committed(self, response: Message, arg: tuple[Waiting, dict[str, Any], str]) -> None:
        job, r, summary = arg
        if response.errnum:
            self._give_back(job.jobid)
            note = f"R not committed: {response.payload_str or errnums.strerror(response.errnum)}"
            self.handle.respond(job.tag, {"id": job.jobid, "type": DENY, "note": note})
            return
        sched: dict[str, str | None] = {"resource_summary": summary}
        if job.told:  # of its waiting, which is over
            sched = dict.fromkeys(job.told) | sched
        answer = {"id": job.jobid, "type": SUCCESS, "R": r, "annotations": {"sched": sched}}
        self.handle.respond(job.tag, answer)

    # -- what those that wait are told

    def _forecast_soon(self) -> None:
        if self._forecast_timer is None and (self._forecasts or self.debug_test(DEBUG_REASON)):
            self._forecast_timer = self.handle.call_later(FORECAST, self._forecast)

    def _forecast(self) -> None:
        self._forecast_timer = None
        if self.debug_test(DEBUG_REASON):
            for ahead, job in enumerate(self._queue.ahead()):
                _tell(self.handle, job, {"reason_pending": "insufficient resources", "jobs_ahead": ahead})
            return
        jobs = self._queue.ahead(DEPTH)
        if not self._ends and not any(job.told for job in jobs):
            return  # nothing has an end
        running = ((self._ends.get(job, 0.0), held) for job, held in self._held.items())
        starts = estimates(self._pool, running, jobs, self.handle.time())
        for job, start in zip(jobs, starts, strict=True):
            _tell(self.handle, job, {"t_estimate": start})

    def _give_back(self, job: int) -> None:
        self._ends.pop(job, None)
        held = self._held.pop(job, None)
        if held is not None:
            self._pool.free(held)
            self._serve()

    @request_handler("sched.disconnect", prefix=False)
    def disconnect(self, msg: Message) -> None:
        """The job manager went: what it waited for is dropped; what jobs hold stays until the next hello."""
        for waiting in self._queue.drop(lambda job: job.tag.sender == msg.sender):
            self.log.debug(f"job {waiting.jobid}: its request went with its sender")

    # -- what there is

    @request_handler("sched.resource-status", prefix=False, allow_guest=True)
    def resource_status(self, msg: Message) -> None:
        """R of all resources, of those that are down (drained), and of those allocated."""
        pool = self._pool
        answer = {"all": pool.all_r(), "down": pool.down_r(), "allocated": pool.allocated_r()}
        self.handle.respond(msg, answer)

    @request_handler("feasibility.check", prefix=False, allow_guest=True)
    def feasibility(self, msg: Message) -> None:
        """Whether a jobspec could ever run here; EINVAL with the reason if not."""
        jobspec = msg.unpack(Feasibility).jobspec
        try:
            refusal = self._pool.impossible(to_request(jobspec))
        except ValueError as error:
            refusal = str(error)
        if refusal:
            raise RequestError(errnums.EINVAL, refusal)
        self.handle.respond(msg, {"errnum": 0})

    def stats(self) -> dict[str, object]:
        """Cores: all, held now, held at most; jobs: holding, waiting."""
        return {
            "cores": {
                "all": self._pool.cores,
                "allocated": self._pool.cores_held,
                "allocated_max": self._peak,
            },
            "jobs": {"allocated": len(self._held), "waiting": len(self._queue)},
        }


def _released(given: Free, held: Allocation) -> Allocation:
    if given.final or given.R is None:
        return dict(held)
    try:
        named = from_r(given.R)
    except ValueError as error:
        raise RequestError(errnums.EPROTO, f"sched.free: {error}") from None
    return {node: held.pop(node) for node in named if node in held}


def _tell(handle: Handle, job: Waiting, what: dict[str, Any]) -> None:
    """Annotate a job with what it has not been told yet; a null takes back."""
    news = {key: value for key, value in what.items() if (job.told or {}).get(key) != value}
    if news:
        job.told = {**(job.told or {}), **news}
        handle.respond(job.tag, {"id": job.jobid, "type": ANNOTATE, "annotations": {"sched": news}})
