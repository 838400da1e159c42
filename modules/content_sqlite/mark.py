"""Knows that a state directory had a database once, and whether it was closed; so that one that is gone is missed."""

from __future__ import annotations

import errno
from pathlib import Path

from brokersim.brokermod import RequestError

_CLOSED = "closed"


class Mark:
    """The file ``content.mark`` beside a database: ``closed``, or the journal mode of who has it open or was killed."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name("content.mark")

    def check(self) -> None:
        """Raises RequestError(ENOENT) if the database, or the log with its last commits, was here and is gone.

        SQLite would make an empty one, or open what is left, without a word.
        """
        try:
            was = self._path.read_text()
        except OSError:
            return
        log = Path(f"{self._database}-wal")
        if not self._database.is_file() or not self._database.stat().st_size:
            gone = f"{self._database} is missing or empty, and this state directory had one"
        elif was == "WAL" and not log.is_file():
            gone = f"{log} is missing, and with it what was written last"
        else:
            return
        raise RequestError(
            errno.ENOENT,
            f"{gone}; restore it from a copy, or remove {self._path} to go on with what is there",
        )

    def opened(self, journal_mode: str) -> None:
        self._path.write_text(journal_mode)

    def closed(self) -> None:
        self._path.write_text(_CLOSED)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)
