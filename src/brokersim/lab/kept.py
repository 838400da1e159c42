"""Knows how an experiment's result is kept in a run database and read again; not what is in it.

The curves are series of samples like a server's, so every reader of run databases sees them; the result as a whole is
a row of a table of its own, which readers that don't know it leave alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from brokersim.net.outputs.rundb import RunDatabase, RunDatabaseError
from brokersim.statsd.flushed import Flush

#: Parts of a result that are curves: [[s, value], …], at whatever depth.
CURVES = ("series", "truth", "slots", "cache", "rates", "creates", "signed", "curves")


class KeptError(ValueError):
    """A file that holds no result: which, why, what would be right."""


def keep(found: Mapping[str, Any], path: Path, command: str) -> None:
    """A new run database with the result. Raises RunDatabaseError, OSError."""
    meta = found["meta"]
    notes = {"command": command, **{key: _text(value) for key, value in meta.items() if value is not None}}
    database = RunDatabase(path, notes)
    try:
        for t, values in sorted(_samples(found).items()):
            database.write(_flush(t, values))
    finally:
        database.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE result (json TEXT NOT NULL)")
        connection.execute("INSERT INTO result VALUES (?)", (json.dumps(found),))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _samples(found: Mapping[str, Any]) -> dict[float, dict[str, float]]:
    rows: dict[float, dict[str, float]] = {}
    for part in CURVES:
        for name, points in _curves(found.get(part) or {}, part):
            for t, value in points:
                rows.setdefault(float(t), {})[name] = value
    return rows


def _curves(tree: Any, name: str) -> Iterator[tuple[str, Sequence[Sequence[float]]]]:
    if isinstance(tree, Mapping):
        for key, below in tree.items():
            yield from _curves(below, f"{name}.{key}")
    elif tree and isinstance(tree[0], (list, tuple)) and len(tree[0]) == 2:
        yield name, tree


def _flush(t: float, values: Mapping[str, float]) -> Flush:
    return Flush(
        t=t, interval=0.0, dialect="strict", values=values, self_values={}, counters={}, totals={}, gauges={}, sets={},
        samples={}, buckets={}, timer_counts={}, packets=0, metrics=0, bad_lines=0,
    )  # fmt: skip


def read_kept(path: Path) -> dict[str, Any]:
    """The result in a run database, or in a ``result.json``. Raises KeptError, OSError."""
    text = path.read_bytes()
    if text.startswith(b"SQLite format 3\0"):
        text = _from_database(path)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise KeptError(f"{path} is neither a run database nor a result: {error}") from None
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("meta"), dict)
        or "experiment" not in found["meta"]
    ):
        raise KeptError(f"{path} is no result of an experiment; make one with --db RUN.db or --out DIR")
    return found


def _from_database(path: Path) -> bytes:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (text,) = connection.execute("SELECT json FROM result").fetchone()
    except (sqlite3.Error, TypeError):
        raise KeptError(
            f"{path} holds no experiment's result; make one with: brokersim bench … --db RUN.db"
        ) from None
    return str(text).encode()


__all__ = ["KeptError", "RunDatabaseError", "keep", "read_kept"]
