"""Knows Flux's base class of schedulers: the exchange with job-manager and resource (RFC 27, 28); not the policy."""

from __future__ import annotations

import errno
import heapq
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import total_ordering, wraps
from typing import TYPE_CHECKING, Any, ClassVar

from brokersim.fluxapi.brokermod import BrokerModule, request_handler
from brokersim.fluxapi.constants import FLUX_RPC_STREAMING
from brokersim.fluxapi.kvs import KVSTxn, commit_async, get_key_direct
from brokersim.fluxapi.resource.ResourcePool import ResourcePool
from brokersim.fluxapi.resource.ResourcePoolImplementation import InfeasibleRequest
from brokersim.host.methods import message_counts
from brokersim.protocol import jobid as jobids

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux
    from brokersim.fluxapi.future import Future
    from brokersim.fluxapi.message import Message

__all__ = ["AllocRequest", "PendingJob", "ResourcePool", "Scheduler"]

#: Types of an alloc response (RFC 27).
_SUCCESS, _ANNOTATE, _DENY, _CANCEL = 0, 1, 2, 3


@total_ordering
class PendingJob:
    """A job that waits; the smallest is next: highest priority, then lowest id."""

    __slots__ = ("_last_annotation", "jobid", "priority", "request", "resource_request", "t_submit")

    def __init__(
        self, jobid: int, priority: int, t_submit: float, request: AllocRequest, resource_request: Any
    ) -> None:
        self.jobid = jobid
        self.priority = priority
        self.t_submit = t_submit
        self.request = request
        self.resource_request = resource_request
        self._last_annotation: Any = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PendingJob):
            return NotImplemented
        return (self.priority, self.jobid) == (other.priority, other.jobid)

    def __lt__(self, other: PendingJob) -> bool:
        return (-self.priority, self.jobid) < (-other.priority, other.jobid)

    __hash__ = None  # type: ignore[assignment]  # as Flux's: it changes while it waits


class AllocRequest:
    """The request of one job, answered once: by success, deny or cancel; annotated as often as one likes before."""

    __slots__ = ("_annotated", "_is_final", "_msg", "_scheduler", "jobid")

    def __init__(self, scheduler: Scheduler, msg: Message) -> None:
        self._scheduler = scheduler
        self._msg = msg
        self._annotated: dict[str, None] = {}
        self._is_final = False
        self.jobid: int = msg.payload["id"]

    def success(self, R: Any, annotations: dict[str, Any] | None = None, clear: bool = True) -> None:
        """These are the job's resources, a pool or R; ``clear`` takes back what was annotated meanwhile."""
        self._is_final = True
        if clear and self._annotated:
            given = annotations or {}
            annotations = {**given, "sched": {**dict.fromkeys(self._annotated), **given.get("sched", {})}}
        self._scheduler.alloc_success(self._msg, self._scheduler.dated(R), annotations)

    def deny(self, note: str | None = None) -> None:
        """The job never gets any."""
        self._is_final = True
        self._scheduler.alloc_deny(self._msg, note)

    def cancel(self) -> None:
        """The job wants none any more."""
        self._is_final = True
        self._scheduler.alloc_cancel(self._msg)

    def annotate(self, annotations: dict[str, Any]) -> None:
        """Say something about the job that waits; nothing is said once it is answered."""
        if not self._is_final:
            self._annotated.update(dict.fromkeys((annotations or {}).get("sched", {})))
            self._scheduler.alloc_annotate(self._msg, annotations)


class _Pass:
    """Runs ``schedule`` or ``forecast``: at once, or, if it is a generator, one yield a turn of the loop.

    A timer of no delay brings the turns. An idle watcher, as Flux has it, would keep virtual time from passing.
    """

    def __init__(self, h: Flux, fn: Callable[[], Any], done: Callable[[], object]) -> None:
        self._fn = fn
        self._done = done
        self._steps: Generator[Any, Any, Any] | None = None
        self._turn = h.timer_watcher_create(0.0, self._step)
        self.passes = 0
        self.yields = 0

    @property
    def is_running(self) -> bool:
        return self._steps is not None

    def start(self) -> None:
        """From the top; a pass under way is closed first."""
        self.close()
        found = self._fn()
        if inspect.isgenerator(found):
            self._steps = found
            self._turn.reset()
        else:
            self._finish()

    def close(self) -> None:
        """Give a pass under way up; its ``finally`` blocks run."""
        if self._steps is not None:
            steps, self._steps = self._steps, None
            self._turn.stop()
            steps.close()

    def _step(self, *_: object) -> None:
        if self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration:
            self.close()
            self._finish()
        else:
            self.yields += 1
            self._turn.reset()

    def _finish(self) -> None:
        self.passes += 1
        self._done()


