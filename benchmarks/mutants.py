"""How sensitive are counters and laws? Mutates the shipped modules and lets the example suite look for it.

    python -m benchmarks.mutants [--per-module N] [--module NAME] [--show] [--gate PERCENT]

A mutant is caught if a scenario of examples/regression/shipped.py counts otherwise (messages by topic, metrics by
name) or breaks a law. Nothing else counts: scenarios assert nothing, errors and silence are swallowed. Mutants of
lines that no scenario runs are not made: they say what the scenarios do not ask for, not what counters do not see;
their number is printed.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    "content_cache": ("content", "content_chain", "disk_full", "kvs_alone", "kvs_chain", "reloads"),
    "content_sqlite": ("content", "disk_full", "kvs_alone", "reloads"),
    "cron": ("cron", "heartbeat"),
    "sched": ("jobs", "reloads"),
    "job_manager": ("jobs", "reloads"),
    "job_exec": ("jobs", "reloads"),
}
#: Real seconds one scenario may take before it counts as hung.
LIMIT = 5.0
Counted = tuple[Any, Any, tuple[str, ...]]


class Hung(BaseException):
    """A mutant that never ends."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
        return "does not start" if isinstance(error, RequestError) else f"breaks ({type(error).__name__})"
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--per-module", type=int, default=24, metavar="N", help="mutants a module, 0 for all  [24]"
    )
    parser.add_argument("--module", choices=sorted(ASKED_BY), help="this one only")
    parser.add_argument("--show", action="store_true", help="each mutant")
    parser.add_argument("--gate", type=float, default=95.0, metavar="PERCENT", help="exit 1 below  [95]")
    args = parser.parse_args()
    print(f"{'module':<16}{'mutants':>8}{'caught':>8}{'%':>7}   by what{'':<53}not asked for")
    total = caught = 0
    for module in [args.module] if args.module else ASKED_BY:
        tried_here, caught_here = _row(module, args)
        total, caught = total + tried_here, caught + caught_here
    percent = 100 * caught / total
    print(f"{'all':<16}{total:>8}{caught:>8}{percent:>7.1f}")
    return 0 if percent >= args.gate else 1


def _row(module: str, args: argparse.Namespace) -> tuple[int, int]:
    truth = {name: counted(name) for name in ASKED_BY[module]}
    lines = covered_lines(module)
    every = mutants(MODULES / module)
    covered = [mutant for mutant in every if is_covered(mutant, lines)]
    chosen = spread(covered, args.per_module)
    ways: dict[str, int] = {}
    caught = 0
    for mutant in chosen:
        how = tried(module, mutant, truth)
        gc.collect()
        caught += bool(how)
        kind = how.partition(" ")[0] or "survived"
        ways[kind] = ways.get(kind, 0) + 1
        if args.show or not how:
            print(f"  {module}/{mutant.file}:{mutant.line}  {mutant.what}: {how or 'SURVIVED'}")
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(ways.items()))
    percent = 100 * caught / len(chosen) if chosen else 100.0
    print(
        f"{module:<16}{len(chosen):>8}{caught:>8}{percent:>7.1f}   {told:<60}{len(every) - len(covered)}",
        flush=True,
    )
    return len(chosen), caught


if __name__ == "__main__":
    sys.exit(main())
