"""Knows the requests of job-list; how jobs are selected, and how the journal makes them, is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    JobRecord,
    Message,
    RequestError,
    errnums,
    event_handler,
    job_states,
    jobid,
    request_handler,
)
from brokersim.brokermod import JobState as State

from .listing import ATTRIBUTES, columns, select, show, to_test
from .messages import Conf, List, ListId, Purged, to_conf
from .records import Records

EVERY: Final = job_states.ACTIVE | State.INACTIVE | State.NEW
#: flux-core says nothing more than the errnum's own text.
UNKNOWN: Final = f"{errnums.strerror(errnums.ENOENT)}: unknown job id"
#: Seconds for which changes of the figures are gathered before they are told (flux-core's).
BATCH: Final = 0.2


class JobList(BrokerModule):
    """Lists jobs, active and inactive, as the job manager's journal tells of them.

    Configuration: ``job-list.max_comparisons``, how many jobs one request may look at (1,000,000; 0 is no limit).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {self.name!r}: unknown argument {args[0]!r}; it has none"
            )
        self._conf = _known(h.conf_get())
        self._records = Records(self._changed)
        #: What the journal said while its handling was paused.
        self._held: list[dict[str, Any]] | None = None
        self._synced: Callable[[Any], object] | None = None
        #: Requests for one job that wait for it to be known (mask 0) or to come to a state, by job.
        self._awaited: dict[int, list[tuple[Message, int, dict[str, Any]]]] = {}
        self._lookups = 0
        #: Streams of figures, and what will tell them of changes.
        self._watchers: list[Message] = []
        self._timer: Any = None

    async def ready(self) -> None:
        """All jobs of the past are known before the first is listed."""
        await self.handle.occurrence(self._begin)

    def stats(self) -> dict[str, object]:
        """Jobs known, jobs awaited, streams of figures."""
        states = self._records.book.to_dict([])["job_states"]
        pending = sum(states[name] for name in ("depend", "priority", "sched"))
        return {
            "jobs": {
                "pending": pending,
                "running": states["run"] + states["cleanup"],
                "inactive": states["inactive"],
            },
            "idsync": {"lookups": self._lookups, "waits": len(self._awaited)},
            "stats_watchers": len(self._watchers),
        }

    # -- the journal

    def _begin(self, synced: Callable[[Any], object]) -> None:
        self._synced = synced
        self._follow()

    def _follow(self) -> None:
        self.handle.stream("job-manager.events-journal", {"full": True}, self._told)

    @request_handler("renew")
    def renew(self, msg: Message) -> None:
        """A new job manager is there: what it tells is all there is (ours, not answered)."""
        if self._synced is None:
            self._records = Records(self._changed)
            self._follow()

    def _told(self, response: Message, _arg: None = None) -> None:
        if response.errnum:
            if response.errnum != errnums.ENOSYS:
                self.log.error(f"job-manager.events-journal: {errnums.strerror(response.errnum)}")
            self._is_synced()
        elif self._held is not None:
            self._held.append(response.payload)
        else:
            self._take(response.payload)

    def _take(self, entry: dict[str, Any]) -> None:
        if entry["id"] < 0:
            self._is_synced()
            return
        try:
            self._records.take(entry)
        except (ValueError, LookupError, TypeError) as error:
            self.log.error(f"job {jobid.encode(entry['id'])}: the journal makes no sense: {error}")

    def _is_synced(self) -> None:
        synced, self._synced = self._synced, None
        if synced is not None:
            synced(None)

    @request_handler("job-state-pause")
    def pause(self, msg: Message) -> None:
        """Keep what the journal says, for tests of what is asked too early."""
        self._held = self._held or []
        self.handle.respond(msg)

    @request_handler("job-state-unpause")
    def unpause(self, msg: Message) -> None:
        """Take in what was kept."""
        held, self._held = self._held or [], None
        for entry in held:
            self._take(entry)
        self.handle.respond(msg)

    @event_handler("job-purge-inactive", prefix=False)
    def purged(self, msg: Message) -> None:
        """The records of some jobs are gone."""
        for job in msg.unpack(Purged).jobs:
            self._records.jobs.forget(job)
        self._figures_changed()

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """A new configuration. Raises RequestError(EINVAL)."""
        self._conf = _known(msg.payload)
        self.handle.respond(msg)

    # -- lists

    @request_handler("list", allow_guest=True)
    def list_jobs(self, msg: Message) -> None:
        """Jobs that match: one a response if it streams, else all in one."""
        wish = msg.unpack(List)
        if wish.max_entries < 0 or not wish.since >= 0:
            what = "max_entries < 0" if wish.max_entries < 0 else "since < 0.0"
            raise RequestError(errnums.EPROTO, f"invalid payload: {what} not allowed")
        try:
            test = to_test(wish.wanted())
        except ValueError as error:
            text = f"invalid payload: constraint object invalid: {error}"
            raise RequestError(errnums.EPROTO, text) from None
        asked = _columns(wish.attrs)
        tries = self._conf.job_list.max_comparisons
        found = select(self._records.jobs, test, wish.max_entries, wish.since, tries)
        try:
            self._answer(msg, found, asked)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    def _answer(self, msg: Message, found: Any, asked: dict[str, Any]) -> None:
        if not msg.is_streaming:
            self.handle.respond(msg, {"jobs": [show(job, asked) for job in found]})
            return
        version = {"version": 1}
        for job in found:
            self.handle.respond(msg, {**version, "jobs": [show(job, asked)]})
            version = {}
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("list-id", allow_guest=True)
    async def list_id(self, msg: Message) -> None:
        """One job by its id; one the job manager knows and the journal has not told of yet is awaited."""
        wish = msg.unpack(ListId)
        if wish.state & ~EVERY or wish.state < 0:
            raise RequestError(errnums.EPROTO, "invalid payload: invalid state specified")
        asked = _columns(wish.attrs)
        job = self._records.jobs.get(wish.id)
        if job is None:
            await self._check_stored(wish.id)
            job = self._records.jobs.get(wish.id)
        if job is not None and (not wish.state or job.seen & wish.state or job.state is State.INACTIVE):
            self.handle.respond(msg, {"job": show(job, asked)})
        elif job is not None or self._held is not None:
            self._awaited.setdefault(wish.id, []).append((msg, wish.state, asked))
        else:
            raise RequestError(errnums.ENOENT, UNKNOWN)

    async def _check_stored(self, job: int) -> None:
        """Raises RequestError(ENOENT) if there is no such job."""
        self._lookups += 1
        look = {"key": jobid.job_kvspath(job, "eventlog"), "namespace": "primary", "flags": 0}
        try:
            await self.handle.call("kvs.lookup", look)
        except RequestError:
            raise RequestError(errnums.ENOENT, UNKNOWN) from None
        finally:
            self._lookups -= 1

    def _changed(self, job: JobRecord) -> None:
        """A job is known now or came to another state: those who wait for that are answered."""
        self._figures_changed()
        waiting = self._awaited.pop(job.id, None)
        if waiting is None:
            return
        over = job.state is State.INACTIVE
        left = [one for one in waiting if not (over or not one[1] or job.state & one[1])]
        for msg, _, asked in [one for one in waiting if one not in left]:
            self.handle.respond(msg, {"job": show(job, asked)})
        if left:
            self._awaited[job.id] = left

    @request_handler("list-attrs", allow_guest=True)
    def list_attrs(self, msg: Message) -> None:
        """The attributes a list may ask for."""
        self.handle.respond(msg, {"attrs": [*ATTRIBUTES, "all"]})

    # -- figures

    @request_handler("job-stats", allow_guest=True)
    def job_stats(self, msg: Message) -> None:
        """Jobs by state and by result; a stream goes on with each change, at most five a second."""
        self.handle.respond(msg, self._figures())
        if msg.is_streaming:
            self._watchers.append(msg)

    def _figures(self) -> dict[str, Any]:
        return self._records.book.to_dict(list(self._conf.queues))

    def _figures_changed(self) -> None:
        if self._watchers and self._timer is None:
            self._timer = self.handle.call_later(BATCH, self._tell)

    def _tell(self) -> None:
        self._timer = None
        for msg in self._watchers:
            self.handle.respond(msg, self._figures())

    @request_handler("disconnect", allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went: it waits for nothing any more."""
        self._watchers = [one for one in self._watchers if one.sender != msg.sender]
        for job, waiting in list(self._awaited.items()):
            left = [one for one in waiting if one[0].sender != msg.sender]
            if left:
                self._awaited[job] = left
            else:
                del self._awaited[job]


def _known(given: Any) -> Conf:
    try:
        return to_conf(given)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None


def _columns(attrs: Any) -> dict[str, Any]:
    if not isinstance(attrs, list):
        raise RequestError(errnums.EPROTO, "invalid payload: attrs must be an array")
    try:
        return dict(columns(attrs))
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
