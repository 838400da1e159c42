"""Knows the requests of job-list; how jobs are selected is elsewhere."""

from __future__ import annotations

from typing import Any, Final

from brokersim.brokermod import BrokerModule, Message, RequestError, errnums, request_handler

from .job import Job
from .listing import ATTRIBUTES, columns, job_stats, select, show, to_test
from .machine import JobMachine
from .messages import List, ListId
from .states import ACTIVE, State

EVERY: Final = ACTIVE | State.INACTIVE | State.NEW


class ListService(BrokerModule):
    """The service job-list over the job manager's table of jobs."""

    _machine: JobMachine
    #: Requests for one job that wait for a state: (request, mask, columns) by job.
    _awaited: dict[int, list[tuple[Message, int, dict[str, Any]]]]

    def _job(self, job: int) -> Job:
        found = self._machine.jobs.get(job)
        if found is None:
            raise RequestError(errnums.ENOENT, "unknown job id")
        return found

    # -- job-list

    @request_handler("job-list.list", prefix=False, allow_guest=True)
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
        if wish.state & ~EVERY or wish.state < 0:
            raise RequestError(errnums.EPROTO, "invalid payload: invalid state specified")
        job, asked = self._job(wish.id), self._columns(wish.attrs)
        if not wish.state or job.seen & wish.state or job.state is State.INACTIVE:
            self.handle.respond(msg, {"job": show(job, asked)})
        else:
            self._awaited.setdefault(job.id, []).append((msg, wish.state, asked))

    def entered(self, _topic: str, job: Job) -> None:
        """A job came to another state: those who wait for that one are answered."""
        waiting = self._awaited.get(job.id)
        if waiting is None:
            return
        over = job.state is State.INACTIVE
        left = [one for one in waiting if not (over or job.state & one[1])]
        for msg, _, asked in [one for one in waiting if one not in left]:
            self.handle.respond(msg, {"job": show(job, asked)})
        if left:
            self._awaited[job.id] = left
        else:
            del self._awaited[job.id]

    @request_handler("job-list.disconnect", prefix=False, allow_guest=True)
    def list_disconnect(self, msg: Message) -> None:
        """A client went: it waits for no state any more."""
        for job, waiting in list(self._awaited.items()):
            self._awaited[job] = [one for one in waiting if one[0].sender != msg.sender]

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
