"""Knows how to try many small changes of code against its tests in one warm process. Not which changes.

pytest collects once and runs each test once, as many as there is time for, noting which functions it calls. A change is
then tried in a fork: the new code is put into the function objects that are there, and the tests that call the function
run, quickest first, until one fails. So a mutant costs the tests that can notice it and a fork, no import and no
collection.
What tests call is kept (:mod:`benchmarks._learnt`): of those that stand as they were only the mutants are run.

A function that no test calls in its own process may run in one that a test starts. Then the change is put into a copy
of the package, which those processes import from (``PYTHONPATH``), and the tests that start any are run.
"""

from __future__ import annotations

import _posixsubprocess
import functools
import gc
import itertools
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import attrs
import pytest

from benchmarks._learnt import File, Learnt, Place, Told, in_time

#: Seconds of tests (as they took without a change) that are run against one mutant.
ENOUGH = 30.0
#: CPU seconds a mutant may take beyond some times of that: what hangs is caught.
PATIENCE = 6.0
#: Bytes it may grow by.
ROOM_TO_GROW = 2 << 30
#: A test that takes longer is left out.
TOO_LONG = 15.0
_NOT_PUT = 3

Functions = dict[Place, list[FunctionType]]


@attrs.frozen
class Change:
    """The functions that are changed, one inside the other, and the code their file would have."""

    where: tuple[Place, ...]
    code: Callable[[], CodeType]
    text: Callable[[], str]


@attrs.define
class _Test:
    item: pytest.Item
    seconds: float
    called: frozenset[Place]
    #: It starts processes.
    starts: bool


class Warm:
    """A pytest plugin: after the tests have run once, it tries the changes it is given.

    Where there was no time to run all of them, a change that none of those calls is not tried: nothing is known of it.
    ``tell(number, caught)`` hears what became of each: True, False, or None where no test calls the function and none
    that starts a process notices. ``package`` is the folder that is changed, or ``modules`` beside it.
    """

    def __init__(
        self,
        package: Path,
        modules: Path,
        changes: list[Change],
        tell: Callable[[int, bool | None], object],
        until: float,
        learnt: Learnt | None = None,
    ) -> None:
        self._package = package
        self._modules = modules
        self._changes = changes
        self._tell = tell
        self._until = until
        self._kept = learnt
        self._has_failed = False
        self._has_learnt_all = True
        self._caches: list[functools._lru_cache_wrapper[Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._has_failed |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        files = {place[0] for change in self._changes for place in change.where}
        tests = list(self._learnt(session.items, files))
        functions = self._imported(files, tests)
        self._caches = [one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper)]
        gc.collect()
        gc.freeze()  # a fork that collects would copy all of it
        elsewhere = Elsewhere(self._package, self._modules)
        try:
            for number, change in enumerate(self._changes):
                if time.monotonic() > self._until:
                    break
                if self._has_learnt_all or any(not test.called.isdisjoint(change.where) for test in tests):
                    self._tell(number, self._verdict(change, functions, tests, elsewhere))
        finally:
            elsewhere.remove()
        return True

    def _learnt(self, items: list[pytest.Item], files: set[str]) -> Iterator[_Test]:
        """Each test as it ran once, those called like a changed file first, for half of the time there is."""
        stems = {Path(file).stem.strip("_") for file in files}
        half = (time.monotonic() + self._until) / 2
        items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in stems)
        for path, group in itertools.groupby(items, key=lambda item: item.path):
            some = list(group)
            known = self._kept.find(path) if self._kept else None
            told: File = known or {}
            for item in some:
                if item.nodeid not in told:
                    if time.monotonic() > half:
                        self._has_learnt_all = False
                        return
                    told[item.nodeid] = self._first_run(item)
                if one := told[item.nodeid]:
                    ours = frozenset(place for place in one.called if place[0] in files)
                    yield _Test(item, one.seconds, ours, one.starts)
            if self._kept and not known:
                self._kept.keep(path, told)

    def _imported(self, files: set[str], tests: list[_Test]) -> Functions:
        """The functions that changes are made in: a test runs for each file that nothing has imported yet."""
        functions = _functions(files)
        for change in self._changes:
            calling = [test for test in tests if not test.called.isdisjoint(change.where)]
            if calling and functions.keys().isdisjoint(change.where):
                self._run(min(calling, key=lambda test: test.seconds).item)
                functions = _functions(files)
        return functions

    def _verdict(
        self, change: Change, functions: Functions, tests: list[_Test], elsewhere: Elsewhere
    ) -> bool | None:
        changed = {place: functions[place] for place in change.where if place in functions}
        chosen = list(_chosen([test for test in tests if not test.called.isdisjoint(change.where)], change))
        if chosen and changed:
            return self._is_caught(change, changed, chosen)
        starting = list(_chosen([test for test in tests if test.starts], change))
        with elsewhere.changed(Path(change.where[0][0]), change.text()):
            return (bool(starting) and self._is_caught(change, {}, starting)) or None

    def _first_run(self, item: pytest.Item) -> Told | None:
        called: set[CodeType] = set()
        starts = False

        def look(frame: Any, event: str, arg: object) -> None:
            nonlocal starts
            if event == "call":
                called.add(frame.f_code)
            elif arg is _posixsubprocess.fork_exec:
                starts = True

        self._has_failed = False
        started = _spent()
        threading.setprofile(look)  # of threads that begin from now on
        sys.setprofile(look)
        try:
            self._run(item)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        seconds = _spent() - started
        if self._has_failed or seconds > TOO_LONG:
            return None
        seen = tuple(called)  # a thread that a test left behind may be adding to it
        roots = (f"{self._package}{os.sep}", f"{self._modules}{os.sep}")
        ours = {
            (code.co_filename, code.co_firstlineno) for code in seen if code.co_filename.startswith(roots)
        }
        return Told(seconds, frozenset(ours), starts)

    def _run(self, item: pytest.Item) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def _is_caught(self, change: Change, functions: Functions, tests: list[_Test]) -> bool:
        limit = PATIENCE + 4 * sum(test.seconds for test in tests)
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os._exit(self._try(change, functions, tests, limit))
        status = _ended(child, 5 * limit)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NOT_PUT:
            raise LookupError(f"{change.where[0]}: the changed file has no such function")
        return status != 0

    def _try(self, change: Change, functions: Functions, tests: list[_Test], limit: float) -> int:
        try:
            _put(change, functions)
            for cache in self._caches:
                cache.cache_clear()  # what was found before the change is no answer of the changed code
        except BaseException:
            return _NOT_PUT
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (round(limit), round(limit) + 1))
            resource.setrlimit(resource.RLIMIT_AS, (_size() + ROOM_TO_GROW,) * 2)
            self._has_failed = False
            for test in tests:
                self._run(test.item)
                if self._has_failed:
                    return 1
        except BaseException:
            return 2
        return 0


