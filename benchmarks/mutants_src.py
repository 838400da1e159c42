"""How many small changes to decisions and bounds of src do its tests miss? A table by room.

    python -m benchmarks.mutants_src [--room NAME] [--count N] [--minutes M] [--seed S] [--show] [--markdown]

Each mutant changes one place: a condition is negated, `<` becomes `<=`, `and` becomes `or`, a guard's body is left out.
The tests called like its file, or else those of its room, run against a copy of the tree until one fails (caught) or
all pass (survived); one that hangs is caught. A random sample, the same for a seed; it ends after so many minutes.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.changed import which_tests

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "brokersim"
#: Seconds after which tests that run against a mutant count as hung; they take up to a minute.
LIMIT = 300.0
_BOUNDS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip


@attrs.frozen
class Place:
    """One change that can be made: the file, the node by its number in the walk, and what is done to it."""

    path: Path
    node: int
    line: int
    what: str

    @property
    def room(self) -> str:
        parts = self.path.relative_to(SOURCE).parts
        return parts[0] if len(parts) > 1 else "(top)"

    def source(self) -> str:
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        _change(list(ast.walk(tree))[self.node], self.what)
        return ast.unparse(ast.fix_missing_locations(tree))


def places(path: Path) -> Iterator[Place]:
    """All changes of one file, in the order of its syntax tree."""
    for number, node in enumerate(ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
        for what in _whats(node):
            yield Place(path, number, getattr(node, "lineno", 0), what)


def _whats(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.If, ast.IfExp, ast.While)) and "TYPE_CHECKING" not in ast.unparse(node.test):
        yield "condition negated"
        if (
            isinstance(node, ast.If)
            and isinstance(node.body[-1], (ast.Raise, ast.Return))
            and not node.orelse
        ):
            yield "guard left out"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _BOUNDS:
        yield (
            "bound moved"
            if isinstance(node.ops[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
            else "equality turned"
        )
    elif isinstance(node, ast.BoolOp):
        yield "and for or"


def _change(node: ast.AST, what: str) -> None:
    if isinstance(node, ast.Compare):
        node.ops = [_BOUNDS[type(node.ops[0])]()]
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        test = (
            ast.Constant(False)
            if what == "guard left out"
            else ast.UnaryOp(ast.Not(), copy.deepcopy(node.test))
        )
        node.test = test


def is_caught(place: Place, folder: Path) -> bool | None:
    """Does a test fail against it? None: there are no tests to ask. ``folder`` is a copy of the tree to use."""
    tests = which_tests([str(place.path.relative_to(ROOT))])
    if not tests:
        return None
    target = folder / place.path.relative_to(ROOT)
    original = target.read_text(encoding="utf-8")
    target.write_text(place.source(), encoding="utf-8")
    try:
        found = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        target.write_text(original, encoding="utf-8")
    return found.returncode != 0


def copied(folder: Path) -> Path:
    """A tree of its own: src is copied, the rest is linked."""
    for entry in ROOT.iterdir():
        if entry.name == "src":
            subprocess.run(["cp", "-r", str(entry), str(folder / "src")], check=True)
        elif not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--room", help="of this folder of src/brokersim only")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="name each that survives")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    every = [place for path in sorted(SOURCE.rglob("*.py")) for place in places(path)]
    every = [place for place in every if options.room in (None, place.room)]
    sample = random.Random(options.seed).sample(every, min(options.count, len(every)))
    until = time.monotonic() + 60 * options.minutes
    counted: Counter[tuple[str, bool | None]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for place in sample:
            if time.monotonic() > until:
                break
            caught = is_caught(place, tree)
            counted[place.room, caught] += 1
            if options.show and not caught:
                where = f"{place.path.relative_to(ROOT)}:{place.line}"
                print(f"{'no tests' if caught is None else 'survived'}: {where}: {place.what}", flush=True)
    _print(counted, len(every), options.markdown)
    return 0


def _print(counted: Counter[tuple[str, bool | None]], every: int, is_markdown: bool) -> None:
    form = "| {:14} | {:>7} | {:>6} | {:>4} | {:>8} |" if is_markdown else "{:14} {:>7} {:>6} {:>4} {:>8}"
    print(form.format("room", "mutants", "caught", "%", "no tests"))
    if is_markdown:
        print("|---|---|---|---|---|")
    rooms = sorted({room for room, _ in counted})
    for name, among in [*((room, [room]) for room in rooms), ("all", rooms)]:
        caught, survived, alone = (sum(counted[room, how] for room in among) for how in (True, False, None))
        share = f"{100 * caught / (caught + survived):.0f}" if caught + survived else "-"
        print(form.format(name, caught + survived, caught, share, alone))
    print(f"of {every} places")


if __name__ == "__main__":
    sys.exit(main())
