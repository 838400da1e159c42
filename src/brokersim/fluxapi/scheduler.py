"""Knows Flux's base class of schedulers: the exchange with job-manager and resource (RFC 27, 28); not the policy."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from brokersim.fluxapi.allocation import AllocRequest, PendingJob
from brokersim.fluxapi.brokermod import BrokerModule, request_handler
from brokersim.fluxapi.constants import FLUX_RPC_STREAMING
from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.job.JobID import JobID
from brokersim.fluxapi.kvs import KVSTxn, commit_async, get_key_direct
from brokersim.fluxapi.passes import Pass
from brokersim.fluxapi.resource.ResourcePool import ResourcePool, _pool_class_from_uri
from brokersim.fluxapi.resource.ResourcePoolImplementation import (
    InfeasibleRequest,
    ResourcePoolImplementation,
)
from brokersim.host.methods import message_counts
from brokersim.protocol import jobid as jobids
from brokersim.protocol.decoded import JsonObject, JsonView

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux
    from brokersim.fluxapi.future import Future
    from brokersim.fluxapi.message import Message

__all__ = ["AllocRequest", "PendingJob", "ResourcePool", "Scheduler"]

#: Types of an alloc response (RFC 27).
_SUCCESS, _ANNOTATE, _DENY, _CANCEL = 0, 1, 2, 3


class Scheduler(BrokerModule):
    """A subclass overrides ``schedule``, and what else it wants to do in its own way.

    ``_queue`` is a heap of the jobs that wait, ``resources`` the pool. Bursts are not coalesced by a delay: a pass
    begins in the turn after the event that asks for it.
    """

    #: Requests the job manager may have open: a number, or ``unlimited``.
    queue_depth: Any = "unlimited"
    hello_partial_ok = True
    #: A pool instead of the plain one, and options of its constructor.
    pool_class: type | None = None
    pool_kwargs: dict[str, Any] = {}  # noqa: RUF012  # as Flux has it; each scheduler copies it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Arguments nobody has taken are refused when the last constructor has ended."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            inner = cls.__init__

            @wraps(inner)
            def made(self: Any, h: Flux, *args: str) -> None:
                inner(self, h, *args)
                if type(self) is cls:
                    self._reject_unknown_args()

            cls.__init__ = made  # type: ignore[method-assign]

    def __init__(self, h: Flux, *args: str) -> None:
        super().__init__(h, *args)
        self.log.level = "info"
        self.pool_kwargs = dict(self.pool_kwargs)
        self._resources: Any = None
        self._queue: list[PendingJob] = []
        self._timer = h.timer_watcher_create(0.0, self._begin)
        self._is_asked = False
        self._schedule_pass = Pass(h, self.schedule, self._scheduled)
        self._forecast_pass = Pass(h, self.forecast, self._forecast_done)
        self._forecast_again = False
        self._pending_args: list[str] = [arg for arg in args if not self._option(arg)]
        if type(self).__init__ is Scheduler.__init__:
            self._reject_unknown_args()

    def _option(self, arg: str) -> bool:
        key, _, value = arg.partition("=")
        if key == "mode":  # what the option was called in C
            key, value = "queue-depth", value.removeprefix("limited=")
        take = {"queue-depth": self._take_depth, "log-level": self._take_level, "pool-class": self._take_pool}
        if not value or key not in take:
            return False
        take[key](value)
        return True

    def _take_depth(self, value: str) -> None:
        if value != "unlimited" and not (value.isdecimal() and int(value) > 0):
            raise ValueError(f"queue-depth={value!r} is invalid: expected a positive integer or 'unlimited'")
        self.queue_depth = value if value == "unlimited" else int(value)

    def _take_level(self, value: str) -> None:
        self.log.level = value.lower()

    def _take_pool(self, value: str) -> None:
        self.pool_class = _pool_class_from_uri(value)
        if self.pool_class is None:
            raise ValueError(f"pool-class={value!r}: could not load pool class")

    def _reject_unknown_args(self) -> None:
        if self._pending_args:
            known = "queue-depth, log-level, pool-class"
            raise ValueError(f"unknown argument {self._pending_args[0]!r}: built-in options are {known}")

    @property
    def resources(self) -> Any:
        """The pool; None until ``run`` has acquired it."""
        return self._resources

    # -- passes

    def _request_schedule(self) -> None:
        """Have ``schedule`` called soon, if a job waits."""
        if self._queue:
            self.start_schedule()

    def start_schedule(self) -> None:
        """Have ``schedule`` called in the next turn; a generator under way is closed, what it knew is stale."""
        self._schedule_pass.close()
        if not self._is_asked:
            self._is_asked = True
            self._timer.reset()

    def _begin(self, *_: object) -> None:
        self._is_asked = False
        self._timer.stop()
        self._schedule_pass.start()

    def _scheduled(self) -> None:
        if not self._queue:
            return
        if self._forecast_pass.is_running:
            self._forecast_again = True
        else:
            self._forecast_pass.start()

    def _forecast_done(self) -> None:
        if self._forecast_again:
            self._forecast_again = False
            self._scheduled()

    # -- answers

    def alloc_success(self, msg: Message, R: JsonObject, annotations: JsonObject | None = None) -> None:
        """Write R to the KVS, then answer."""
        txn = KVSTxn(self.handle)
        txn.put(jobids.job_kvspath(msg.payload["id"], "R"), R)
        answer = {"id": msg.payload["id"], "type": _SUCCESS, "R": R}
        more = {} if annotations is None else {"annotations": annotations}
        commit_async(self.handle, _kvstxn=txn).then(self._committed, msg, {**answer, **more})

    def _committed(self, future: Future, msg: Message, answer: JsonObject) -> None:
        try:
            future.get()
        except OSError as error:
            self.log.error(f"alloc: R was not committed: {error}")
            self.stop_error()
            return
        self.handle.respond(msg, answer)

    def alloc_deny(self, msg: Message, note: str | None = None) -> None:
        answer = {"id": msg.payload["id"], "type": _DENY}
        self.handle.respond(msg, answer if note is None else {**answer, "note": note})

    def alloc_cancel(self, msg: Message) -> None:
        self.handle.respond(msg, {"id": msg.payload["id"], "type": _CANCEL})

    def alloc_annotate(self, msg: Message, annotations: JsonObject) -> None:
        self.handle.respond(msg, {"id": msg.payload["id"], "type": _ANNOTATE, "annotations": annotations})

    # -- what subclasses override

    def schedule(self) -> Any:
        """Give resources to the jobs that wait; a generator hands control back at each yield."""

    def forecast(self) -> Any:
        """Annotate the jobs that still wait; called after each pass, and may be a generator as well."""

    def resource_update(self) -> None:
        """The pool has changed: something went up or down."""

    def hello(self, jobid: int, priority: int, userid: int, t_submit: float, R: object) -> None:
        """A job that runs already when the scheduler starts has these resources."""
        self.resources.register_alloc(jobid, R)

    def alloc(
        self, request: AllocRequest, jobid: int, priority: int, userid: int, t_submit: float, jobspec: object
    ) -> None:
        """A job wants resources: it is queued, or denied if its jobspec cannot be understood."""
        try:
            wanted = self.resources.parse_resource_request(jobspec)
        except Exception as error:  # a pool of somebody else's may raise anything
            self.log.error(f"alloc: jobspec of {jobid}: {error}")
            request.deny(f"cannot parse jobspec: {error}")
            return
        heapq.heappush(self._queue, PendingJob(jobid, priority, t_submit, request, wanted))

    def free(self, jobid: int, R: object, final: bool = False) -> None:
        """A job gives resources back."""
        self.resources.free(jobid, R, final)

    def cancel(self, jobid: int) -> None:
        """A job that waits wants nothing any more."""
        gone = next((job for job in self._queue if job.jobid == jobid), None)
        if gone is not None:
            self._queue = [job for job in self._queue if job is not gone]
            heapq.heapify(self._queue)
            gone.request.cancel()

    def prioritize(self, jobs: Iterable[tuple[int, int]]) -> None:
        """New priorities of jobs that wait."""
        priorities = dict(jobs)
        for job in self._queue:
            job.priority = priorities.get(job.jobid, job.priority)
        heapq.heapify(self._queue)

    def expiration(self, msg: Message, jobid: int, expiration: float) -> None:
        """A job is to end at another time: fine by default."""
        self.handle.respond(msg, None)

    def feasibility_check(self, msg: Message, jobspec: object) -> None:
        """Whether a jobspec could ever run here."""
        try:
            self.resources.check_feasibility(self.resources.parse_resource_request(jobspec))
        except InfeasibleRequest as error:
            self.handle.respond_error(msg, errno.EOVERFLOW, str(error))
        except Exception as error:  # as in alloc
            self.handle.respond_error(msg, getattr(error, "errno", None) or errno.EINVAL, str(error))
        else:
            self.handle.respond(msg, None)

    def stats_get(self) -> JsonObject:
        """What stats-get answers beside the message counts; there is no delay here that would adapt."""
        return {
            "sched_passes": self._schedule_pass.passes,
            "sched_yields": self._schedule_pass.yields,
            "forecast_passes": self._forecast_pass.passes,
            "forecast_yields": self._forecast_pass.yields,
            "sched_delay": 0.0,
            "sched_duration_ewma": 0.0,
            "sched_interval_ewma": 0.0,
            "pending_jobs": len(self._queue),
        }

    # -- the beginning

    def run(self) -> None:
        """Register, acquire the resources, learn what runs, say ready; then the reactor. Raises OSError."""
        for service in ("sched", "feasibility"):
            self.handle.service_register(service).get()
        try:
            self.set_running()
            self._acquire()
            self._say_hello()
            self._say_ready()
        except OSError as error:
            self.log.error(f"initialization failed: {error}")
            raise
        super().run()

    def _make_pool(self, R: object) -> Any:
        """The class's own pool, else the one of whoever wrote ``R.scheduling``, else the plain one."""
        cls = self.pool_class or _pool_of(R) or ResourcePool
        if not (isinstance(cls, type) and issubclass(cls, (ResourcePool, ResourcePoolImplementation))):
            raise ValueError(f"pool_class must be a ResourcePool or its implementation, not {cls!r}")
        make: Any = cls
        pool: Any = make(R, log=self.log, **self.pool_kwargs)
        impl = getattr(pool, "impl", None)
        if impl is None:
            raise ValueError(f"{cls!r} must set self.impl = self during __init__")
        impl.clock = self.handle.endpoint.time
        return pool

    def _acquire(self) -> None:
        future = self.handle.rpc("resource.acquire", flags=FLUX_RPC_STREAMING)
        told = future.get()
        self._resources = self._make_pool(told["resources"])
        self._drop_unknown_options()
        self._resources.mark_down("all")
        self._update(told)
        future.reset()
        future.then(self._acquired_more)

    def _drop_unknown_options(self) -> None:
        """Warn once of what the pool makes nothing of."""
        known: frozenset[str] = getattr(self._resources.impl, "known_options", frozenset())
        for key in sorted(set(self.pool_kwargs) - known):
            self.log.warning(f"pool: ignoring unknown option {key!r}")
        self.pool_kwargs = {key: value for key, value in self.pool_kwargs.items() if key in known}

    def _acquired_more(self, future: Future) -> None:
        try:
            told = future.get()
        except OSError as error:
            self.log.error(f"exiting: no more news of the resources: {error}")
            self.stop()
            return
        self._update(told)
        future.reset()

    def _update(self, told: JsonView) -> None:
        if "up" in told:
            self._resources.mark_up(told["up"])
        if "down" in told:
            self._resources.mark_down(told["down"])
        if told.get("expiration", -1) >= 0:
            self._resources.expiration = told["expiration"]
            self.log.info(f"resource expiration updated to {told['expiration']:.2f}")
        if "shrink" in told:
            self._resources.remove_ranks(IDset(told["shrink"]))
        self.resource_update()
        self._request_schedule()

    def _say_hello(self) -> None:
        wish = {"partial-ok": self.hello_partial_ok}
        future = self.handle.rpc("job-manager.sched-hello", wish, flags=FLUX_RPC_STREAMING)
        while True:
            try:
                job = future.get()
            except OSError as error:
                if error.errno == errno.ENODATA:
                    return
                raise
            self._greet(job)
            future.reset()

    def _greet(self, job: JsonView) -> None:
        """A job whose resources cannot be had again ends with an exception; the others go on."""
        name = JobID(job["id"]).f58
        try:
            R = self._make_pool(get_key_direct(self.handle, jobids.job_kvspath(job["id"], "R")))
            if job.get("free"):
                R.remove_ranks(IDset(job["free"]))
            self.hello(job["id"], job["priority"], job["userid"], job["t_submit"], R)
        except Exception as error:  # of a pool of somebody else's, which may raise anything
            self.log.error(f"hello callback failed for job {name}: {error}")
            self.log.error(f"raising fatal exception on running job id={name}")
            note = "failed to reallocate R for running job"
            wish = {"id": job["id"], "type": "scheduler-restart", "severity": 0, "note": note}
            self.handle.rpc("job-manager.raise", wish)

    def _say_ready(self) -> None:
        mode: JsonObject = {"mode": "unlimited"}
        if self.queue_depth != "unlimited":
            mode = {"mode": "limited", "limit": int(self.queue_depth)}
        self.handle.rpc("job-manager.sched-ready", mode).get()
        pool = self._resources
        self.log.info(
            f"ready: queue-depth={self.queue_depth} pool-class={pool.impl.name} Rv{pool.version} {pool.dumps()}"
        )

    # -- requests

    @request_handler("sched.alloc", prefix=False)
    def _handle_alloc(self, msg: Message) -> None:
        job = msg.payload
        request = AllocRequest(self, msg)
        self.alloc(request, job["id"], job["priority"], job["userid"], job["t_submit"], job["jobspec"])
        self._request_schedule()

    @request_handler("sched.free", prefix=False)
    def _handle_free(self, msg: Message) -> None:
        given = msg.payload
        self.free(given["id"], ResourcePool(given["R"]), final=given.get("final", False))
        self._request_schedule()

    @request_handler("sched.cancel", prefix=False)
    def _handle_cancel(self, msg: Message) -> None:
        self.cancel(msg.payload["id"])
        self._request_schedule()

    @request_handler("sched.prioritize", prefix=False)
    def _handle_prioritize(self, msg: Message) -> None:
        self.prioritize(msg.payload.get("jobs", []))
        self._request_schedule()

    @request_handler("sched.expiration", prefix=False)
    def _handle_expiration(self, msg: Message) -> None:
        wish = msg.payload
        if wish["expiration"] < 0:
            self.handle.respond_error(msg, errno.EINVAL, f"invalid expiration {wish['expiration']}")
            return
        self.expiration(msg, wish["id"], wish["expiration"])
        self._request_schedule()

    @request_handler("sched.resource-status", prefix=False, allow_guest=True)
    def _handle_resource_status(self, msg: Message) -> None:
        pool = self._resources
        parts = {"all": pool, "allocated": pool.copy_allocated(), "down": pool.copy_down()}
        self.handle.respond(msg, {name: part.to_dict() for name, part in parts.items()})

    @request_handler("feasibility.check", prefix=False, allow_guest=True)
    def _handle_feasibility(self, msg: Message) -> None:
        self.feasibility_check(msg, msg.payload.get("jobspec", {}))

    @request_handler("stats-get", allow_guest=True)
    def _handle_stats_get(self, msg: Message) -> None:
        counts = message_counts(self.handle.endpoint.counts)
        self.handle.respond(msg, {**counts, **self.stats_get()})


def _pool_of(R: object) -> Any:
    """The pool that ``R.scheduling`` names as its writer, None if it names none that is here."""
    scheduling = R.get("scheduling") if isinstance(R, Mapping) else None
    return None if scheduling is None else _pool_class_from_uri(scheduling.get("writer", "fluxion"))
