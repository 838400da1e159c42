"""How sensitive are counters and laws? Mutates the shipped modules and lets the example suite look for it.

    python -m benchmarks.mutants [--per-module N] [--module NAME] [--show] [--markdown] [--gate PERCENT]

A mutant is caught if a scenario of examples/regression/shipped.py counts otherwise (messages by topic, metrics by
name), breaks a law, or does not come up with it at all. Nothing else counts: scenarios assert nothing, errors and
silence are swallowed. Mutants of lines that no scenario runs need no run: they survive, and are counted as that.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trio

from benchmarks._mutations import Mutant, mutants
from brokersim.brokermod import RequestError
from brokersim.reactor.clock import VirtualClock
from brokersim.testing import TestOptions, opened
from examples.regression.shipped import SCENARIOS

MODULES = Path(__file__).parent.parent / "modules"
#: Scenarios that ask a module for something, those that ask most first.
ASKED_BY = {
    "heartbeat": ("heartbeat", "cron"),
    "kvs": ("kvs_alone", "kvs_chain", "jobs", "watching", "reloads"),
    "kvs_watch": ("watching", "jobs"),
    "content_cache": (
        "content",
        "content_chain",
        "backing",
        "disk_full",
        "kvs_alone",
        "kvs_chain",
        "reloads",
    ),
    "content_sqlite": ("content", "disk_full", "backing", "kvs_alone", "reloads"),
    "cron": ("cron", "heartbeat"),
    "sched": ("jobs", "reloads", "jobs_watched"),
    "job_manager": ("jobs", "jobs_watched", "reloads"),
    "job_exec": ("jobs", "reloads", "jobs_watched"),
}
#: Seconds of processor time one scenario may take before it counts as hung (it takes 0.1), and of real time in which
#: it may wait for what does not come: a busy machine alone must not make a mutant look caught.
LIMIT, REAL_LIMIT = 5.0, 120.0
Counted = tuple[Any, Any, tuple[str, ...]]


class Hung(BaseException):
    """A mutant that never ends."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hung

    timers = (
        (signal.SIGVTALRM, signal.ITIMER_VIRTUAL, LIMIT),
        (signal.SIGALRM, signal.ITIMER_REAL, REAL_LIMIT),
    )
    before = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def counted(name: str, *folders: Path) -> Counted:
    """What a scenario makes everybody count: messages by topic, metrics by name, laws broken."""
    scenario, settings = SCENARIOS[name]
    options = TestOptions(module_path=folders, mask={"kvs": 0x1000}, **settings)

    async def main() -> Counted:
        async with opened(options) as broker:
            await scenario(broker)
            await broker.settle()
            tallies = {
                party: tally for party, tally in broker.ledger.snapshot().items() if party[1] != "client"
            }
            metrics: dict[str, int] = {}
            for line in broker.sink.lines:
                key = line.partition(":")[0]
                metrics[key] = metrics.get(key, 0) + 1
            laws = tuple(violation.law.name for violation in broker.witness.violations())
            return tallies, metrics, laws

    return trio.run(main, clock=VirtualClock())


def judged(name: str, truth: Counted, folder: Path) -> str:
    """How a scenario catches the modules in a folder: ``counters``, ``metrics``, a law, ``hangs``, ``breaks`` or ""."""
    try:
        with _limited():
            found = counted(name, folder)
    except (Hung, BaseExceptionGroup) as error:
        hung = isinstance(error, Hung) or error.subgroup(Hung) is not None
        return "hangs" if hung else "breaks"
    except (Exception, SystemExit) as error:
        return "does not start" if isinstance(error, RequestError) else "breaks"
    if found[2] != truth[2]:
        return f"law {next(iter(found[2]), '')}"
    return "counters" if found[0] != truth[0] else "metrics" if found[1] != truth[1] else ""


def covered_lines(module: str) -> set[tuple[str, int]]:
    """(file, line) of a module's code that its scenarios run."""
    lines: set[tuple[str, int]] = set()
    part = f"/modules/{module}/"

    def trace(frame: Any, event: str, _arg: Any) -> Any:
        path = frame.f_code.co_filename
        if part not in path:
            return None
        file = path.rpartition("/")[2]

        def each(inner: Any, what: str, _inner_arg: Any) -> Any:
            lines.add((file, inner.f_lineno))
            return each

        lines.add((file, frame.f_lineno))
        return each

    sys.settrace(trace)
    try:
        for name in ASKED_BY[module]:
            counted(name)
    finally:
        sys.settrace(None)
    return lines


