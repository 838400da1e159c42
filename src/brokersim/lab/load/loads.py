"""Knows what an experiment is loaded with instead of its own jobs: a planned workload or a recorded trace.

Doesn't know how either is planned. The same load is run inside an instance (virtual time) or through its socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from brokersim.lab.load.jobs import serial_jobs
from brokersim.lab.load.message_trace import MessageTrace, read_trace
from brokersim.lab.load.trace_replay import replay
from brokersim.lab.load.workload_run import payload_of, replay_inside, run_inside
from brokersim.lab.load.workloads import Workload, WorkloadError, parse_workload
from brokersim.net.client import Client
from brokersim.protocol.plurals import counted

if TYPE_CHECKING:
    from brokersim.instance import Instance

#: Cores of the machine that is made when the load needs no more.
CORES = 4


@attrs.frozen(kw_only=True)
class Load:
    """A workload or a trace, and what it is called; ``count`` are its jobs, or its requests."""

    name: str
    what: Workload | MessageTrace
    speed: float = 1.0

    @property
    def count(self) -> int:
        return len(self.what.jobs) if isinstance(self.what, Workload) else len(self.what.requests)

    @property
    def resources(self) -> str:
        """A machine on which its widest job fits."""
        widest = self.what.widest if isinstance(self.what, Workload) else 1
        return f"1x{max(CORES, widest)}"

    async def run_inside(self, instance: Instance, done: Callable[[int], object] = lambda _: None) -> None:
        """``done(n)``: after serial job n. Raises RequestError, RuntimeError if jobs are refused, answers stay out."""
        if isinstance(self.what, MessageTrace):
            _complete((await replay_inside(instance, self.what, self.speed)).unanswered)
        else:
            found = await run_inside(instance, self.what, done)
            _accepted(found.refused.most_common(1))

    def run_through(self, uri: str, done: Callable[[int], object] = lambda _: None) -> None:
        """The same through a socket, in real time."""
        with Client.connect(uri) as client:
            if isinstance(self.what, MessageTrace):
                _complete(replay(client, self.what, self.speed).unanswered)
            else:
                _submit(client, self.what, done)


@lru_cache(maxsize=8)
def load_of(text: str, jobs: int, run_time: float, limit: int | None = None, speed: float = 1.0) -> Load:
    """``serial``, ``bulk``, ``burst:20@1s``, ``swf:FILE``, ``trace:FILE``. Raises ValueError."""
    try:
        return _load(text, jobs, run_time, limit, speed)
    except OSError as error:
        raise WorkloadError(f"{error.filename}: {error.strerror}") from None


def _load(text: str, jobs: int, run_time: float, limit: int | None, speed: float) -> Load:
    kind, _, name = text.partition(":")
    if kind != "trace":
        return Load(name=text, what=parse_workload(text, jobs, run_time, limit=limit, speed=speed))
    trace = read_trace(Path(name), limit=limit)
    if not trace.requests:
        raise WorkloadError(f"{name}: no request to send ({trace.left_out or 'it is empty'})")
    return Load(name=text, what=trace, speed=speed)


def _submit(client: Client, workload: Workload, done: Callable[[int], object]) -> None:
    if workload.is_serial:
        serial_jobs(client.uri, len(workload.jobs), workload.jobs[0].run_time, done)
        return
    start = time.monotonic()
    tags = []
    for number, job in enumerate(workload.jobs, start=1):
        time.sleep(max(0.0, start + job.at - time.monotonic()))
        tags.append(client.send_request("job-ingest.submit", payload_of(attrs.evolve(job, at=0.0))))
        done(number)
    for tag in tags:
        answer = client.recv_response(tag)
        if answer.errnum:
            raise answer.error()
    client.rpc("job-manager.drain")


def _accepted(refused: list[tuple[str, int]]) -> None:
    for reason, count in refused:
        raise RuntimeError(f"{counted(count, 'job')} refused: {reason}")


def _complete(unanswered: int) -> None:
    if unanswered:
        raise RuntimeError(f"{unanswered} requests of the trace were not answered")
