"""Knows how a run database becomes a result like an experiment's: each series thinned, with its figures; no drawing."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from brokersim.lab.bulk import thinned
from brokersim.lab.checklist import NOTE
from brokersim.net.outputs.rundb import read_meta, read_samples, read_series

#: How every SQLite file begins.
MAGIC = b"SQLite format 3\0"
#: Points kept of a series: about as many as a page can show.
POINTS = 400


def read_run(path: Path) -> dict[str, Any]:
    """``{"meta", "runs", "series", "checks"}`` of a run database: a row a series, times from its first sample.

    Raises RunDatabaseError for a file that is none.
    """
    meta: dict[str, Any] = {"experiment": "run", "database": path.name, "note": NOTE, **read_meta(path)}
    samples = {name: read_samples(path, name) for name in read_series(path)}
    start = min((points[0][0] for points in samples.values() if points), default=0.0)
    rows = []
    series = {}
    for name, points in samples.items():
        kept = [(t - start, float(v)) for t, v in points]
        if kept:
            values = [v for _, v in kept]
            rows.append(
                {
                    "series": name,
                    "samples": len(kept),
                    "first_s": kept[0][0],
                    "last_s": kept[-1][0],
                    "min": min(values),
                    "mean": fmean(values),
                    "max": max(values),
                    "last": values[-1],
                }
            )
            series[name] = thinned(kept, POINTS)
    return {"meta": meta, "runs": rows, "series": series, "checks": []}