def is_covered(mutant: Mutant, lines: set[tuple[str, int]]) -> bool:
    """A handler is covered by its first lines, anything else by its own."""
    span = range(mutant.line, mutant.line + (8 if mutant.what == "handler does nothing" else 1))
    return any((mutant.file, line) in lines for line in span)


def tried(module: str, mutant: Mutant, truth: dict[str, Counted]) -> str:
    """How the suite catches a mutant, "" if it survives."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / module
        shutil.copytree(MODULES / module, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutant.file).write_text(mutant.source, encoding="utf-8")
        for scenario in ASKED_BY[module]:
            how = judged(scenario, truth[scenario], folder)
            if how:
                return how
    return ""


def spread(found: list[Mutant], number: int) -> list[Mutant]:
    """That many of them, evenly over the files."""
    if number <= 0 or len(found) <= number:
        return found
    return [found[at * len(found) // number] for at in range(number)]


class Row(NamedTuple):
    """What became of the mutants of one module; ``ways`` counts them by how they were caught, "" not at all."""

    module: str
    ways: Counter[str]

    @property
    def mutants(self) -> int:
        return self.ways.total()

    @property
    def caught(self) -> int:
        return self.mutants - self.ways[""] - self.ways[NOT_RUN]

    def cells(self) -> tuple[str, ...]:
        percent = 100 * self.caught / self.mutants if self.mutants else 100.0
        told = ", ".join(
            f"{way} {number}" for way, number in sorted(self.ways.items()) if way not in ("", NOT_RUN)
        )
        missed = (self.mutants - self.caught, self.ways[NOT_RUN])
        return (self.module, str(self.mutants), str(self.caught), f"{percent:.1f}", *map(str, missed), told)


#: A mutant of a line that no scenario runs.
NOT_RUN = "not run"
HEAD = ("module", "mutants", "caught", "%", "survived", "not run", "by what")
WIDTHS = (-16, 8, 8, 7, 10, 9, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--per-module", type=int, default=0, metavar="N", help="mutants a module, 0 for all  [0]"
    )
    parser.add_argument("--module", choices=sorted(ASKED_BY), help="this one only")
    parser.add_argument("--show", action="store_true", help="each mutant, not only those that survive")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/testing.md has it")
    parser.add_argument("--gate", type=float, default=95.0, metavar="PERCENT", help="exit 1 below  [95]")
    args = parser.parse_args()
    show = markdown if args.markdown else plain
    show(HEAD)
    if args.markdown:
        show(("--", *("--:",) * 5, "--"))
    total: Counter[str] = Counter()
    for module in [args.module] if args.module else ASKED_BY:
        row = Row(module, tally(module, args))
        show(row.cells())
        total += row.ways
    row = Row("all", total)
    show(row.cells())
    return 0 if 100 * row.caught >= args.gate * row.mutants else 1


def plain(cells: tuple[str, ...]) -> None:
    """A line of the table in columns."""
    aligned = [
        cell.rjust(width) if width > 2 else cell.ljust(-width)
        for cell, width in zip(cells[:-1], WIDTHS, strict=False)
    ]
    print("".join(aligned) + f"   {cells[-1]}", flush=True)


def markdown(cells: tuple[str, ...]) -> None:
    """The same in Markdown."""
    print(f"| {' | '.join(cells)} |", flush=True)


def tally(module: str, args: argparse.Namespace) -> Counter[str]:
    """How many of a module's mutants were caught, by what."""
    truth = {name: counted(name) for name in ASKED_BY[module]}
    lines = covered_lines(module)
    ways: Counter[str] = Counter()
    for mutant in spread(mutants(MODULES / module), args.per_module):
        how = tried(module, mutant, truth) if is_covered(mutant, lines) else NOT_RUN
        gc.collect()
        ways["law" if how.startswith("law ") else how] += 1
        if args.show or how in ("", NOT_RUN):
            print(
                f"  {module}/{mutant.file}:{mutant.line}  {mutant.what}: {how or 'SURVIVED'}", file=sys.stderr
            )
    return ways


if __name__ == "__main__":
    sys.exit(main())
