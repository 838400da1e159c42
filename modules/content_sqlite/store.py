"""Knows how blobs and checkpoints lie in an SQLite file, written in batches; not messages, not time.

A stored blob is acknowledged from memory and inserted with others in one transaction; ``flush`` is what makes
it durable. A write that fails loses nothing: the rows stay in memory, and new ones are refused until one works.
A blob that comes with what it differs in from one that is here is kept as that difference, as long as reading it does
not take too many steps: else a directory that grows would be kept whole at each change.
"""

from __future__ import annotations

import errno
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final, TypeVar

import msgspec

from brokersim.brokermod import RequestError, blobref, errnums

T = TypeVar("T")
#: Rows in memory at which they are written at once: 4 ms for blobs of 1 KiB, and no gain beyond it.
BATCH_ROWS: Final = 1000
#: The same in bytes, so that large blobs do not pile up.
BATCH_BYTES: Final = 8 * 1024 * 1024
#: Pages of 4 KiB the log may have before it is merged into the file. Hashes are random, so the same pages of
#: the index are merged over and over: SQLite's own 1000 make an insert half as expensive again.
CHECKPOINT_PAGES: Final = 8000
#: Bytes a row may need beyond its blob, generously.
ROW_OVERHEAD: Final = 1024
#: Differences on one another, at most: reading the last of them takes as many look-ups, of 5 µs each.
STEPS_MAX: Final = 500
#: Blobs whose place in such a row is remembered: the versions of all directories that are being written.
CHAINS_MAX: Final = 4096
JOURNAL_MODES: Final = ("WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF")
SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS objects(hash BLOB PRIMARY KEY, size INT, object BLOB)",
    "CREATE TABLE IF NOT EXISTS patches"
    "(hash BLOB PRIMARY KEY, size INT, base BLOB, at INT, removed INT, inserted BLOB) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS checkpt(key TEXT PRIMARY KEY, value TEXT)",
)
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


