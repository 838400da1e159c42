"""Knows how blobs and checkpoints lie in an SQLite file, a batch in a transaction; not messages, not time."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from brokersim.brokermod import RequestError, blobref, errnums

from . import sweeping
from .batches import Batches, Waiting
from .chains import ROW_OVERHEAD

T = TypeVar("T")
#: Pages of 4 KiB the log may have before it is merged into the file. Hashes are random, so the same pages of
#: the index are merged over and over: SQLite's own 1000 make an insert half as expensive again.
CHECKPOINT_PAGES: Final = 8000
JOURNAL_MODES: Final = ("WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF")
#: Bytes below which a copy costs less than what it saves.
_COPIED_MAX: Final = 4096
SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS objects(hash BLOB PRIMARY KEY, size INT, object BLOB, epoch INT DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS patches(hash BLOB PRIMARY KEY, size INT, base BLOB, at INT, removed INT, "
    "inserted BLOB, epoch INT DEFAULT 0) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS checkpt_v2(id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, value TEXT)",
)
#: Where the one checkpoint lay before there were several; what is there moves.
_OLD_TABLE: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'checkpt'"
_MOVE: Final = (
    "INSERT INTO checkpt_v2(value) SELECT value FROM checkpt WHERE key = 'kvs-primary'",
    "DROP TABLE checkpt",
)
#: Stored again, a blob is as young as if it were new.
_PUT_WHOLE: Final = (
    "INSERT INTO objects(hash, size, object, epoch) VALUES(?, ?, ?, ?) "
    "ON CONFLICT(hash) DO UPDATE SET epoch = excluded.epoch"
)
_PUT_PATCH: Final = (
    "INSERT INTO patches(hash, size, base, at, removed, inserted, epoch) VALUES(?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT(hash) DO UPDATE SET epoch = excluded.epoch"
)
_PUT_MADE_WHOLE: Final = f"{_PUT_WHOLE.removesuffix('excluded.epoch')}max(epoch, excluded.epoch)"
_ERRNUMS: Final = {
    sqlite3.SQLITE_FULL: errnums.ENOSPC,
    sqlite3.SQLITE_TOOBIG: errnums.EFBIG,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
_HINTS: Final = {
    sqlite3.SQLITE_NOTADB: "move it away or give another state directory",
    sqlite3.SQLITE_CORRUPT: "restore it from a copy or give another state directory",
    sqlite3.SQLITE_BUSY: "another instance uses this state directory",
    sqlite3.SQLITE_CANTOPEN: "the directory must exist and be writable",
    sqlite3.SQLITE_READONLY: "the file and its directory must be writable",
}


class BlobStore(Batches):
    """Blobs and checkpoints in one SQLite file, which it alone may use while open.

    Raises RequestError from every method that meets a fault of the file: ENOSPC full disk, EROFS or EACCES no
    right to write, EBUSY used by another process, EIO everything else.
    """

    def __init__(
        self,
        path: str,
        *,
        journal_mode: str = "WAL",
        synchronous: str = "NORMAL",
        pending: dict[bytes, Waiting] | None = None,
    ) -> None:
        self.path = path
        self._is_patient = synchronous == "NORMAL"
        self._db: sqlite3.Connection = self._guard(
            lambda: sqlite3.connect(path, timeout=0, isolation_level=None)
        )
        try:
            self._guard(lambda: self._prepare(journal_mode, synchronous))
        except RequestError:
            self._db.close()
            raise
        super().__init__(path, self._db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - ROW_OVERHEAD, pending)
        self.epoch = self._one("SELECT max(id) FROM checkpt_v2")[0] or 0

    def _prepare(self, journal_mode: str, synchronous: str) -> None:
        run = self._db.execute
        # Exclusive: a second instance on the same file must fail at its start, not corrupt the first.
        run("PRAGMA locking_mode=EXCLUSIVE")
        run(f"PRAGMA journal_mode={journal_mode}")
        run(f"PRAGMA synchronous={synchronous}")
        run(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        run("BEGIN EXCLUSIVE")
        for table in _TABLES:
            run(table)
        for step in _MOVE if run(_OLD_TABLE).fetchone() else ():
            run(step)
        sweeping.add_epochs(self._db)
        run("COMMIT")

    # -- blobs

    def _put(self, blobs: dict[bytes, Waiting]) -> None:
        self._write(lambda: self._insert(blobs))

    def _insert(self, blobs: dict[bytes, Waiting]) -> None:
        # In the order of the index: neighbours fall on the same page.
        rows = sorted(blobs.items())
        epoch = self.epoch
        # sqlite3 takes a bytearray as it is, but asks of bytes whether somebody adapts them: a third of a row's cost.
        whole = [
            (bytearray(digest), len(data), bytearray(data) if len(data) < _COPIED_MAX else data, epoch)
            for digest, data in rows
            if isinstance(data, bytes)
        ]
        self._db.executemany(_PUT_WHOLE, whole)
        patches = [
            (bytearray(digest), len(data), bytearray(patch.base), *patch[1:], epoch)
            for digest, data in rows
            if not isinstance(data, bytes) and (patch := data.patch) is not None
        ]
        if patches:
            self._db.executemany(_PUT_PATCH, patches)

    def _whole(self, digest: bytes) -> bytes | None:
        row = self._one("SELECT object FROM objects WHERE hash = ?", digest)
        if row is None:
            return None
        return row[0] if isinstance(row[0], bytes) else b""  # damaged, as its hash will tell

    def _patch(self, digest: bytes) -> blobref.Patch | None:
        row = self._one("SELECT base, at, removed, inserted FROM patches WHERE hash = ?", digest)
        return None if row is None else blobref.Patch(*row)

    # -- checkpoints

    def _put_checkpoint(self, text: str, keep: int) -> None:
        """It is on disk when this returns, and all blobs before it: they are in the same log, which is synced."""
        if not self._is_patient:
            self._write(lambda: self._append_checkpoint(text, keep))
            return
        # In WAL mode NORMAL syncs no commit: what was answered for would survive a kill, but no power cut.
        self._guard(lambda: self._db.execute("PRAGMA synchronous=FULL"))
        try:
            self._write(lambda: self._append_checkpoint(text, keep))
        finally:
            self._guard(lambda: self._db.execute("PRAGMA synchronous=NORMAL"))

    def _append_checkpoint(self, text: str, keep: int) -> None:
        self._db.execute("INSERT INTO checkpt_v2(value) VALUES(?)", (text,))
        self._db.execute(
            "DELETE FROM checkpt_v2 WHERE id NOT IN (SELECT id FROM checkpt_v2 ORDER BY id DESC LIMIT ?)",
            (keep,),
        )

    def _checkpoints(self) -> list[tuple[int, Any]]:
        query = "SELECT id, value FROM checkpt_v2 ORDER BY id DESC"
        return self._guard(lambda: self._db.execute(query).fetchall())

    # -- collecting garbage

    def _count(self) -> int:
        return self._number(sweeping.COUNT)

    def _last_row(self) -> int:
        return self._number("SELECT max(rowid) FROM objects")

    def _older(self, epoch: int) -> int:
        return self._number(sweeping.OLDER, epoch)

    def _mark(self, epoch: int, digests: list[bytes]) -> int:
        return self._write(lambda: sweeping.mark(self._db, epoch, digests))

    def _sweep(self, epoch: int, first: int, last: int, count: int) -> tuple[list[bytes], int]:
        return self._write(lambda: sweeping.sweep(self._db, epoch, first, last, count, self._make_whole))

    def _make_whole(self, digest: bytes) -> None:
        """What a difference leads to goes; a damaged one stays as it is."""
        data = self._stored(digest)
        if blobref.as_blob(data).digest != digest:
            return
        (epoch,) = self._one("SELECT epoch FROM patches WHERE hash = ?", digest)
        self._db.execute(_PUT_MADE_WHOLE, (digest, len(data), data, epoch))
        self._db.execute("DELETE FROM patches WHERE hash = ?", (digest,))
        self._chains.made_whole(digest)

    def _number(self, query: str, *values: Any) -> int:
        """What a query counts; 0 if there is nothing."""
        found: int | None = self._one(query, *values)[0]
        return found or 0

    # -- the file

    def look_over(self) -> str:
        """What there is, for people. Raises RequestError(EIO) if SQLite finds it damaged."""
        found = self._one("PRAGMA quick_check")[0]
        if found != "ok":
            raise RequestError(errnums.EIO, f"{self.path}: {found}; {_HINTS[sqlite3.SQLITE_CORRUPT]}")
        blobs, checkpoints = self._one(
            "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM patches), (SELECT count(*) FROM checkpt_v2)"
        )
        return f"{blobs} blobs and {checkpoints} checkpoints are there"

    def close(self) -> None:
        """Write what is pending and close the file, also if writing fails: then that is raised."""
        try:
            super().close()
        finally:
            self._db.close()

    def abandon(self) -> None:
        """Close the file and write nothing, for one that crashed; harmless when it is closed."""
        self._db.close()

    def _size(self) -> int:
        # No count of rows: SQLite would have to read them all.
        (pages,) = self._one("PRAGMA page_count")
        (page_size,) = self._one("PRAGMA page_size")
        size: int = pages * page_size
        return size

    def _one(self, query: str, *values: Any) -> Any:
        return self._guard(lambda: self._db.execute(query, values).fetchone())

    def _write(self, change: Callable[[], T]) -> T:
        """One transaction, whole or not at all."""
        return self._guard(lambda: self._transact(change))

    def _transact(self, change: Callable[[], T]) -> T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            made = change()
            self._db.execute("COMMIT")
            return made
        except (sqlite3.Error, RequestError):
            # Some errors have rolled back by themselves; a second rollback would hide the first error.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as error:
            raise fault(self.path, error) from None


def fault(path: str, error: sqlite3.Error) -> RequestError:
    """What an SQLite error means to a peer: an errnum, and a text that names the file and the way out."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = (code or 0) & 0xFF  # the bits above give the detail
    hint = _HINTS.get(primary)
    text = f"{path}: {error}" + (f"; {hint}" if hint else "")
    return RequestError(_ERRNUMS.get(primary, errnums.EIO), text)