def _chosen(tests: list[_Test], change: Change) -> Iterator[_Test]:
    by_name = {test.item.nodeid: test for test in tests}
    stem = Path(change.where[0][0]).stem.strip("_")
    for name in in_time(((name, test.seconds) for name, test in by_name.items()), stem, ENOUGH):
        yield by_name[name]


class Elsewhere:
    """What processes that are started import from: a copy of the package, with one changed file.

    The shipped modules are inside the package there, as when it is installed. Files and no links: who looks for what
    lies beside a link finds what lies beside the file.
    """

    def __init__(self, package: Path, modules: Path) -> None:
        self._package = package
        self._modules = modules
        self.folder = Path(tempfile.mkdtemp())
        self._changes = 0

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    @contextmanager
    def put(self, path: Path, text: str) -> Iterator[None]:
        """One file is another one."""
        copy = self.folder / self._package.name
        if not self._changes:
            shutil.copytree(self._package, copy)
            if self._modules.is_dir():
                shutil.copytree(self._modules, copy / "modules")
                (self.folder / "modules").symlink_to(copy / "modules")  # as tests import them
        self._changes += 1
        root, within = (
            (self._modules, "modules") if path.is_relative_to(self._modules) else (self._package, "")
        )
        place = copy / within / path.relative_to(root)
        place.write_text(text, encoding="utf-8")
        # Or what was compiled of the last change may be taken for it.
        os.utime(place, (self._changes, self._changes))
        try:
            yield
        finally:
            shutil.copy2(path, place)

    @contextmanager
    def changed(self, path: Path, text: str) -> Iterator[None]:
        """The same for what this process starts."""
        before = os.environ.get("PYTHONPATH")
        with self.put(path, text):
            os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), *([before] if before else [])])
            try:
                yield
            finally:
                os.environ.pop("PYTHONPATH")
                if before is not None:
                    os.environ["PYTHONPATH"] = before


def _functions(files: set[str]) -> Functions:
    """Function objects by where they are written: those that are made later, inside others, come from these."""
    found: Functions = {}
    gc.unfreeze()  # what is frozen is not listed, and the end of a test may freeze
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename in files:
            found.setdefault((one.__code__.co_filename, one.__code__.co_firstlineno), []).append(one)
    return found


def _put(change: Change, functions: Functions) -> None:
    """Have functions run other code. Raises StopIteration if that has no such function, ValueError if it fits none."""
    codes = list(_codes(change.code()))
    for place, found in functions.items():
        for function in found:
            # By its name too: a function that is an argument's default begins in the line of the one it is made for.
            name = function.__code__.co_qualname
            function.__code__ = next(
                one for one in codes if (one.co_firstlineno, one.co_qualname) == (place[1], name)
            )


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


def _spent() -> float:
    """CPU seconds of this process and of those it has waited for."""
    return sum(os.times()[:4])


def _size() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _ended(child: int, seconds: float) -> int:
    """How a child ends; one that takes longer is killed, with all that it started."""
    descriptor = os.pidfd_open(child)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    finally:
        os.close(descriptor)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return status
