"""How many small changes to decisions and bounds of src and modules do their tests miss? A table by room.

    python -m benchmarks.mutants_src [--room NAME] [--count N] [--minutes M] [--seed S] [--jobs N] [--show] [--markdown]

Each mutant changes one place: a condition is negated, `<` becomes `<=`, `and` becomes `or`, a guard's body is left out.
The tests of its room that call the function run, those called like its file first, until one fails (caught) or all
have passed (survived); one that hangs is caught. What no test calls in its own process is changed for those that tests
start. The sample of a seed stays what it was where nothing else than other code has changed, so that a test that was
missing counts in every later run; another seed asks about what nobody has looked at. It ends after so many minutes.
What is no part of a function is not changed. The processes of a run see no others (`unshare`): one that kills whom it
should not ends the run, not the session.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import IO

import attrs

from benchmarks._measure import positive

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "brokersim"
MODULES = ROOT / "modules"
#: Rooms whose tests are not (only) in the folder called like them.
TESTS = {
    "(top)": ("tests/instance", "tests/host/test_life.py", "tests/services", "tests/net/test_serve.py"),
    "cli": ("tests/cli/test_*.py",),
    "cli/explore": ("tests/cli/test_explore.py",),
    "cli/quick": ("tests/cli/test_completing.py", "tests/cli/test_quick.py", "tests/cli/test_harmless.py"),
    "fluxapi": ("tests/fluxcompat",),
    "cli/kvs": ("tests/cli/kvs", "tests/cli/test_quick.py"),
    "cli/module": ("tests/cli/module", "tests/cli/test_quick.py"),
    "lab/keep": ("tests/lab/keep", "tests/cli/test_runs.py"),
    "host": (
        "tests/host",
        "tests/net/test_module_process.py",
        "tests/fluxcompat/test_process_protocol.py",
        "tests/fluxcompat/test_module_api.py",
        "tests/fluxcompat/test_scheduler_api.py",
        "tests/statsd_server/test_output_rundb.py",
    ),
    "net": ("tests/net", "tests/statsd_server/test_hostile.py"),
    "protocol": (
        "tests/protocol",
        "tests/services",
        *(f"tests/modules/test_job_{what}.py" for what in ("listing", "queues", "states")),
        "tests/modules/test_content_sqlite_patches.py",
    ),
    "pytest_plugin": ("tests/kit",),
    "reactor": (
        "tests/reactor",
        *(
            f"tests/host/test_{what}.py"
            for what in ("blocking", "blocking_together", "continuations", "crashes", "life")
        ),
    ),
    "routing": (
        "tests/routing",
        "tests/services",
        "tests/host/test_life.py",
        "tests/net/test_connector.py",
        "tests/fluxcompat/test_socket_services.py",
    ),
    "services": (
        "tests/services",
        *(f"tests/fluxcompat/test_socket_{what}.py" for what in ("exec", "services", "roles")),
    ),
    "testing": ("tests/kit",),
    **{
        f"modules/{module}": tuple(f"tests/modules/test_{what}*.py" for what in names.split())
        for module, names in {
            "content_cache": "content",
            "content_files": "content",
            "content_sqlite": "content",
            "cron": "cron",
            "heartbeat": "heartbeat",
            "job_exec": "job",
            "job_info": "job",
            "job_ingest": "job",
            "job_list": "job",
            "job_manager": "job sched_protocol",
            "kvs": "kvs",
            "kvs_watch": "kvs",
            "resource": "resource sched",
            "sched": "sched",
        }.items()
    },
}
#: What guests may do is asked over a socket.
TESTS["modules/job_exec"] += ("tests/fluxcompat/test_socket_run.py",)
#: Folders whose folders are rooms: the tests of all of them take too long to be learnt together.
_OF_ROOMS = (["cli"], ["lab"])
#: Set where the processes of a run are apart from all others.
_APART = "BROKERSIM_MUTANTS_APART"
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
    #: The lines in which the functions around it begin, outermost first, decorators included.
    functions: tuple[int, ...]
    #: What is decided there, and the how manieth of its file: by that it is known when its line is another one.
    said: str

    @property
    def room(self) -> str:
        if self.path.is_relative_to(MODULES):
            return f"modules/{self.path.relative_to(MODULES).parts[0]}"
        *folders, _ = self.path.relative_to(SOURCE).parts
        return "/".join(folders[: 2 if folders[:1] in _OF_ROOMS else 1]) or "(top)"

    def __str__(self) -> str:
        text = self.path.read_text(encoding="utf-8").splitlines()[self.line - 1].strip()
        root = ROOT if self.path.is_relative_to(MODULES) else SOURCE
        return f"{self.path.relative_to(root)}:{self.line}: {self.what}: {text}"

    @property
    def where(self) -> tuple[tuple[str, int], ...]:
        return tuple((str(self.path), first) for first in self.functions)

    def tree(self) -> ast.Module:
        """The syntax tree of the changed file."""
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        _change(list(ast.walk(tree))[self.node], self.what)
        return ast.fix_missing_locations(tree)

    def code(self) -> CodeType:
        return compile(self.tree(), str(self.path), "exec", dont_inherit=True)

    def text(self) -> str:
        return ast.unparse(self.tree())


def places(path: Path) -> Iterator[Place]:
    """All changes of one file, in the order of its syntax tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    around: dict[int, tuple[int, ...]] = {}
    for first, body in _functions(tree):
        for node in body:
            around[id(node)] = (*around.get(id(node), ()), first)
    seen: Counter[str] = Counter()
    for number, node in enumerate(ast.walk(tree)):
        for what in _whats(node) if id(node) in around else ():
            text = f"{what}: {ast.unparse(getattr(node, 'test', node))}"
            seen[text] += 1
            yield Place(
                path, number, getattr(node, "lineno", 0), what, around[id(node)], f"{text} {seen[text]}"
            )


