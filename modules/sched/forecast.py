"""Knows when jobs that wait will start if those that run last as long as they may; not who is told."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .pool import Pool
from .queue import Waiting
from .written import Allocation

#: So many jobs of the queue's head get an estimate: flux-core's schedulers see no more at once.
DEPTH: Final = 8


def estimates(
    pool: Pool, running: Iterable[tuple[float, Allocation]], waiting: Sequence[Waiting], now: float
) -> Iterator[float | None]:
    """The start of each waiting job in its turn, seconds since the epoch; None where that cannot be told.

    ``running`` are the ends of jobs (0.0: unknown) with what they hold. It cannot be told behind a job that may last
    for ever, nor where none that ends leaves enough free. The pool is left as it is.
    """
    trial = pool.copy()
    ends = [(end, place, held) for place, (end, held) in enumerate(running) if end]
    heapq.heapify(ends)
    time, is_known = now, True
    for place, job in enumerate(waiting, len(ends) + len(waiting)):
        held = trial.allocate(job.request) if is_known else None
        while is_known and held is None and ends:
            end, _, freed = heapq.heappop(ends)
            time = max(time, end)
            trial.free(freed)
            held = trial.allocate(job.request)
        yield None if held is None else time
        is_known = held is not None and bool(job.duration)
        if held is not None and job.duration:
            heapq.heappush(ends, (time + job.duration, place, held))
