"""Knows when inactive jobs are forgotten, with their records in the KVS: on request, and by the limits configured."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, takewhile
from typing import Any, Final

import attrs

from brokersim.brokermod import BrokerModule, Message, RequestError, duration, errnums, jobid, request_handler
from brokersim.brokermod import JobState as State

from .job import Job
from .machine import JobMachine
from .messages import Purge, PurgeId
from .waiters import Waiters

NO_LIMIT: Final = -1
BATCH_MAX: Final = 1000
#: Seconds between two looks at the limits (flux-core looks at each heartbeat), and jobs forgotten at one, at most.
LOOK: Final = 2.0
AT_A_LOOK: Final = 100


@attrs.frozen
class Limits:
    """Seconds for which, and number in which inactive jobs are remembered (flux-core's ``job-manager.inactive-*``)."""

    age: float = NO_LIMIT
    number: int = NO_LIMIT

    @property
    def is_set(self) -> bool:
        return self != Limits()


def limits_in(conf: Any) -> Limits:
    """What a configuration says of inactive jobs. Raises RequestError(EINVAL)."""
    table = conf.get("job-manager", {}) if isinstance(conf, dict) else {}
    if not isinstance(table, dict):
        raise RequestError(errnums.EINVAL, "configuration: job-manager is no table")
    age, number = table.get("inactive-age-limit"), table.get("inactive-num-limit", NO_LIMIT)
    try:
        seconds = NO_LIMIT if age is None else duration.parse_duration(age)
    except (ValueError, TypeError, AttributeError):
        raise RequestError(errnums.EINVAL, "job-manager.inactive-age-limit: invalid FSD") from None
    if type(number) is not int or number < NO_LIMIT:
        raise RequestError(errnums.EINVAL, "job-manager.inactive-num-limit: must be >= 0")
    return Limits(seconds, number)


class Purging(BrokerModule):
    """Requests that make inactive jobs be forgotten, and the limits that do."""

    _machine: JobMachine
    _waiters: Waiters
    _limits: Limits = Limits()
    _looks: Any = None

    def limit(self, limits: Limits) -> None:
        """These limits, from now on."""
        self._limits = limits
        if self._looks is not None:
            self._looks.cancel()
        self._looks = self.handle.call_later(LOOK, self._look) if limits.is_set else None

    def _look(self) -> None:
        self._looks = self.handle.call_later(LOOK, self._look)
        chosen = self._purgeable(self._limits, AT_A_LOOK)
        if chosen:
            self._forget([job.id for job in chosen], self._looked)

    def _looked(self, response: Message, jobs: list[int]) -> None:
        if response.errnum:
            text = response.payload_str or errnums.strerror(response.errnum)
            self.log.error(f"{len(jobs)} inactive jobs cannot be forgotten: {text}")

    @request_handler("job-manager.purge", prefix=False)
    def purge(self, msg: Message) -> None:
        """Forget inactive jobs: those older than ``age_limit`` s or beyond ``num_limit``; without force count them."""
        wish = msg.unpack(Purge)
        for name, limit in (("age", wish.age_limit), ("num", wish.num_limit)):
            if limit != NO_LIMIT and limit < 0:
                raise RequestError(errnums.EINVAL, f"if set, {name} limit must be >= 0")
        if not 1 <= wish.batch <= BATCH_MAX:
            raise RequestError(errnums.EINVAL, f"batch must be >= 1 and <= {BATCH_MAX}")
        limits = Limits(wish.age_limit, wish.num_limit)
        if not wish.force:
            self.handle.respond(msg, {"count": len(self._purgeable(limits))})
            return
        self._forget_for(msg, [job.id for job in self._purgeable(limits, wish.batch)])

    def _purgeable(self, limits: Limits, count: int | None = None) -> list[Job]:
        """The first so many that are too old or too many; jobs are in the order in which they ended."""
        inactive = self._machine.jobs.inactive
        beyond = len(inactive) - limits.number if limits.number != NO_LIMIT else 0
        now = self.handle.time()

        def is_over(item: tuple[int, Job]) -> bool:
            place, job = item
            return place < beyond or (limits.age != NO_LIMIT and now - job.t_inactive > limits.age)

        return [job for _, job in islice(takewhile(is_over, enumerate(inactive.values())), count)]

    @request_handler("job-manager.purge-id", prefix=False)
    def purge_id(self, msg: Message) -> None:
        """Forget one inactive job."""
        job = self._machine.jobs.get(msg.unpack(PurgeId).id)
        if job is None:
            raise RequestError(errnums.ENOENT, "id not found")
        if job.state is not State.INACTIVE:
            raise RequestError(errnums.EINVAL, "cannot purge active job")
        self._forget_for(msg, [job.id])

    def _forget_for(self, msg: Message, jobs: list[int]) -> None:
        if jobs:
            self._forget(jobs, lambda response, jobs: self._answer(msg, response, len(jobs)))
        else:
            self.handle.respond(msg, {"count": 0})

    def _answer(self, msg: Message, response: Message, count: int) -> None:
        if response.errnum:
            self.handle.respond_error(msg, response.errnum, response.payload_str or "")
        else:
            self.handle.respond(msg, {"count": count})

    def _forget(self, jobs: list[int], then: Callable[[Message, list[int]], object]) -> None:
        ops = [{"key": jobid.job_kvspath(job), "flags": 0, "dirent": None} for job in jobs]

        def committed(response: Message, _: object) -> None:
            if not response.errnum:
                self._forgotten(jobs)
            then(response, jobs)

        self.handle.request("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops}, committed)

    def _forgotten(self, jobs: list[int]) -> None:
        for job in jobs:
            self._machine.jobs.forget(job)
            self._waiters.forget(job)
        self.handle.publish("job-purge-inactive", {"jobs": jobs})
