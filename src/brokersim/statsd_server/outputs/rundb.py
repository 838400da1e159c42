"""Knows the run database: one SQLite file a run, every flushed value and every timer's histogram; not how to draw it.

Source of the layout: the house's `sample(series, t, v) WITHOUT ROWID`, one row a value, times in seconds as doubles.
"""

from __future__ import annotations

import math
import os
import platform
import shlex
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import trio

from brokersim.protocol.rundb import APPLICATION_ID, LARGEST_INTEGER, SCHEMA
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.flushed import Flush
from brokersim.statsd.slots import Keep
from brokersim.statsd_server.outputs.base import QUEUE_LIMIT, QueuedOutput
from brokersim.statsd_server.settings import ServeError
from brokersim.version import VERSION

#: Kinds of series: what was shown, the truth beside it (experiments know it), histograms of timers.
VALUE, TRUTH, TIMER = "value", "truth", "timer"
#: Rows of all series between two times, with the number of their slot of a step in microseconds.
_SLOTS = (
    "SELECT series, CAST(ROUND(t * 1e6) AS INTEGER) / ? AS slot, {column} FROM series CROSS JOIN {table}"
    " ON {table}.series = series.id WHERE t >= ? AND t < ? ORDER BY series, t"
)


class RunDatabaseError(ServeError):
    """A file that cannot be made a run database, or is none."""


