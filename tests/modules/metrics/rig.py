"""Knows how tests make stats and tables without an instance."""

from __future__ import annotations

from typing import Any

from modules.metrics.stat import Row, Stat, read
from modules.metrics.table import Clock, Table


class Loop:
    """Stands for the reactor: time in ns."""

    now = 0


def stat(stream: str = "s", apply: tuple[str, ...] = ("sum",), **more: Any) -> Stat:
    """A stat of one stream."""
    source = {key: more.pop(key) for key in ("normalize", "where", "pred", "params") if key in more}
    return read({"name": "t", "reducers": [{"stream": stream, "apply": list(apply), **source}], **more})


def table(one: Stat, rank: int = 0) -> Table:
    """An empty table; its clock is ``table._clock.reactor.now``."""
    return Table(one, rank, Clock(Loop()))


def shown(one: Stat, rows: list[Row]) -> dict[str, Any]:
    """Finished rows by the only field of their keys, or the key's text."""
    finished = [one.finish(row) for row in rows]
    return {"/".join(str(value) for value in row["key"].values()): row for row in finished}
