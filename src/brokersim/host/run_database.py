"""Knows the run database that a module writes: numbers of series over time, for `brokersim report`; not what they are.

Times are seconds since the Unix epoch, as in every such file (protocol/rundb.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from brokersim.protocol.rundb import APPLICATION_ID, LARGEST_INTEGER, SCHEMA


class RunDatabase:
    """A new file, or with ``is_gone_on`` one that the same module has written. Raises ValueError that says why not."""

    def __init__(self, path: Path, meta: Mapping[str, str], is_gone_on: bool = False) -> None:
        import sqlite3  # here: of the modules that see this file few write one, and all wait for it at start-up

        self.path = path
        self._fault = sqlite3.Error
        is_new = not path.exists() or not path.stat().st_size
        if not is_new and not is_gone_on:
            raise ValueError(
                f"{path} exists: a run database holds one run; choose a new name or move it away"
            )
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=0)
            try:
                self._begin(meta, is_new)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise ValueError(f"cannot make the run database {path}: {error}") from None

    def _begin(self, meta: Mapping[str, str], is_new: bool) -> None:
        run = self._connection.execute
        if is_new:
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {SCHEMA}")
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        elif (
            run("PRAGMA application_id").fetchone() != (APPLICATION_ID,)
            or dict(run("SELECT * FROM meta")) != meta
        ):
            raise ValueError(f"{self.path} holds another run, or none; choose a new name or move it away")
        self._ids = {name: number for number, name in run("SELECT id, name FROM series")}

    def note(self, facts: Mapping[str, str]) -> None:
        """More facts about what is in it. Raises OSError."""
        try:
            self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
        except self._fault as error:
            raise OSError(f"run database {self.path}: {error}") from None

    def write(self, rows: Iterable[tuple[str, float, float]]) -> None:
        """(name, time, number) each; of two of one name and time the last stands. All or none. Raises OSError."""
        connection, before = self._connection, dict(self._ids)
        found = [(name, t, _stored(value)) for name, t, value in rows]
        try:
            connection.execute("BEGIN IMMEDIATE")
            numbered = [(self._id(name), t, value) for name, t, value in found]
            connection.executemany("INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", numbered)
            connection.execute("COMMIT")
        except self._fault as error:
            self._ids = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise OSError(f"run database {self.path}: {error}") from None

    def _id(self, name: str) -> int:
        number = self._ids.get(name)
        if number is None:
            number = self._ids[name] = len(self._ids) + 1
            self._connection.execute("INSERT INTO series VALUES (?, 'value', ?)", (number, name))
        return number

    def close(self) -> None:
        """Nothing is written any more."""
        self._connection.close()


def _stored(value: float) -> float:
    return value if -LARGEST_INTEGER <= value < LARGEST_INTEGER else float(value)
