"""Knows how samples become rows of a run database of their own: brokersim report reads it as it reads others."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from brokersim.brokermod import Handle

from ..contract import Value
from ..outqueue import Gap
from ..series import Sample, Series
from .base import Down, Sink

#: The layout of run databases (docs/reports.md): "brkr", version 1; times in seconds.
_MARKS: Final = f"PRAGMA application_id = {0x62726B72}; PRAGMA user_version = 1;"
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE sample (series INTEGER NOT NULL, t REAL NOT NULL, v, PRIMARY KEY (series, t)) WITHOUT ROWID;
CREATE TABLE held (id INTEGER PRIMARY KEY CHECK (id = 0), t REAL NOT NULL, data BLOB NOT NULL);
CREATE TABLE histogram (series INTEGER NOT NULL, t REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series, t))
    WITHOUT ROWID;
"""


def _stored(value: Value) -> Value:
    """SQLite's integers have 63 bits and a sign; counters have 64."""
    return value if isinstance(value, str) or -(2**63) <= value < 2**63 else float(value)


class RunDatabase(Sink):
    """Writes to ``path`` (``{rank}`` in it is the rank), names as statsd has them, times as they were read."""

    options: ClassVar[dict[str, Any]] = {"path": ""}
    has_text = False

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        if not config["path"]:
            raise ValueError("rundb needs a path")
        path = Path(str(config["path"]).replace("{rank}", str(handle.rank)))
        if path.exists() and path.stat().st_size:
            raise ValueError(
                f"{path} exists: a run database holds one run; choose a new name or move it away"
            )
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=0)
            self._connection.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {_MARKS}{_SCHEMA}"
            )
        except sqlite3.Error as error:
            raise ValueError(f"cannot make the run database {path}: {error}") from None
        self._ids: dict[str, int] = {}
        meta = {"source": "measured", "module": handle.name, "rank": str(handle.rank)}
        self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self._prefix = f"flux.{handle.name}.{handle.rank}."

    def describe(self, series: Series) -> None:
        """Made with its first row."""

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> None:
        connection, before = self._connection, dict(self._ids)
        try:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(self._id(one.series.name), one.ts_ns / 1e9, _stored(one.value)) for one in samples]
            # Of two values of one instant the last stands, so that a batch sent twice is there once.
            connection.executemany("INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._ids = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise Down(f"run database: {error}") from None

    def _id(self, name: str) -> int:
        number = self._ids.get(name)
        if number is None:
            number = self._ids[name] = len(self._ids) + 1
            self._connection.execute(
                "INSERT INTO series VALUES (?, 'value', ?)", (number, self._prefix + name)
            )
        return number

    def close(self) -> None:
        self._connection.close()
