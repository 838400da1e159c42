"""A report of a run database of 384,000 samples: CPU seconds and bytes of its page, and of the same samples as CSV.

    python benchmarks/report.py [--json] [--gate] [--flushes N]

48 series of 8,000 flushes, as eight counters of six modules. Beside it b, the least anybody has to do with that file:
fetch every sample from SQLite and encode it as JSON.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import _measure
import msgspec

from brokersim.lab.keep.export import parts, write_csv
from brokersim.lab.show.report import page, read_result
from brokersim.statsd_server.outputs.rundb import RunDatabase

MODULES, COUNTERS, FLUSHES = 6, 8, 8000
#: As promised: a report of 384,000 samples in at most 5 s and 8 MB.
SECONDS, BYTES = 5.0, 8_000_000


def database(path: Path, flushes: int) -> Path:
    written = RunDatabase(path, {"command": "benchmarks/report.py"})
    for module, counter in product(range(MODULES), range(COUNTERS)):
        points = [(1_700_000_000 + n, (n * 7 + counter) * 13 % 40 + 25 * n) for n in range(flushes)]
        written.add("value", f"flux.m{module}.0.c{counter}", points)
    written.close()
    return path


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def least(path: Path) -> bytes:
    with sqlite3.connect(path) as connection:
        return msgspec.json.encode(connection.execute("SELECT series, t, v FROM sample").fetchall())


def whole_page(path: Path) -> str:
    return page([read_result(path)])


def as_csv(path: Path) -> int:
    found = read_result(path)
    return write_csv(parts(found)["series"](), io.BytesIO(), found)


def main() -> int:
    parser = _measure.parser(__doc__)
    parser.add_argument("--flushes", type=_measure.positive, default=FLUSHES, help="samples of each series")
    arguments = parser.parse_args()
    samples = MODULES * COUNTERS * arguments.flushes
    report = _measure.begin("report", arguments, samples=samples)
    with tempfile.TemporaryDirectory() as folder:
        path = database(Path(folder) / "run.db", arguments.flushes)
        size = len(whole_page(path).encode())
        works: dict[str, Callable[[Path], object]] = {"page": whole_page, "csv": as_csv, "b": least}
        taken = _measure.rounds(
            {name: partial(seconds, partial(work, path)) for name, work in works.items()}, arguments.repeats
        )
    figure = partial(_measure.Figure, unit="s")
    report.figures = [
        figure(name=f"page of {samples:,} samples", values=taken["page"], target=SECONDS),
        _measure.Figure(name="its size", unit="bytes", values=(size,), target=BYTES),
        figure(name="the same as CSV", values=taken["csv"]),
        figure(name="b, SQLite to JSON and no more", values=taken["b"]),
    ]
    report.gates = [
        _measure.Gate(what="page size / 8 MB", ratio=size / BYTES, limit=1),
        _measure.Gate(what="page / b", ratio=_measure.ratio(taken["page"], taken["b"]), limit=15),
    ]
    report.keys = {
        "samples": samples,
        "page_cpu_s": report.figures[0].median,
        "page_bytes": size,
        "csv_cpu_s": report.figures[2].median,
    }
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
