"""Knows how an experiment's result is kept in a run database and read again; not what is in it.

The curves are series of samples like a server's, so every reader of run databases sees them; the whole result is one of
the database's facts.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from brokersim import files
from brokersim.lab.keep.rundb_reader import RESULT
from brokersim.lab.result import Result
from brokersim.lab.sweep.sweep import APPLICATION, RunFileError
from brokersim.statsd_server.outputs.rundb import TRUTH, VALUE, RunDatabase, RunDatabaseError, read_meta

#: Parts of a result that are curves, [[s, value], …], at whatever depth.
CURVES = ("series", "truth", "slots", "cache", "rates", "creates", "signed")


class KeptError(ValueError):
    """A file that holds no result: which, why, what would be right."""


def keep(found: Result, path: Path) -> None:
    """A new run database with the result: whole and on the disk, or not there. Raises RunDatabaseError, OSError."""
    if path.exists():
        raise RunDatabaseError(
            f"{path} exists: a run database holds one run; choose a new name or move it away"
        )
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    _write(found, unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """A file's new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(found: Result, path: Path) -> None:
    plain = {key: str(value) for key, value in found.meta.items() if isinstance(value, str | int | float)}
    database = RunDatabase(path, plain)
    try:
        for part in CURVES:
            for name, points in _curves(found.parts.get(part) or {}, part):
                database.add(TRUTH if part == "truth" else VALUE, name, points)
        database.note({RESULT: msgspec.json.encode(found.to_json()).decode()})
    finally:
        database.close()


def _curves(tree: Any, name: str) -> Iterator[tuple[str, Sequence[Sequence[float]]]]:
    if isinstance(tree, Mapping):
        for key, below in tree.items():
            yield from _curves(below, f"{name}.{key}")
    elif tree and isinstance(tree[0], list | tuple) and len(tree[0]) == 2:
        yield name, tree


def read_kept(path: Path) -> Result:
    """The result in a run database, or in a ``result.json`` or its folder. Raises KeptError, OSError."""
    file = path / "result.json" if path.is_dir() else path
    text = files.read_unless(file, files.SQLITE)
    if text is None:
        text = _from_database(file)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeptError(f"{path} is neither a run database nor a result: {error}") from None
    meta = found.get("meta") if isinstance(found, dict) else None
    if not isinstance(meta, dict) or "experiment" not in meta:
        raise KeptError(f"{path} is no result of an experiment; make one with --db RUN.db or --out DIR")
    return Result.from_json(found)


def _from_sweep(path: Path) -> bytes:
    """The answer of a sweep in its own file, empty if the file is none."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
            return b""
        found = connection.execute("SELECT value FROM notes WHERE key = ?", (RESULT,)).fetchone()
    if found is None:
        raise RunFileError(f"{path}: the sweep is not complete")
    return str(found[0]).encode()


def _from_database(path: Path) -> bytes:
    try:
        return _from_sweep(path) or read_meta(path)[RESULT].encode()
    except (RunDatabaseError, RunFileError, sqlite3.Error, KeyError):
        raise KeptError(
            f"{path} holds no experiment's result; make one with: brokersim bench … --db RUN.db"
        ) from None
