"""Knows the exchange of a scheduler with job-manager and resource (RFC 27, 28); not who gets what, nor when."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from brokersim.fluxapi.allocation import AllocRequest, Answering
from brokersim.fluxapi.brokermod import BrokerLogger, request_handler
from brokersim.fluxapi.constants import FLUX_RPC_STREAMING
from brokersim.fluxapi.idset import IDset
from brokersim.fluxapi.job.JobID import JobID
from brokersim.fluxapi.kvs import get_key_direct
from brokersim.fluxapi.resource.ResourcePool import ResourcePool
from brokersim.host.methods import message_counts
from brokersim.protocol import jobid as jobids
from brokersim.protocol.decoded import JsonObject, JsonView

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux
    from brokersim.fluxapi.future import Future
    from brokersim.fluxapi.message import Message


class Deciding(Answering, Protocol):
    """Who is told, and says what is done: the scheduler (`Scheduler` has the promises)."""

    queue_depth: Any
    hello_partial_ok: bool
    pool_kwargs: dict[str, Any]
    log: BrokerLogger

    @property
    def handle(self) -> Flux: ...

    def hello(self, jobid: int, priority: int, userid: int, t_submit: float, R: object) -> None: ...
    def alloc(
        self, request: AllocRequest, jobid: int, priority: int, userid: int, t_submit: float, jobspec: object
    ) -> None: ...
    def free(self, jobid: int, R: object, final: bool = False) -> None: ...
    def cancel(self, jobid: int) -> None: ...
    def prioritize(self, jobs: Iterable[tuple[int, int]]) -> None: ...
    def expiration(self, msg: Message, jobid: int, expiration: float) -> None: ...
    def feasibility_check(self, msg: Message, jobspec: object) -> None: ...
    def resource_update(self) -> None: ...
    def stats_get(self) -> JsonObject: ...
    def stop(self) -> None: ...


class Exchange:
    """Takes apart what a scheduler is told and asked, and keeps its pool up to what resource says.

    ``changed`` is called behind each thing that may let a job that waits have its resources.
    """

    def __init__(
        self, scheduler: Deciding, *, make_pool: Callable[[object], Any], changed: Callable[[], object]
    ) -> None:
        self._scheduler = scheduler
        self._make_pool = make_pool
        self._changed = changed
        #: None until it is acquired.
        self.pool: Any = None

    # -- the beginning, in this order

    def acquire(self) -> None:
        """Wait for the resources; what becomes of them later is told as it happens. Raises OSError."""
        future = self._scheduler.handle.rpc("resource.acquire", flags=FLUX_RPC_STREAMING)
        told = future.get()
        self.pool = self._make_pool(told["resources"])
        self._drop_unknown_options()
        self.pool.mark_down("all")
        self._update(told)
        future.reset()
        future.then(self._acquired_more)

    def _drop_unknown_options(self) -> None:
        """Warn once of what the pool makes nothing of."""
        known: frozenset[str] = getattr(self.pool.impl, "known_options", frozenset())
        given = self._scheduler.pool_kwargs
        for key in sorted(set(given) - known):
            self._scheduler.log.warning(f"pool: ignoring unknown option {key!r}")
        self._scheduler.pool_kwargs = {key: given[key] for key in given if key in known}

    def _acquired_more(self, future: Future) -> None:
        try:
            told = future.get()
        except OSError as error:
            self._scheduler.log.error(f"exiting: no more news of the resources: {error}")
            self._scheduler.stop()
            return
        self._update(told)
        future.reset()

    def _update(self, told: JsonView) -> None:
        if "up" in told:
            self.pool.mark_up(told["up"])
        if "down" in told:
            self.pool.mark_down(told["down"])
        if told.get("expiration", -1) >= 0:
            self.pool.expiration = told["expiration"]
            self._scheduler.log.info(f"resource expiration updated to {told['expiration']:.2f}")
        if "shrink" in told:
            self.pool.remove_ranks(IDset(told["shrink"]))
        self._scheduler.resource_update()
        self._changed()

    def greet(self) -> None:
        """The jobs that run already keep what they have. Raises OSError."""
        wish = {"partial-ok": self._scheduler.hello_partial_ok}
        future = self._scheduler.handle.rpc("job-manager.sched-hello", wish, flags=FLUX_RPC_STREAMING)
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
            R = self._make_pool(get_key_direct(self._scheduler.handle, jobids.job_kvspath(job["id"], "R")))
            if job.get("free"):
                R.remove_ranks(IDset(job["free"]))
            self._scheduler.hello(job["id"], job["priority"], job["userid"], job["t_submit"], R)
        except Exception as error:  # of a pool of somebody else's, which may raise anything
            self._scheduler.log.error(f"hello callback failed for job {name}: {error}")
            self._scheduler.log.error(f"raising fatal exception on running job id={name}")
            note = "failed to reallocate R for running job"
            wish = {"id": job["id"], "type": "scheduler-restart", "severity": 0, "note": note}
            self._scheduler.handle.rpc("job-manager.raise", wish)

    def say_ready(self) -> None:
        """From now on it is asked for resources. Raises OSError."""
        depth = self._scheduler.queue_depth
        mode: JsonObject = {"mode": "unlimited"}
        if depth != "unlimited":
            mode = {"mode": "limited", "limit": int(depth)}
        self._scheduler.handle.rpc("job-manager.sched-ready", mode).get()
        pool = self.pool
        self._scheduler.log.info(
            f"ready: queue-depth={depth} pool-class={pool.impl.name} Rv{pool.version} {pool.dumps()}"
        )

    # -- what it is asked

    @request_handler("sched.alloc", prefix=False)
    def _handle_alloc(self, msg: Message) -> None:
        job = msg.payload
        request = AllocRequest(self._scheduler, msg)
        self._scheduler.alloc(
            request, job["id"], job["priority"], job["userid"], job["t_submit"], job["jobspec"]
        )
        self._changed()

    @request_handler("sched.free", prefix=False)
    def _handle_free(self, msg: Message) -> None:
        given = msg.payload
        self._scheduler.free(given["id"], ResourcePool(given["R"]), final=given.get("final", False))
        self._changed()

    @request_handler("sched.cancel", prefix=False)
    def _handle_cancel(self, msg: Message) -> None:
        self._scheduler.cancel(msg.payload["id"])
        self._changed()

    @request_handler("sched.prioritize", prefix=False)
    def _handle_prioritize(self, msg: Message) -> None:
        self._scheduler.prioritize(msg.payload.get("jobs", []))
        self._changed()

    @request_handler("sched.expiration", prefix=False)
    def _handle_expiration(self, msg: Message) -> None:
        wish = msg.payload
        if wish["expiration"] < 0:
            self._scheduler.handle.respond_error(
                msg, errno.EINVAL, f"invalid expiration {wish['expiration']}"
            )
            return
        self._scheduler.expiration(msg, wish["id"], wish["expiration"])
        self._changed()

    @request_handler("sched.resource-status", prefix=False, allow_guest=True)
    def _handle_resource_status(self, msg: Message) -> None:
        pool = self.pool
        parts = {"all": pool, "allocated": pool.copy_allocated(), "down": pool.copy_down()}
        self._scheduler.handle.respond(msg, {name: part.to_dict() for name, part in parts.items()})

    @request_handler("feasibility.check", prefix=False, allow_guest=True)
    def _handle_feasibility(self, msg: Message) -> None:
        self._scheduler.feasibility_check(msg, msg.payload.get("jobspec", {}))

    @request_handler("stats-get", allow_guest=True)
    def _handle_stats_get(self, msg: Message) -> None:
        counts = message_counts(self._scheduler.handle.endpoint.counts)
        self._scheduler.handle.respond(msg, {**counts, **self._scheduler.stats_get()})
