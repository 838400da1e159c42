"""The long benchmarks, as short as they go: what they change and what they count."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import brokersim
from benchmarks import mutants_src
from benchmarks._elsewhere import Wanted, noticed
from benchmarks._equivalent import EQUIVALENT
from benchmarks._learnt import Learnt, Told
from benchmarks._warm import Elsewhere
from benchmarks.mutants_src import places
from benchmarks.soak import Row, growth, soak

SOURCE = """
def f(a, b):
    if a < b and b:
        return a
    while a == b:
        a += 1 if a >= 3 else 2
    return a is b
"""


def test_each_mutant_of_a_decision_or_bound_changes_one_place(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants_src, "SOURCE", tmp_path)
    (tmp_path / "x.py").write_text(SOURCE)
    found = list(places(tmp_path / "x.py"))
    assert Counter(place.what for place in found) == {
        "condition negated": 3, "guard left out": 1, "bound moved": 2, "equality turned": 1, "and for or": 1,
    }  # fmt: skip
    sources = {ast.unparse(place.tree()) for place in found}
    assert len(sources) == len(found) and ast.unparse(ast.parse(SOURCE)) not in sources
    assert "if False:\n        return a" in next(
        ast.unparse(place.tree()) for place in found if place.what == "guard left out"
    )
    assert {place.room for place in found} == {"(top)"}


def test_nothing_has_chosen_the_engine_before_a_worker_does():
    """Where C does the work no test calls the Python that is changed: all of that was called unseen."""
    look = "import sys, benchmarks.mutants_src, benchmarks._warm; sys.exit('brokersim' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=mutants_src.ROOT, check=False).returncode == 0


def test_a_sample_stays_as_it_is_where_other_code_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants_src, "ROOT", tmp_path)
    path = tmp_path / "x.py"

    def drawn(source: str, seed: int, count: int) -> list[str]:
        path.write_text(source)
        return [place.said for place in mutants_src.drawn(places(path), seed, count)]

    before = drawn(SOURCE, 3, 4)
    assert len(before) == 4 < len(drawn(SOURCE, 3, 99)) and before != drawn(SOURCE, 4, 4)
    assert drawn(f"X = 1\n\n\ndef g(a):\n    return a + 1\n{SOURCE}", 3, 4) == before
    # A decision that is new is drawn or not, and none of the others takes another's place.
    more = drawn(f"{SOURCE}\n\ndef g(a):\n    return a > 9\n", 3, 99)
    assert [said for said in more if "> 9" not in said] == drawn(SOURCE, 3, 99)
    twice = drawn(SOURCE + SOURCE.replace("def f", "def g"), 3, 99)
    assert len(set(twice)) == len(twice) == 2 * len(drawn(SOURCE, 3, 99))


def test_a_room_whose_tests_cannot_be_run_is_told_and_the_others_are_tried(monkeypatch):
    def worker(room: str, sample: list[int], write: int, _until: float, _learnt: Learnt) -> int:
        for number in range(len(sample)):
            os.write(write, f"[{number}, true]\n".encode())
        return 1 if room == "broken" else 0

    monkeypatch.setattr(mutants_src, "_worker", worker)
    told: list[tuple[int, bool | None]] = []
    rooms = {"a": [1, 2, 3], "broken": [4], "b": [5, 6]}
    failed = mutants_src.try_rooms(
        rooms, 2, 0.0, Learnt.about(mutants_src.ROOT), lambda place, caught: told.append((place, caught))
    )
    assert failed == ["broken"]
    assert sorted(told) == [(place, True) for place in range(1, 7)]


@pytest.mark.parametrize("words", [("--jobs", "0"), ("--count", "-1")])
def test_no_rooms_at_a_time_and_no_mutants_are_refused(words):
    command = [sys.executable, "-m", "benchmarks.mutants_src", *words]
    done = subprocess.run(
        command, cwd=mutants_src.ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2 and "is not a whole number from 1 on" in done.stderr


TRIED = """
import sys
from pathlib import Path
import pytest
from benchmarks import _warm, mutants_src
from benchmarks._warm import Change, Warm

_warm.PATIENCE = 1.0
mutants_src.SOURCE = Path.cwd() / "pack"
found = list(mutants_src.places(Path.cwd() / "pack/x.py"))
changes = [Change(place.where, place.code, place.text) for place in found]
told = []
warm = Warm(mutants_src.SOURCE, mutants_src.MODULES, changes, lambda *one: told.append(one), 1e9)
pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_x.py"], plugins=[warm])
for number, caught in told:
    print(caught, found[number], file=sys.stderr)
"""


CHANGED = """
import functools


def small(n):
    while n > 9:
        n -= 1
    return n < 5


def unseen(n):
    return n < 5


def elsewhere(n):
    return n < 5


def make(bound):
    def inner(n, least=lambda: bound):
        return n < 5
    return inner


made = make(1)


