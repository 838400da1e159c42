"""Knows the journal's serial workload: a client a job, that submits it, follows its logs and leaves.

It is what ``flux run hostname`` in a loop does. The same exchange is driven through the socket (real time) and
in process (virtual time).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brokersim.net.client import Client
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENODATA, ENOENT
from brokersim.protocol.jobspec import build, sign
from brokersim.protocol.message import FLAG_STREAMING, Message

if TYPE_CHECKING:
    from brokersim.instance import Instance

#: Logs a client of ``flux run`` follows, in the order it asks for them.
LOGS = ("eventlog", "guest.exec.eventlog", "guest.output")
SUBMIT = "job-ingest.submit"
WATCH = "job-info.eventlog-watch"


def submission(run_time: float) -> JsonObject:
    """The payload that submits a simulated ``hostname`` of ``run_time`` seconds."""
    return {"J": sign(build(["hostname"], run_time=run_time), os.getuid()), "urgency": 16, "flags": 0}


def serial_jobs(uri: str, jobs: int, run_time: float, done: Callable[[int], object] = lambda _: None) -> None:
    """Run ``jobs`` one after the other through the socket, each from a connection of its own.

    ``done(n)`` is told after each. Raises RequestError if a job cannot be submitted or followed.
    """
    payload = submission(run_time)
    for number in range(1, jobs + 1):
        with Client.connect(uri) as client:
            job = client.rpc(SUBMIT, payload)["id"]
            tags = [
                client.send_request(WATCH, {"id": job, "path": log, "flags": 0}, flags=FLAG_STREAMING)
                for log in LOGS
            ]
            for tag in tags:
                _follow(client, tag)
        done(number)


def _follow(client: Client, tag: int) -> None:
    while True:
        response = client.recv_response(tag)
        # A real Flux's simulated job has no output, not even an empty log of it.
        if response.errnum in (ENODATA, ENOENT):
            return
        if response.errnum:
            raise response.error()


async def serial_jobs_inside(
    instance: Instance, jobs: int, run_time: float, done: Callable[[int], object] = lambda _: None
) -> None:
    """The same in process: a handle a job, without the bytes."""
    driver = _Driver(instance, jobs, submission(run_time), done)
    await instance.broker(0).endpoint.occurrence(driver.start)


class _Driver:
    """Runs the exchange by callbacks in the reactor: awaiting each answer in a trio task would cost 15 µs apiece."""

    def __init__(
        self, instance: Instance, jobs: int, payload: JsonObject, told: Callable[[int], object]
    ) -> None:
        self._instance = instance
        self._jobs = self._left = jobs
        self._told = told
        self._payload = payload
        self._open = 0
        self._client = instance.client()
        self._done: Callable[[Any], None] = lambda _: None

    def start(self, done: Callable[[Any], None]) -> None:
        self._done = done
        self._next()

    def _next(self) -> None:
        self._client.close()
        self._told(self._jobs - self._left)
        if not self._left:
            self._done(None)
            return
        self._left -= 1
        self._client = self._instance.client()
        self._client.request(SUBMIT, self._payload, self._submitted)

    def _submitted(self, response: Message, _: None) -> None:
        if response.errnum:
            self._done(response.error())
            return
        self._open = len(LOGS)
        for log in LOGS:
            self._client.stream(WATCH, {"id": response.payload["id"], "path": log, "flags": 0}, self._line)

    def _line(self, response: Message, _: None) -> None:
        if not response.errnum:
            return
        if response.errnum != ENODATA:
            self._done(response.error())
            return
        self._open -= 1
        if not self._open:
            self._next()
