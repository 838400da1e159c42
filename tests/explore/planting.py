"""Knows how a bug is planted in a copy of a shipped module, and how it is searched; not which bugs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import attrs

from brokersim.explore.author import Author, merged_families
from brokersim.explore.draw import Space
from brokersim.explore.search import Report, search
from brokersim.host.loader import shipped_folder


@attrs.frozen
class Planted:
    """One bug: in which file, what was there, what is there instead, and which families look."""

    name: str
    file: str
    was: str
    now: str
    only: tuple[str, ...]
    #: Of what happens to an instance: some guard against what no link of a Flux does.
    model: str = "flux"


def plant(bug: Planted, folder: Path) -> Path:
    """A folder with the one module that has the bug, for a module path."""
    name = bug.file.partition("/")[0]
    shutil.copytree(shipped_folder() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / bug.file
    text = path.read_text()
    assert text.count(bug.was) == 1, f"{bug.name}: {bug.file} has changed; plant it anew"
    path.write_text(text.replace(bug.was, bug.now))
    return folder


def find(bug: Planted, folder: Path, seconds: float, seeds: range = range(100_000)) -> Report:
    """Search where the bug is, for so many seconds of this process."""
    path = plant(bug, folder)
    space = Space(families=merged_families(None), wanted=bug.only, sizes=(1, 2), model=bug.model)
    return search(space, lambda: Author(module_path=(path,)), seeds, seconds=seconds, clock=time.process_time)
