"""Knows how a database becomes a result like an experiment's; no drawing.

Three kinds of files are read: what `stats serve` recorded, a result an experiment kept (``--db``), a sweep's rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean

import msgspec

from brokersim.lab.result import NOTE, Result
from brokersim.lab.show.tables import curve_parts, curves
from brokersim.protocol.decoded import JsonObject
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd_server.outputs.rundb import (
    TIMER,
    TRUTH,
    VALUE,
    RunDatabaseError,
    merged,
    read_all,
    read_histograms,
    read_meta,
    read_series,
)

#: Application id of a sweep's file: rows by combination (lab/sweep/sweep.py).
SWEEP = 0x62726B73
#: Where a result is kept in a run database's table of facts.
RESULT = "result"
_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def read_database(path: Path) -> Result:
    """The result in a database of any of the three kinds. Raises RunDatabaseError for another's."""
    return _read_sweep(path) if _application(path) == SWEEP else read_run(path)


def read_run(path: Path) -> Result:
    """``runs``, ``series``, ``truth`` and ``histograms`` of a run database: a row a series, all samples.

    Times are seconds since its first sample. A result that was kept comes back as it was, whatever it has. Raises
    RunDatabaseError for a file that is none.
    """
    facts = read_meta(path)
    if (kept := facts.pop(RESULT, None)) is not None:
        found = Result.from_json(msgspec.json.decode(kept))
        return found.with_meta(**{"command": facts["command"], **found.meta}) if "command" in facts else found
    meta: JsonObject = {"experiment": "run", "database": path.name, "note": NOTE, **facts}
    samples, truth = read_all(path), read_all(path, TRUTH)
    histograms = {key: read_histograms(path, key) for key in read_series(path, TIMER)}
    firsts = [points[0][0] for points in samples.values() if points]
    start = min([*firsts, *(found[0][0] for found in histograms.values() if found)], default=0.0)
    series = {name: _since(points, start) for name, points in samples.items() if points}
    parts = {
        "runs": [_row(name, points) for name, points in series.items()],
        "series": series,
        "truth": {name: _since(points, start) for name, points in truth.items() if points},
        "histograms": {
            key: [{"t_s": t - start, **_timer(one)} for t, one in found] for key, found in histograms.items()
        },
        "histogram totals": [
            {"timer": key, **_timer(merged(found))} for key, found in histograms.items() if found
        ],
    }
    return Result(meta=meta, parts=parts)


def describe_database(path: Path) -> JsonObject:
    """``{"meta", "series", "samples"}`` without reading the samples: for lists. Raises RunDatabaseError."""
    if _application(path) == SWEEP:
        found = _read_sweep(path)
        return {"meta": found.meta, "series": 0, "samples": len(found.runs)}
    facts = read_meta(path)
    with _opened(path) as database:
        (series,) = database.execute("SELECT count(*) FROM series").fetchone()
        (samples,) = database.execute("SELECT count(*) FROM sample").fetchone()
    if RESULT in facts:
        return {"meta": msgspec.json.decode(facts[RESULT])["meta"], "series": series, "samples": samples}
    return {"meta": {"experiment": "run", **facts}, "series": series, "samples": samples}


# -- one series


def _since(points: list[tuple[float, float]], start: float) -> list[tuple[float, float]]:
    return [(t - start, v) for t, v in points]


def _row(name: str, points: list[tuple[float, float]]) -> JsonObject:
    values = [v for _, v in points]
    return {
        "series": name,
        "samples": len(points),
        "first_s": points[0][0],
        "last_s": points[-1][0],
        "min": min(values),
        "mean": fmean(values),
        "max": max(values),
        "last": values[-1],
    }


def _timer(one: LogBuckets) -> JsonObject:
    """Figures of a histogram, in its unit (ms), percentiles within 1 %."""
    shares = {name: one.at_rank(max(1, round(share * one.n))) for name, share in _SHARES}
    return {"count": one.n, "min": one.lower, "mean": one.mean, **shares, "max": one.upper}


# -- a sweep


def _read_sweep(path: Path) -> Result:
    """The answer if the sweep came to one, else the rows it has so far."""
    with _opened(path) as database:
        notes = dict(database.execute("SELECT key, value FROM notes"))
        rows = [row for (row,) in database.execute("SELECT row FROM rows ORDER BY id")]
    if RESULT in notes:
        return Result.from_json(msgspec.json.decode(notes[RESULT]))
    meta = {"experiment": "sweep", "database": path.name, "note": NOTE}
    return Result(meta=meta, parts={"rows": [msgspec.json.decode(row) for row in rows]})


def _application(path: Path) -> int:
    with _opened(path) as database:
        return int(database.execute("PRAGMA application_id").fetchone()[0])


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise RunDatabaseError(f"no run database at {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise RunDatabaseError(f"{path} cannot be read as a run database: {error}") from None


def long_rows(found: Result) -> Iterator[JsonObject]:
    """Every sample of every curve: kind, series, t_s, value."""
    for part in curve_parts(found):
        kind = TRUTH if part == TRUTH else VALUE
        for name, points in curves(found.parts[part], "" if part in ("series", TRUTH) else part):
            for t, v in points:
                yield {"kind": kind, "series": name, "t_s": float(t), "value": float(v)}