class Scheduler(BrokerModule):
    """A subclass overrides ``schedule``, and what else it wants to do in its own way.

    ``_queue`` is a heap of the jobs that wait, ``resources`` the pool. Bursts are not coalesced by a delay: a pass
    begins in the turn after the event that asks for it.
    """

    #: Requests the job manager may have open: a number, or ``unlimited``.
    queue_depth: Any = "unlimited"
    hello_partial_ok = True
    pool_class: ClassVar[type | None] = None
    pool_kwargs: ClassVar[dict[str, Any]] = {}

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
        self._resources: Any = None
        self._queue: list[PendingJob] = []
        self._timer = h.timer_watcher_create(0.0, self._begin)
        self._is_asked = False
        self._schedule_pass = _Pass(h, self.schedule, self._scheduled)
        self._forecast_pass = _Pass(h, self.forecast, self._forecast_done)
        self._forecast_again = False
        self._pending_args: list[str] = [arg for arg in args if not self._option(arg)]
        if type(self).__init__ is Scheduler.__init__:
            self._reject_unknown_args()

    def _option(self, arg: str) -> bool:
        key, equals, value = arg.partition("=")
        if not equals or key not in ("queue-depth", "log-level"):
            return False
        if key == "log-level":
            self.log.level = value.lower()
        elif value == "unlimited":
            self.queue_depth = value
        elif value.isdecimal() and int(value) > 0:
            self.queue_depth = int(value)
        else:
            raise ValueError(f"queue-depth={value!r} is invalid: expected a positive integer or 'unlimited'")
        return True

    def _reject_unknown_args(self) -> None:
        if self._pending_args:
            raise ValueError(
                f"unknown argument {self._pending_args[0]!r}: built-in options are queue-depth, log-level"
            )

    @property
    def resources(self) -> Any:
        """The pool; None until ``run`` has acquired it."""
        return self._resources

    # -- passes

    def _request_schedule(self) -> None:
        """Have ``schedule`` called in the next turn; a generator under way begins anew then."""
        if not self._is_asked:
            self._is_asked = True
            self._timer.reset()

    def start_schedule(self) -> None:
        """Begin a pass now."""
        self._schedule_pass.start()

    def _begin(self, *_: object) -> None:
        self._is_asked = False
        self._timer.stop()
        self.start_schedule()

    def _scheduled(self) -> None:
        if self._forecast_pass.is_running:
            self._forecast_again = True
        else:
            self._forecast_pass.start()

    def _forecast_done(self) -> None:
        if self._forecast_again:
            self._forecast_again = False
            self._forecast_pass.start()

    # -- answers

    def dated(self, R: Any) -> dict[str, Any]:
        """R of a pool, from now on for as long as its job may run; an R is left alone."""
        if isinstance(R, dict):
            return R
        found: dict[str, Any] = R.to_dict()
        execution, duration = found["execution"], getattr(R, "duration", 0.0)
        if not execution["starttime"]:
            execution["starttime"] = now = self.handle.endpoint.time()
            execution["expiration"] = now + duration if duration else 0.0
        return found

    def alloc_success(
        self, msg: Message, R: dict[str, Any], annotations: dict[str, Any] | None = None
    ) -> None:
        """Write R to the KVS, then answer."""
        txn = KVSTxn(self.handle)
        txn.put(jobids.job_kvspath(msg.payload["id"], "R"), R)
        answer = {"id": msg.payload["id"], "type": _SUCCESS, "R": R}
        more = {} if annotations is None else {"annotations": annotations}
        commit_async(self.handle, _kvstxn=txn).then(self._committed, msg, {**answer, **more})

    def _committed(self, future: Future, msg: Message, answer: dict[str, Any]) -> None:
        try:
            future.get()
        except OSError as error:
            self.log.error(f"alloc: R was not committed: {error}")
            self.stop_error()
            return
        self._finish(msg, answer)

    def _finish(self, msg: Message, answer: dict[str, Any]) -> None:
        """The last answer; here the stream ends with it, where Flux's job manager needs no end."""
        self.handle.respond(msg, answer)
        if msg.inner.is_streaming:
            self.handle.respond_error(msg, errno.ENODATA)

    def alloc_deny(self, msg: Message, note: str | None = None) -> None:
        answer = {"id": msg.payload["id"], "type": _DENY}
        self._finish(msg, answer if note is None else {**answer, "note": note})

    def alloc_cancel(self, msg: Message) -> None:
        self._finish(msg, {"id": msg.payload["id"], "type": _CANCEL})

    def alloc_annotate(self, msg: Message, annotations: dict[str, Any]) -> None:
        self.handle.respond(msg, {"id": msg.payload["id"], "type": _ANNOTATE, "annotations": annotations})

    # -- what subclasses override

    def schedule(self) -> Any:
        """Give resources to the jobs that wait; a generator hands control back at each yield."""

    def forecast(self) -> Any:
        """Annotate the jobs that still wait; called after each pass, and may be a generator as well."""

    def resource_update(self) -> None:
        """The pool has changed: something went up or down."""

    def hello(self, jobid: int, priority: int, userid: int, t_submit: float, R: Any) -> None:
        """A job that runs already when the scheduler starts has these resources."""
        self.resources.register_alloc(jobid, R)

    def alloc(
        self, request: AllocRequest, jobid: int, priority: int, userid: int, t_submit: float, jobspec: Any
    ) -> None:
        """A job wants resources: it is queued, or denied if its jobspec cannot be understood."""
        try:
            wanted = self.resources.parse_resource_request(jobspec)
        except Exception as error:  # a pool of somebody else's may raise anything
            self.log.error(f"alloc: jobspec of {jobid}: {error}")
            request.deny(f"cannot parse jobspec: {error}")
            return
        heapq.heappush(self._queue, PendingJob(jobid, priority, t_submit, request, wanted))

    def free(self, jobid: int, R: Any, final: bool = False) -> None:
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

    def feasibility_check(self, msg: Message, jobspec: Any) -> None:
        """Whether a jobspec could ever run here."""
        try:
            self.resources.check_feasibility(self.resources.parse_resource_request(jobspec))
        except InfeasibleRequest as error:
            self.handle.respond_error(msg, errno.EOVERFLOW, str(error.strerror))
        except Exception as error:  # as in alloc
            self.handle.respond_error(msg, getattr(error, "errno", None) or errno.EINVAL, str(error))
        else:
            self.handle.respond(msg, None)

    def stats_get(self) -> dict[str, Any]:
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

    def _make_pool(self, R: Any) -> Any:
        return (self.pool_class or ResourcePool)(R, log=self.log, **self.pool_kwargs)

    def _acquire(self) -> None:
        future = self.handle.rpc("resource.acquire", flags=FLUX_RPC_STREAMING)
        told = future.get()
        self._resources = self._make_pool(told["resources"])
        self._resources.mark_down("all")
        self._update(told)
        future.reset()
        future.then(self._acquired_more)

    def _acquired_more(self, future: Future) -> None:
        try:
            told = future.get()
        except OSError as error:
            self.log.error(f"exiting: no more news of the resources: {error}")
            self.stop()
            return
        self._update(told)
        future.reset()

    def _update(self, told: Mapping[str, Any]) -> None:
        if "up" in told:
            self._resources.mark_up(told["up"])
        if "down" in told:
            self._resources.mark_down(told["down"])
        if told.get("expiration", -1) >= 0:
            self._resources.expiration = told["expiration"]
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
            R = get_key_direct(self.handle, jobids.job_kvspath(job["id"], "R"))
            self.hello(job["id"], job["priority"], job["userid"], job["t_submit"], self._make_pool(R))
            future.reset()

    def _say_ready(self) -> None:
        mode: dict[str, Any] = {"mode": "unlimited"}
        if self.queue_depth != "unlimited":
            mode = {"mode": "limited", "limit": int(self.queue_depth)}
        self.handle.rpc("job-manager.sched-ready", mode).get()

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