@functools.cache
def known(n):
    return n < 5
"""
CALLED = """
import subprocess, sys
from pack.x import known, made, small


def test_small():
    assert small(3) and not small(12)


def test_elsewhere():
    code = "from pack.x import elsewhere; assert elsewhere(4) and not elsewhere(5)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_made():
    assert made(4) and not made(5)


def test_known():
    assert known(4) and not known(5)
"""
#: As this suite does: what was imported is looked at by no collection.
FROZEN = "import gc\n\n\ndef pytest_collection_finish():\n    gc.freeze()\n"


def test_a_mutant_is_caught_if_a_test_that_calls_its_function_fails_or_hangs(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "temporary").mkdir()
    (tmp_path / "pack/__init__.py").touch()
    (tmp_path / "pack/x.py").write_text(CHANGED)
    (tmp_path / "test_x.py").write_text(CALLED)
    (tmp_path / "conftest.py").write_text(FROZEN)
    paths = os.pathsep.join([str(mutants_src.ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", TRIED], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stderr.splitlines() == [
        "True x.py:6: condition negated: while n > 9:",
        "False x.py:6: bound moved: while n > 9:",
        "False x.py:8: bound moved: return n < 5",
        "None x.py:12: bound moved: return n < 5",
        "True x.py:16: bound moved: return n < 5",
        "True x.py:30: bound moved: return n < 5",
        "True x.py:21: bound moved: return n < 5",
    ], done.stdout
    assert not list((tmp_path / "temporary").iterdir())


def test_what_tests_called_is_known_until_the_code_or_their_file_is_another_one(tmp_path):
    for name in ("src/x.py", "modules/m.py", "tests/test_x.py", "tests/test_y.py", "tests/shared.py",
                 "pyproject.toml"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    x, y = tmp_path / "tests/test_x.py", tmp_path / "tests/test_y.py"
    told = {
        "test_x.py::test_a": Told(0.5, frozenset({(str(tmp_path / "src/x.py"), 3)}), True),
        "test_x.py::test_b": None,
    }
    learnt = Learnt.about(tmp_path)
    assert learnt.find(x) is None
    learnt.keep(x, told)
    learnt.keep(y, {})
    assert Learnt.about(tmp_path).find(x) == told
    assert dict(Learnt.about(tmp_path).every()) == {x: told}
    x.write_text("another")
    assert learnt.find(x) is None and learnt.find(y) == {}
    for shared in ("src/x.py", "modules/m.py", "tests/shared.py", "pyproject.toml"):
        (tmp_path / shared).write_text("another")
        assert Learnt.about(tmp_path).find(y) is None
        (tmp_path / shared).write_text(shared)
        assert Learnt.about(tmp_path).find(y) == {}


def test_what_a_room_lets_pass_is_asked_of_the_tests_of_other_rooms(tmp_path, monkeypatch):
    package = tmp_path / "src/pack"
    for name, source in {
        package / "__init__.py": "",
        package / "x.py": CHANGED,
        tmp_path / "tests/test_own.py": "def test_own():\n    assert False\n",
        tmp_path
        / "tests/test_x.py": "from pack.x import unseen\n\n\ndef test_x():\n    assert not unseen(5)\n",
        tmp_path / "tests/test_here.py": "from pathlib import Path\nfrom pack import x\n\n\n"
        "def test_here():\n    assert Path(x.__file__).parents[1].name == 'src'\n",
    }.items():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(source)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(mutants_src, "ROOT", tmp_path)
    change = next(place.change for place in places(package / "x.py") if place.line == 12)
    learnt = Learnt.about(tmp_path)

    def called(name: str) -> None:
        path = tmp_path / f"tests/test_{name}.py"
        learnt.keep(path, {f"tests/test_{name}.py::test_{name}": Told(0.1, frozenset(change.where), False)})

    def asked(*tried: str) -> bool:
        wanted = Wanted(change, frozenset(tmp_path / f"tests/test_{name}.py" for name in tried))
        return noticed(
            [wanted], learnt, (package, tmp_path / "modules"), 1, ["-q", "-p", "no:cacheprovider"]
        )[0]

    called("own")
    called("here")
    # Those of its own room were asked before; one that fails for where it runs has not noticed the change.
    assert not asked("own")
    called("x")
    assert asked("own", "here") and not asked("own", "here", "x")


def test_what_no_input_can_tell_is_still_there():
    for name in {name for name, _ in EQUIVALENT}:
        there = {place.said for place in places(mutants_src.ROOT / name)}
        assert {said for file, said in EQUIVALENT if file == name} <= there, name


LAZY = """
def test_other():
    from pack.y import other
    assert other(4) and not other(5)


def test_small():
    from pack.x import small
    assert small(3) and not small(12) and not small(5)
