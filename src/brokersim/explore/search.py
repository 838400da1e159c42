"""Knows how plans are searched one after the other until one breaks, and what is told of a search. Not of options.

Seeds are worked off in ascending order, whatever the number of processes: equal seeds find the same. A plan that broke
is run once more before it is shrunk; one that then differs shows a fault of the explorer, not of what it explores.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from brokersim import files
from brokersim.explore.author import Author
from brokersim.explore.draw import Space, draw
from brokersim.explore.families import FAMILIES
from brokersim.explore.faults import MODELS
from brokersim.explore.plan import Plan, from_json
from brokersim.explore.run import Outcome, run_plan
from brokersim.explore.shrink import shrink
from brokersim.protocol.errnums import ENODATA

#: Makes the author of each example anew: what one keeps between its calls is no business of the next.
Authors = Callable[[], Author | None]
#: Where plans that broke something are kept, and looked for first, unless told otherwise.
CORPUS: Final = Path("explore-plans")
#: Plans that each process of several has ahead of it.
_AHEAD: Final = 4
#: Objects made until garbage is looked for, and how often all of it.
_COLLECT: Final = (50_000, 5, 5)


@attrs.frozen(kw_only=True)
class Find:
    """A plan that breaks something, as small as it got."""

    plan: Plan
    broken: tuple[str, ...]
    trace: tuple[str, ...]
    #: What it was before, and how many runs shrinking took.
    weight: int
    runs: int
    seconds: float
    seed: int | None
    #: It did not break again: that is the explorer's fault.
    is_flaky: bool = False
    #: A ^C came before it was looked at once more and shrunk.
    is_as_found: bool = False

    @property
    def name(self) -> str:
        """Of its file in a corpus."""
        kind = "".join(char if char.isalnum() else "-" for char in _kind(self.broken[0]))
        return f"{kind}-{'replayed' if self.seed is None else self.seed}.json"


@attrs.define(eq=False)
class Report:
    """What a search did."""

    examples: int = 0
    seconds: float = 0.0
    hits: Counter[str] = attrs.field(factory=Counter)
    seen: set[tuple[str, str, int]] = attrs.field(factory=set)
    #: How many triples were known at each example, for whether it still sees new things.
    known: list[int] = attrs.field(factory=list)
    find: Find | None = None
    #: A ^C ended it: what was searched until then was, and is told.
    is_broken_off: bool = False

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def new_at_the_end(self) -> int:
        """Triples first seen in the last fifth."""
        if not self.known:
            return 0
        return self.known[-1] - self.known[len(self.known) * 4 // 5]

    def idle(self, model: str) -> list[str]:
        """Kinds of faults that never hit anything."""
        return [kind for kind in MODELS[model] if kind not in self.hits]

    def refused(self) -> list[str]:
        """Operations that were asked for and never done: what they should try was not tried. A stream ends so, too."""
        asked = {(op, errnum) for op, _, errnum in self.seen if _is_to_be_done(op)}
        return sorted({op for op, _ in asked} - {op for op, errnum in asked if errnum in (0, ENODATA)})

    def add(self, outcome: Outcome) -> None:
        """One more example."""
        self.examples += 1
        self.hits.update(outcome.hits)
        self.seen |= outcome.seen
        self.known.append(len(self.seen))


def plans(
    space: Space, seeds: Iterator[int] | range, corpus: Sequence[Plan] = ()
) -> Iterator[tuple[int | None, Plan]]:
    """Those that broke before, then the drawn ones, each with its seed."""
    for plan in corpus:
        yield None, plan
    for seed in seeds:
        yield seed, draw(space, seed)


def search(
    space: Space,
    authors: Authors,
    seeds: Iterator[int] | range,
    *,
    corpus: Sequence[Plan] = (),
    seconds: float | None = None,
    jobs: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Run plans until one breaks, ``seeds`` are used up or ``seconds`` of ``clock`` are over; ``jobs`` at a time.

    A ^C ends it, too: what it did until then is what it returns.
    """
    report = Report()
    began = clock()
    try:
        with few_collections(), closing(_outcomes(plans(space, seeds, corpus), authors, jobs)) as outcomes:
            for seed, plan, outcome in outcomes:
                report.add(outcome)
                report.seconds = clock() - began
                if outcome.broken:
                    report.find = _as_found(plan, seed, outcome, report.seconds)
                    report.find = examine(plan, authors, seed, outcome.broken[0], report.seconds)
                    break
                if seconds is not None and report.seconds >= seconds:
                    break
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if isinstance(error, BaseExceptionGroup) and error.split(KeyboardInterrupt)[1] is not None:
            raise
        report.is_broken_off = True
    return report


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for garbage seldom, and not among what was imported: an example leaves some thousand objects.

    The usual limits look at them ten times, and each tenth time at the hundred thousand of all modules.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _outcomes(
    drawn: Iterator[tuple[int | None, Plan]], authors: Authors, jobs: int
) -> Generator[tuple[int | None, Plan, Outcome], None, None]:
    """What came of each plan, in their order; run by so many processes."""
    if jobs == 1:
        for seed, plan in drawn:
            yield seed, plan, run_plan(plan, authors())
        return
    # Forked: what an author says are closures, which nobody could send.
    with multiprocessing.get_context("fork").Pool(jobs, _inherit, (authors,)) as pool:
        waiting: deque[tuple[int | None, Plan, Any]] = deque()
        for seed, plan in drawn:
            waiting.append((seed, plan, pool.apply_async(_run, (plan.to_json(),))))
            if len(waiting) >= _AHEAD * jobs:
                first, its_plan, result = waiting.popleft()
                yield first, its_plan, result.get()
        for seed, plan, result in waiting:
            yield seed, plan, result.get()


