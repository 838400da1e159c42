"""Knows the Standard Workload Format, in which logs of real machines are published; not what is done with a job.

Source: Feitelson's definition, version 2.2: a line a job, 18 numbers with blanks between, -1 for unknown, comments and
header lines behind a semicolon. Times are in seconds, memory in kB per processor.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from brokersim import files

#: The 18 fields in order: our name, the standard's.
FIELDS = (
    ("number", "job number"),
    ("submit_s", "submit time"),
    ("wait_s", "wait time"),
    ("run_s", "run time"),
    ("processors", "allocated processors"),
    ("cpu_s", "average CPU time used"),
    ("memory_kb", "used memory"),
    ("requested_processors", "requested processors"),
    ("requested_s", "requested time"),
    ("requested_memory_kb", "requested memory"),
    ("status", "status"),
    ("user", "user id"),
    ("group", "group id"),
    ("executable", "executable number"),
    ("queue", "queue number"),
    ("partition", "partition number"),
    ("preceding", "preceding job number"),
    ("think_s", "think time from preceding job"),
)
#: Status: failed, done, partial executions (to be continued, last of them, last and failed), cancelled.
FAILED, DONE, PARTIAL, LAST_PARTIAL, FAILED_PARTIAL, CANCELLED = range(6)
#: What editors of another system put before the first line.
_BOM = "\ufeff"
#: Jobs of a log: more than any that was published, few enough to hold.
MOST_JOBS = 20_000_000
_WHOLE = {"number", "processors", "requested_processors", "status", "user", "group", "executable", "queue",
          "partition", "preceding"}  # fmt: skip


class SwfError(ValueError):
    """A line that is no job: which file, line and field, and what would be right."""


@attrs.frozen
class SwfJob:
    """One job, its 18 numbers as they stand in the log; -1 is unknown."""

    number: int
    submit_s: float
    wait_s: float
    run_s: float
    processors: int
    cpu_s: float
    memory_kb: float
    requested_processors: int
    requested_s: float
    requested_memory_kb: float
    status: int
    user: int
    group: int
    executable: int
    queue: int
    partition: int
    preceding: int
    think_s: float


@attrs.frozen(kw_only=True)
class SwfLog:
    """A log: its header (``MaxProcs: 128`` and such, several of one name joined by newlines) and its jobs."""

    header: dict[str, str]
    jobs: tuple[SwfJob, ...]


def read_swf(path: Path, limit: int | None = None) -> SwfLog:
    """The first ``limit`` jobs of a log, which may be gzipped. Raises SwfError, OSError."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        # Old logs have names of people in Latin letters in their comments.
        lines = files.lines_of(file, path)
        return parse_swf((line.decode("utf-8", errors="replace") for line in lines), str(path), limit)


def parse_swf(lines: Iterable[str], name: str = "-", limit: int | None = None) -> SwfLog:
    """A log from its lines; reading stops after ``limit`` jobs. Raises SwfError."""
    header: dict[str, str] = {}
    jobs: list[SwfJob] = []
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(_BOM).strip()
        if text.startswith(";"):
            if not jobs:
                _add_header(header, text)
        elif text:
            jobs.append(parse_job(text, f"{name}:{number}"))
            if len(jobs) == (limit or MOST_JOBS):
                break
    return SwfLog(header=header, jobs=tuple(jobs))


def parse_job(text: str, where: str = "-:1") -> SwfJob:
    """One line. Raises SwfError that names the place, the field and what would be right."""
    words = text.split()
    if len(words) != len(FIELDS):
        missing = (
            f"the first missing is field {len(words) + 1}, {FIELDS[len(words)][1]}"
            if len(words) < len(FIELDS)
            else f"{words[len(FIELDS)]!r} is one too many"
        )
        raise SwfError(f"{where}: {len(words)} fields where a job has {len(FIELDS)}; {missing}")
    return SwfJob(*_values(words, where))


def _values(words: list[str], where: str) -> Iterator[Any]:
    for at, (word, (field, title)) in enumerate(zip(words, FIELDS, strict=True), start=1):
        value = _number(word)
        if value is None:
            raise SwfError(f"{where}: field {at}, {title}: {word!r} is no number; give -1 if it is not known")
        if field in _WHOLE:
            if value != int(value):
                raise SwfError(f"{where}: field {at}, {title}: {word!r} is no whole number")
            value = int(value)
        if value < 0 and value != -1:
            raise SwfError(f"{where}: field {at}, {title}: {word!r} is below 0; only -1 is, for unknown")
        if field in ("number", "submit_s") and value < 0:
            raise SwfError(f"{where}: field {at}, {title}: every job has one, {word!r} says it is not known")
        yield value


def _number(word: str) -> float | None:
    """Decimal digits with a sign, a point, an exponent: Python's float() takes more, such as 1_000 and nan."""
    if not word.isascii() or "_" in word or not any(letter.isdigit() for letter in word):
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _add_header(header: dict[str, str], text: str) -> None:
    """``; Computer: Linux cluster``; comments without a colon are for people."""
    name, colon, value = text.lstrip("; \t").partition(":")
    if colon and name and " " not in name.strip():
        name = name.strip()
        header[name] = f"{header[name]}\n{value.strip()}" if name in header else value.strip()
