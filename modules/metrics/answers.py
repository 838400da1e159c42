"""Knows how a collection is told to whoever asked for it: row by row, or thrown together by some fields and sorted."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import Handle, Message, errnums

from . import keys
from .root import Taker
from .stat import Row, Rows, Stat

#: Rows of one response.
_CHUNK = 50


class Reply(Taker):
    """Streams the finished rows, then the record, then ENODATA.

    With ``by`` the rows of equal fields are merged first, with ``top`` only so many come, the largest in front: of the
    threshold's value, else of what the first reducer shows.
    """

    def __init__(
        self, handle: Handle, request: Message, by: list[str] | None = None, top: int | None = None
    ) -> None:
        self._handle = handle
        self._request = request
        self._by = by
        self._top = top
        self._rows: dict[str, Row] = {}

    def rows(self, stat: Stat, rows: Rows) -> None:
        if self._by is None and self._top is None:
            self._tell([stat.finish(row) for row in rows])
            return
        for row in rows:
            text = row[0] if self._by is None else keys.projected(row[0], self._by)
            known = self._rows.get(text)
            moved: Row = [text, row[1]]
            self._rows[text] = moved if known is None else stat.merge(known, moved)

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        rows = [self._rows[text] for text in sorted(self._rows)]
        if self._top is not None:
            rows = sorted(rows, key=lambda row: -(size_of(stat, row) or 0.0))[: self._top]
        self._tell([stat.finish(row) for row in rows])
        self._handle.respond(self._request, {"record": record})
        self._handle.respond_error(self._request, errnums.ENODATA)

    def gone(self, stat: Stat) -> None:
        self._handle.respond_error(
            self._request, errnums.ENOENT, f"stat {stat.name} was removed before its epoch had ended"
        )

    def lost(self, stat: Stat, why: str) -> None:
        self._handle.respond_error(self._request, errnums.ETIMEDOUT, why)

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        for at in range(0, len(rows), _CHUNK):
            self._handle.respond(self._request, {"rows": rows[at : at + _CHUNK]})


def size_of(stat: Stat, row: Row) -> float | None:
    """What rows are ordered by."""
    if stat.value is not None:
        return stat.measure(row)
    shown = stat.finish(row)
    shown = next(iter(shown["streams"].values())) if "streams" in shown else shown
    for name in (*stat.streams[0].results, "p50", "n"):
        if isinstance(shown.get(name), int | float):
            return float(shown[name])
    return None
