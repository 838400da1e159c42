"""Knows a flush as the lines of Graphite's plaintext protocol; not how they are delivered."""

from __future__ import annotations

import math
from collections.abc import Mapping

from brokersim.statsd import keyed
from brokersim.statsd.flushed import Flush
from brokersim.statsd.keys import graphite_path
from brokersim.statsd.numbers import Number, format_number
from brokersim.statsd.shown import Columns, Keyed
from brokersim.statsd_server.outputs.spool import Block

#: Paths that are kept beyond those that there are: of keys that went.
_PATHS_KEPT = 1000


class _Template:
    """The text of lines whose names are always the same."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._text = ""
        self._prefix = ""

    def add_lines(self, into: bytearray, shown: Columns[Number], prefix: str, seconds: int) -> int | None:
        """Adds the lines of columns; how many, or None where one by one is the way: NaN and infinity are left out."""
        values: list[Number] | list[str] = shown.numbers
        kinds = set(map(type, values))
        if kinds != {int}:
            if not kinds <= {int, float} or not math.isfinite(sum(values)):  # type: ignore[arg-type]
                return None
            values = [_number_text(value) for value in values]  # type: ignore[arg-type]
        if shown.names != self._names or prefix != self._prefix:
            self._names, self._prefix = shown.names, prefix
            paths = (graphite_path(prefix + name).replace("%", "%%") for name in shown.names)
            # No path holds a NUL: it stands for what is the same in all lines.
            self._text = "".join([f"{path} %s \0\n" for path in paths])
        into += (self._text % tuple(values)).replace("\0", str(seconds)).encode("utf-8", "replace")
        return len(values)


class _Paths:
    """The same by compiled code, which writes the numbers."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._paths: list[bytes] = []
        self._prefix = ""

    def add_lines(self, into: bytearray, shown: Columns[Number], prefix: str, seconds: int) -> int:
        """Adds the lines of columns; how many."""
        if shown.names != self._names or prefix != self._prefix:
            self._names, self._prefix = shown.names, prefix
            self._paths = [
                b"%b " % graphite_path(prefix + name).encode("utf-8", "replace") for name in shown.names
            ]
        return keyed.add_lines(into, self._paths, shown.numbers, b" %d\n" % seconds)


class LineTexts:
    """Flushes as ``path value seconds`` lines. Whole seconds: whisper has no smaller ones, others read no others.

    Most flushes have the names of the one before: their lines are one text, made once, in which only values are put.
    """

    def __init__(self, *, compiled: bool = keyed.BEST is not keyed.PYTHON) -> None:
        self._is_compiled = compiled
        self._kept: dict[int, _Template | _Paths] = {}
        self._paths: dict[str, dict[bytes, bytes]] = {}

    def block(self, flush: Flush) -> Block:
        seconds = int(flush.t // 1)
        data = bytearray()
        count = 0
        rest: list[str] = []
        for index, piece in enumerate(Columns.of(flush.values).pieces):
            if isinstance(piece, Keyed):
                count += self._add_written(data, piece, flush.path_prefix, seconds)
                continue
            added = self._of(index).add_lines(data, piece, flush.path_prefix, seconds)
            if added is None:
                rest += _lines(flush.path_prefix, piece, seconds)
            else:
                count += added
        rest += _lines(flush.path_prefix, flush.self_values, seconds)
        for t, values in flush.timed.items():
            rest += _lines(flush.path_prefix, values, t)
        data += "".join(rest).encode("utf-8", "replace")
        return Block(data=data, lines=count + len(rest))

    def _of(self, index: int) -> _Template | _Paths:
        if index not in self._kept:
            self._kept[index] = _Paths() if self._is_compiled else _Template()
        return self._kept[index]

    def _add_written(self, into: bytearray, piece: Keyed, prefix: str, seconds: int) -> int:
        """By the table itself. Keys that are no plain names are few or always the same: their paths are kept."""
        paths = self._paths.setdefault(piece.before + piece.behind, {})
        if len(paths) > 2 * len(piece) + _PATHS_KEPT:
            paths.clear()

        def path_of(key: bytes) -> bytes:
            path = paths.get(key)
            if path is None:
                path = paths[key] = graphite_path(prefix + piece.name_of(key)).encode("utf-8", "replace")
            return path

        before, behind = (
            graphite_path(part).encode("utf-8", "replace") for part in (prefix + piece.before, piece.behind)
        )
        return piece.table.lines(into, before, behind, b" %d\n" % seconds, piece.divisor, path_of)


def _lines(prefix: str, values: Mapping[str, Number], seconds: int) -> list[str]:
    """NaN and infinity are left out: carbon drops them."""
    return [
        f"{graphite_path(prefix + name)} {format_number(value)} {seconds}\n"
        for name, value in values.items()
        if isinstance(value, int) or math.isfinite(value)
    ]


def _number_text(value: Number) -> str:
    """As `format_number`, which looks more closely at what is no float; most floats of a flush are whole."""
    return repr(value) if type(value) is int else format_number(value)
