"""How fast plans are run, and how soon planted bugs are found: seconds of one core, steps left after shrinking.

    python benchmarks/explore.py [--examples N] [--json] [--planted [--seconds S] [--tests] [--bug TEXT]]
        [--clean [-j N]] [--off]

Without either: examples a second by family at sizes 1 and 2, which must stay 50 or more on an idle core (jobs: 20, each
takes a thousand messages), and what broke, which must be nothing. --clean: 15,000 examples of all families at sizes 1
to 4, which must break nothing either. --planted: each bug of tests/explore/planted.py, from seed 0 for at most S s, as
rows of the table in docs/explore.md; with --tests also which test of that module, in tests/modules, fails by it.
--off: instructions of an exchange (benchmarks/exchange.py) where nobody explores, against a copy whose reactor knows no
schedule and no gate; counted by valgrind, so that a busy machine does not matter, in some ten minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _measure

from brokersim.cli.explore.output import find_lines, report_lines
from brokersim.explore.draw import Space
from brokersim.explore.families import FAMILIES
from brokersim.explore.search import search
from tests.explore.planted import PLANTED, Planted, find, plant

_ROOT = Path(__file__).resolve().parent.parent
#: Seconds after which tests hang that take some ten.
_TESTS_HANG = 600.0
#: Exchanges of the two runs whose difference is counted.
_EXCHANGES = (500, 6500)
#: What makes a reactor one that nobody can put a gate or a schedule in front of.
_WITHOUT = {
    "self._push_inside = self._queue if self._gate is None else self._ask_gate": "self._push_inside = self.fifo.append",
    "        if self.schedule is not None:\n            gone += self.schedule.withdraw(actor)\n": "",
    "        kept = 0 if self.schedule is None else self.schedule.kept_for(actor)\n": "        kept = 0\n",
}


def rates(name: str, examples: int) -> tuple[float, str]:
    """Examples a CPU second of a family, and what broke."""
    space = Space(families=FAMILIES, wanted=(name,), sizes=(1, 2))
    report = search(space, lambda: None, range(examples), clock=time.process_time)
    broken = "" if report.find is None else f"{name}: seed {report.find.seed}: {report.find.broken[0]}"
    return report.rate, broken


def rate_of_each(given: argparse.Namespace) -> int:
    """The report of all families; 1 if something broke."""
    report = _measure.begin("explore", given, examples=given.examples)
    for name in FAMILIES:
        found = [rates(name, given.examples) for _ in range(given.repeats)]
        report.figures.append(
            _measure.Figure(
                name=name, unit="1/s", values=[rate for rate, _ in found], target=50, is_rate=True
            )
        )
        report.notes += sorted({broken for _, broken in found if broken})
    return max(report.finish(given), int(bool(report.notes)))


def planted(given: argparse.Namespace) -> int:
    """One row a bug; the number of those not found."""
    missed = 0
    for bug in PLANTED:
        if given.bug not in bug.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            report = find(bug, Path(folder), given.seconds)
        one = report.find
        missed += one is None
        cells = [f"{bug.file.partition('/')[0]}: {bug.name}", f"{report.examples:,}"]
        if one is None:
            cells += [f"{report.seconds:.0f}", "", "not found"]
        else:
            cells += [
                f"{one.seconds:.1f}",
                f"{one.weight} → {one.plan.weight}",
                one.broken[0][:90].replace("|", "/"),
            ]
        print("|", " | ".join([*cells, *([caught(bug)] if given.tests else [])]), "|", flush=True)
    return missed


def caught(bug: Planted) -> str:
    """The first test of the module, by name, that fails with the bug in a copy of the checkout; or that none does."""
    with tempfile.TemporaryDirectory() as text:
        copy = Path(text)
        for name in ("src", "modules"):  # with what is compiled: the tests would compile all of it each time
            shutil.copytree(_ROOT / name, copy / name)
        for name in ("tests", "examples", "benchmarks", "docs", "pyproject.toml", "README.md"):
            (copy / name).symlink_to(_ROOT / name)
        shutil.rmtree(copy / "modules" / bug.file.partition("/")[0])
        plant(bug, copy / "modules")
        stem = bug.file.partition("/")[0].removesuffix("_manager").removesuffix("_ingest")
        files = sorted(path.name for path in (_ROOT / "tests" / "modules").glob(f"test_{stem}*.py"))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        try:
            done = subprocess.run(
                [*command, *(f"tests/modules/{name}" for name in files)], cwd=copy, env=environment,
                capture_output=True, text=True, timeout=_TESTS_HANG, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "a test that hangs"
        failed = [
            line.split("::")[1].split(" ")[0]
            for line in done.stdout.splitlines()
            if line.startswith("FAILED ")
        ]
        return (
            f"`{failed[0]}`"
            if failed
            else "nothing"
            if done.returncode == 0
            else f"pytest: {done.returncode}"
        )


def clean(given: argparse.Namespace) -> int:
    """What many examples of all families say; 1 if one broke, which is a gate missed, too."""
    count = given.examples or 15_000
    report = _measure.begin("explore-clean", given, examples=count, jobs=given.jobs)
    space = Space(families=FAMILIES, wanted=tuple(FAMILIES))
    with _measure.unpinned():
        found = search(space, lambda: None, range(count), jobs=given.jobs)
    lines = [] if found.find is None else find_lines(found.find, Path("none"))
    report.notes += [*lines, *report_lines(found, space.model)]
    report.figures.append(
        _measure.Figure(name="plans of everything", unit="1/s", values=[found.rate], is_rate=True)
    )
    broken = int(found.find is not None)
    report.gates.append(_measure.Gate(what="plans that broke something", ratio=broken, limit=0))
    return max(report.finish(given), broken)


def off(given: argparse.Namespace) -> int:
    """What the hooks cost an exchange while nobody uses them; 1 if that is more than a hundredth."""
    report = _measure.begin("explore-off", given, exchanges=_EXCHANGES[1] - _EXCHANGES[0])
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in (("with", {}), ("without", _WITHOUT)):
            copy = Path(folder, name)
            shutil.copytree(_ROOT / "src", copy / "src")
            shutil.copytree(_ROOT / "modules", copy / "modules")
            path = copy / "src" / "brokersim" / "reactor" / "loop.py"
            text = path.read_text()
            for was, now in changes.items():
                assert text.count(was) == 1, f"{path.name} has changed: {was!r}"
                text = text.replace(was, now)
            path.write_text(text)
            # The first of three only compiles; of the others the difference is free of what starting costs.
            _, few, many = (instructions(copy / "src", count) for count in (1, *_EXCHANGES))
            counts[name] = (many - few) / (_EXCHANGES[1] - _EXCHANGES[0])
            report.figures.append(
                _measure.Figure(name=f"an exchange {name} hooks", unit="instructions", values=[counts[name]])
            )
    ratio = counts["with"] / counts["without"]
    report.gates.append(_measure.Gate(what="an exchange with / without hooks", ratio=ratio, limit=1.01))
    return max(report.finish(given), int(ratio > 1.01))


def instructions(source: Path, exchanges: int) -> int:
    """Of a process that does so many exchanges, from its start to its end."""
    call = f"brokersim.run(exchange.exchange, {exchanges}, 64, 'virtual', [], clock='virtual')"
    counting = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    path = f"{source}{os.pathsep}{_ROOT / 'benchmarks'}"
    command = [*counting, sys.executable, "-c", f"import brokersim, exchange; {call}"]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--planted", action="store_true", help="search the planted bugs instead")
    parser.add_argument(
        "--tests", action="store_true", help="with --planted: what tests of the module say, too"
    )
    parser.add_argument(
        "--bug", default="", metavar="TEXT", help="with --planted: only those with this in their names"
    )
    parser.add_argument("--clean", action="store_true", help="15,000 examples of everything, or --examples")
    parser.add_argument("-j", "--jobs", type=_measure.positive, default=2, help="with --clean: processes")
    parser.add_argument("--seconds", type=float, default=60.0, help="with --planted: for each at most")
    parser.add_argument("--off", action="store_true", help="instructions of an exchange without exploring")
    parser.add_argument("--examples", type=_measure.positive, help="of each family [200]")
    given = parser.parse_args()
    if given.off:
        return off(given)
    if given.clean:
        return clean(given)
    given.examples = given.examples or 200
    return min(1, planted(given)) if given.planted else rate_of_each(given)


if __name__ == "__main__":
    sys.exit(main())