class BlobStore:
    """Blobs by SHA-1 digest and checkpoints by key in one SQLite file, which it alone may use while open.

    Raises RequestError from every method that meets a fault of the file: ENOSPC full disk, EROFS or EACCES no
    right to write, EBUSY used by another process, EIO everything else.
    """

    def __init__(self, path: str, *, journal_mode: str = "WAL", synchronous: str = "NORMAL") -> None:
        self.path = path
        #: Blobs acknowledged but not yet in the file, by digest.
        self._pending: dict[bytes, bytes | blobref.Blob] = {}
        #: Differences between a blob and the next that was kept whole; the least recently stored go first.
        self._steps: OrderedDict[bytes, int] = OrderedDict()
        self._pending_bytes = 0
        #: Why the last batch could not be written, if it could not.
        self.failure: RequestError | None = None
        self.writes = 0
        self._db: sqlite3.Connection = self._guard(
            lambda: sqlite3.connect(path, timeout=0, isolation_level=None)
        )
        try:
            self._guard(lambda: self._prepare(journal_mode, synchronous))
        except RequestError:
            self._db.close()
            raise

        # One blob too long would hold up its whole batch for ever, so it must not get in.
        self._longest = self._db.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - ROW_OVERHEAD

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
        run("COMMIT")

    # -- blobs

    def store(self, data: bytes | blobref.Blob) -> bytes:
        """Keep a blob; its digest. Durable after ``flush``; refused while writing fails."""
        digest = blobref.digest_of(data)
        if len(data) > self._longest:
            raise RequestError(
                errnums.EFBIG, f"blob of {len(data)} bytes, the limit of SQLite is {self._longest}"
            )
        if self.failure is not None:
            raise RequestError(self.failure.errno or errnums.EIO, self.failure.text)
        if digest not in self._pending:
            kept = self._pending[digest] = self._shortest(data) if isinstance(data, blobref.Blob) else data
            patch = kept.patch if isinstance(kept, blobref.Blob) else None
            self._pending_bytes += len(kept) if patch is None else len(patch.inserted)
        return digest

    def _shortest(self, blob: blobref.Blob) -> bytes | blobref.Blob:
        """Itself, to be kept as a difference, if that is shorter and what it differs from is known to be here."""
        patch = blob.patch
        before = self._steps.get(patch.base) if patch is not None else None
        is_patched = (
            patch is not None
            and before is not None
            and before < STEPS_MAX
            and len(patch.inserted) + ROW_OVERHEAD < len(blob)
        )
        if blob.digest not in self._steps:
            self._steps[blob.digest] = before + 1 if before is not None and is_patched else 0
            if len(self._steps) > CHAINS_MAX:
                self._steps.popitem(last=False)
        return blob if is_patched else bytes(blob)

    @property
    def is_batch_full(self) -> bool:
        """Enough is waiting to be written at once."""
        return len(self._pending) >= BATCH_ROWS or self._pending_bytes >= BATCH_BYTES

    @property
    def pending(self) -> int:
        """Blobs waiting to be written."""
        return len(self._pending)

    def load(self, digest: bytes) -> bytes:
        """The blob. Raises RequestError: ENOENT there is none, EIO what is stored has another hash."""
        pending = self._pending.get(digest)
        if pending is not None:
            return bytes(pending)
        data = self._guard(lambda: self._stored(digest))
        if sha1(data).digest() != digest:
            ref = blobref.from_digest(digest)
            raise RequestError(
                errnums.EIO, f"{self.path}: blob {ref} is damaged: its {len(data)} bytes have another hash"
            )
        return data

    def _stored(self, digest: bytes) -> bytes:
        """A blob as it lies in the file, put together from the one kept whole and the differences behind it."""
        patches: list[blobref.Patch] = []
        whole = self._one("SELECT object FROM objects WHERE hash = ?", digest)
        base = digest
        while whole is None:
            row = self._one("SELECT base, at, removed, inserted FROM patches WHERE hash = ?", base)
            if row is None and not patches:
                raise RequestError(errnums.ENOENT)
            if row is None or len(patches) > STEPS_MAX:
                return b""  # what it differs from is gone: damaged, as its hash will tell
            patches.append(blobref.Patch(*row))
            base = patches[-1].base
            whole = self._one("SELECT object FROM objects WHERE hash = ?", base)
        data = bytearray(whole[0] if isinstance(whole[0], bytes) else b"")
        for patch in reversed(patches):
            patch.apply(data)
        return bytes(data)

    def flush(self) -> None:
        """Write what is pending in one transaction; after it, killing the process loses none of it."""
        if not self._pending:
            return
        try:
            self._write(self._insert)
        except RequestError as error:
            self.failure = error
            raise
        self.failure = None
        self._pending.clear()
        self._pending_bytes = 0

    def _insert(self) -> None:
        # In the order of the index: neighbours fall on the same page.
        rows = sorted(self._pending.items())
        whole = [(digest, len(data), data) for digest, data in rows if isinstance(data, bytes)]
        self._db.executemany("INSERT OR IGNORE INTO objects(hash, size, object) VALUES(?, ?, ?)", whole)
        patches = [
            (digest, len(data), *data.patch)
            for digest, data in rows
            if not isinstance(data, bytes) and data.patch is not None
        ]
        if patches:
            self._db.executemany("INSERT OR IGNORE INTO patches VALUES(?, ?, ?, ?, ?, ?)", patches)

    # -- checkpoints

    def checkpoint_put(self, key: str, value: Any) -> None:
        """Keep a JSON value under a key, durably, and all blobs stored before it."""
        text = msgspec.json.encode(value).decode()
        self.flush()
        self._write(lambda: self._db.execute("REPLACE INTO checkpt(key, value) VALUES(?, ?)", (key, text)))

    def checkpoint_get(self, key: str) -> Any:
        """The value under a key. Raises RequestError: ENOENT there is none, EIO it is damaged."""
        row = self._guard(lambda: self._one("SELECT value FROM checkpt WHERE key = ?", key))
        if row is None:
            raise RequestError(errnums.ENOENT)
        try:
            return msgspec.json.decode(row[0])
        except (msgspec.DecodeError, TypeError):
            raise RequestError(errnums.EIO, f"{self.path}: checkpoint {key!r} is damaged: not JSON") from None

    # -- the file

    def close(self) -> None:
        """Write what is pending and close the file, also if writing fails: then that is raised."""
        try:
            self.flush()
        finally:
            self._db.close()

    def statistics(self) -> dict[str, int]:
        """Size of the file in bytes, rows waiting, and transactions written."""
        # No count of rows: SQLite would have to read them all.
        (pages,) = self._guard(lambda: self._one("PRAGMA page_count"))
        (page_size,) = self._guard(lambda: self._one("PRAGMA page_size"))
        return {"dbfile_size": pages * page_size, "pending": self.pending, "writes": self.writes}

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()

    def _write(self, change: Callable[[], object]) -> None:
        """One transaction, whole or not at all."""
        self._guard(lambda: self._transact(change))
        self.writes += 1

    def _transact(self, change: Callable[[], object]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            change()
            self._db.execute("COMMIT")
        except sqlite3.Error:
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
