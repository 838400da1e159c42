"""Knows how independent runs are spread over the cores, each in a process of its own. Not what they do."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
#: Told how far each run is, in whatever it counts.
Done = Callable[[int], object]
#: Seconds between two looks at how far they are.
_LOOK = 0.2
#: Jobs in all below which processes for the runs would cost more than they save.
_WORTH_A_PROCESS = 500
#: In a process that runs them: how far each is, shared with the one that asked.
_counts: Any = None


def spread(
    work: Callable[[T, Done], R],
    items: Sequence[T],
    *,
    workers: int,
    say: Callable[[Sequence[int]], object] = lambda _: None,
) -> list[R]:
    """``work(item, done)`` for each item; the results in the order of the items, whatever was ready when.

    Items are begun in their order, so the longest should come first. With one worker, or inside a process that may
    have no children, all are done here. ``say`` is told what each has given to ``done`` so far. Raises what a run
    raises, and BrokenProcessPool if one is killed.
    """
    workers = min(workers, len(items))
    if workers < 2 or multiprocessing.current_process().daemon:
        return _one_by_one(work, items, say)
    # Spawned, not forked: a fork would take over whatever threads and signal handlers the caller has.
    context = multiprocessing.get_context("spawn")
    counts = context.Array("L", len(items), lock=False)
    with ProcessPoolExecutor(workers, context, _begin, (counts,)) as pool:
        runs = [pool.submit(_call, work, at, item) for at, item in enumerate(items)]
        while wait(runs, _LOOK, FIRST_EXCEPTION).not_done:
            say(list(counts))
            failed = next((run for run in runs if run.done() and run.exception()), None)
            if failed is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                failed.result()
        say(list(counts))
        return [run.result() for run in runs]


def spread_jobs(
    work: Callable[[T, Done], R],
    items: Mapping[str, T],
    jobs: int,
    *,
    workers: int,
    say: Callable[[str], object],
) -> list[R]:
    """``spread`` for runs of ``jobs`` jobs each: ``say`` gets how many each name has done, few stay in this process."""

    def tell(done: Sequence[int]) -> None:
        say(
            ", ".join(f"{name} {count}" for name, count in zip(items, done, strict=True)) + f" of {jobs} jobs"
        )

    if jobs * len(items) < _WORTH_A_PROCESS:
        workers = 1
    return spread(work, list(items.values()), workers=workers, say=tell)


def _one_by_one(
    work: Callable[[T, Done], R], items: Sequence[T], say: Callable[[Sequence[int]], object]
) -> list[R]:
    counts = [0] * len(items)

    def done(at: int, count: int) -> None:
        counts[at] = count
        say(counts)

    return [work(item, partial(done, at)) for at, item in enumerate(items)]


def _begin(counts: Any) -> None:
    global _counts
    _counts = counts
    # ^C reaches the whole group: the one that asked reports it, these just end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _call(work: Callable[[T, Done], R], at: int, item: T) -> R:
    return work(item, partial(_note, at))


def _note(at: int, count: int) -> None:
    _counts[at] = count