class RunDatabase:
    """A new run database at ``path``, written flush by flush. Raises RunDatabaseError.

    With ``goes_on`` it may also be the one that a server left, which it then continues. With ``keeps``, finest first,
    what is older than a length becomes one point a slot of the next step: the average of its values, as whisper does by
    default, and the merged histogram; what is older than the last length goes.
    May be handed from thread to thread, but not used by two at once.
    """

    def __init__(
        self,
        path: Path,
        meta: Mapping[str, str] | None = None,
        keeps: Sequence[Keep] = (),
        *,
        goes_on: bool = False,
    ) -> None:
        self.path = path
        self._keeps = tuple(keeps)
        # Per step, in microseconds: everything before has become slots of it. Under 0: everything before has gone.
        self._aged: dict[int, int] = {}
        #: What the server held that wrote here before; None in a new file.
        self.held: bytes | None = None
        if path.exists() and path.stat().st_size:
            self.held = _held_in(path) if goes_on else None
            if self.held is None:
                raise RunDatabaseError(
                    f"{path} exists: a run database holds one run; choose a new name or move it away"
                )
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # NORMAL: a crash of the machine may cost the last flushes, never the file.
            self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            if self.held is None:
                self._connection.executescript(SCHEMA)
            self.note({**_writer(), **(meta or {})})
            known = self._connection.execute("SELECT kind, name, id FROM series")
            self._series: dict[tuple[str, str], int] = {(kind, name): number for kind, name, number in known}
        except sqlite3.Error as error:
            raise RunDatabaseError(f"cannot make the run database {path}: {error}") from None

    def note(self, meta: Mapping[str, str]) -> None:
        """Keeps facts about the run: command, seed, versions."""
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())

    def write(self, *flushes: Flush, held: bytes | None = None) -> None:
        """All of them, or none, and what the server holds behind the last. Raises sqlite3.Error."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        known, aged = dict(self._series), dict(self._aged)
        try:
            for flush in flushes:
                self._write_flush(flush)
            if flushes and held is not None:
                connection.execute("INSERT OR REPLACE INTO held VALUES (0, ?, ?)", (flushes[-1].t, held))
            if flushes and self._keeps:
                self._age(round(flushes[-1].t * 1e6))
            connection.execute("COMMIT")
        except BaseException:
            self._series, self._aged = known, aged
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def add(self, kind: str, name: str, points: Iterable[Sequence[float]]) -> None:
        """Adds (t in s, value) to a series of kind ``value`` or ``truth``. Raises sqlite3.Error."""
        number = self._id(kind, name)
        # Of several values at one instant the last stands, as on a picture.
        rows = [(number, t, v) for t, v in points]
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", rows)

    def _write_flush(self, flush: Flush) -> None:
        values = [
            (self._id(VALUE, name), flush.t, value if abs(value) < LARGEST_INTEGER else float(value))
            for table in (flush.self_values, flush.values)
            for name, value in table.items()
            if not math.isnan(value)
        ]
        values += [
            (self._id(VALUE, name), float(t), value if abs(value) < LARGEST_INTEGER else float(value))
            for t, table in flush.timed.items()
            for name, value in table.items()
        ]
        # A clock set back may come by the same instant twice: the later value stands.
        self._connection.executemany("INSERT OR REPLACE INTO sample VALUES (?, ?, ?)", values)
        histograms = [
            (self._id(TIMER, key), flush.t, to_blob(buckets)) for key, buckets in flush_buckets(flush)
        ]
        self._connection.executemany("INSERT OR REPLACE INTO histogram VALUES (?, ?, ?)", histograms)

    def _id(self, kind: str, name: str) -> int:
        number = self._series.get((kind, name))
        if number is None:
            row = self._connection.execute(
                "INSERT INTO series (kind, name) VALUES (?, ?) RETURNING id", (kind, name)
            ).fetchone()
            number = self._series[kind, name] = int(row[0])
        return number

    def _age(self, now: int) -> None:
        for fine, coarse in pairwise(self._keeps):
            before = (now - fine.length) // coarse.step * coarse.step
            since = self._aged.get(coarse.step, 0)
            if before > since:
                self._coarsen(coarse.step, since, before)
                self._aged[coarse.step] = before
        last = self._keeps[-1]
        # A hundredth late at most: looking through all series at each flush would be dearer than the flush.
        pace = max(last.step, last.length // 100)
        before = (now - last.length) // pace * pace
        if before > self._aged.get(0, 0):
            self._delete(0, before)
            self._aged[0] = before

    def _coarsen(self, step: int, since: int, before: int) -> None:
        between = (step, since / 1e6, before / 1e6)
        values: dict[tuple[int, float], list[float]] = {}
        rows = self._connection.execute(_SLOTS.format(table="sample", column="v"), between)
        for series, slot, v in rows:
            values.setdefault((series, slot * step / 1e6), []).append(v)
        histograms: dict[tuple[int, float], LogBuckets] = {}
        rows = self._connection.execute(_SLOTS.format(table="histogram", column="data"), between)
        for series, slot, blob in rows:
            histograms.setdefault((series, slot * step / 1e6), LogBuckets()).merge(from_blob(blob))
        self._delete(since, before)
        self._connection.executemany(
            "INSERT OR REPLACE INTO sample VALUES (?, ?, ?)",
            [(series, t, sum(points) / len(points)) for (series, t), points in values.items()],
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO histogram VALUES (?, ?, ?)",
            [(series, t, to_blob(buckets)) for (series, t), buckets in histograms.items()],
        )

    def _delete(self, since: int, before: int) -> None:
        for table in ("sample", "histogram"):
            # Series by series, since that is how the tables are sorted.
            self._connection.execute(
                f"DELETE FROM {table} WHERE series IN (SELECT id FROM series) AND t >= ? AND t < ?",
                (since / 1e6, before / 1e6),
            )

    def close(self) -> None:
        """Leaves one file, which readers leave alone: the write-ahead log is only for a run that goes on."""
        with suppress(sqlite3.OperationalError):  # somebody reads it now: it stays as it is
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()


def _held_in(path: Path) -> bytes | None:
    """What a server left in its run database; None if it left nothing, or the file is none."""
    try:
        with _reading(path) as connection:
            row = connection.execute("SELECT data FROM held").fetchone()
    except RunDatabaseError:
        return None
    return None if row is None else bytes(row[0])


def _writer() -> dict[str, str]:
    """Who writes: program, versions, machine, and the command line it was started with."""
    name, *words = sys.argv or [""]
    return {
        "writer": f"brokersim {VERSION}",
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "command": shlex.join([Path(name).name, *words]),
    }


def flush_buckets(flush: Flush) -> Iterator[tuple[str, LogBuckets]]:
    """Every timer that has samples, as log buckets, which merge over time and over ranks."""
    for key, samples in flush.samples.items():
        buckets = LogBuckets()
        buckets.add_many(samples)
        yield key, buckets
    yield from flush.buckets.items()


class _Blob(msgspec.Struct, array_like=True, frozen=True):
    """What a histogram row holds: MessagePack of these, bucket indexes as differences to the one before."""

    zeros: int
    n: int
    total: float
    mean: float
    squared_deviations: float
    sum_squares: float
    lower: float
    upper: float
    steps: tuple[int, ...]
    counts: tuple[int, ...]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Blob)


def to_blob(buckets: LogBuckets) -> bytes:
    indexes = sorted(buckets.counts)
    return _ENCODER.encode(
        _Blob(
            zeros=buckets.zeros,
            n=buckets.n,
            total=buckets.total,
            mean=buckets.mean,
            squared_deviations=buckets.squared_deviations,
            sum_squares=buckets.sum_squares,
            lower=buckets.lower,
            upper=buckets.upper,
            steps=tuple(index - before for before, index in zip((0, *indexes), indexes, strict=False)),
            counts=tuple(buckets.counts[index] for index in indexes),
        )
    )


def from_blob(blob: bytes) -> LogBuckets:
    """The histogram of a row. Raises RunDatabaseError for bytes that are none."""
    try:
        read = _DECODER.decode(blob)
    except msgspec.DecodeError as error:
        raise RunDatabaseError(f"not a histogram: {error}") from None
    counts: Counter[int] = Counter()
    index = 0
    for step, count in zip(read.steps, read.counts, strict=True):
        index += step
        counts[index] = count
    return LogBuckets(
        counts=counts,
        zeros=read.zeros,
        n=read.n,
        total=read.total,
        mean=read.mean,
        squared_deviations=read.squared_deviations,
        sum_squares=read.sum_squares,
        lower=read.lower,
        upper=read.upper,
    )


# --- reading


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise RunDatabaseError(f"no run database at {path}")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise RunDatabaseError(f"{path} is no run database")
        yield connection
    except sqlite3.DatabaseError as error:
        raise RunDatabaseError(f"{path} cannot be read as a run database: {error}") from None
    finally:
        connection.close()


def read_meta(path: Path) -> dict[str, str]:
    with _reading(path) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


def read_series(path: Path, kind: str = VALUE) -> list[str]:
    """Names of the series of a kind, ``value`` or ``timer``, in order. Raises RunDatabaseError."""
    with _reading(path) as connection:
        return [
            name
            for (name,) in connection.execute("SELECT name FROM series WHERE kind = ? ORDER BY 1", (kind,))
        ]


_BETWEEN = (
    "FROM {table} JOIN series ON id = series WHERE kind = ? AND name = ? AND t >= ? AND t < ? ORDER BY t"
)


def read_samples(
    path: Path, name: str, start: float = -math.inf, end: float = math.inf
) -> list[tuple[float, float]]:
    """(t in s, value) of a series with start <= t < end. Raises RunDatabaseError."""
    with _reading(path) as connection:
        query = "SELECT t, v " + _BETWEEN.format(table="sample")
        return [(t, v) for t, v in connection.execute(query, (VALUE, name, start, end))]


def read_all(path: Path, kind: str = VALUE) -> dict[str, list[tuple[float, float]]]:
    """(t in s, value) of every series of a kind, by name in order; one pass. Raises RunDatabaseError."""
    with _reading(path) as connection:
        names = connection.execute("SELECT id, name FROM series WHERE kind = ? ORDER BY name", (kind,))
        series: dict[int, tuple[str, list[tuple[float, float]]]] = {
            number: (name, []) for number, name in names
        }
        for number, t, v in connection.execute("SELECT series, t, v FROM sample ORDER BY series, t"):
            if (found := series.get(number)) is not None:
                found[1].append((t, v))
        return dict(series.values())


def read_histograms(
    path: Path, key: str, start: float = -math.inf, end: float = math.inf
) -> list[tuple[float, LogBuckets]]:
    """(t in s, histogram) of a timer with start <= t < end; `merged` makes one of them. Raises RunDatabaseError."""
    with _reading(path) as connection:
        query = "SELECT t, data " + _BETWEEN.format(table="histogram")
        return [(t, from_blob(blob)) for t, blob in connection.execute(query, (TIMER, key, start, end))]


def merged(histograms: Iterable[tuple[float, LogBuckets]]) -> LogBuckets:
    """One histogram of all."""
    whole = LogBuckets()
    for _, each in histograms:
        whole.merge(each)
    return whole


# --- the output


class RunDatabaseOutput(QueuedOutput):
    """Writes flushes into a run database from a thread, all that wait in one transaction.

    ``inline`` writes at once instead: under a simulated clock a thread would be overtaken by any amount of time.
    """

    name = "db"
    faults = (OSError, sqlite3.Error)

    def __init__(
        self,
        path: Path,
        *,
        inline: bool = False,
        meta: Mapping[str, str] | None = None,
        keeps: Sequence[Keep] = (),
        limit: int = QUEUE_LIMIT,
        goes_on: bool = False,
    ) -> None:
        super().__init__(f"db:{path}", limit)
        self._database = RunDatabase(path, meta, keeps, goes_on=goes_on)
        #: What the server held that wrote here before, and what this one holds now: kept with the next flush.
        self.held = self._database.held
        self._inline = inline
        # Inline is for a simulated clock.
        self._database.note({"clock": "virtual" if inline else "real"})

    def offer(self, flush: Flush) -> None:
        if not self._inline:
            super().offer(flush)
            return
        try:
            self._database.write(flush, held=self.held)
        except self.faults as error:
            self._note_failure(error, 1)
        else:
            self._note_written(1)

    async def write_all(self, flushes: list[Flush]) -> None:
        write = partial(self._database.write, *flushes, held=self.held)
        await trio.to_thread.run_sync(write, abandon_on_cancel=True)

    def end(self) -> None:
        # A write that hangs in its thread still has the connection: closing it now would wait for it.
        if not self.was_abandoned:
            self._database.close()
