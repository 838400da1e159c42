"""Knows the floors of the house and who may import whom; reads the source, imports none of it.

Doesn't know what any file does. Each rule is a function of a tree, so that wrong trees are tried too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "protocol": 1,
    "statsd": 1,
    "native": 1,
    "reactor": 2,
    "routing": 3,
    "host": 4,
    "services": 5,
    "net": 6,
    "statsd_server": 6,
    "lab": 7,
    "kit": 7,
    "explore": 7,
    "fluxapi": 7,
    "realflux": 7,
    "testing": 7,
    "pytest_plugin": 7,
    "cli": 8,
}
# Files beside the folders: the doors, and what puts an instance together.
DOORS = {"version": 1, "files": 1, "brokermod": 5, "__main__": 8}
DOORS |= dict.fromkeys(("instance", "instance_life", "program"), 6)
DOORS |= dict.fromkeys(("__init__", "testing"), 7)
#: Higher floors that are reached by name, at run time: file to what it names and why that is no import.
BY_NAME = {
    # A module file that says `import flux` finds it; nobody else does.
    "host/flux_import.py": "brokersim.fluxapi",
    # What runs a module in a process of its own is a program, not a part of this one.
    "net/module_process.py": "brokersim.fluxapi.exec",
}
# Of the reactor, one file awaits trio and one implements its clock.
REACTOR_TRIO = {"run.py", "clock.py"}
PURE = ("protocol", "statsd")
IMPURE_LIBRARIES = {"trio", "asyncio", "socket", "select", "selectors", "time", "random", "secrets"}
# Clients start in under 100 ms; importing trio alone would take most of that.
TRIO_FREE = ("brokersim.net.client", "brokersim.cli.main")
# What a tool or a person leaves in a checkout; nothing of it is committed.
NOT_OURS = re.compile(
    r"(\.git|\.venv.*|\.hypothesis|\..*_cache|__pycache__|build|dist|node_modules|.*\.egg-info|.*\.so)"
)
LOCK_FILES = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", "yarn.lock"}
MACHINE_PATH = re.compile(r"(^|[^\w.-])/((work|farm|root)/|(home|Users)/[a-z])", re.MULTILINE)
PACKAGE_HOST = re.compile(r"--(extra-)?(index-url|find-links)|\b(pypi|pythonhosted|npmjs)\.(org|com)\b")


# --- reading


class Sized(NamedTuple):
    """A function and how many lines it has, or a class and how many methods it offers."""

    line: int
    name: str
    size: int
    is_class: bool


@cache
def read(path: Path) -> tuple[list[ast.AST], list[Sized]]:
    """Imports and constants of a file, and its functions and classes; each file is parsed once for all rules."""
    nodes: list[ast.AST] = []
    sized: list[Sized] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Constant):
            nodes.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            sized.append(Sized(node.lineno, node.name, length, is_class=False))
        elif isinstance(node, ast.ClassDef):
            sized.append(Sized(node.lineno, node.name, offered(node), is_class=True))
    return nodes, sized


def imports_of(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of all that `path` imports; its relative imports start from `package`."""
    for node in read(path)[0]:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def source_imports(tree: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, line, imported name) for every import under `tree`/src."""
    source = tree / "src"
    for path in sorted(source.rglob("*.py")):
        package = ".".join(path.relative_to(source).parent.parts)
        yield from ((path, line, name) for line, name in imports_of(path, package))


def floor_of_file(path: Path, tree: Path) -> int | None:
    """The floor `path` stands on; None is no floor at all."""
    first = path.relative_to(tree / "src" / "brokersim").parts[0]
    return DOORS.get(first.removesuffix(".py")) if first.endswith(".py") else FLOORS.get(first)


def floor_of_name(name: str) -> int:
    """The floor of an imported `brokersim...` name; what is no folder and no door comes from `__init__`."""
    part = [*name.split("."), ""][1]
    return FLOORS.get(part) or DOORS.get(part) or DOORS["__init__"]


def is_library(name: str, libraries: set[str]) -> bool:
    return name.split(".")[0] in libraries


def own_files(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.iterdir()):
        if NOT_OURS.fullmatch(path.name):
            continue
        yield path
        if path.is_dir():
            yield from own_files(path)


def own_texts(tree: Path) -> Iterator[tuple[Path, str]]:
    for path in own_files(tree):
        if path.is_file():
            yield path, path.read_bytes().decode("utf-8", errors="replace")


def declared_libraries(*extras: str) -> set[str]:
    """Import names of what pyproject.toml declares; each is imported under its package's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return {re.split(r"[<>=!~\[; ]", line)[0].replace("-", "_") for line in wanted}


