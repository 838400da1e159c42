"""Knows how old rows of an SQLite file are, and how those that nobody marked are dropped; not who marks and when.

A row has the number of the checkpoint it was written, stored again or marked behind. A blob kept whole and as a
difference has two rows, and is as old as the younger. Source: flux-core's content-sqlite, whose column it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

COUNT: Final = (
    "SELECT (SELECT count(*) FROM objects)"
    " + (SELECT count(*) FROM patches WHERE hash NOT IN (SELECT hash FROM objects))"
)
OLDER: Final = (
    "SELECT count(*) FROM (SELECT max(epoch) AS youngest FROM"
    " (SELECT hash, epoch FROM objects UNION ALL SELECT hash, epoch FROM patches) GROUP BY hash) WHERE youngest < ?"
)
_PATCHES: Final = (
    "SELECT hash FROM patches WHERE epoch < ?1"
    " AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.hash = patches.hash AND objects.epoch >= ?1) LIMIT ?2"
)
_OBJECTS: Final = (
    "SELECT rowid, hash FROM objects WHERE epoch < ?1 AND rowid > ?2 AND rowid <= ?3"
    " AND NOT EXISTS (SELECT 1 FROM patches WHERE patches.hash = objects.hash AND patches.epoch >= ?1)"
    " ORDER BY rowid LIMIT ?4"
)
#: One look through the patches, however many rows go.
_LEFT_ALONE: Final = (
    "SELECT hash FROM patches WHERE base IN (SELECT hash FROM temp.doomed)"
    " AND hash NOT IN (SELECT hash FROM temp.doomed)"
)


def add_epochs(db: sqlite3.Connection) -> None:
    """A file of before has rows of no age, which are the oldest."""
    for table in ("objects", "patches"):
        if "epoch" not in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]:
            db.execute(f"ALTER TABLE {table} ADD COLUMN epoch INT DEFAULT 0")


def mark(db: sqlite3.Connection, epoch: int, digests: Iterable[bytes]) -> int:
    """Make blobs as young as that, if they are older; how many of them there are."""
    return sum(_mark_one(db, epoch, digest) for digest in digests)


def _mark_one(db: sqlite3.Connection, epoch: int, digest: bytes) -> bool:
    changed = 0
    for table in ("objects", "patches"):
        change = f"UPDATE {table} SET epoch = max(epoch, ?) WHERE hash = ?"
        changed += db.execute(change, (epoch, digest)).rowcount
    return changed > 0


def sweep(
    db: sqlite3.Connection, epoch: int, first: int, last: int, count: int, keep: Callable[[bytes], None]
) -> tuple[list[bytes], int]:
    """Drop at most so many blobs that are older, differences first; which, and the row up to which all is settled.

    ``keep`` makes a difference whole that stays while what it differs from goes.
    """
    doomed = [row[0] for row in db.execute(_PATCHES, (epoch, count))]
    reached, left = first, count - len(doomed)
    if left:
        rows = db.execute(_OBJECTS, (epoch, first, last, left)).fetchall()
        doomed += [digest for _, digest in rows]
        reached = rows[-1][0] if len(rows) == left else last
    if doomed:
        _drop(db, doomed, keep)
    return doomed, reached


def _drop(db: sqlite3.Connection, doomed: list[bytes], keep: Callable[[bytes], None]) -> None:
    db.execute("CREATE TEMP TABLE IF NOT EXISTS doomed(hash BLOB PRIMARY KEY) WITHOUT ROWID")
    db.execute("DELETE FROM temp.doomed")
    db.executemany("INSERT OR IGNORE INTO temp.doomed VALUES(?)", [(digest,) for digest in doomed])
    for (digest,) in db.execute(_LEFT_ALONE).fetchall():
        keep(digest)
    for table in ("objects", "patches"):
        db.execute(f"DELETE FROM {table} WHERE hash IN (SELECT hash FROM temp.doomed)")
