"""How fast plans are run, and how soon planted bugs are found: seconds of one core, steps left after shrinking.

    python benchmarks/explore.py [--seconds S] [--planted] [--examples N]

Without --planted: examples a second by family at sizes 1 and 2, which must stay 50 or more on an idle core, and what
broke, which must be nothing. With it: each bug of tests/explore/planted.py, searched from seed 0 for at most S seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brokersim.explore.draw import Space
from brokersim.explore.families import FAMILIES
from brokersim.explore.search import search
from tests.explore.planted import PLANTED, find


def rates(examples: int) -> int:
    """One line a family; the number of finds."""
    finds = 0
    for name in FAMILIES:
        space = Space(families=FAMILIES, wanted=(name,), sizes=(1, 2))
        report = search(space, lambda: None, range(examples), clock=time.process_time)
        finds += report.find is not None
        broken = "" if report.find is None else f"  seed {report.find.seed}: {report.find.broken[0]}"
        print(f"{name:8} {report.examples:6,} examples  {report.rate:6.1f} a second{broken}", flush=True)
    return finds


def planted(seconds: float) -> int:
    """One line a bug; the number of those not found."""
    missed = 0
    for bug in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            report = find(bug, Path(folder), seconds)
        one = report.find
        missed += one is None
        told = (
            "not found"
            if one is None
            else f"{one.seconds:5.1f} s, {one.weight:2} to {one.plan.weight}: {one.broken[0]}"
        )
        print(f"{bug.name:48} {report.examples:5,} examples  {told[:120]}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--examples", type=int, default=500)
    given = parser.parse_args()
    return min(1, planted(given.seconds) if given.planted else rates(given.examples))


if __name__ == "__main__":
    sys.exit(main())
