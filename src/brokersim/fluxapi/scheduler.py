"""Knows Flux's base class of schedulers, what there is to override and to answer; not the policy, nor the exchange."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from brokersim.fluxapi.allocation import AllocRequest, PendingJob
from brokersim.fluxapi.brokermod import BrokerModule
from brokersim.fluxapi.exchange import Exchange
from brokersim.fluxapi.kvs import KVSTxn, commit_async
from brokersim.fluxapi.passes import Passes
from brokersim.fluxapi.resource.ResourcePool import ResourcePool, _pool_class_from_uri
from brokersim.fluxapi.resource.ResourcePoolImplementation import (
    InfeasibleRequest,
    ResourcePoolImplementation,
)
from brokersim.protocol import jobid as jobids
from brokersim.protocol.decoded import JsonObject

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
        self.pool_kwargs = dict(self.pool_kwargs)
        self._queue: list[PendingJob] = []
        self._passes = Passes(h, self.schedule, self.forecast, lambda: bool(self._queue))
        self._exchange = Exchange(self, make_pool=self._make_pool, changed=self._request_schedule)
        self._register_all(self._exchange)
        given, self._pending_args = _options(args)
        self.queue_depth = given.get("queue-depth", self.queue_depth)
        self.pool_class = given.get("pool-class", self.pool_class)
        self.log.level = given.get("log-level", "info")
        if type(self).__init__ is Scheduler.__init__:
            self._reject_unknown_args()

    def _reject_unknown_args(self) -> None:
        if self._pending_args:
            known = "queue-depth, log-level, pool-class"
            raise ValueError(f"unknown argument {self._pending_args[0]!r}: built-in options are {known}")

    @property
    def resources(self) -> Any:
        """The pool; None until ``run`` has acquired it."""
        return self._exchange.pool

    # -- passes

    def _request_schedule(self) -> None:
        """Have ``schedule`` called soon, if a job waits."""
        if self._queue:
            self.start_schedule()

    def start_schedule(self) -> None:
        """Have ``schedule`` called in the next turn; a generator under way is closed, what it knew is stale."""
        self._passes.ask()

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
            **self._passes.statistics(),
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
            self._exchange.acquire()
            self._exchange.greet()
            self._exchange.say_ready()
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


def _pool_of(R: object) -> Any:
    """The pool that ``R.scheduling`` names as its writer, None if it names none that is here."""
    scheduling = R.get("scheduling") if isinstance(R, Mapping) else None
    return None if scheduling is None else _pool_class_from_uri(scheduling.get("writer", "fluxion"))


def _options(args: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """What every scheduler takes, by name, and the arguments that are nothing of it. Raises ValueError."""
    found: dict[str, Any] = {}
    others = []
    for arg in args:
        key, _, value = arg.partition("=")
        if key == "mode":  # what the option was called in C
            key, value = "queue-depth", value.removeprefix("limited=")
        if value and key in _OPTIONS:
            found[key] = _OPTIONS[key](value)
        else:
            others.append(arg)
    return found, others


def _depth(value: str) -> int | str:
    if value != "unlimited" and not (value.isdecimal() and int(value) > 0):
        raise ValueError(f"queue-depth={value!r} is invalid: expected a positive integer or 'unlimited'")
    return value if value == "unlimited" else int(value)


def _pool_class(value: str) -> type:
    found: type | None = _pool_class_from_uri(value)
    if found is None:
        raise ValueError(f"pool-class={value!r}: could not load pool class")
    return found


_OPTIONS: Final[dict[str, Callable[[str], Any]]] = {
    "queue-depth": _depth,
    "log-level": str.lower,
    "pool-class": _pool_class,
}