# --- the rules: each returns what breaks it, one sentence a place


def upward_imports(tree: Path) -> list[str]:
    found = []
    for path, line, name in source_imports(tree):
        floor = floor_of_file(path, tree)
        if floor is None:
            found.append(f"{path.relative_to(tree)}: stands on no floor; see FLOORS and DOORS")
        elif is_library(name, {"brokersim"}) and floor_of_name(name) > floor:
            target = floor_of_name(name)
            found.append(f"{path.relative_to(tree)}:{line}: floor {floor} imports {name} (floor {target})")
    return found


#: A message is counted, and told to a tracer, by `Actor.sent` and `Actor.handed`. The two sends that nearly all
#: are, and the drain, have their lines written out: a call each would cost a twelfth of an exchange. A property test
#: holds them to the same (tests/reactor/test_counting.py).
COUNTING = re.compile(r"\bcounts\[[^\]]*\] [+-]?= |\btracer\(")
COUNTED_IN = {
    "src/brokersim/reactor/actor.py": 6,
    "src/brokersim/reactor/loop.py": 1,
    "src/brokersim/routing/endpoint.py": 4,
}
#: Rooms whose ``counts`` are those of an actor.
COUNTERS_SEEN = ("reactor", "routing", "host", "services", "net", "kit")


def counted_elsewhere(tree: Path) -> list[str]:
    """Places that count messages by themselves."""
    found = []
    for path in sorted((tree / "src" / "brokersim").rglob("*.py")):
        if path.relative_to(tree / "src" / "brokersim").parts[0] not in COUNTERS_SEEN:
            continue
        lines = [
            number
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if COUNTING.search(line)
        ]
        name = str(path.relative_to(tree))
        if len(lines) > COUNTED_IN.get(name, 0):
            found.append(f"{name}:{lines[-1]}: counts a message by itself; call Actor.sent or Actor.handed")
    return found


def imported_file(name: str, files: Mapping[str, Path]) -> str | None:
    """The module of ours that an imported name is in; None is somebody else's."""
    return name if name in files else name.rpartition(".")[0] if name.rpartition(".")[0] in files else None


def import_circles(tree: Path) -> list[str]:
    """Files that import each other round about; an import for an annotation only counts like any other."""
    source = tree / "src"
    files = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(source.rglob("*.py"))
    }
    names = {path: name for name, path in files.items()}
    imported: dict[str, dict[str, int]] = {name: {} for name in files}
    for path, line, name in source_imports(tree):
        target = imported_file(name, files)
        if target is not None and target != names[path]:
            imported[names[path]].setdefault(target, line)
    return sorted(
        f"{files[name].relative_to(tree)}:{imported[name][target]}: stands in a circle with {target}"
        for circle in circles(imported)
        for name in circle
        for target in imported[name]
        if target in circle
    )


