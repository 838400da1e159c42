"""A recorded stream through an aggregator, on the recording's own time.

Knows nothing of files or of real time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.numbers import Number
from brokersim.statsd.recorded.stream import Record, StreamError, intervals, records_from_json

__all__ = ["Difference", "ReplayFlush", "StreamError", "compare", "records_from_json", "replay"]


@attrs.frozen(kw_only=True)
class ReplayFlush:
    """One flush: its time in seconds, the values by the dialect's names, the bad lines its server would count."""

    t: float
    values: Mapping[str, Number]
    bad_lines: Number

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; what JSON has no number for becomes `"Infinity"`, `"-Infinity"` or `"nan"`."""
        values = {name: _json_number(value) for name, value in self.values.items()}
        return {"t": self.t, "values": values, "bad_lines": self.bad_lines}


def _json_number(value: Number) -> Number | str:
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def replay(
    records: Iterable[Record],
    *,
    dialect: str = "strict",
    flush: float = 1.0,
    config: AggregatorConfig | None = None,
    inclusive: bool = False,
) -> list[ReplayFlush]:
    """All flushes of a recording. See `intervals` for their times.

    `config` is taken as it is but for its flush interval. Raises StreamError, UnknownDialectError.
    """
    if not math.isfinite(flush) or flush <= 0:
        raise StreamError(f"a flush interval of {flush} s; it must be above 0")
    config = attrs.evolve(config or AggregatorConfig(), flush=flush)
    aggregator = Aggregator(dialect, config)
    flushes = []
    for flush_t, share in intervals(records, flush, inclusive=inclusive):
        for _, (t, datagram) in share:
            aggregator.feed(datagram, t=t)
        flushed = aggregator.flush(flush_t)
        flushes.append(ReplayFlush(t=flush_t, values=flushed.values, bad_lines=flushed.bad_lines))
    return flushes


@attrs.frozen(kw_only=True)
class Difference:
    """A key two dialects show differently at one flush; None where one does not show it."""

    t: float
    key: str
    one: Number | None
    other: Number | None


def compare(
    records: Iterable[Record],
    one: str,
    other: str,
    *,
    flush: float = 1.0,
    config: AggregatorConfig | None = None,
) -> list[Difference]:
    """Where two dialects differ on the same recording, by key: counters' sums, gauges, numbers of timings and elements.

    Keys are the senders', so the dialects' own names do not count as a difference.
    """
    kept = list(records)
    left, right = (_tables(kept, dialect, flush, config) for dialect in (one, other))
    found = []
    for (t, ours), (_, theirs) in zip(left, right, strict=True):
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                found.append(Difference(t=t, key=key, one=ours.get(key), other=theirs.get(key)))
    return found


def _tables(
    records: list[Record], dialect: str, flush: float, config: AggregatorConfig | None
) -> list[tuple[float, dict[str, Number]]]:
    aggregator = Aggregator(dialect, attrs.evolve(config or AggregatorConfig(), flush=flush))
    rows = []
    for flush_t, share in intervals(records, flush):
        for _, (t, datagram) in share:
            aggregator.feed(datagram, t=t)
        flushed = aggregator.flush(flush_t)
        tables = {"c": flushed.counters, "g": flushed.gauges, "ms": flushed.timer_counts, "s": flushed.sets}
        rows.append(
            (flush_t, {f"{key}|{kind}": n for kind, table in tables.items() for key, n in table.items()})
        )
    return rows
