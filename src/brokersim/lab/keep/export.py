"""Knows how tables of a run are written for other programs: CSV, JSON lines, Parquet; not what is in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import attrs
import msgspec

from brokersim.lab.keep.rundb_reader import long_rows
from brokersim.lab.result import Result
from brokersim.lab.show.tables import settings, tables
from brokersim.protocol.decoded import JsonView

Rows = Iterable[JsonView]
#: Rows of one row group of a Parquet file: enough to compress well, few enough to hold in memory.
GROUP = 100_000


class ExportError(ValueError):
    """What cannot be exported: why, and what would be right."""


def parts(found: Result) -> dict[str, Callable[[], Rows]]:
    """What of a run can be exported, by name; the first is what is meant when nothing is said."""
    timers = found.parts.get("histograms") or {}
    known: dict[str, tuple[bool, Callable[[], Rows]]] = {
        "series": (any(True for _ in islice(long_rows(found), 1)), lambda: long_rows(found)),
        "figures": (bool(found.runs), lambda: found.runs),
        "checks": (bool(found.checks), lambda: map(attrs.asdict, found.checks)),
        "timers": (bool(timers), lambda: _timers(timers)),
        "counters": (bool(found.parts.get("tables")), lambda: _counters(found)),
        "settings": (True, lambda: ({"setting": key, "value": value} for key, value in settings(found))),
    }
    # Of a recording the samples are wanted, of an experiment its table.
    first = "series" if found.experiment == "run" else "figures"
    order = sorted(known, key=lambda name: name != first)
    return {name: known[name][1] for name in order if name == first or known[name][0]}


def _timers(timers: JsonView) -> Iterator[JsonView]:
    for timer, rows in timers.items():
        yield from ({"timer": timer, **row} for row in rows)


def _counters(found: Result) -> Iterator[JsonView]:
    for name, rows in tables(found):
        if name.startswith("counters, "):
            yield from ({"table": name.removeprefix("counters, "), **row} for row in rows)


# -- formats


def write_csv(rows: Rows, file: BinaryIO, _found: Result) -> int:
    """Commas, a title line, RFC 4180 quoting, numbers as Python writes them; how many rows."""
    kept, columns = _columns(rows)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    # Told that lines end so, it quotes both characters; what is written ends with one.
    writer = csv.DictWriter(_Lines(text), columns, restval="", lineterminator="\r\n")
    if columns:
        writer.writeheader()
    count = 0
    for row in kept:
        writer.writerow({key: _flat(value) for key, value in row.items()})
        count += 1
    text.detach()
    return count


class _Lines:
    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text

    def write(self, row: str) -> int:
        return self._text.write(row.removesuffix("\r\n") + "\n")


def write_jsonl(rows: Rows, file: BinaryIO, _found: Result) -> int:
    """One JSON object a line, nested values as they are; how many rows."""
    encoder = msgspec.json.Encoder()
    count = 0
    for row in rows:
        file.write(encoder.encode(row) + b"\n")
        count += 1
    return count


def write_parquet(rows: Rows, file: BinaryIO, found: Result) -> int:
    """Parquet, nested values as JSON text, the run's meta under the key ``brokersim``; how many rows.

    Raises ExportError if the library is not there.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
    except ImportError:
        raise ExportError("Parquet needs pyarrow: pip install 'brokersim[parquet]'") from None
    kept, columns = _columns(rows)
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])
    schema = schema.with_metadata({"brokersim": msgspec.json.encode(found.meta)})
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(kept, GROUP)):
            table = {name: [_typed(row.get(name), kind) for row in group] for name, kind in columns.items()}
            writer.write_table(pa.table(table, schema=schema))
            count += len(group)
    return count


FORMATS: dict[str, Callable[[Rows, BinaryIO, Result], int]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


def _columns(rows: Rows) -> tuple[Iterator[JsonView], dict[str, str]]:
    """The rows again, and each column with its Arrow type: the widest that any value needs.

    Long tables are uniform, so that only their first rows are looked at; short ones are looked at whole.
    """
    source = iter(rows)
    first = list(islice(source, GROUP))
    columns: dict[str, str] = {}
    for row in first:
        for name, value in row.items():
            columns[name] = _wider(columns.get(name), _kind(value))
    return _again(first, source), {name: kind or "string" for name, kind in columns.items()}


def _again(first: list[JsonView], rest: Iterator[JsonView]) -> Iterator[JsonView]:
    yield from first
    yield from rest


_KINDS = {bool: "bool_", int: "int64", float: "float64"}


def _kind(value: object) -> str:
    if value is None:
        return ""
    if type(value) is int and abs(value) >= 2**63:
        return "float64"
    return _KINDS.get(type(value), "string")


def _wider(known: str | None, kind: str) -> str:
    if not known or not kind or known == kind:
        return known or kind
    return "float64" if {known, kind} == {"int64", "float64"} else "string"


def _typed(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "string":
        return _flat(value) if isinstance(value, list | tuple | dict | str) else str(value)
    return float(value) if kind == "float64" else value


def _flat(value: object) -> object:
    """A cell: lists and objects as JSON, nothing as an empty cell."""
    return msgspec.json.encode(value).decode() if isinstance(value, list | tuple | dict) else value
