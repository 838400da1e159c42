"""Recorded streams: packets with their times, cut into flush intervals.

Knows nothing of what the packets say. A record is (seconds, datagram).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal

from brokersim.statsd.config import SHORTEST_FLUSH

Record = tuple[float, bytes]

# A day in hundredths of a second. A longer row of flushes is more likely a wrong time in the recording.
MOST_FLUSHES = 8_640_000


class StreamError(ValueError):
    """A recording that cannot be read; says where, what is wrong and what would be right."""


def records_from_json(lines: Iterable[str]) -> Iterator[Record]:
    """Records of JSON lines `{"t": seconds, "data": "datagram"}`, empty lines skipped. Raises StreamError."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            t, data = float(record["t"]), record["data"]
            if not isinstance(data, str) or isinstance(record["t"], bool):
                raise TypeError
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise StreamError(
                f"line {number}: {line.strip()[:60]!r} is no record; "
                'write one object a line: {"t": 0.5, "data": "k:1|c"}'
            ) from None
        yield _checked(t, number), data.encode("utf-8", "surrogateescape")


def _checked(t: float, number: int) -> float:
    if not math.isfinite(t):
        raise StreamError(f"record {number}: t is {t}; it must be a finite number of seconds")
    return t


def intervals(
    records: Iterable[Record], flush: float, *, inclusive: bool = False
) -> Iterator[tuple[float, list[tuple[int, Record]]]]:
    """(time of the flush, the interval's records with their numbers from 1), idle ones between them included.

    Flushes are at whole multiples of `flush` (s), the first one behind the first record, the last one behind the last.
    A record at the very instant of a flush belongs to the next one, or with `inclusive` to that one, which is the
    order of a virtual clock. Records out of order are sorted by time. Raises StreamError.
    """
    if not flush >= SHORTEST_FLUSH or math.isinf(flush):
        raise StreamError(f"a flush interval of {flush} s; it must be at least {SHORTEST_FLUSH} s")
    numbered = [(number, (_checked(t, number), data)) for number, (t, data) in enumerate(records, start=1)]
    numbered.sort(key=lambda each: each[1][0])
    if not numbered:
        return
    # Decimals, because 0.3 / 0.1 is less than 3 in floats and would fall into the interval before.
    step = Decimal(repr(float(flush)))
    first = math.floor(Decimal(repr(float(numbered[0][1][0]))) / step)
    slots = [_slot(t, step, first, inclusive) for _, (t, _) in numbered]
    if slots[-1] - first >= MOST_FLUSHES:
        raise StreamError(
            f"records reach from {numbered[0][1][0]} s to {numbered[-1][1][0]} s: {slots[-1] - first + 1} flushes of "
            f"{flush} s; at most {MOST_FLUSHES} are replayed, so cut the recording or take a longer interval"
        )
    at = 0
    for slot in range(first, slots[-1] + 1):
        start = at
        while at < len(slots) and slots[at] == slot:
            at += 1
        yield float((slot + 1) * step), numbered[start:at]


def _slot(t: float, step: Decimal, first: int, inclusive: bool) -> int:
    place = Decimal(repr(float(t))) / step
    return max(first, math.ceil(place) - 1) if inclusive else math.floor(place)
