"""Knows what of a run is done already: each unit as it was found, in a file beside the database until the run is whole.

A unit is what takes time and stands by itself: a repetition, a hook's run, a round. Doesn't know what any of them is.
"""

from __future__ import annotations

import io
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import attrs

R = TypeVar("R")
#: "brkp": tells us that a file is one of these.
APPLICATION = 0x62726B70
_SCHEMA = """
CREATE TABLE IF NOT EXISTS made (what TEXT NOT NULL, command TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
"""
#: Where a unit's value may come from: the frozen classes of experiments. See `_Reader`.
_OURS = "brokersim.lab."


class PartsError(OSError):
    """A file of parts that cannot be used: which, why, what to do."""


class Parts:
    """Units by name. ``once`` does what is not done yet; with no file it does everything.

    ``database`` is for an experiment that keeps its rows by itself.
    """

    def __init__(self, file: PartFile | None = None, prefix: str = "", database: Path | None = None) -> None:
        self._file = file
        self._prefix = prefix
        self.database = database

    def within(self, name: str) -> Parts:
        """The same file, for the units of one repetition."""
        return Parts(self._file, f"{self._prefix}{name}/")

    def once(self, name: str, work: Callable[[], R]) -> R:
        """What ``work()`` finds, or found in an earlier life of this run. Raises what it raises, and PartsError."""
        known = self.known(name)
        if known:
            return known[0]  # type: ignore[no-any-return]  # whoever names a unit knows what it is
        found = work()
        self.keep(name, found)
        return found

    def known(self, name: str) -> tuple[Any, ...]:
        """A unit's value alone in a tuple, or nothing if it is not done."""
        return () if self._file is None else self._file.begin(self._prefix + name)

    def keep(self, name: str, found: object) -> None:
        """The unit is done; on the disk when this returns."""
        if self._file is not None:
            self._file.write(self._prefix + name, found)


#: For a run that is not kept.
NOWHERE = Parts()


class PartFile:
    """The units of one run, in the file ``RUN.db.part`` beside its database. Raises PartsError.

    ``what`` is all that decides what is found: a file with units of another is refused. ``command`` is what a person
    typed to make it. Nobody else can open the file while this one has it.
    """

    def __init__(self, database: Path, what: str, command: str) -> None:
        self.path = _beside(database)
        try:
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            try:
                self._prepare(what, command)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise self._fault(error) from None
        self._is_needed = True
        self._begun: set[str] = set()
        #: Units that were done before.
        self.before = self.count

    def _prepare(self, what: str, command: str) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("BEGIN EXCLUSIVE")
        (application,) = run("PRAGMA application_id").fetchone()
        (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION and tables:
            raise PartsError(
                f"{self.path}: not a part of a run; move it away or choose another name with --db"
            )
        run(f"PRAGMA application_id = {APPLICATION}")
        for table in filter(str.strip, _SCHEMA.split(";")):
            run(table)
        made = run("SELECT what, command FROM made").fetchone()
        if made is None:
            run("INSERT INTO made VALUES (?, ?)", (what, command))
        elif made[0] != what:
            raise PartsError(_foreign(self.path, str(made[1]), command))
        run("COMMIT")

    def begin(self, name: str) -> tuple[Any, ...]:
        """`read`, once a life: two units of one name would each get what the first found."""
        assert name not in self._begun, name
        self._begun.add(name)
        return self.read(name)

    def read(self, name: str) -> tuple[Any, ...]:
        """The value of a unit in a tuple, an empty one if it is not done."""
        try:
            row = self._db.execute("SELECT value FROM parts WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._fault(error) from None
        if row is None:
            return ()
        try:
            return (_Reader(io.BytesIO(row[0])).load(),)
        except Exception as error:  # whatever a damaged pickle makes of itself
            raise PartsError(
                f"{self.path}: {name} is damaged ({error}); remove the file to begin anew"
            ) from None

    def write(self, name: str, value: object) -> None:
        try:
            self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (name, pickle.dumps(value)))
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def take_over(self, database: Path) -> int:
        """The units of the part file beside another database, of the same run; how many were new here."""
        path = _beside(database)
        if not path.exists():
            return 0
        try:
            with closing(_looked_at(path)) as other:
                made = other.execute("SELECT what, command FROM made").fetchone()
                (ours,) = self._db.execute("SELECT what FROM made").fetchone()
                if made is None or made[0] != ours:
                    raise PartsError(f"{path} holds what is done of another run; remove it to begin anew")
                before = self.count
                rows = other.execute("SELECT name, value FROM parts")
                self._db.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise PartsError(f"{path}: {error}; remove it to begin anew") from None
        return self.count - before

    @property
    def count(self) -> int:
        """Units that are done."""
        try:
            (count,) = self._db.execute("SELECT count(*) FROM parts").fetchone()
        except sqlite3.Error as error:
            raise self._fault(error) from None
        return int(count)

    def remove(self) -> None:
        """The run is whole and kept elsewhere."""
        self._is_needed = False

    def close(self) -> None:
        """A file without any unit goes, too."""
        try:
            is_needed = self._is_needed and self.count > 0
        finally:
            self._db.close()
        if not is_needed:
            self.path.unlink(missing_ok=True)

    def _fault(self, error: sqlite3.Error) -> PartsError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            return PartsError(
                f"{self.path}: another run is writing it; wait for it, or choose another name with --db"
            )
        return PartsError(f"{self.path}: {error}; it holds what is done of a run, remove it to begin anew")


def left_of(database: Path) -> str:
    """What there is of a run that was broken off, at whatever moment, and how it goes on."""
    path = _beside(database)
    if not path.exists():
        return "no part of it was done, so nothing is kept"
    return f"what is done is kept in {path}; the same command goes on from there"


def names_in(database: Path) -> frozenset[str]:
    """The names of the units done so far, looked at without writing; none where nothing is. Raises PartsError."""
    path = _beside(database)
    if not path.exists():
        return frozenset()
    try:
        with closing(_looked_at(path)) as db:
            return frozenset(name for (name,) in db.execute("SELECT name FROM parts"))
    except sqlite3.Error as error:
        raise PartsError(f"{path}: {error}; remove it to begin anew") from None


def _looked_at(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)


def _beside(database: Path) -> Path:
    return database.with_name(f"{database.name}.part")


def _foreign(path: Path, before: str, now: str) -> str:
    told = f"{path} holds what is done of another run"
    if before != now:
        return f"{told}, {before}: give that command to go on with it, or remove the file to begin anew"
    return f"{told}: the same command of another version, or with another file behind it; remove it to begin anew"


class _Reader(pickle.Unpickler):
    """Reads plain values and the frozen classes of experiments, nothing else: who writes such a file runs no code here.

    Pickle, because what comes out has to be what went in, to the type: a number that was whole stays whole.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(_OURS):
            found = super().find_class(module, name)
            if isinstance(found, type) and attrs.has(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")