"""
FROZEN_BEHIND = "import gc\n\n\ndef pytest_runtest_teardown():\n    gc.freeze()\n"


def test_what_was_kept_of_tests_gives_the_verdicts_that_learning_gave(tmp_path):
    for name, source in {
        "pack/__init__.py": "", "pack/x.py": CHANGED, "pack/y.py": "def other(n):\n    return n < 5\n",
        "tests/test_x.py": LAZY, "tests/conftest.py": FROZEN_BEHIND, "pyproject.toml": "",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    paths = os.pathsep.join([str(mutants_src.ROOT), str(tmp_path)])
    code = TRIED.replace(
        '"pack/x.py"))', '"pack/x.py")) + list(mutants_src.places(Path.cwd() / "pack/y.py"))'
    )
    code = code.replace("1e9)", "1e9, Learnt.about(Path.cwd()))").replace(
        '"test_x.py"]', '"tests/test_x.py"]'
    )
    verdicts = [
        subprocess.run(
            [sys.executable, "-c", f"from benchmarks._learnt import Learnt\n{code}"], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, timeout=120,
        ).stderr
        for _ in range(2)
    ]  # fmt: skip
    assert verdicts[0] == verdicts[1]
    assert "True x.py:8: bound moved" in verdicts[0] and "True y.py:2: bound moved" in verdicts[0], verdicts[
        0
    ]


def test_what_there_was_no_time_to_learn_of_is_not_tried(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").touch()
    (tmp_path / "pack/x.py").write_text(CHANGED)
    (tmp_path / "test_x.py").write_text(CALLED)
    paths = os.pathsep.join([str(mutants_src.ROOT), str(tmp_path)])
    # Half of the time is up behind the second of the four tests.
    clock = "moments = iter([0, 1, 1])\n_warm.time = SimpleNamespace(monotonic=lambda: next(moments, 6))\n"
    code = "from types import SimpleNamespace\n" + TRIED.replace("told = []", f"{clock}told = []")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("1e9)", "10)")], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    tried = {line.split()[1] for line in done.stderr.splitlines()}
    assert tried == {"x.py:6:", "x.py:8:"}, done.stderr


def test_a_module_is_a_room_and_lies_inside_the_package_for_processes_as_when_it_is_installed(
    tmp_path, monkeypatch
):
    package, modules = tmp_path / "pack", tmp_path / "modules"
    (modules / "m").mkdir(parents=True)
    package.mkdir()
    (package / "__init__.py").touch()
    changed = modules / "m/__init__.py"
    changed.write_text(SOURCE)
    monkeypatch.setattr(mutants_src, "MODULES", modules)
    first = next(places(changed))
    assert first.room == "modules/m"
    elsewhere = Elsewhere(package, modules)
    with elsewhere.changed(changed, first.text()):
        seen = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "pack/modules/m/__init__.py"
        assert seen.read_text() == first.text()
    assert seen.read_text() == SOURCE
    elsewhere.remove()


def test_each_module_has_tests_for_its_mutants():
    for module in (one.name for one in mutants_src.MODULES.iterdir() if any(one.glob("*.py"))):
        room = f"modules/{module}"
        patterns = mutants_src.TESTS.get(room, (f"tests/{room}",))
        assert all(list(mutants_src.ROOT.glob(pattern)) for pattern in patterns), room


def test_mutants_run_apart_from_all_other_processes_or_not_at_all(tmp_path):
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mutants_src", "--room", "none"], cwd=mutants_src.ROOT,
        env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "could end any process of yours" in done.stderr, done.stderr
    # One that is allowed is handed the whole command.
    (tmp_path / "unshare").write_text(
        '#!/bin/sh\nfor last; do :; done\n[ "$last" = true ] || echo $BROKERSIM_PURE "$@"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mutants_src", "--room", "none"], cwd=mutants_src.ROOT,
        env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # And it begins with what decides whether C runs, where no test would see what it does.
    assert done.stdout.startswith("1 --pid --fork") or done.stdout.startswith("1 --user"), done.stdout
    assert "--pid --fork" in done.stdout and done.stdout.endswith("-m benchmarks.mutants_src --room none\n")


def test_the_soak_does_all_of_its_work_and_leaves_nothing_open():
    rows: list[Row] = []
    brokersim.run(soak, rows, 0.5, 12, 0.0)
    assert len(rows) == 12
    assert [row.descriptors for row in rows] == [rows[0].descriptors] * 12
    assert max(row.open_requests for row in rows) <= 2
    assert rows[-1].at == pytest.approx(0.5, abs=0.02)
    assert rows[-1].messages > rows[0].messages


def test_growth_compares_the_last_quarter_with_the_second():
    rows = [Row(at=n, rss=rss, descriptors=5, objects=0, open_requests=0, messages=0)
            for n, rss in enumerate([9, 9, 9, 10, 10, 10, 10, 10, 10, 11, 11, 11])]  # fmt: skip
    assert (growth(rows, "rss"), growth(rows, "descriptors"), growth(rows, "objects")) == (10.0, 0.0, 0.0)
