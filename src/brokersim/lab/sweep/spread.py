"""Knows how independent runs are spread over the cores, each in a process of its own. Not what they do."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from brokersim.lab.keep.parts import NOWHERE, Parts
from brokersim.protocol.plurals import counted

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
    found: Callable[[int, R], object] = lambda _at, _result: None,
) -> list[R]:
    """``work(item, done)`` for each item; the results in the order of the items, whatever was ready when.

    Items are begun in their order, so the longest should come first. With one worker, or inside a process that may
    have no children, all are done here. ``say`` is told what each has given to ``done`` so far, ``found`` gets each
    result with its place as soon as it is there. Raises what a run raises, and BrokenProcessPool if one is killed; the
    others end with it.
    """
    workers = min(workers, len(items))
    if workers < 2 or multiprocessing.current_process().daemon:
        return _one_by_one(work, items, say, found)
    # Spawned, not forked: a fork would take over whatever threads and signal handlers the caller has.
    context = multiprocessing.get_context("spawn")
    counts = context.Array("L", len(items), lock=False)
    with ProcessPoolExecutor(workers, context, _begin, (counts,)) as pool:
        runs = [pool.submit(_call, work, at, item) for at, item in enumerate(items)]
        try:
            for at in _as_they_end(runs, lambda: say(list(counts))):
                found(at, runs[at].result())
        except BaseException:
            # ^C reached them too; what ended this process alone did not. The pool then gives up what is left.
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        return [run.result() for run in runs]


def _as_they_end(runs: Sequence[Future[R]], look: Callable[[], object]) -> Iterator[int]:
    """The places of those that have ended, each once; those that failed come last of what ended together."""
    left = list(range(len(runs)))
    while left:
        wait([runs[at] for at in left], _LOOK, FIRST_COMPLETED)
        look()
        ended = [at for at in left if runs[at].done()]
        left = [at for at in left if at not in ended]
        yield from sorted(ended, key=lambda at: runs[at].exception() is not None)


def spread_jobs(
    work: Callable[[T, Done], R],
    items: Mapping[str, T],
    jobs: int,
    *,
    workers: int,
    say: Callable[[str], object],
    parts: Parts = NOWHERE,
) -> list[R]:
    """``spread`` for runs of ``jobs`` jobs each: ``say`` gets how many each name has done, few stay in this process.

    Those that are among the ``parts`` are not run again.
    """
    known = {name: value for name in items for value in parts.known(name)}
    left = [name for name in items if name not in known]

    def tell(done: Sequence[int]) -> None:
        counts = dict(zip(left, done, strict=True))
        say(", ".join(f"{name} {counts.get(name, jobs)}" for name in items) + f" of {counted(jobs, 'job')}")

    if jobs * len(left) < _WORTH_A_PROCESS:
        workers = 1
    ran = spread(
        work, [items[name] for name in left], workers=workers, say=tell,
        found=lambda at, result: parts.keep(left[at], result),
    )  # fmt: skip
    known |= dict(zip(left, ran, strict=True))
    return [known[name] for name in items]


def _one_by_one(
    work: Callable[[T, Done], R],
    items: Sequence[T],
    say: Callable[[Sequence[int]], object],
    found: Callable[[int, R], object],
) -> list[R]:
    counts = [0] * len(items)

    def done(at: int, count: int) -> None:
        counts[at] = count
        say(counts)

    results = []
    for at, item in enumerate(items):
        results.append(work(item, partial(done, at)))
        found(at, results[-1])
    return results


def _begin(counts: object) -> None:
    global _counts
    _counts = counts
    # ^C reaches the whole group: the one that asked reports it, these just end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _call(work: Callable[[T, Done], R], at: int, item: T) -> R:
    return work(item, partial(_note, at))


def _note(at: int, count: int) -> None:
    _counts[at] = count
