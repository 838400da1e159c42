"""Knows that a state directory had a database once, and whether it was closed; so that one that is gone is missed."""

from __future__ import annotations

import os
from pathlib import Path

_CLOSED = "closed"


class Mark:
    """The file ``content.mark`` beside a database: ``closed``, or the journal mode of who has it open or was killed."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name("content.mark")

    def gone(self) -> str:
        """What was here and is gone: the database, or the log with its last commits; empty if nothing is.

        SQLite would make an empty one, or open what is left, without a word.
        """
        try:
            was = self._path.read_text()
        except OSError:
            return ""
        log = Path(f"{self._database}-wal")
        if not self._database.is_file() or not self._database.stat().st_size:
            return f"{self._database} is missing or empty, and this state directory had one"
        if was == "WAL" and not log.is_file():
            return f"{log} is missing, and with it what was written last"
        return ""

    def opened(self, journal_mode: str) -> None:
        """SQLite has the database open. Its log has to be on the disk before we say that there is one."""
        log = Path(f"{self._database}-wal")
        if log.is_file():
            _sync(log)
        self._write(journal_mode)

    def closing(self) -> None:
        """On the disk before SQLite merges its log and removes it: killed in between, nothing is missing."""
        self._write(_CLOSED)

    def _write(self, text: str) -> None:
        """Whole or not at all, and never later than what SQLite does next."""
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        _sync(self._path.parent)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """A file, or a folder: a file's new name is on the disk only when its folder is."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
