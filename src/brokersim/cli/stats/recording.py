"""Knows recordings on disk: JSON lines of packets with their times, plain or gzip; not what packets say.

A packet is kept as text. Bytes of it that are no UTF-8 become the characters U+DC80 to U+DCFF (Python's
``surrogateescape``), written as ``\\udc80`` to ``\\udcff``, so that every packet comes back byte for byte.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import os
import shlex
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from brokersim import files
from brokersim.cli.errors import usage_error
from brokersim.statsd.recorded.stream import Record, StreamError, records_from_json

_GZIP_MAGIC: Final = b"\x1f\x8b"
#: A recording that is being watched should not lag; emptying the compressor for each packet would undo it.
SYNC_SECONDS: Final = 1.0
STANDARD: Final = "-"
#: Lines of a file that are looked at before it is taken for no stream at all: a page of text, a log, a picture.
_LOOKED_AT: Final = 100


class Recording(NamedTuple):
    """What a file holds: its packets and the line of the file each stands on.

    ``is_cut``: its gzip breaks off. ``is_plain``: it has statsd lines, and no times.
    """

    name: str
    records: list[Record]
    lines: list[int]
    is_cut: bool = False
    is_plain: bool = False


def read(name: str, *, plain: bool = False) -> Recording:
    """A recording from a file, or from stdin for ``-``. Raises CommandError naming file and line.

    With ``plain``, a file that does not begin with ``{`` is read as statsd lines, each a packet at second 0.
    """
    if name == STANDARD and sys.stdin.isatty():
        raise usage_error(
            "no recording: stdin is a terminal",
            attempt="brokersim stats record out.jsonl, then name the file",
        )
    try:
        data, is_cut = _unpacked(_bytes(name), name)
    except OSError as error:
        raise usage_error(f"{name}: {error.strerror or error}") from None
    if data.startswith(files.SQLITE):
        raise usage_error(
            f"{name} is a database, no recording of packets",
            attempt=f"brokersim runs show {shlex.quote(name)}, or a file of: brokersim stats record out.jsonl",
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    if plain and not data.lstrip().startswith(b"{"):
        return _plain(name, data)
    return _json_lines(name, data, is_cut)


def _bytes(name: str) -> bytes:
    if name != STANDARD:
        return files.read_bytes(name)
    stdin = sys.stdin
    return files.read_all(stdin.buffer, "stdin")


def _unpacked(data: bytes, name: str) -> tuple[bytes, bool]:
    """The data, and whether its gzip breaks off: a recorder that was killed leaves it so."""
    if not data.startswith(_GZIP_MAGIC):
        return data, False
    found = io.BytesIO()
    try:
        with gzip.open(io.BytesIO(data)) as packed:
            while part := packed.read1(1 << 16):
                found.write(part)
                if found.tell() > files.INPUT_MAX:
                    raise files.too_large(name)
    except (EOFError, zlib.error):
        whole = found.getvalue()
        return whole[: whole.rfind(b"\n") + 1], True
    return found.getvalue(), False


def _plain(name: str, data: bytes) -> Recording:
    rows = [(number, row) for number, row in enumerate(data.split(b"\n"), start=1) if row.strip()]
    if rows and not any(map(_may_be_statsd, (row for _, row in rows[:_LOOKED_AT]))):
        number, row = rows[0]
        raise usage_error(
            f"{name}: no statsd stream: none of its first {min(len(rows), _LOOKED_AT)} lines is NAME:VALUE|TYPE",
            hint=f"line {number} is {shown(row[:60])}",
            attempt="brokersim stats record out.jsonl, or give lines such as flux.kvs.0.request_rx:5|g",
        )
    records = [(0.0, row) for _, row in rows]
    return Recording(name, records, [number for number, _ in rows], is_plain=True)


def _may_be_statsd(row: bytes) -> bool:
    """A value and a type in their order, or a DogStatsD event or service check: wrong ones are for lint to judge."""
    _, colon, rest = row.partition(b":")
    return (bool(colon) and b"|" in rest and b"\0" not in row) or row.startswith((b"_e{", b"_sc|"))


def _json_lines(name: str, data: bytes, is_cut: bool) -> Recording:
    numbers: list[int] = []

    def rows() -> Iterator[str]:
        for number, row in enumerate(data.split(b"\n"), start=1):
            if row.strip():
                numbers.append(number)
            yield row.decode("utf-8", "surrogateescape")

    try:
        records = list(records_from_json(rows()))
    except UnicodeEncodeError:
        raise usage_error(
            f"{name}: line {numbers[-1]}: half a surrogate pair in the data",
            hint="bytes that are no UTF-8 stand as \\udc80 to \\udcff",
        ) from None
    except StreamError as error:
        raise usage_error(f"{name}: {error}") from None
    return Recording(name, records, numbers, is_cut)


def to_json(t: float, packet: bytes) -> str:
    """One line of a recording, without its end."""
    return json.dumps({"t": t, "data": packet.decode("utf-8", "surrogateescape")}, separators=(",", ":"))


class Writer:
    """Writes a recording, gzip if the name ends in ``.gz``; to stdout for ``-``. Raises OSError.

    ``plain`` writes the packets as they are, a line each, without their times.
    """

    def __init__(self, name: str, *, plain: bool = False) -> None:
        self._plain = plain
        self._file: BinaryIO = sys.stdout.buffer if name == STANDARD else open(name, "wb")  # noqa: SIM115
        self._owns = name != STANDARD
        self._packed: gzip.GzipFile | None = None
        self._synced = 0.0
        self._is_behind = False
        if name.endswith(".gz"):
            # No time and no name in the header: the same packets give the same bytes.
            self._packed = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)

    def write(self, t: float, packet: bytes) -> None:
        line = (packet if self._plain else to_json(t, packet).encode()) + b"\n"
        if self._packed is None:
            self._file.write(line)
            return
        self._packed.write(line)
        self._is_behind = True
        if t - self._synced >= SYNC_SECONDS:
            self._synced = t
            self.sync()

    def flush(self) -> None:
        """What was written can be read by others now; with gzip, what was before the last ``sync``."""
        self._file.flush()

    def sync(self) -> None:
        """What was written can be read by others now."""
        if self._packed is not None and self._is_behind:
            self._packed.flush()
            self._is_behind = False
        self._file.flush()

    def close(self) -> None:
        if self._packed is not None:
            self._packed.close()
        self._file.flush()
        if self._owns:
            self._file.close()


def rewrite(name: str, records: Iterable[Record], *, plain: bool = False) -> None:
    """Replace a recording; a reader sees the old one or the new one whole. Raises OSError."""
    path = Path(name).resolve()
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        writer = Writer(str(beside), plain=plain)
        for t, packet in records:
            writer.write(t, packet)
        writer.close()
        os.chmod(beside, path.stat().st_mode & 0o777)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def check_new(name: str) -> None:
    """Raises CommandError if writing there would lose a recording."""
    path = Path(name)
    if name != STANDARD and path.is_file() and path.stat().st_size:
        raise usage_error(f"{name} exists", hint="a recording is not overwritten", attempt="add --force")


def shown(data: bytes) -> str:
    """A packet's or line's text for people: on one line, what is no text escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def to_document(document: object) -> bytes:
    """One JSON document on one line, ASCII only: names may hold what no UTF-8 can carry."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