_inherited: list[Authors] = []


def _inherit(authors: Authors) -> None:
    """In a process that helps: an interrupt ends the one that asked, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _inherited[:] = [authors]


def _run(plan: bytes) -> Outcome:
    return run_plan(from_json(plan, "a plan"), _inherited[0]())


def examine(plan: Plan, authors: Authors, seed: int | None, sentence: str, seconds: float) -> Find:
    """Make sure that a plan breaks again, and shrink it; it was found after so many seconds."""
    kind = _kind(sentence)

    def breaks(one: Plan) -> bool:
        return any(_kind(found) == kind for found in run_plan(one, authors()).broken)

    first, second = (run_plan(plan, authors(), keeps_trace=True) for _ in range(2))
    is_flaky = first.digest != second.digest or sentence not in first.broken
    smaller, runs = (plan, 0) if is_flaky else shrink(plan, breaks)
    outcome = run_plan(smaller, authors(), keeps_trace=True)
    broken = tuple(one for one in outcome.broken if _kind(one) == kind) or (sentence,)
    return Find(
        plan=smaller, broken=broken, trace=tuple(map(str, outcome.trace)), weight=plan.weight, runs=runs,
        seconds=seconds, seed=seed, is_flaky=is_flaky,
    )  # fmt: skip


def _as_found(plan: Plan, seed: int | None, outcome: Outcome, seconds: float) -> Find:
    return Find(
        plan=plan, broken=outcome.broken, trace=(), weight=plan.weight, runs=0, seconds=seconds, seed=seed,
        is_as_found=True,
    )  # fmt: skip


def read_corpus(folder: Path) -> list[Plan]:
    """The plans kept in a folder, by name. Raises RequestError for one that is none, OSError."""
    if not folder.is_dir():
        return []
    return [from_json(files.read_bytes(path), str(path)) for path in files.files_of(folder, ".json")]


def keep(find: Find, folder: Path) -> Path:
    """Write the plan of a find into a corpus. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / find.name
    files.write_file(path, find.plan.to_json(is_pretty=True) + b"\n")
    return path


def _is_to_be_done(op: str) -> bool:
    name, _, verb = op.partition(".")
    return name in FAMILIES and verb not in FAMILIES[name].never


def _kind(sentence: str) -> str:
    """What broke: the law or the family, without its details."""
    return sentence.partition(":")[0]
