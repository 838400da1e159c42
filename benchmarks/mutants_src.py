"""How many small changes to decisions and bounds of src and modules do their tests miss? A table by room.

    python -m benchmarks.mutants_src [--room NAME] [--count N] [--minutes M] [--seed S] [--jobs N] [--show]
        [--markdown] [--json] [--turn] [--file TEXT]

Each mutant changes one place: a condition is negated, `<` becomes `<=`, `and` becomes `or`, a guard's body is left out.
The tests of its room that call the function run, those called like its file first, until one fails (caught) or all
have passed; one that hangs is caught. What no test calls in its own process is changed for those that tests start.
What its room lets pass is asked of the tests of other rooms (elsewhere), as far as it is known what they call; then it
has survived. Of which it is known that no input can tell (same) is not tried. What was learnt is kept in build/learnt
as long as code and tests are what they were.
The sample of a seed stays what it was where nothing else than other code has changed, so that a test that was missing
counts in every later run; another seed asks about what nobody has looked at. It ends after so many minutes.
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
from typing import IO, Any

import attrs

from benchmarks._elsewhere import Wanted, noticed
from benchmarks._equivalent import EQUIVALENT
from benchmarks._learnt import Learnt
from benchmarks._measure import Figure, positive
from benchmarks._warm import Change

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
#: What became of a mutant.
CAUGHT, ELSEWHERE, SURVIVED, UNSEEN, SAME = "caught", "caught elsewhere", "survived", "not reached", "same"
WORDS = ("-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0", "-m", "not slow")
#: Set where the processes of a run are apart from all others.
_APART = "BROKERSIM_MUTANTS_APART"
_SET = {
    _APART: "1",
    "BROKERSIM_PURE": "1",  # what C does in its place would not notice
    "BROKERSIM_TESTS_WITHIN": "1",  # what is called in another process is not seen
    "BROKERSIM_EXAMPLES": "same",  # as `make test` draws them: what it would catch is asked
}
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
        return room_of(self.path)

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

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def key(self) -> tuple[str, str]:
        """What it is where other code is written."""
        return self.name, self.said

    @property
    def change(self) -> Change:
        return Change(self.where, self.code, self.text)

    def code(self) -> CodeType:
        return compile(self.tree(), str(self.path), "exec", dont_inherit=True)

    def text(self) -> str:
        return ast.unparse(self.tree())


def room_of(path: Path) -> str:
    if path.is_relative_to(MODULES):
        return f"modules/{path.relative_to(MODULES).parts[0]}"
    *folders, _ = path.relative_to(SOURCE).parts
    return "/".join(folders[: 2 if folders[:1] in _OF_ROOMS else 1]) or "(top)"


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
        name = f"{seed} {place.name} {place.said}"
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
    def start(cls, name: str, sample: list[Place], until: float, learnt: Learnt) -> Room:
        read, write = os.pipe()
        process = os.fork()
        if not process:
            os.close(read)
            os._exit(_worker(name, sample, write, until, learnt))
        os.close(write)
        return cls(name, sample, process, os.fdopen(read))

    def end(self) -> bool:
        """Whether its tests could be run."""
        self.told.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1]) == 0


def try_rooms(
    rooms: dict[str, list[Place]],
    jobs: int,
    until: float,
    learnt: Learnt,
    tell: Callable[[Place, bool | None], object],
) -> list[str]:
    """Try all mutants, so many rooms at a time, the fullest first; the rooms whose tests could not be run."""
    waiting = sorted(rooms, key=lambda room: len(rooms[room]))
    failed = []
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < jobs:
                name = waiting.pop()
                room = Room.start(name, rooms[name], until, learnt)
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


def tests_of(room: str) -> list[Path]:
    """The files of tests that are asked about a room first."""
    found = [path for pattern in TESTS.get(room, (f"tests/{room}",)) for path in sorted(ROOT.glob(pattern))]
    return [file for path in found for file in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]


def _worker(room: str, sample: list[Place], write: int, until: float, learnt: Learnt) -> int:
    import pytest

    from benchmarks._warm import Warm

    def tell(number: int, caught: bool | None) -> None:
        os.write(write, f"{json.dumps([number, caught])}\n".encode())

    assert "brokersim" not in sys.modules, "the engine is chosen already: C in the place of what is changed"
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(ROOT)
    changes = [place.change for place in sample]
    where = [str(path) for path in tests_of(room)]
    asked = pytest.main([*WORDS, *where], plugins=[Warm(SOURCE, MODULES, changes, tell, until, learnt)])
    return 0 if asked in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else 1


def main() -> int:
    options = _options()
    if not _SET.items() <= os.environ.items():
        _go_on([] if os.environ.get(_APART) else _apart())
    paths = [path for root in (SOURCE, MODULES) for path in sorted(root.rglob("*.py"))]
    if options.turn:
        rooms = sorted(set(map(room_of, paths)))
        options.room = rooms[time.time_ns() // 86_400_000_000_000 % len(rooms)]
    asked = [
        path for path in paths if options.room in (None, room_of(path)) and options.file in path.as_posix()
    ]
    every = [place for path in asked for place in places(path)]
    counted, failed = run(drawn(every, options.seed, options.count), options)
    if options.json:
        print(json.dumps(_document(counted, options)))
    else:
        _print(counted, len(every), options.markdown)
    if failed:
        print(f"mutants_src: the tests of {', '.join(failed)} could not be run", file=sys.stderr)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--room", help="of this folder of src/brokersim only, or modules/NAME")
    parser.add_argument("--turn", action="store_true", help="of one room, each day another one")
    parser.add_argument("--file", default="", help="of files with this in their path")
    parser.add_argument("--count", type=positive, default=400)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=positive, default=1, help="rooms at a time")
    parser.add_argument("--show", action="store_true", help="name each that survives")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument(
        "--json", action="store_true", help="the share that is caught, as `make bench` reads it"
    )
    return parser.parse_args()


def run(sample: list[Place], options: argparse.Namespace) -> tuple[Counter[tuple[str, str]], list[str]]:
    """How many of each room came to which end, and the rooms whose tests could not be run."""
    # A last quarter of the time is for the tests of other rooms.
    until = time.monotonic() + 45 * options.minutes
    learnt = Learnt.about(ROOT)
    counted: Counter[tuple[str, str]] = Counter()
    passed: list[tuple[Place, str]] = []
    rooms: dict[str, list[Place]] = {}
    for place in sample:
        if place.key in EQUIVALENT:
            counted[place.room, SAME] += 1
        else:
            rooms.setdefault(place.room, []).append(place)

    def tell(place: Place, caught: bool | None) -> None:
        if caught:
            counted[place.room, CAUGHT] += 1
            return
        passed.append((place, UNSEEN if caught is None else SURVIVED))
        if options.show:
            print(f"not by its room: {place}", file=sys.stderr, flush=True)

    failed = try_rooms(rooms, options.jobs, until, learnt, tell)
    wanted = [Wanted(place.change, frozenset(tests_of(place.room))) for place, _ in passed]
    for (place, how), is_noticed in zip(
        passed, noticed(wanted, learnt, (SOURCE, MODULES), options.jobs, WORDS), strict=True
    ):
        counted[place.room, ELSEWHERE if is_noticed else how] += 1
        if options.show and not is_noticed:
            print(f"{how}: {place}", flush=True)
    return counted, failed


def _go_on(words: list[str]) -> None:
    """Begin again as it must be from the first import on: whether C runs is chosen then."""
    os.environ |= _SET
    os.execvp(sys.executable if not words else words[0], [*words, *sys.orig_argv])


def _apart() -> list[str]:
    """As the first process of a world of processes: a change of whom to kill may otherwise reach everybody."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid():
        words[1:1] = ["--user", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], capture_output=True).returncode:
        raise SystemExit(
            "mutants_src: a change of whom to kill could end any process of yours, and this machine cannot keep them"
            f" apart (no `unshare`, or not allowed); run it in a container, with {_APART}=1"
        )
    return words


