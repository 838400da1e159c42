"""Knows whether tests of other rooms notice a change that those of its own room let pass. Not which changes.

What tests call was learnt room by room (:mod:`benchmarks._learnt`). Here the tests that call a changed function run in
a pytest of their own, from a copy of the package with the change. What fails there must pass without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from benchmarks._learnt import Learnt, in_time
from benchmarks._warm import ENOUGH, PATIENCE, Change, Elsewhere


@attrs.frozen
class Wanted:
    """A change that a room's tests let pass, and the files of those tests."""

    change: Change
    tried: frozenset[Path]


def noticed(
    wanted: Sequence[Wanted], learnt: Learnt, trees: tuple[Path, Path], jobs: int, words: Sequence[str]
) -> list[bool]:
    """Of each whether a test of another room fails with it. ``trees`` are the package and the modules."""
    chosen: list[dict[str, float]] = [{} for _ in wanted]
    for path, tests in learnt.every():
        for name, told in tests.items():
            if told is None:
                continue
            for one, found in zip(wanted, chosen, strict=True):
                if path not in one.tried and not told.called.isdisjoint(one.change.where):
                    found[name] = told.seconds

    def look(one: Wanted, found: dict[str, float]) -> bool:
        change = one.change
        file = Path(change.where[0][0])
        names = list(in_time(found.items(), file.stem.strip("_"), ENOUGH))
        if not names:
            return False
        elsewhere = Elsewhere(*trees)
        try:
            limit = PATIENCE + 4 * sum(found[name] for name in names)
            with elsewhere.put(file, change.text()):
                failing = _failing(elsewhere.folder, names, words, learnt.root, 5 * limit)
            # It may fail for where it runs, not for what was changed.
            return (
                failing is not None
                and _failing(elsewhere.folder, failing, words, learnt.root, 5 * limit) is None
            )
        finally:
            elsewhere.remove()

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(look, wanted, chosen))


def _failing(
    folder: Path, names: Iterable[str], words: Sequence[str], root: Path, seconds: float
) -> list[str] | None:
    """The first test that fails, all of them if they hang or cannot be collected, None if they pass."""
    names = list(names)
    command = [sys.executable, "-m", "pytest", "-x", "-rfE", "-o", f"pythonpath={folder} .", *words, *names]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=_environment(folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return names
    if not done.returncode:
        return None
    said = [line.split(" ", 1)[1].partition(" - ")[0] for line in done.stdout.splitlines()
            if line.startswith(("FAILED ", "ERROR "))]  # fmt: skip
    return [name for name in said if name in names][:1] or names


def _environment(folder: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}