def drawn(every: Iterable[Place], seed: int, count: int) -> list[Place]:
    """A random sample that knows of each place by itself: what changes elsewhere changes nothing of it."""

    def lot(place: Place) -> bytes:
        name = f"{seed} {place.path.relative_to(ROOT)} {place.said}"
        return hashlib.blake2b(name.encode(), digest_size=16).digest()

    return sorted(every, key=lot)[:count]


def _functions(tree: ast.AST) -> Iterator[tuple[int, list[ast.AST]]]:
    """Each function with its first line and all that is in its body; an outer one before those in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
            yield first, [inner for line in node.body for inner in ast.walk(line)]


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


@attrs.define
class Room:
    """The mutants of one room, tried in a process of its own: what one room's tests leave behind is no other's."""

    name: str
    sample: list[Place]
    process: int
    told: IO[str]

    @classmethod
    def start(cls, name: str, sample: list[Place], until: float) -> Room:
        read, write = os.pipe()
        process = os.fork()
        if not process:
            os.close(read)
            os._exit(_worker(name, sample, write, until))
        os.close(write)
        return cls(name, sample, process, os.fdopen(read))

    def end(self) -> bool:
        """Whether its tests could be run."""
        self.told.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1]) == 0


def try_rooms(
    rooms: dict[str, list[Place]], jobs: int, until: float, tell: Callable[[Place, bool | None], object]
) -> list[str]:
    """Try all mutants, so many rooms at a time, the fullest first; the rooms whose tests could not be run."""
    waiting = sorted(rooms, key=lambda room: len(rooms[room]))
    failed = []
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < jobs:
                name = waiting.pop()
                room = Room.start(name, rooms[name], until)
                running.register(room.told, selectors.EVENT_READ, room)
            for key, _ in running.select():
                room = key.data
                line = room.told.readline()
                if line:
                    number, caught = json.loads(line)
                    tell(room.sample[number], caught)
                    continue
                running.unregister(room.told)
                print(f"{room.name}: done, {len(waiting)} rooms wait", file=sys.stderr, flush=True)
                if not room.end():
                    failed.append(room.name)
    return failed


def _worker(room: str, sample: list[Place], write: int, until: float) -> int:
    import pytest

    from benchmarks._warm import Change, Warm

    def tell(number: int, caught: bool | None) -> None:
        os.write(write, f"{json.dumps([number, caught])}\n".encode())

    assert "brokersim" not in sys.modules, "the engine is chosen already: C in the place of what is changed"
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(ROOT)
    os.environ["BROKERSIM_PURE"] = "1"  # what C does in its place would not notice
    os.environ["BROKERSIM_TESTS_WITHIN"] = "1"  # what is called in another process is not seen
    os.environ["BROKERSIM_EXAMPLES"] = "same"  # as `make test` draws them: what it would catch is asked
    changes = [Change(place.where, place.code, place.text) for place in sample]
    words = ["-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0", "-m", "not slow"]
    where = [
        str(path) for pattern in TESTS.get(room, (f"tests/{room}",)) for path in sorted(ROOT.glob(pattern))
    ]
    asked = pytest.main([*words, *where], plugins=[Warm(SOURCE, MODULES, changes, tell, until)])
    return 0 if asked in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--room", help="of this folder of src/brokersim only, or modules/NAME")
    parser.add_argument("--count", type=positive, default=400)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=positive, default=1, help="rooms at a time")
    parser.add_argument("--show", action="store_true", help="name each that survives")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if not os.environ.get(_APART):
        _go_apart()
    every = [
        place for root in (SOURCE, MODULES) for path in sorted(root.rglob("*.py")) for place in places(path)
    ]
    every = [place for place in every if options.room in (None, place.room)]
    sample = drawn(every, options.seed, options.count)
    until = time.monotonic() + 60 * options.minutes
    counted: Counter[tuple[str, bool | None]] = Counter()

    def tell(place: Place, caught: bool | None) -> None:
        counted[place.room, caught] += 1
        if options.show and not caught:
            print(f"{'not reached' if caught is None else 'survived'}: {place}", flush=True)

    rooms: dict[str, list[Place]] = {}
    for place in sample:
        rooms.setdefault(place.room, []).append(place)
    failed = try_rooms(rooms, options.jobs, until, tell)
    _print(counted, len(every), options.markdown)
    if failed:
        print(f"mutants_src: the tests of {', '.join(failed)} could not be run", file=sys.stderr)
    return 1 if failed else 0


def _go_apart() -> None:
    """Go on as the first process of a world of processes: a change of whom to kill may otherwise reach everybody."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid():
        words[1:1] = ["--user", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], capture_output=True).returncode:
        raise SystemExit(
            "mutants_src: a change of whom to kill could end any process of yours, and this machine cannot keep them"
            f" apart (no `unshare`, or not allowed); run it in a container, with {_APART}=1"
        )
    os.environ[_APART] = "1"
    os.execvp(words[0], [*words, *sys.orig_argv])


def _print(counted: Counter[tuple[str, bool | None]], every: int, is_markdown: bool) -> None:
    form = "| {:14} | {:>7} | {:>6} | {:>4} | {:>8} |" if is_markdown else "{:14} {:>7} {:>6} {:>4} {:>8}"
    print(form.format("room", "mutants", "caught", "%", "unseen"))
    if is_markdown:
        print("|---|---|---|---|---|")
    rooms = sorted({room for room, _ in counted})
    for name, among in [*((room, [room]) for room in rooms), ("all", rooms)]:
        caught, survived, alone = (sum(counted[room, how] for room in among) for how in (True, False, None))
        tried = caught + survived + alone
        share = f"{100 * caught / tried:.0f}" if tried else "-"
        print(form.format(name, tried, caught, share, alone))
    print(f"of {every} places")


if __name__ == "__main__":
    sys.exit(main())
