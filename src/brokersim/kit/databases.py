"""The databases of a module: which it has open, and how one is made to refuse what a full or a broken disk would.

Knows nothing of faults, nor of who is told what was refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

#: What an SQLite statement may do that a disk which fails does not let it do.
_CHANGES = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)


@runtime_checkable
class Database(Protocol):
    """What a module has in the place of an SQLite database, and can be told to grow no more."""

    def stop_growing(self) -> Callable[[], None]:
        """Refuse from now on with ENOSPC what takes more room; what ends that."""


def databases(body: object) -> list[sqlite3.Connection | Database]:
    """The open databases of a module's object, its own or those of the objects it is made of."""
    parts = list(getattr(body, "__dict__", {}).values())
    parts += [inner for part in parts for inner in getattr(part, "__dict__", {}).values()]
    return [part for part in parts if isinstance(part, sqlite3.Connection | Database) and _is_open(part)]


def _is_open(database: sqlite3.Connection | Database) -> bool:
    """Its module may be about to end."""
    try:
        return isinstance(database, Database) or database.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


def stop_growing(database: sqlite3.Connection | Database) -> Callable[[], None]:
    """Let a database have no page more than it has; what gives it back the limit it had.

    Of two at one time the first gives it back: the limit the second met is the first's.
    """
    if isinstance(database, Database):
        return database.stop_growing()
    (before,) = database.execute("PRAGMA max_page_count").fetchone()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    if before <= pages:
        return lambda: None
    _set_pages(database, pages)
    return partial(_set_pages, database, before)


def stop_writing(database: sqlite3.Connection | Database) -> Callable[[], None]:
    """Let a database be read only: what changes it is denied, which is no full disk. What ends that."""
    if isinstance(database, Database):
        raise ValueError(
            "fault fail-disk: what is kept in memory has no disk that fails; give a state directory"
        )
    database.set_authorizer(_only_reads)
    return partial(_allow_all, database)


def _only_reads(action: int, *_what: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _CHANGES else sqlite3.SQLITE_OK


def _allow_all(database: sqlite3.Connection) -> None:
    try:
        database.set_authorizer(None)
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):  # its module may have ended meanwhile
            raise


def _set_pages(database: sqlite3.Connection, limit: int) -> None:
    try:
        database.execute(f"PRAGMA max_page_count={int(limit)}")
    except sqlite3.ProgrammingError as error:
        if "closed" not in str(error):  # its module may have ended meanwhile
            raise
