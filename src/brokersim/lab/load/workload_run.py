"""Knows how a planned workload is run inside an instance, on its clock; not how it was planned.

A job log's jobs are submitted at their times by one handle, a trace's requests are sent at theirs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import attrs

from brokersim.lab.load.jobs import SUBMIT, serial_jobs_inside
from brokersim.lab.load.message_trace import MessageTrace
from brokersim.lab.load.replay_report import Replayed, Replies
from brokersim.lab.load.workloads import PlannedJob, Workload
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.jobspec import build, sign
from brokersim.protocol.message import Message

if TYPE_CHECKING:
    from brokersim.instance import Instance


@attrs.define(kw_only=True)
class Submitted:
    """What became of a workload: jobs accepted, and refused by reason."""

    accepted: int = 0
    refused: Counter[str] = attrs.field(factory=Counter)

    @property
    def answered(self) -> int:
        return self.accepted + self.refused.total()


@lru_cache(maxsize=1024)
def payload_of(job: PlannedJob) -> JsonObject:
    """The job-ingest.submit payload of a planned job, whenever it is to begin."""
    spec = build([job.name], cores=job.cores, run_time=job.run_time, name=job.name)
    return {"J": sign(spec, os.getuid()), "urgency": 16, "flags": 0}


async def run_inside(
    instance: Instance, workload: Workload, done: Callable[[int], object] = lambda _: None
) -> Submitted:
    """Submit each job at its time, wait until none is active; ``done(n)`` after serial job n. Raises RequestError."""
    if workload.is_serial:
        job = workload.jobs[0]
        await serial_jobs_inside(instance, len(workload.jobs), job.run_time, done)
        return Submitted(accepted=len(workload.jobs))
    submitter = _Submitter(instance)
    try:
        start = instance.reactor.now
        for job in workload.jobs:
            await _until(instance, start + round(job.at * 1e9))
            submitter.submit(payload_of(attrs.evolve(job, at=0.0)))
        await instance.broker(0).endpoint.occurrence(submitter.drain)
    finally:
        submitter.close()
    return submitter.found


class _Submitter:
    """One handle for all jobs: it submits, and drains when every submission has been answered, not before."""

    def __init__(self, instance: Instance) -> None:
        self._client = instance.client()
        self._sent = 0
        self._done: Callable[[object], None] | None = None
        self.found = Submitted()

    def submit(self, payload: JsonObject) -> None:
        self._sent += 1
        self._client.request(SUBMIT, payload, self._answered)

    def drain(self, done: Callable[[object], None]) -> None:
        self._done = done
        self._look()

    def close(self) -> None:
        self._client.close()

    def _answered(self, response: Message, _: object) -> None:
        if response.errnum:
            self.found.refused[response.payload_str or f"error {response.errnum}"] += 1
        else:
            self.found.accepted += 1
        self._look()

    def _look(self) -> None:
        if self._done is not None and self.found.answered == self._sent:
            self._client.request("job-manager.drain", None, self._drained)

    def _drained(self, response: Message, _: object) -> None:
        assert self._done is not None
        self._done(response.error() if response.errnum else None)


async def _until(instance: Instance, due: int) -> None:
    left = due - instance.reactor.now
    if left > 0:
        await instance.sleep(left / 1e9)


def _lacks(replies: Replies, number: int) -> bool:
    return replies.needs(number) is not None


async def _while(instance: Instance, is_waiting: Callable[[], bool], patience: float) -> None:
    """Looks every 5 ms of the instance's clock, for at most ``patience`` s."""
    for _ in range(round(patience / 0.005)):
        if not is_waiting():
            return
        await instance.sleep(0.005)


async def replay_inside(
    instance: Instance, trace: MessageTrace, speed: float = 1.0, patience: float = 5.0
) -> Replayed:
    """Send a trace's requests at their times, ``speed`` times as fast; what was answered differently.

    ``patience`` s of the instance's clock are waited after the last one for answers that are still out.
    """
    client = instance.client()
    replies = Replies(trace)
    start = instance.reactor.now
    try:
        for number, asked in enumerate(trace.requests):
            await _until(instance, start + round(asked.at / speed * 1e9))
            while (before := replies.needs(number)) is not None:
                await _while(instance, partial(_lacks, replies, number), patience)
                if replies.needs(number) == before:
                    replies.give_up(before)
            sent = instance.reactor.now
            send = client.stream if asked.is_streaming else client.request

            def answered(response: Message, _: object, number: int = number, sent: int = sent) -> None:
                replies.take(number, response.errnum, _payload(response), (instance.reactor.now - sent) / 1e9)

            send(asked.topic, replies.payload(number), answered)
        await _while(instance, lambda: not replies.is_complete, patience)
        # Those that were not answered in the trace may never be, but they are to arrive.
        await _while(instance, lambda: not replies.has_all, min(patience, 0.1))
    finally:
        client.close()
    return replies.result((instance.reactor.now - start) / 1e9)


def _payload(response: Message) -> object:
    try:
        return response.payload
    except (TypeError, RequestError):
        return None
