"""Knows how a plan's units are worked off: over the cores, into one SQLite file, going on where it was left.

Doesn't know what a unit is about. One process writes to a file; an array job's elements have files of their own
beside it, which are gathered into it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs

from brokersim.lab.sweep.arrays import Share
from brokersim.lab.sweep.intervals import Store, Unit, evaluate
from brokersim.protocol.decoded import JsonObject

Say = Callable[[str], object]
#: Written into every file, so that another program's is not taken for ours.
APPLICATION = 0x62726B73
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class RunFileError(OSError):
    """A run file that cannot be used: which, why, what to do."""


class RunFile:
    """Rows of figures by the id of their combination. ``None``: kept in memory. Raises RunFileError."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=30)
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application != APPLICATION and tables:
                raise RunFileError(f"{path}: a database, but no run file; choose another name with --db")
            self._db.execute(f"PRAGMA application_id = {APPLICATION}")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise RunFileError(f"{path}: cannot be used as a run file: {error}") from None

    def close(self) -> None:
        self._db.close()

    def __contains__(self, row_id: object) -> bool:
        return self._db.execute("SELECT 1 FROM rows WHERE id = ?", (row_id,)).fetchone() is not None

    @staticmethod
    def known(path: Path) -> set[str]:
        """The ids of the rows that a file has, looked at without writing to it; none where there is no such file."""
        if not path.exists():
            return set()
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
                return {row_id for (row_id,) in db.execute("SELECT id FROM rows")}
        except sqlite3.Error as error:
            raise RunFileError(f"{path}: cannot be read as a run file: {error}") from None

    def row(self, row_id: str) -> JsonObject | None:
        found = self._db.execute("SELECT row FROM rows WHERE id = ?", (row_id,)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def add(self, unit: Unit, rows: Sequence[JsonObject]) -> None:
        """Keep a unit's rows; on the disk when this returns."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?)",
                [(unit.row_id(store), json.dumps(row)) for store, row in zip(unit.stores, rows, strict=True)],
            )

    def note(self, key: str, value: object) -> None:
        """Keep one thing about the run, such as its plan."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, json.dumps(value)))

    def noted(self, key: str) -> Any:
        """What was noted under a key, None if nothing was."""
        found = self._db.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def gather(self) -> int:
        """Take over what shards beside this file have found; how many files there were."""
        if self._path is None:
            return 0
        # Not by glob: a name may have its signs in it.
        mine = re.compile(re.escape(self._path.name) + r"\.\d+of\d+")
        shards = sorted(one for one in self._path.parent.iterdir() if mine.fullmatch(one.name))
        for shard in shards:
            with closing(RunFile(shard)) as other, self._db:
                self._db.executemany(
                    "INSERT OR IGNORE INTO rows VALUES (?, ?)", other._db.execute("SELECT id, row FROM rows")
                )
        return len(shards)


def left_of(units: Sequence[Unit], known: Container[str]) -> list[Unit]:
    """The units without the rows that are known."""
    found = (
        attrs.evolve(unit, stores=tuple(store for store in unit.stores if unit.row_id(store) not in known))
        for unit in units
    )
    return [unit for unit in found if unit.stores]


def part_of(units: Sequence[Unit], share: Share) -> list[Unit]:
    """An element's share of the units: whole ones but for those at its ends, rows even to one."""
    ends = list(accumulate(len(unit.stores) for unit in units))
    span = share.span(ends[-1] if ends else 0)
    found = []
    for unit, end in zip(units, ends, strict=True):
        begin = end - len(unit.stores)
        stores = unit.stores[max(0, span.start - begin) : max(0, span.stop - begin)]
        if stores:
            found.append(attrs.evolve(unit, stores=stores))
    return found


def sweep(units: Sequence[Unit], file: RunFile, *, workers: int, say: Say = lambda _: None) -> int:
    """Work off what the file does not have yet; how many rows that were. What is done stays done if it is broken off.

    Raises what a unit raises, such as RequestError.
    """
    left = left_of(units, file)
    total = sum(len(unit.stores) for unit in units)
    done = total - sum(len(unit.stores) for unit in left)
    new = 0
    say(f"{done} of {total} combinations")
    for unit, rows in _worked_off(left, workers):
        file.add(unit, rows)
        new += len(rows)
        say(f"{done + new} of {total} combinations")
    return new


def _worked_off(units: Sequence[Unit], workers: int) -> Iterator[tuple[Unit, list[JsonObject]]]:
    if workers == 1 or len(units) < 2:
        yield from map(_work, units)
        return
    # Spawned, not forked: a fork would take over whatever threads and signal handlers the caller has.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(units)), _leave_interrupts) as pool:
        yield from pool.imap_unordered(_work, units)


def _leave_interrupts() -> None:
    """^C reaches the whole group: the parent ends the others, which need not tell where they were."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(unit: Unit) -> tuple[Unit, list[JsonObject]]:
    return unit, evaluate(unit)


def rows_in_order(units: Sequence[Unit], file: RunFile) -> list[JsonObject]:
    """The rows of a plan, in the plan's order, whoever found them when. Combinations not yet run are left out."""
    ids: list[tuple[Unit, Store]] = [(unit, store) for unit in units for store in unit.stores]
    found = (file.row(unit.row_id(store)) for unit, store in ids)
    return [row for row in found if row is not None]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