def _document(counted: Counter[tuple[str, str]], options: argparse.Namespace) -> dict[str, Any]:
    """As the other benchmarks tell theirs."""
    tried = sum(count for (_, how), count in counted.items() if how != SAME)
    caught = sum(count for (_, how), count in counted.items() if how in (CAUGHT, ELSEWHERE))
    share = 100 * caught / tried if tried else 100.0
    of = options.room or "all rooms"
    figure = Figure(
        name=f"of {tried} mutants of {of} caught", unit="%", values=[share], is_rate=True, target=90
    )
    return {"figures": [figure.to_dict()]}


def _print(counted: Counter[tuple[str, str]], every: int, is_markdown: bool) -> None:
    form = (
        "| {:22} | {:>7} | {:>6} | {:>9} | {:>4} | {:>6} | {:>4} |"
        if is_markdown
        else "{:22} {:>7} {:>6} {:>9} {:>4} {:>6} {:>4}"
    )
    print(form.format("room", "mutants", "caught", "elsewhere", "%", "unseen", "same"))
    if is_markdown:
        print("|---|---|---|---|---|---|---|")
    rooms = sorted({room for room, _ in counted})
    for name, among in [*((room, [room]) for room in rooms), ("all", rooms)]:
        caught, elsewhere, survived, unseen, same = (
            sum(counted[room, how] for room in among) for how in (CAUGHT, ELSEWHERE, SURVIVED, UNSEEN, SAME)
        )
        tried = caught + elsewhere + survived + unseen
        share = f"{100 * (caught + elsewhere) / tried:.0f}" if tried else "-"
        print(form.format(name, tried, caught, elsewhere, share, unseen, same))
    print(f"of {every} places")


if __name__ == "__main__":
    sys.exit(main())
