"""Knows whether a C twin of this folder may be used here, and why not. Doesn't know what any of them does.

A twin does what Python does elsewhere, faster. Python is the oracle and always there; a twin is there where it could be
compiled (hatch_build.py).
"""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Final

#: Set to anything, Python does all the work.
PURE: Final = "BROKERSIM_PURE"
_FOLDER = Path(__file__).parent


class NotCompiled(ImportError):
    """A C twin is not to be used; its text says why, for `brokersim version`."""


def look(name: str) -> None:
    """Whoever wants the twin ``name`` asks here first. Raises NotCompiled."""
    if os.environ.get(PURE):
        raise NotCompiled(f"{PURE} is set")
    found = find_spec(f"{__name__}.{name}")
    if found is None or found.origin is None or not found.origin.endswith(tuple(EXTENSION_SUFFIXES)):
        raise NotCompiled("no compiler or no Python headers when it was installed")
    source = _FOLDER / f"{name}.c"
    if (
        source.exists()
    ):  # in a checkout: what was compiled before its source changed would do what nobody reads
        newest = max([source, *_FOLDER.glob("*.h")], key=_changed)
        if _changed(newest) > _changed(Path(found.origin)):
            raise NotCompiled(f"{newest.name} is newer than what was compiled of it: install anew")


def _changed(path: Path) -> float:
    return path.stat().st_mtime