def circles(edges: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """Sets of nodes that reach each other: one set a circle."""
    reached = {node: reachable(node, edges) for node in edges}
    found: list[set[str]] = []
    for node in edges:
        circle = {other for other in reached[node] if node in reached[other]}
        if circle and not any(node in one for one in found):
            found.append(circle | {node})
    return found


def reachable(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = list(edges[start])
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += edges[node]
    return seen


def upward_names(tree: Path) -> list[str]:
    """A higher floor that is reached by its name in a string, which no type checker sees."""
    found = []
    package = tree / "src" / "brokersim"
    for path in sorted(package.rglob("*.py")):
        floor = floor_of_file(path, tree)
        for node in read(path)[0]:
            if floor is None or not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            name = node.value
            is_module = re.fullmatch(r"brokersim(\.[a-z_]+)+", name) and name.split(".")[1] in FLOORS
            if (
                is_module
                and floor_of_name(name) > floor
                and BY_NAME.get(str(path.relative_to(package))) != name
            ):
                found.append(f"{path.relative_to(tree)}:{node.lineno}: floor {floor} names {name}")
    return found


def impure_imports(tree: Path) -> list[str]:
    return [
        f"{path.relative_to(tree)}:{line}: a pure floor imports {name}"
        for path, line, name in source_imports(tree)
        if path.relative_to(tree / "src" / "brokersim").parts[0] in PURE
        and is_library(name, IMPURE_LIBRARIES)
    ]


def undeclared_imports(tree: Path) -> list[str]:
    declared = declared_libraries("fast", "plot", "parquet", "tui") | sys.stdlib_module_names | {"brokersim"}
    for_tests = declared | declared_libraries("test")
    return [
        f"{path.relative_to(tree)}:{line}: imports {name}, which pyproject.toml does not declare"
        for path, line, name in source_imports(tree)
        if not is_library(name, for_tests if is_for_tests(path) else declared)
    ]


def is_for_tests(path: Path) -> bool:
    """A door for tests may import what the extra `test` brings, where a test asks for it."""
    return not {"pytest_plugin", "testing"}.isdisjoint(path.with_suffix("").parts)


def module_imports_through_walls(tree: Path) -> list[str]:
    """A broker module sees its own folder, brokersim.brokermod, the standard library, declared libraries."""
    allowed = declared_libraries() | sys.stdlib_module_names
    found = []
    for path in sorted((tree / "modules").rglob("*.py")):
        package = ".".join(path.relative_to(tree).parent.parts)
        own = ".".join(package.split(".")[:2]) + "."
        for line, name in imports_of(path, package):
            door = f"{name}.".startswith("brokersim.brokermod.")
            if not (door or name.startswith(own) or is_library(name, allowed)):
                found.append(f"{path.relative_to(tree)}:{line}: a broker module imports {name}")
    return found


def packages_named_flux(tree: Path) -> list[str]:
    return [str(path.relative_to(tree)) for path in own_files(tree) if path.name in ("flux", "flux.py")]


def machine_facts(tree: Path) -> list[str]:
    """Lock files, absolute paths of one machine, addresses of package hosts."""
    found = [str(path.relative_to(tree)) for path in own_files(tree) if path.name in LOCK_FILES]
    for path, text in own_texts(tree):
        patterns = [MACHINE_PATH, PACKAGE_HOST]
        if path.parent == tree / "requirements":
            patterns.append(re.compile(r"\w+://\S*"))
        hits = (hit.group().strip() for pattern in patterns for hit in pattern.finditer(text))
        found += [f"{path.relative_to(tree)}: {hit}" for hit in hits]
    return found


#: What a reader can hold: files of a room, lines of a file, lines of a function.
ROOM, FILE, FUNCTION = 30, 520, 53
#: A class that offers more methods than this is two; these many are one, and each is a name of somebody's API.
METHODS, WIDE_CLASSES = 25, 4


def too_large(tree: Path) -> list[str]:
    """Rooms, files and functions beyond what one sees at a glance, and classes with too many doors."""
    found, wide = [], []
    for path in [*sorted((tree / "src").rglob("*.py")), *sorted((tree / "modules").rglob("*.py"))]:
        name, lines = path.relative_to(tree), path.read_bytes().count(b"\n")
        if lines > FILE:
            found.append(f"{name}: {lines} lines are more than {FILE}")
        if path.name == "__init__.py" and (files := len([*path.parent.glob("*.py")])) > ROOM:
            found.append(f"{name.parent}: {files} files are more than {ROOM}")
        for line, what, size, is_class in read(path)[1]:
            if is_class and size > METHODS:
                wide.append(f"{name}:{line}: {what} offers {size} methods, more than {METHODS}")
            elif not is_class and size > FUNCTION:
                found.append(f"{name}:{line}: {what} has {size} lines, more than {FUNCTION}")
    return found + (wide if len(wide) > WIDE_CLASSES else [])


def offered(node: ast.ClassDef) -> int:
    """How many methods of a class are for others."""
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return sum(not name.startswith("_") for name in methods)


RULES = (
    too_large,
    upward_imports,
    upward_names,
    import_circles,
    impure_imports,
    counted_elsewhere,
    undeclared_imports,
    module_imports_through_walls,
    packages_named_flux,
    machine_facts,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule):
    assert rule(ROOT) == []


def test_the_table_of_floors_in_the_documents_is_this_one():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", page, re.MULTILINE)
    told = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)/`", names)}
    assert told == FLOORS


def test_one_file_of_the_reactor_awaits_trio_and_one_is_its_clock():
    reactor = ROOT / "src" / "brokersim" / "reactor"
    found = {
        path.name
        for path, _, name in source_imports(ROOT)
        if path.parent == reactor and is_library(name, {"trio"})
    }
    assert found == REACTOR_TRIO
    assert "await " not in (reactor / "clock.py").read_text()


WRONG = {
    "src/brokersim/protocol/wire.py": (
        "from brokersim.routing.router import Router",
        "src/brokersim/protocol/wire.py:1: floor 1 imports brokersim.routing.router.Router (floor 3)",
    ),
    "src/brokersim/reactor/loop.py": (
        "if TYPE_CHECKING:\n    from ..net import client",
        "src/brokersim/reactor/loop.py:2: floor 2 imports brokersim.net.client (floor 6)",
    ),
    "src/brokersim/net/client.py": (
        "def f():\n    import brokersim.testing",
        "src/brokersim/net/client.py:2: floor 6 imports brokersim.testing (floor 7)",
    ),
    "src/brokersim/program.py": (
        "from brokersim import open_instance",
        "src/brokersim/program.py:1: floor 6 imports brokersim.open_instance (floor 7)",
    ),
    "src/brokersim/host/finder.py": (
        'API = "brokersim.fluxapi"',
        "src/brokersim/host/finder.py:1: floor 4 names brokersim.fluxapi",
    ),
    "src/brokersim/shelf/odd.py": (
        "import os",
        "src/brokersim/shelf/odd.py: stands on no floor; see FLOORS and DOORS",
    ),
    "src/brokersim/statsd/line.py": (
        "from time import monotonic",
        "src/brokersim/statsd/line.py:1: a pure floor imports time.monotonic",
    ),
    "src/brokersim/cli/main.py": (
        "import pytest",
        "src/brokersim/cli/main.py:1: imports pytest, which pyproject.toml does not declare",
    ),
    "src/brokersim/host/far.py": (
        "def f(handle):\n    handle.counts[1] += 1",
        "src/brokersim/host/far.py:2: counts a message by itself; call Actor.sent or Actor.handed",
    ),
    "src/brokersim/host/life.py": (
        "def f(handle, m):\n    handle.tracer('tx', handle, m)",
        "src/brokersim/host/life.py:2: counts a message by itself; call Actor.sent or Actor.handed",
    ),
    "modules/kvs/__init__.py": (
        "from ..cron import Entry",
        "modules/kvs/__init__.py:1: a broker module imports modules.cron.Entry",
    ),
    "modules/cron/__init__.py": (
        "from brokersim.host import handle",
        "modules/cron/__init__.py:1: a broker module imports brokersim.host.handle",
    ),
    "examples/flux/__init__.py": ("", "examples/flux"),
    "docs/uv.lock": ("", "docs/uv.lock"),
    "docs/start.md": ("cd /" + "root/x", "docs/start.md: /" + "root/"),
    "requirements/run.txt": ("attrs @ file:///x", "requirements/run.txt: file:///x"),
    ".ci/run": ("pip install --" + "index-url x", ".ci/run: --" + "index-url"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_breaks_a_rule_is_named_with_its_line(name, tmp_path):
    text, sentence = WRONG[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert [found for rule in RULES for found in rule(tmp_path)] == [sentence]


def test_files_that_import_each_other_are_named_even_if_one_does_so_for_an_annotation(tmp_path):
    package = tmp_path / "src" / "brokersim" / "host"
    package.mkdir(parents=True)
    (package / "one.py").write_text("from brokersim.host import two")
    (package / "two.py").write_text("if TYPE_CHECKING:\n    from brokersim.host.three import Three")
    (package / "three.py").write_text("from brokersim.host.one import One\nfrom brokersim.host import four")
    (package / "four.py").write_text("import trio")
    assert import_circles(tmp_path) == [
        "src/brokersim/host/one.py:1: stands in a circle with brokersim.host.two",
        "src/brokersim/host/three.py:1: stands in a circle with brokersim.host.one",
        "src/brokersim/host/two.py:2: stands in a circle with brokersim.host.three",
    ]


LARGE = {
    "modules/long.py": ("x = 1\n" * 521, ["modules/long.py: 521 lines are more than 520"]),
    "src/brokersim/cli/f.py": (
        "def f():\n" + "    pass\n" * 53,
        ["src/brokersim/cli/f.py:1: f has 54 lines, more than 53"],
    ),
    "src/brokersim/cli/five.py": (
        "".join(
            f"class C{n}:\n" + "".join(f"    def m{m}(self): ...\n" for m in range(26)) for n in range(5)
        ),
        [f"src/brokersim/cli/five.py:{1 + 27 * n}: C{n} offers 26 methods, more than 25" for n in range(5)],
    ),
    "src/brokersim/cli/four.py": (
        "".join(
            f"class C{n}:\n" + "".join(f"    def m{m}(self): ...\n" for m in range(26)) for n in range(4)
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_larger_than_a_glance_is_named(name, tmp_path):
    text, sentences = LARGE[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert too_large(tmp_path) == sentences


def test_a_room_of_31_files_is_named(tmp_path):
    room = tmp_path / "src" / "brokersim" / "cli"
    room.mkdir(parents=True)
    for name in ("__init__", *(f"f{number}" for number in range(30))):
        (room / f"{name}.py").touch()
    assert too_large(tmp_path) == ["src/brokersim/cli: 31 files are more than 30"]


ALLOWED = {
    "src/brokersim/routing/router.py": ("import trio", "from brokersim.routing import services"),
    "src/brokersim/reactor/loop.py": ("from brokersim.protocol import topic", "from . import clock"),
    "src/brokersim/testing.py": ("import pytest", "from brokersim import open_instance, brokermod"),
    "src/brokersim/cli/main.py": ("from brokersim.testing import laws", "import click"),
    "modules/kvs/__init__.py": ("from .txn import Txn", "from brokersim.brokermod import BrokerModule"),
    "modules/kvs/txn/ops.py": (
        "from .. import cache",
        "from brokersim import brokermod",
        "import attrs, json",
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_file_that_keeps_the_rules_is_left_alone(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(ALLOWED[name]))
    assert [found for rule in RULES for found in rule(tmp_path)] == []


def test_the_help_of_an_experiment_costs_no_trio():
    script = (
        "import sys; from brokersim.lab.experiments.registry import NAMES, experiment;"
        "print([name for name in NAMES if experiment(name) and 'trio' in sys.modules], len(NAMES) > 5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT / "src"
    )
    assert (done.stdout.strip(), done.stderr) == ("[] True", "")


@pytest.mark.parametrize("name", TRIO_FREE)
def test_a_client_starts_without_importing_trio(name):
    if not (ROOT / "src" / Path(*name.split("."))).with_suffix(".py").exists():
        pytest.skip(f"{name} is not written yet")
    script = f"import sys, {name}; print('trio' in sys.modules, '{name}' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT / "src")
    assert (done.stdout.strip(), done.stderr) == ("False True", "")
