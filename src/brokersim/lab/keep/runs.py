"""Knows where runs lie and what they are called: results and run databases below a folder; not what is in them.

A run's id is its path below that folder, so it can be typed wherever a path can: there is no registry to get out of
step with the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec

from brokersim import files
from brokersim.lab.keep.rundb_reader import describe_database
from brokersim.lab.sweep.arrays import SUFFIX, ArrayError, ArrayJob, look, read
from brokersim.lab.sweep.launchers import LaunchError
from brokersim.protocol.decoded import JsonObject
from brokersim.statsd_server.outputs.rundb import RunDatabaseError

RESULT = "result.json"
#: Folders deep, below the folder of runs: deeper lies what others keep.
DEPTH = 4
_NEVER = {"node_modules", "__pycache__", "build", "dist", "site-packages"}
_DATABASES = {".db", ".sqlite", ".sqlite3"}
#: What an experiment writes beside its result; nothing else is ever removed with it.
_COMPANIONS = {".html", ".svg", ".png"}


class RunError(ValueError):
    """No such run, or several: which ids there are."""


class _Head(msgspec.Struct):
    """Of a result the little that a list shows; the rest is skipped, not decoded."""

    meta: JsonObject
    checks: list[JsonObject] = []
    runs: list[msgspec.Raw] = []
    rows: list[msgspec.Raw] = []


_HEAD = msgspec.json.Decoder(_Head)


@attrs.frozen(kw_only=True)
class Run:
    """One run: its id, its file, and what a list says about it. ``agree`` is "7 of 8", "" without checks."""

    id: str
    path: Path
    kind: str
    experiment: str
    clock: str | None
    seed: Any
    rows: int
    agree: str
    bytes: int
    written: str

    def to_json(self) -> JsonObject:
        return {**attrs.asdict(self), "path": str(self.path)}


@attrs.frozen(kw_only=True)
class Waiting:
    """An array job that is not gathered: queued, running, done, broken, or unknown where its engine cannot be asked."""

    id: str
    path: Path
    experiment: str
    state: str
    standing: str
    written: str

    def to_json(self) -> JsonObject:
        return {**attrs.asdict(self), "kind": "array", "path": str(self.path)}


def find_runs(folder: Path) -> list[Run]:
    """Every run below a folder, the newest first. Files that are none are passed over."""
    found = [run for path in _candidates(folder, DEPTH) if (run := describe(path, folder)) is not None]
    return sorted(found, key=lambda run: (run.written, run.id), reverse=True)


def find_arrays(folder: Path) -> list[Waiting]:
    """Every array job below a folder that is not gathered, and how it stands: its engine is asked."""
    found = []
    for path in _candidates(folder, DEPTH, {SUFFIX}):
        with suppress(ArrayError):
            job = read(path)
            if job is not None:
                found.append(_waiting(path, job, folder))
    return found


def _waiting(path: Path, job: ArrayJob, folder: Path) -> Waiting:
    try:
        standing = look(job)
        state, told = standing.state, str(standing)
    except LaunchError as error:
        state, told = "unknown", str(error)
    written = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).isoformat()
    return Waiting(
        id=_id(path, folder), path=path, experiment=job.name, state=state, standing=told, written=written
    )


def find_run(name: str, folder: Path) -> Path:
    """The path of a run by its id, its path, or a part of the id that no other has. Raises RunError."""
    for path in (Path(name), folder / name):
        if path.is_file() or (path / RESULT).is_file():
            return path
    ids = {run.id: run.path for run in find_runs(folder)}
    fitting = [one for one in ids if name in one]
    if len(fitting) == 1:
        return ids[fitting[0]]
    if fitting:
        raise RunError(f"{name!r} may be any of: {', '.join(fitting[:8])}")
    known = f"; there are: {', '.join(list(ids)[:8])}" if ids else f"; there are no runs in {folder}"
    raise RunError(f"no run {name!r}{known}")


def describe(path: Path, folder: Path) -> Run | None:
    """What a list says about a file; None if it is no run."""
    try:
        with path.open("rb") as file:
            start = file.read(len(files.SQLITE))
        found = _database(path) if start == files.SQLITE else _result(path)
    except (OSError, msgspec.MsgspecError, RunDatabaseError, UnicodeDecodeError):
        return None
    meta = found.pop("meta")
    if not isinstance(meta.get("experiment"), str):
        return None
    status = path.stat()
    return Run(
        id=_id(path, folder),
        path=path,
        experiment=meta["experiment"],
        clock=meta.get("clock"),
        seed=meta.get("seed"),
        bytes=status.st_size,
        written=datetime.fromtimestamp(int(status.st_mtime), UTC).isoformat(),
        **found,
    )


def belongings(path: Path) -> list[Path]:
    """The files of a run: what was written with it, and nothing else."""
    file = path / RESULT if path.is_dir() else path
    files = [file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))]
    if file.name == RESULT:
        files += sorted(one for one in file.parent.iterdir() if one.suffix in _COMPANIONS)
    return [one for one in files if one.is_file()]


def remove(path: Path) -> list[Path]:
    """Remove a run's files, and its folder if nothing else is in it; what was removed. Raises OSError."""
    folder = path if path.is_dir() else path.parent
    removed = belongings(path)
    for one in removed:
        one.unlink()
    if removed[0].name == RESULT and folder.resolve() != Path.cwd() and not any(folder.iterdir()):
        folder.rmdir()
    return removed


# -- files


def _candidates(folder: Path, depth: int, ends: Set[str] = frozenset()) -> Iterator[Path]:
    """Files that may be runs; with ``ends`` those whose names end so."""
    try:
        entries: Sequence[os.DirEntry[str]] = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _NEVER:
            continue
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from _candidates(path, depth - 1, ends)
        elif ends:
            if path.suffix in ends:
                yield path
        elif path.suffix in _DATABASES or (path.suffix == ".json" and _may_be_result(path)):
            yield path


def _may_be_result(path: Path) -> bool:
    """A result begins with its meta: other JSON, however large, is not read."""
    try:
        with path.open("rb") as file:
            return b'"meta"' in file.read(200)
    except OSError:
        return False


def _result(path: Path) -> JsonObject:
    head = _HEAD.decode(files.read_bytes(path))
    agree = sum(bool(check.get("ok")) for check in head.checks)
    return {
        "meta": head.meta,
        "kind": "result",
        "rows": len(head.runs) or len(head.rows),
        "agree": f"{agree} of {len(head.checks)}" if head.checks else "",
    }


def _database(path: Path) -> JsonObject:
    found = describe_database(path)
    return {"meta": found["meta"], "kind": "database", "rows": found["samples"], "agree": ""}


def _id(path: Path, folder: Path) -> str:
    try:
        shown = path.relative_to(folder)
    except ValueError:
        shown = path
    return str(shown.parent) if shown.name == RESULT and shown.parent != Path() else str(shown)
